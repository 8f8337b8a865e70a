/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/blocks.h"

#include "graph/op.h"

#include <stdio.h>

int zq_block_value(zq_graph *graph, const char *prefix, int number, zq_dtype dtype, const zq_shape *shape) {
    char name[32];
    snprintf(name, sizeof name, "%s%d", prefix, number);
    return zq_graph_add_value(graph, name, dtype, shape);
}

zq_status zq_block_node(zq_graph *graph, const char *op, int n_inputs, const int *inputs, int output,
                        const char *attribute, int64_t value, zq_error *err) {
    for (int i = 0; i < n_inputs; i++)
        if (inputs[i] < 0)
            return zq_fail_memory(err);
    const int n =
        output < 0 ? -1 : zq_graph_add_node(graph, zq_op_find(op), "", n_inputs, inputs, 1, &output);
    if (n < 0 || (attribute != NULL && !zq_node_set_int(&graph->nodes[n], attribute, value)))
        return zq_fail_memory(err);
    return zq_node_parse(&graph->nodes[n], err);
}

int zq_block_share(zq_graph *graph, const char *name, zq_tensor *tensor) {
    const int found = tensor == NULL ? -1 : zq_graph_find_value(graph, name);
    if (found < 0 || graph->values[found].constant == NULL ||
        !zq_tensor_equal(graph->values[found].constant, tensor))
        return zq_graph_add_constant(graph, name, tensor);
    zq_tensor_drop(tensor);
    return found;
}
