/* SPDX-License-Identifier: Apache-2.0 */
/* Small networks for tests: each function appends a node and returns its output value. */
#ifndef ZQ_TESTS_ENGINE_NETWORK_H
#define ZQ_TESTS_ENGINE_NETWORK_H

#include "base/memory.h"
#include "base/random.h"
#include "graph/op.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

typedef struct network {
    zq_graph *graph;
    uint64_t seed, counter;
    int n_statistics, statistics[64]; /* values that carry stats */
} network;

static inline uint64_t draw(network *net, uint64_t n) {
    return zq_random_bits(net->seed, net->counter++) % n;
}

static inline float normal(network *net) {
    return (float)zq_random_normal(net->seed, net->counter++);
}

static inline network network_new(uint64_t seed) {
    network net = {.graph = zq_graph_new(), .seed = seed};
    assert_non_null(net.graph);
    net.graph->free_batch = true;
    return net;
}

static inline int network_input(network *net, int64_t c, int64_t h, int64_t w) {
    const zq_shape shape = zq_shape_of(4, (const int64_t[]){-1, c, h, w});
    const int value = zq_graph_add_value(net->graph, "input", ZQ_F32, &shape);
    assert_true(zq_graph_add_input(net->graph, value));
    return value;
}

static inline int network_random(network *net, int rank, const int64_t *dims, float scale) {
    const zq_shape shape = zq_shape_of(rank, dims);
    zq_tensor *tensor = zq_tensor_new(ZQ_F32, &shape);
    assert_non_null(tensor);
    for (int64_t i = 0; i < zq_shape_count(&shape); i++)
        ((zq_real *)tensor->data)[i] = scale * normal(net);
    return zq_graph_add_constant(net->graph, "constant", tensor);
}

static inline int network_ints(network *net, int64_t n, const int64_t *values) {
    return zq_graph_add_constant(net->graph, "constant", zq_tensor_new_i64(n, values));
}

static inline int network_floats(network *net, int64_t n, const float *values) {
    return zq_graph_add_constant(net->graph, "constant", zq_tensor_new_f32(n, values));
}

/* Attributes are set by the caller, who then calls network_parse. Returns the node. */
static inline int network_node(network *net, const char *op, int n_in, const int *in, int n_out, int *out) {
    assert_non_null(zq_op_find(op));
    for (int i = 0; i < n_out; i++)
        out[i] = zq_graph_add_value(net->graph, "value", ZQ_F32, NULL);
    const int node = zq_graph_add_node(net->graph, zq_op_find(op), op, n_in, in, n_out, out);
    assert_true(node >= 0);
    for (int i = 0; i < n_out; i++)
        net->graph->values[out[i]].producer = node;
    return node;
}

static inline void network_parse(network *net, int node) {
    zq_error err = {0};
    if (zq_node_parse(&net->graph->nodes[node], &err) != ZQ_OK)
        fail_msg("seed %llu: %s", (unsigned long long)net->seed, err.text);
}

static inline int network_op(network *net, const char *op, int n_in, const int *in) {
    int out;
    network_parse(net, network_node(net, op, n_in, in, 1, &out));
    return out;
}

static inline int network_unary(network *net, const char *op, int x) {
    return network_op(net, op, 1, &x);
}

static inline int network_binary(network *net, const char *op, int a, int b) {
    return network_op(net, op, 2, (const int[]){a, b});
}

typedef struct conv_shape {
    int64_t c_in, c_out, kernel, stride, pad, groups;
    bool bias, statistics;
} conv_shape;

static inline void network_give_stats(network *net, int value, int64_t n_channels) {
    zq_stats *stats = zq_stats_new(n_channels);
    for (int64_t c = 0; c < n_channels; c++) {
        stats->mean[c] = normal(net);
        stats->std[c] = 1;
    }
    zq_value_set_stats(&net->graph->values[value], stats);
    assert_true(net->n_statistics < 64);
    net->statistics[net->n_statistics++] = value;
}

static inline int network_conv(network *net, int x, const conv_shape *s) {
    const int64_t c_in = s->c_in / s->groups;
    const float scale = 1.4f / sqrtf((float)(c_in * s->kernel * s->kernel));
    const int w = network_random(net, 4, (const int64_t[]){s->c_out, c_in, s->kernel, s->kernel}, scale);
    const int bias = s->bias ? network_random(net, 1, &s->c_out, 0.3f) : -1;
    int y;
    const int node = network_node(net, "Conv", s->bias ? 3 : 2, (const int[]){x, w, bias}, 1, &y);
    zq_node *conv = &net->graph->nodes[node];
    assert_true(zq_node_set_ints(conv, "kernel_shape", 2, (const int64_t[]){s->kernel, s->kernel}));
    assert_true(zq_node_set_ints(conv, "strides", 2, (const int64_t[]){s->stride, s->stride}));
    assert_true(zq_node_set_ints(conv, "pads", 4, (const int64_t[]){s->pad, s->pad, s->pad, s->pad}));
    assert_true(zq_node_set_int(conv, "group", s->groups));
    network_parse(net, node);
    if (s->statistics)
        network_give_stats(net, y, s->c_out);
    return y;
}

static inline int network_pool(network *net, const char *op, int x, int64_t kernel, int64_t stride,
                               int64_t pad) {
    int y;
    const int at = network_node(net, op, 1, &x, 1, &y);
    zq_node *node = &net->graph->nodes[at];
    assert_true(zq_node_set_ints(node, "kernel_shape", 2, (const int64_t[]){kernel, kernel}));
    assert_true(zq_node_set_ints(node, "strides", 2, (const int64_t[]){stride, stride}));
    assert_true(zq_node_set_ints(node, "pads", 4, (const int64_t[]){pad, pad, pad, pad}));
    network_parse(net, at);
    return y;
}

static inline int network_clip(network *net, int x, float lo, float hi) {
    const int in[] = {x, network_floats(net, -1, &lo), network_floats(net, -1, &hi)};
    return network_op(net, "Clip", 3, in);
}

static inline int network_concat(network *net, int n, const int *in, int64_t axis) {
    int y;
    const int node = network_node(net, "Concat", n, in, 1, &y);
    assert_true(zq_node_set_int(&net->graph->nodes[node], "axis", axis));
    network_parse(net, node);
    return y;
}

/* Two halves of the channels. */
static inline void network_split(network *net, int x, int64_t c, int out[2]) {
    const int in[] = {x, network_ints(net, 2, (const int64_t[]){c / 2, c - c / 2})};
    const int node = network_node(net, "Split", 2, in, 2, out);
    assert_true(zq_node_set_int(&net->graph->nodes[node], "axis", 1));
    network_parse(net, node);
}

static inline int network_reshape(network *net, int x, int64_t n, const int64_t *dims) {
    return network_binary(net, "Reshape", x, network_ints(net, n, dims));
}

static inline int network_transpose(network *net, int x, size_t n, const int64_t *perm) {
    int y;
    const int node = network_node(net, "Transpose", 1, &x, 1, &y);
    assert_true(zq_node_set_ints(&net->graph->nodes[node], "perm", n, perm));
    network_parse(net, node);
    return y;
}

static inline int network_shuffle(network *net, int x, int64_t groups, int64_t c, int64_t h, int64_t w) {
    x = network_reshape(net, x, 5, (const int64_t[]){0, groups, c / groups, h, w});
    x = network_transpose(net, x, 5, (const int64_t[]){0, 2, 1, 3, 4});
    return network_reshape(net, x, 4, (const int64_t[]){0, c, h, w});
}

static inline int network_slice(network *net, int x, int64_t axis, int64_t start, int64_t end, int64_t step) {
    const int in[] = {x, network_ints(net, 1, &start), network_ints(net, 1, &end),
                      network_ints(net, 1, &axis), network_ints(net, 1, &step)};
    return network_op(net, "Slice", 5, in);
}

static inline int network_gather(network *net, int x, int64_t axis, int64_t index) {
    int y;
    const int node = network_node(net, "Gather", 2, (const int[]){x, network_ints(net, -1, &index)}, 1, &y);
    assert_true(zq_node_set_int(&net->graph->nodes[node], "axis", axis));
    network_parse(net, node);
    return y;
}

static inline int network_resize(network *net, int x, const char *mode, const float scales[4]) {
    int y;
    const int in[] = {x, -1, network_floats(net, 4, scales)};
    const int node = network_node(net, "Resize", 3, in, 1, &y);
    assert_true(zq_node_set_string(&net->graph->nodes[node], "mode", mode));
    network_parse(net, node);
    return y;
}

static inline int network_pad(network *net, int x, const int64_t pads[8]) {
    return network_binary(net, "Pad", x, network_ints(net, 8, pads));
}

static inline int network_gemm(network *net, int x, int64_t c_in, int64_t c_out, bool transposed) {
    const int64_t dims[] = {transposed ? c_out : c_in, transposed ? c_in : c_out};
    const int in[] = {x, network_random(net, 2, dims, 1 / sqrtf((float)c_in)),
                      network_random(net, 1, &c_out, 0.3f)};
    int y;
    const int node = network_node(net, "Gemm", 3, in, 1, &y);
    assert_true(zq_node_set_int(&net->graph->nodes[node], "transB", transposed));
    network_parse(net, node);
    return y;
}

#endif
