/* SPDX-License-Identifier: Apache-2.0 */
#include "onnx/raise.h"

#include "graph/op.h"

#include <string.h>

static bool is_op(const zq_node *node, const char *name) {
    return strcmp(node->op->name, name) == 0;
}

static bool attr_is(const zq_node *node, const char *name, const char *text) {
    const zq_attr *attr = zq_node_attr(node, name);
    return attr != NULL && attr->kind == ZQ_ATTR_STRING && strcmp(attr->s, text) == 0;
}

static bool is_dilated(const zq_node *node) {
    const zq_attr *attr = zq_node_attr(node, "dilations");
    for (size_t i = 0; attr != NULL && i < attr->n; i++)
        if (attr->ints[i] != 1)
            return true;
    return false;
}

static bool has_sizes(const zq_node *node) {
    return node->n_inputs > 1 && node->inputs[1] >= 0;
}

static int node_opset(const zq_node *node) {
    if (is_op(node, "HardSwish") || (is_op(node, "Reshape") && zq_node_attr(node, "allowzero") != NULL))
        return 14;
    if (is_op(node, "Split") && zq_node_attr(node, "num_outputs") != NULL && !has_sizes(node))
        return 18;
    if ((is_op(node, "AveragePool") && is_dilated(node)) ||
        (is_op(node, "Pad") && attr_is(node, "mode", "wrap")) ||
        (is_op(node, "Resize") && attr_is(node, "coordinate_transformation_mode", "half_pixel_symmetric")))
        return 19;
    return 13;
}

static int dtype_opset(zq_dtype dtype) {
    return dtype == ZQ_I2 || dtype == ZQ_U2 ? 25 : dtype == ZQ_I4 || dtype == ZQ_U4 ? 21 : 13;
}

int zq_raise_opset(const zq_graph *graph) {
    int opset = 13;
    for (int n = 0; n < graph->n_nodes; n++) {
        const zq_node *node = &graph->nodes[n];
        int needed = node_opset(node);
        opset = needed > opset ? needed : opset;
        for (int i = 0; i < node->n_inputs; i++) {
            const zq_tensor *constant = node->inputs[i] < 0 ? NULL : graph->values[node->inputs[i]].constant;
            needed = constant == NULL ? 0 : dtype_opset(constant->dtype);
            opset = needed > opset ? needed : opset;
        }
    }
    return opset;
}

int zq_raise_ir_version(int opset) {
    return opset <= 18 ? 8 : opset <= 20 ? 9 : opset <= 22 ? 10 : opset <= 23 ? 11 : opset <= 24 ? 12 : 13;
}

zq_raised zq_raise_node(const zq_node *node, int opset) {
    zq_raised raised = {0};
    if (opset >= 18 && is_op(node, "ReduceMean"))
        raised.attr_as_input = zq_node_attr(node, "axes");
    if (opset >= 18 && is_op(node, "Split") && !has_sizes(node) && zq_node_attr(node, "num_outputs") == NULL)
        raised.n_outputs_attr = node->n_outputs;
    return raised;
}
