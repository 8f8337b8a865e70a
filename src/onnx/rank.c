/* SPDX-License-Identifier: Apache-2.0 */
#include "onnx/rank.h"

#include "graph/op.h"

#include <string.h>

static bool is_one_of(const char *name, const char *const *list) {
    for (; *list != NULL; list++)
        if (strcmp(name, *list) == 0)
            return true;
    return false;
}

static int rank_of(const zq_graph *graph, const zq_node *node, int input) {
    const int value = input < node->n_inputs ? node->inputs[input] : -1;
    return value < 0 ? 0 : graph->values[value].shape.rank;
}

/* Length of a constant list in input 1; 0: unknown. */
static int list_length(const zq_graph *graph, const zq_node *node) {
    const int value = node->n_inputs > 1 ? node->inputs[1] : -1;
    const zq_tensor *list = value < 0 ? NULL : graph->values[value].constant;
    return list != NULL && list->shape.rank == 1 && list->shape.dims[0] <= ZQ_MAX_RANK
               ? (int)list->shape.dims[0]
               : 0;
}

static int output_rank(const zq_graph *graph, const zq_node *node) {
    static const char *const two[] = {"Flatten", "Gemm", NULL};
    static const char *const broadcast[] = {"Add", "Sub", "Mul", "Div", "Pow", NULL};
    static const char *const unknown[] = {"MatMul", "Gather", "Expand", "Constant", "ConstantOfShape", NULL};
    static const char *const one[] = {"Shape", "Range", NULL};
    const char *name = node->op->name;
    const int first = rank_of(graph, node, 0), second = rank_of(graph, node, 1);
    int64_t keep = 1;
    if (is_one_of(name, two))
        return 2;
    if (is_one_of(name, one))
        return 1;
    if (is_one_of(name, unknown))
        return 0;
    if (is_one_of(name, broadcast)) {
        const bool known[2] = {first > 0 || (node->n_inputs > 0 && node->inputs[0] >= 0 &&
                                             graph->values[node->inputs[0]].constant != NULL),
                               second > 0 || (node->n_inputs > 1 && node->inputs[1] >= 0 &&
                                              graph->values[node->inputs[1]].constant != NULL)};
        return !known[0] || !known[1] ? 0 : first > second ? first : second;
    }
    if (strcmp(name, "Reshape") == 0)
        return list_length(graph, node);
    if (strcmp(name, "Squeeze") == 0)
        return list_length(graph, node) > 0 ? first - list_length(graph, node) : 0;
    if (strcmp(name, "Unsqueeze") == 0)
        return first > 0 && list_length(graph, node) > 0 ? first + list_length(graph, node) : 0;
    if (strcmp(name, "ReduceMean") == 0 &&
        (zq_node_int(node, "keepdims", 1, &keep, NULL) != ZQ_OK || keep == 0))
        return 0;
    return first; /* Conv, Relu, Concat, ... keep it */
}

void zq_rank_note(zq_graph *graph, int index) {
    const zq_node *node = &graph->nodes[index];
    const int rank = output_rank(graph, node);
    zq_shape shape = {.rank = rank < 0 || rank > ZQ_MAX_RANK ? 0 : rank};
    for (int d = 0; d < shape.rank; d++)
        shape.dims[d] = -1;
    for (int o = 0; o < node->n_outputs; o++)
        if (node->outputs[o] >= 0)
            graph->values[node->outputs[o]].shape = shape;
}
