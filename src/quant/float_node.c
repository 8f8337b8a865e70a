/* SPDX-License-Identifier: Apache-2.0 */
/* Layers that stay float. Between DequantizeLinear and QuantizeLinear, ONNX Runtime quantizes their weights
 * on its own, with one scale for all channels, unless the bias comes from a node. */
#include "base/memory.h"
#include "graph/op.h"
#include "quant/rewrite.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A power of two for each channel holds a float as an integer of 24 bits, exactly. */
static void split_floats(const zq_tensor *bias /* NULL: zeros */, int64_t n, int32_t *integers,
                         float *scales) {
    for (int64_t c = 0; c < n; c++) {
        int exponent = 0;
        const float fraction = bias == NULL ? 0 : frexpf((float)zq_tensor_item(bias, c), &exponent);
        const bool is_zero = fraction == 0 || exponent < -100;
        integers[c] = is_zero ? 0 : (int32_t)ldexpf(fraction, 24);
        scales[c] = is_zero ? 1 : ldexpf(1, exponent - 24);
    }
}

static int add_constant(zq_graph *graph, const char *prefix, int node, zq_tensor *tensor) {
    char name[32];
    snprintf(name, sizeof name, "%s%d", prefix, node);
    return zq_graph_add_constant(graph, name, tensor);
}

/* n: the node; takes both tensors in every case. */
static zq_status read_bias(zq_graph *graph, int n, zq_tensor *integers, zq_tensor *scales, zq_error *err) {
    char name[32];
    snprintf(name, sizeof name, "b%d", n);
    const zq_shape shape = integers->shape;
    const int src[2] = {add_constant(graph, "n", n, integers), add_constant(graph, "e", n, scales)};
    const int dst = zq_graph_add_value(graph, name, ZQ_F32, &shape);
    const int added = src[0] < 0 || src[1] < 0 || dst < 0
                          ? -1
                          : zq_graph_add_node(graph, zq_op_find("DequantizeLinear"), "", 2, src, 1, &dst);
    zq_node *node = &graph->nodes[n];
    int *inputs = zq_alloc(3, sizeof *inputs);
    if (added < 0 || inputs == NULL || !zq_node_set_int(&graph->nodes[added], "axis", 0)) {
        zq_free(inputs);
        return zq_fail_memory(err);
    }
    inputs[0] = node->inputs[0];
    inputs[1] = node->inputs[1];
    inputs[2] = dst;
    zq_free(node->inputs);
    node->inputs = inputs;
    node->n_inputs = 3;
    return zq_node_parse(&graph->nodes[added], err);
}

zq_status zq_float_node_protect(zq_graph *graph, int n, zq_error *err) {
    const zq_node *node = &graph->nodes[n];
    if (strcmp(node->op->name, "Conv") != 0 && strcmp(node->op->name, "Gemm") != 0)
        return ZQ_OK;
    const int bias = node->n_inputs > 2 ? node->inputs[2] : -1;
    const zq_shape shape = zq_shape_of(1, &graph->values[node->outputs[0]].shape.dims[1]);
    const zq_tensor *floats = bias < 0 ? NULL : graph->values[bias].constant;
    if (bias >= 0 && (floats == NULL || !zq_shape_equal(&floats->shape, &shape)))
        return ZQ_OK; /* not a form that is quantized */
    zq_tensor *integers = zq_tensor_new(ZQ_I32, &shape), *scales = zq_tensor_new(ZQ_F32, &shape);
    if (integers == NULL || scales == NULL) {
        zq_tensor_drop(integers);
        zq_tensor_drop(scales);
        return zq_fail_memory(err);
    }
    split_floats(floats, shape.dims[0], integers->data, scales->data);
    return read_bias(graph, n, integers, scales, err);
}
