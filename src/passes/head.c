/* SPDX-License-Identifier: Apache-2.0 */
#include "passes/head.h"

#include "base/memory.h"
#include "ops/window.h"
#include "passes/match.h"

#include <stdio.h>

/* The only reader of a value that is no graph output; -1: there is none, or more than one. */
static int only_reader(const zq_graph *graph, int value) {
    int *readers = NULL;
    const int n = zq_graph_is_output(graph, value) ? 0 : zq_graph_consumers(graph, value, &readers);
    const int reader = n == 1 ? readers[0] : -1;
    zq_free(readers);
    return reader;
}

static bool is_pointwise(const zq_graph *graph, const zq_node *conv) {
    zq_geometry geometry;
    const zq_tensor *weight = zq_match_float(graph, zq_match_input(conv, 1));
    const int bias = zq_match_input(conv, 2);
    if (weight == NULL || (bias >= 0 && zq_match_float(graph, bias) == NULL) ||
        zq_window_resolve(conv, &graph->values[conv->inputs[0]].shape, &weight->shape, &geometry, NULL) !=
            ZQ_OK ||
        geometry.groups != 1)
        return false;
    for (int s = 0; s < geometry.n_spatial; s++)
        if (geometry.kernel[s] != 1 || geometry.stride[s] != 1 || geometry.pad_lo[s] != 0 ||
            geometry.pad_hi[s] != 0)
            return false;
    return true;
}

/* Flatten, Reshape or Squeeze that turns [N, C, 1, 1] into [N, C]. */
static bool drops_spatial(const zq_graph *graph, int node) {
    if (node < 0)
        return false;
    const zq_node *reader = &graph->nodes[node];
    const zq_shape *src = &graph->values[reader->inputs[0]].shape,
                   *dst = &graph->values[reader->outputs[0]].shape;
    return (zq_match_op(reader, "Flatten") || zq_match_op(reader, "Reshape") ||
            zq_match_op(reader, "Squeeze")) &&
           dst->rank == 2 && dst->dims[0] == src->dims[0] && dst->dims[1] == src->dims[1] &&
           zq_shape_count(src) == zq_shape_count(dst);
}

static int add_parsed(zq_graph *graph, const char *op, const char *name, int n_inputs, const int *inputs,
                      int output, zq_error *err) {
    const int n =
        output < 0 ? -1 : zq_graph_add_node(graph, zq_op_find(op), name, n_inputs, inputs, 1, &output);
    return n < 0 || zq_node_parse(&graph->nodes[n], err) != ZQ_OK ? -1 : n;
}

static int add_derived(zq_graph *graph, int value, const char *suffix, const zq_shape *shape) {
    char name[512];
    snprintf(name, sizeof name, "%.480s%s", graph->values[value].name, suffix);
    return zq_graph_add_value(graph, name, ZQ_F32, shape);
}

/* The weight [O, I, 1, 1] as [O, I], under its name when nobody else reads it. */
static int matrix_weight(zq_graph *graph, int weight) {
    const zq_tensor *constant = graph->values[weight].constant;
    zq_tensor *matrix = zq_tensor_copy(constant);
    if (matrix != NULL)
        matrix->shape = zq_shape_of(2, constant->shape.dims);
    return zq_graph_add_constant(graph, graph->values[weight].name, matrix);
}

/* conv, then pool (-1: none), then flatten: into pool, flatten, Gemm, written to what flatten wrote. */
static zq_status rewrite(zq_graph *graph, int conv, int pool, int flatten, zq_error *err) {
    const int src = graph->nodes[conv].inputs[0], weight = graph->nodes[conv].inputs[1];
    const int bias = zq_match_input(&graph->nodes[conv], 2), dst = graph->nodes[flatten].outputs[0];
    zq_shape pooled_shape = graph->values[src].shape;
    for (int d = 2; d < pooled_shape.rank; d++)
        pooled_shape.dims[d] = 1;
    const zq_shape flat_shape = zq_shape_of(2, pooled_shape.dims);
    int pooled = src;
    if (pool >= 0) {
        pooled = add_derived(graph, src, "_pooled", &pooled_shape);
        if (add_parsed(graph, "GlobalAveragePool", graph->nodes[pool].name, 1, &src, pooled, err) < 0)
            return zq_fail_memory(err);
    }
    const int flat = add_derived(graph, src, "_flat", &flat_shape);
    if (add_parsed(graph, "Flatten", graph->nodes[flatten].name, 1, &pooled, flat, err) < 0)
        return zq_fail_memory(err);
    const int inputs[] = {flat, matrix_weight(graph, weight), bias};
    if (inputs[1] < 0)
        return zq_fail_memory(err);
    const int gemm = zq_graph_add_node(graph, zq_op_find("Gemm"), graph->nodes[conv].name, bias >= 0 ? 3 : 2,
                                       inputs, 1, &dst);
    if (gemm < 0 || !zq_node_set_int(&graph->nodes[gemm], "transB", 1))
        return zq_fail_memory(err);
    ZQ_TRY(zq_node_parse(&graph->nodes[gemm], err));
    if (pool >= 0)
        zq_graph_remove_node(graph, pool);
    zq_graph_remove_node(graph, flatten);
    zq_graph_remove_node(graph, conv);
    graph->values[dst].producer = gemm;
    return ZQ_OK;
}

zq_status zq_head_rewrite(zq_graph *graph, bool *changed_out, zq_error *err) {
    const int n_nodes = graph->n_nodes;
    *changed_out = false;
    for (int n = 0; n < n_nodes; n++) {
        const zq_node *conv = &graph->nodes[n];
        if (!zq_match_op(conv, "Conv") || graph->values[conv->outputs[0]].stats != NULL ||
            !is_pointwise(graph, conv))
            continue;
        int reader = only_reader(graph, conv->outputs[0]), pool = -1;
        if (reader >= 0 && zq_match_op(&graph->nodes[reader], "GlobalAveragePool")) {
            pool = reader;
            reader = only_reader(graph, graph->nodes[pool].outputs[0]);
        }
        if (!drops_spatial(graph, reader))
            continue;
        ZQ_TRY(rewrite(graph, n, pool, reader, err));
        *changed_out = true;
    }
    if (!*changed_out)
        return ZQ_OK;
    ZQ_TRY(zq_graph_sort(graph, err));
    return zq_graph_clean(graph, err);
}
