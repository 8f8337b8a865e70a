/* SPDX-License-Identifier: Apache-2.0 */
#include "passes/affine.h"
#include "passes/passes.h"
#include "support/build.h"
#include "support/evaluate.h"

#include <math.h>
#include <stdio.h>

enum { C = 6 };
static const uint64_t seed = 7;
static const double CLOSE = 1e-5;

/* 3x3 from n_in to C channels, with a BatchNormalization whose channels differ much. */
static int conv(zq_graph *graph, const char *name, int x, int64_t n_in, int64_t group) {
    static const char *const parts[] = {"gamma", "beta", "mean", "var"};
    static const double lo[] = {0.3, -1, -1, 0.2}, hi[] = {3, 1, 1, 3};
    char text[64];
    snprintf(text, sizeof text, "%s_w", name);
    const int w = build_random(graph, text, SHAPE(C, n_in / group, 3, 3), seed, -0.5, 0.5);
    snprintf(text, sizeof text, "%s_conv", name);
    int inputs[5] = {build_node(graph, "Conv", text, VALUES(x, w))};
    zq_node_set_int(build_last(graph), "group", group);
    zq_node_set_ints(build_last(graph), "pads", INTS(1, 1, 1, 1));
    for (int k = 0; k < 4; k++) {
        snprintf(text, sizeof text, "%s_%s", name, parts[k]);
        inputs[1 + k] = build_random(graph, text, SHAPE(C), seed, lo[k], hi[k]);
    }
    return build_node(graph, "BatchNormalization", name, 5, inputs);
}

/* bound: the upper one of a Clip */
static int apply(zq_graph *graph, const char *op, int x, double bound) {
    const int limits[] = {x, build_random(graph, "low", zq_shape_of(0, NULL), seed, 0, 0),
                          build_random(graph, "high", zq_shape_of(0, NULL), seed, bound, bound)};
    return build_node(graph, op, "between", strcmp(op, "Clip") == 0 ? bound > 0 ? 3 : 2 : 1, limits);
}

/* Whether equalizing changed the weights of the first convolution; the outputs are the same before and after.
 */
static bool changes(zq_graph *graph, int output) {
    zq_error err = {0};
    zq_simplify_counts counts;
    build_output(graph, output);
    build_done(graph);
    assert_int_equal(zq_fold_constants(graph, NULL, &err), ZQ_OK);
    assert_int_equal(zq_simplify(graph, &counts, &err), ZQ_OK);
    zq_graph *before = zq_graph_copy(graph);
    assert_int_equal(zq_equalize(graph, &err), ZQ_OK);
    assert_int_equal(zq_balance(graph, 4, 8, &err), ZQ_OK);
    assert_same_outputs(before, graph, 2, seed, CLOSE);
    const int w = graph->nodes[0].inputs[1];
    const bool changed = !zq_tensor_equal(before->values[w].constant, graph->values[w].constant);
    zq_graph_drop(before);
    return changed;
}

static double largest(const zq_stats *stats, int64_t c, bool rectified) {
    const double mean = rectified ? stats->mean[c] : fabs(stats->mean[c]);
    return fmax(mean + 4 * stats->std[c], stats->std[c]);
}

static void test_ranges_become_equal(void **state) {
    (void)state;
    static const char *const between[] = {"Relu", "LeakyRelu", "Clip", NULL};
    for (int k = 0; k < 4; k++) {
        zq_graph *graph = zq_graph_new();
        int x = conv(graph, "a", build_input(graph, "x", SHAPE(-1, 3, 8, 8)), 3, 1);
        x = between[k] == NULL ? x : apply(graph, between[k], x, 0);
        x = conv(graph, "b", x, C, C);
        assert_true(changes(graph, x));
        const zq_stats *stats = graph->values[graph->nodes[0].outputs[0]].stats;
        const bool rectified = k % 2 == 0;
        for (int64_t c = 1; c < C; c++)
            assert_float_equal(largest(stats, c, rectified), largest(stats, 0, rectified), 1e-4);
        zq_graph_drop(graph);
    }
}

/* BatchNormalization behind the Relu, whose factors are half of those, in powers. */
static void test_known_behind_relu(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    const int x = build_input(graph, "x", SHAPE(-1, 3, 8, 8));
    int y = build_node(graph, "Conv", "conv",
                       VALUES(x, build_random(graph, "w", SHAPE(C, 3, 3, 3), seed, -0.5, 0.5)));
    int inputs[5] = {build_node(graph, "Relu", "relu", VALUES(y))};
    for (int k = 0; k < 4; k++) {
        static const char *const names[] = {"gamma", "beta", "mean", "var"};
        inputs[1 + k] = build_random(graph, names[k], SHAPE(C), seed, 0.1, 3);
    }
    y = build_node(graph, "BatchNormalization", "bn", 5, inputs);
    double range[C];
    for (int64_t c = 0; c < C; c++)
        range[c] = zq_tensor_item(graph->values[inputs[3]].constant, c) +
                   4 * sqrt(zq_tensor_item(graph->values[inputs[4]].constant, c) + 1e-5);
    assert_true(changes(graph, y));
    const zq_stats *stats = graph->values[zq_graph_find_value(graph, "relu")].stats;
    for (int64_t c = 0; c < C; c++)
        assert_float_equal(largest(stats, c, true) / largest(stats, 0, true), sqrt(range[c] / range[0]),
                           1e-4);
    zq_graph_drop(graph);
}

/* What a BatchNormalization that stays by itself makes is known from its input, and equalized half the way.
 */
static void test_affine_maker(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    zq_error err = {0};
    const int x = build_input(graph, "x", SHAPE(-1, 3, 8, 8));
    const int w = build_random(graph, "w", SHAPE(C, 3, 3, 3), seed, -0.5, 0.5);
    int inputs[5] = {
        build_node(graph, "Relu", "relu", VALUES(build_node(graph, "Conv", "conv", VALUES(x, w))))};
    for (int k = 0; k < 4; k++) {
        static const char *const names[] = {"gamma", "beta", "mean", "var"};
        inputs[1 + k] = build_random(graph, names[k], SHAPE(C), seed + (uint64_t)k, 0.1, 3);
    }
    const int bn = build_node(graph, "BatchNormalization", "bn", 5, inputs);
    double range[C];
    for (int64_t c = 0; c < C; c++)
        range[c] = zq_tensor_item(graph->values[inputs[2]].constant, c) +
                   4 * zq_tensor_item(graph->values[inputs[1]].constant, c);
    assert_true(changes(graph, conv(graph, "b", bn, C, C)));
    zq_stats *stats;
    const int node = graph->values[zq_graph_find_value(graph, "bn")].producer;
    assert_int_equal(zq_affine_stats(graph, node, &stats, &err), ZQ_OK);
    assert_non_null(stats);
    for (int64_t c = 0; c < C; c++)
        assert_float_equal(largest(stats, c, false) / largest(stats, 0, false), sqrt(range[c] / range[0]),
                           1e-3);
    zq_stats_drop(stats);
    zq_graph_drop(graph);
}

static void test_chains(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    int x = conv(graph, "a", build_input(graph, "x", SHAPE(-1, 3, 8, 8)), 3, 1);
    x = conv(graph, "b", build_node(graph, "Relu", "a_relu", VALUES(x)), C, C);
    x = conv(graph, "c", build_node(graph, "Relu", "b_relu", VALUES(x)), C, C);
    assert_true(changes(graph, build_node(graph, "Relu", "c_relu", VALUES(x))));
    zq_graph_drop(graph);
}

static int max_pool(zq_graph *graph, int x) {
    const int y = build_node(graph, "MaxPool", "pool", VALUES(x));
    zq_node_set_ints(build_last(graph), "kernel_shape", INTS(2, 2));
    zq_node_set_ints(build_last(graph), "strides", INTS(2, 2));
    return y;
}

/* A depthwise, a grouped and a dense convolution read one value, the last behind a node of its own. */
static void test_many_readers(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    int x = conv(graph, "a", build_input(graph, "x", SHAPE(-1, 3, 8, 8)), 3, 1);
    x = max_pool(graph, build_node(graph, "LeakyRelu", "between", VALUES(x)));
    const int depthwise = conv(graph, "b", x, C, C), grouped = conv(graph, "c", x, C, 2);
    const int dense = conv(graph, "d", build_node(graph, "Relu", "own", VALUES(x)), C, 1);
    x = build_node(graph, "Add", "sum", VALUES(depthwise, grouped));
    assert_true(changes(graph, build_node(graph, "Add", "all", VALUES(x, dense))));
    const zq_stats *stats = graph->values[graph->nodes[0].outputs[0]].stats;
    for (int64_t c = 1; c < C; c++)
        assert_float_equal(largest(stats, c, false), largest(stats, 0, false), 1e-4);
    zq_graph_drop(graph);
}

/* Where no depthwise convolution reads, weights decide: channels that they read with a fifth of the others'
 * are made smaller. */
static void test_dense_readers(void **state) {
    (void)state;
    static const char *const between[] = {"Relu", "LeakyRelu", NULL};
    for (int k = 0; k < 3; k++) {
        zq_graph *graph = zq_graph_new();
        double gamma[C], small = 0, large = INFINITY;
        int x = conv(graph, "a", build_input(graph, "x", SHAPE(-1, 3, 8, 8)), 3, 1);
        x = between[k] == NULL ? x : apply(graph, between[k], x, 0);
        x = build_node(graph, "Add", "sum", VALUES(conv(graph, "b", x, C, 1), conv(graph, "c", x, C, 2)));
        zq_real *dense = graph->values[zq_graph_find_value(graph, "b_w")].constant->data;
        zq_real *grouped = graph->values[zq_graph_find_value(graph, "c_w")].constant->data;
        for (int i = 0; i < C * C * 9; i++)
            dense[i] *= (zq_real)(i / 9 % C % 3 == 0 ? 1 : 0.2);
        for (int i = 0; i < C * C / 2 * 9; i++)
            grouped[i] *= (zq_real)(i / 9 % (C / 2) == 0 ? 1 : 0.2);
        for (int64_t c = 0; c < C; c++)
            gamma[c] = zq_tensor_item(graph->values[zq_graph_find_value(graph, "a_gamma")].constant, c);
        assert_true(changes(graph, x) == (between[k] != NULL));
        const zq_stats *stats = graph->values[graph->nodes[0].outputs[0]].stats;
        for (int64_t c = 0; c < C; c++)
            if (c % 3 == 0)
                large = fmin(large, stats->std[c] / gamma[c]);
            else
                small = fmax(small, stats->std[c] / gamma[c]);
        assert_true(between[k] == NULL || small < 0.8 * large);
        zq_graph_drop(graph);
    }
}

/* Two convolutions with the same weights. */
static int share_weight(zq_graph *graph, int x) {
    const int w = build_random(graph, "shared", SHAPE(C, 1, 3, 3), seed, -0.5, 0.5);
    int outputs[2];
    for (int k = 0; k < 2; k++) {
        outputs[k] = build_node(graph, "Conv", k == 0 ? "first" : "second", VALUES(x, w));
        zq_node_set_int(build_last(graph), "group", C);
    }
    return build_node(graph, "Add", "sum", 2, outputs);
}

/* Where it wouldn't be exact, or others would pay. */
static void test_left_alone(void **state) {
    (void)state;
    enum { BOUNDED, NOT_HOMOGENEOUS, SECOND_READER, SHARED_WEIGHT, OUTPUT, N_CASES };
    for (int k = 0; k < N_CASES; k++) {
        zq_graph *graph = zq_graph_new();
        int x = conv(graph, "a", build_input(graph, "x", SHAPE(-1, 3, 8, 8)), 3, 1);
        x = k == BOUNDED ? apply(graph, "Clip", x, 6)
                         : build_node(graph, k == NOT_HOMOGENEOUS ? "Sigmoid" : "Relu", "y", VALUES(x));
        int last = conv(graph, "b", x, C, C);
        if (k == SECOND_READER)
            last = build_node(graph, "Add", "sum", VALUES(last, x));
        if (k == SHARED_WEIGHT)
            last = share_weight(graph, x);
        if (k == OUTPUT)
            build_output(graph, x);
        if (changes(graph, last))
            fail_msg("case %d was changed", k);
        zq_graph_drop(graph);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges_become_equal), cmocka_unit_test(test_known_behind_relu),
        cmocka_unit_test(test_affine_maker),        cmocka_unit_test(test_chains),
        cmocka_unit_test(test_many_readers),        cmocka_unit_test(test_dense_readers),
        cmocka_unit_test(test_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
