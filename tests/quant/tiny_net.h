/* SPDX-License-Identifier: Apache-2.0 */
/* A small network for tests: input [N,3,S,S] -> Conv (stride 2) -> Relu -> Conv -> Relu -> GlobalAveragePool
 * -> Flatten -> Gemm -> logits [N,5]. The outputs of both convolutions carry statistics, as if
 * BatchNormalization had been folded into them. */
#ifndef ZQ_TESTS_TINY_NET_H
#define ZQ_TESTS_TINY_NET_H

#include "base/random.h"
#include "graph/op.h"
#include "passes/passes.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static inline int tiny_random(zq_graph *graph, uint64_t seed, const char *name, zq_shape shape,
                              double scale) {
    zq_tensor *tensor = zq_tensor_new(ZQ_F32, &shape);
    for (int64_t i = 0; i < zq_shape_count(&shape); i++)
        ((float *)tensor->data)[i] =
            (float)(scale * zq_random_normal(zq_random_seed(seed, name), (uint64_t)i));
    return zq_graph_add_constant(graph, name, tensor);
}

/* Adds op(input, constants...) and returns its output. stride 0: no convolution. */
static inline int tiny_node(zq_graph *graph, const char *op, const char *output, int n_inputs,
                            const int *inputs, int64_t stride) {
    const int value = zq_graph_add_value(graph, output, ZQ_F32, &(zq_shape){0});
    const int index = zq_graph_add_node(graph, zq_op_find(op), output, n_inputs, inputs, 1, &value);
    zq_node *node = &graph->nodes[index];
    if (stride > 0) {
        zq_node_set_ints(node, "strides", 2, (const int64_t[]){stride, stride});
        zq_node_set_ints(node, "pads", 4, (const int64_t[]){1, 1, 1, 1});
    }
    if (strcmp(op, "Gemm") == 0)
        zq_node_set_int(node, "transB", 1);
    assert_int_equal(zq_node_parse(node, NULL), ZQ_OK);
    return value;
}

static inline void tiny_stats(zq_graph *graph, uint64_t seed, int value, int64_t n_channels) {
    zq_stats *stats = zq_stats_new(n_channels);
    for (int64_t c = 0; c < n_channels; c++) {
        stats->mean[c] = (float)(0.3 * zq_random_normal(seed, 2 * (uint64_t)c));
        stats->std[c] = (float)(0.5 + 0.5 * zq_random_uniform(seed, 2 * (uint64_t)c + 1));
    }
    zq_value_set_stats(&graph->values[value], stats);
}

/* batch: 0 for a free one. */
static inline zq_graph *tiny_net_with(const char *activation, uint64_t seed, int64_t side, int64_t batch) {
    enum { A = 8, B = 6, CLASSES = 5 };
    const zq_shape image = zq_shape_of(4, (const int64_t[]){batch == 0 ? -1 : batch, 3, side, side});
    zq_graph *graph = zq_graph_new();
    const int input = zq_graph_add_value(graph, "input", ZQ_F32, &image);
    zq_graph_add_input(graph, input);
    graph->free_batch = batch == 0;
    int x = tiny_node(
        graph, "Conv", "z1", 3,
        (const int[]){input,
                      tiny_random(graph, seed, "w1", zq_shape_of(4, (const int64_t[]){A, 3, 3, 3}), 0.2),
                      tiny_random(graph, seed, "b1", zq_shape_of(1, (const int64_t[]){A}), 0.2)},
        2);
    x = tiny_node(graph, activation, "a1", 1, &x, 0);
    x = tiny_node(
        graph, "Conv", "z2", 3,
        (const int[]){x, tiny_random(graph, seed, "w2", zq_shape_of(4, (const int64_t[]){B, A, 3, 3}), 0.2),
                      tiny_random(graph, seed, "b2", zq_shape_of(1, (const int64_t[]){B}), 0.2)},
        1);
    x = tiny_node(graph, activation, "a2", 1, &x, 0);
    x = tiny_node(graph, "GlobalAveragePool", "pool", 1, &x, 0);
    x = tiny_node(graph, "Flatten", "flat", 1, &x, 0);
    x = tiny_node(
        graph, "Gemm", "logits", 3,
        (const int[]){x, tiny_random(graph, seed, "w3", zq_shape_of(2, (const int64_t[]){CLASSES, B}), 2),
                      tiny_random(graph, seed, "b3", zq_shape_of(1, (const int64_t[]){CLASSES}), 0.2)},
        0);
    zq_graph_add_output(graph, x);
    zq_error err;
    if (zq_fold_constants(graph, NULL, &err) != ZQ_OK)
        fail_msg("%s", err.text);
    tiny_stats(graph, seed + 1, zq_graph_find_value(graph, "z1"), A);
    tiny_stats(graph, seed + 2, zq_graph_find_value(graph, "z2"), B);
    return graph;
}

static inline zq_graph *tiny_net(uint64_t seed, int64_t side, int64_t batch) {
    return tiny_net_with("Relu", seed, side, batch);
}

#endif
