/* SPDX-License-Identifier: Apache-2.0 */
#include "passes/passes.h"
#include "support/build.h"
#include "support/evaluate.h"

#include <math.h>

static uint64_t seed = 2020;
static const double CLOSE = 1e-5;

/* ---- building */

enum { GAMMA, BETA, MEAN, VAR };

static const double LO[4] = {-1.5, -1, -1, 0.2}, HI[4] = {1.5, 1, 1, 3};

static int bn_constant(zq_graph *graph, const char *output, int which, int64_t n_channels) {
    static const char *const suffixes[] = {"_gamma", "_beta", "_mean", "_var"};
    char name[128];
    strcpy(name, output);
    strcat(name, suffixes[which]);
    return build_random(graph, name, SHAPE(n_channels), seed, LO[which], HI[which]);
}

static int bn(zq_graph *graph, const char *output, int x, int64_t n_channels) {
    int inputs[5] = {x};
    for (int k = 0; k < 4; k++)
        inputs[1 + k] = bn_constant(graph, output, k, n_channels);
    const int y = build_node(graph, "BatchNormalization", output, 5, inputs);
    zq_node_set_float(build_last(graph), "epsilon", 1e-3f);
    return y;
}

static int weights(zq_graph *graph, const char *output, zq_shape shape) {
    char name[128];
    strcpy(name, output);
    strcat(name, ".w");
    return build_random(graph, name, shape, seed, -0.5, 0.5);
}

/* 3x3 from n_in to n_out channels */
static int conv(zq_graph *graph, const char *output, int x, int64_t n_in, int64_t n_out, int64_t group,
                int64_t pad) {
    const int w = weights(graph, output, SHAPE(n_out, n_in / group, 3, 3));
    const int y = build_node(graph, "Conv", output, VALUES(x, w));
    zq_node_set_int(build_last(graph), "group", group);
    zq_node_set_ints(build_last(graph), "pads", INTS(pad, pad, pad, pad));
    return y;
}

static int relu(zq_graph *graph, const char *output, int x) {
    return build_node(graph, "Relu", output, VALUES(x));
}

/* ---- checking */

static zq_simplify_counts simplify_ok(zq_graph *graph) {
    zq_error err = {0};
    zq_simplify_counts counts;
    if (zq_fold_constants(graph, NULL, &err) != ZQ_OK || zq_simplify(graph, &counts, &err) != ZQ_OK)
        fail_msg("%s", err.text);
    for (int v = 0; v < graph->n_values; v++)
        if (graph->values[v].producer >= 0)
            assert_true(zq_shape_count(&graph->values[v].shape) > 0);
    return counts;
}

/* Simplifies the graph (taken over by the caller again), which must compute the same as before. */
static zq_simplify_counts simplify_same(zq_graph *graph) {
    build_done(graph);
    zq_graph *before = zq_graph_copy(graph);
    assert_non_null(before);
    const zq_simplify_counts counts = simplify_ok(graph);
    assert_same_outputs(before, graph, 2, seed, CLOSE);
    zq_graph_drop(before);
    return counts;
}

static void simplify_fails(zq_graph *graph, zq_status status, const char *sentence) {
    zq_error err = {0};
    zq_simplify_counts counts;
    build_done(graph);
    if (zq_fold_constants(graph, NULL, &err) != ZQ_OK)
        fail_msg("%s", err.text);
    assert_int_equal(zq_simplify(graph, &counts, &err), status);
    if (strstr(err.text, sentence) == NULL)
        fail_msg("got \"%s\", expected \"%s\"", err.text, sentence);
    zq_graph_drop(graph);
}

static void assert_counts(zq_simplify_counts counts, int total, int folded, int affine, int absorbed) {
    assert_int_equal(counts.bn_total, total);
    assert_int_equal(counts.bn_folded, folded);
    assert_int_equal(counts.bn_affine, affine);
    assert_int_equal(counts.bn_absorbed, absorbed);
}

static const zq_value *value_of(zq_graph *graph, const char *name) {
    const int value = zq_graph_find_value(graph, name);
    if (value < 0)
        fail_msg("no value '%s'", name);
    return &graph->values[value];
}

static double number(const char *bn_output, int which, int64_t channel) {
    static const char *const suffixes[] = {"_gamma", "_beta", "_mean", "_var"};
    char name[128];
    strcpy(name, bn_output);
    strcat(name, suffixes[which]);
    return (float)(LO[which] + (HI[which] - LO[which]) *
                                   zq_random_uniform(zq_random_seed(seed, name), (uint64_t)channel));
}

/* The value's stats are those of that BatchNormalization's output (or, `input`, of its input). */
static void assert_stats(zq_graph *graph, const char *name, const char *bn_output, bool input,
                         int64_t n_channels) {
    const zq_stats *stats = value_of(graph, name)->stats;
    assert_non_null(stats);
    assert_int_equal(stats->n_channels, n_channels);
    for (int64_t c = 0; c < n_channels; c++) {
        const double mean = number(bn_output, input ? MEAN : BETA, c);
        const double std = input ? sqrt(number(bn_output, VAR, c) + 1e-3) : fabs(number(bn_output, GAMMA, c));
        assert_true(fabs(stats->mean[c] - mean) < 1e-6 && fabs(stats->std[c] - std) < 1e-6);
    }
}

/* ---- BatchNormalization behind a weighted node */

static void test_bn_behind_conv(void **state) {
    (void)state;
    for (int64_t group = 1; group <= 4; group += 3) {
        zq_graph *graph = zq_graph_new();
        const int x = build_input(graph, "x", SHAPE(-1, 4, 5, 6));
        const int y = bn(graph, "y", conv(graph, "c", x, 4, 8, group, 1), 8);
        build_output(graph, relu(graph, "out", y));
        assert_counts(simplify_same(graph), 1, 1, 0, 0);
        assert_int_equal(graph->n_nodes, 2);
        assert_stats(graph, "y", "y", false, 8);
        assert_int_equal(zq_graph_find_value(graph, "c"), -1);
        assert_non_null(value_of(graph, "c.w_bias")->constant);
        assert_string_equal(graph->nodes[0].name, "c_node");
        zq_graph_drop(graph);
    }
}

static void test_bn_behind_conv_1d_and_3d(void **state) {
    (void)state;
    static const int64_t dims[] = {-1, 3, 6, 5, 4}, kernel[] = {4, 3, 2, 2, 2};
    for (int rank = 3; rank <= 5; rank += 2) {
        zq_graph *graph = zq_graph_new();
        const int x = build_input(graph, "x", zq_shape_of(rank, dims));
        const int w = weights(graph, "c", zq_shape_of(rank, kernel));
        build_output(graph, bn(graph, "y", build_node(graph, "Conv", "c", VALUES(x, w)), 4));
        assert_counts(simplify_same(graph), 1, 1, 0, 0);
        assert_int_equal(graph->n_nodes, 1);
        zq_graph_drop(graph);
    }
}

static void test_bn_twice_behind_conv(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    const int x = build_input(graph, "x", SHAPE(-1, 3, 5, 5));
    const int y = bn(graph, "y", conv(graph, "c", x, 3, 4, 1, 1), 4);
    build_output(graph, bn(graph, "z", y, 4));
    assert_counts(simplify_same(graph), 2, 2, 0, 0);
    assert_int_equal(graph->n_nodes, 1);
    assert_stats(graph, "z", "z", false, 4);
    zq_graph_drop(graph);
}

/* One weight and one bias for two convolutions, only one of which has a BatchNormalization. */
static void test_shared_weights(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    const int x = build_input(graph, "x", SHAPE(-1, 3, 5, 5));
    const int w = weights(graph, "shared", SHAPE(4, 3, 1, 1));
    const int b = build_random(graph, "b", SHAPE(4), seed, -1, 1);
    const int one = build_node(graph, "Conv", "one", VALUES(x, w, b));
    const int two = build_node(graph, "Conv", "two", VALUES(relu(graph, "r", x), w, b));
    const int three = build_node(graph, "Conv", "three", VALUES(x, w));
    build_output(graph, bn(graph, "y", one, 4));
    build_output(graph, two);
    build_output(graph, bn(graph, "z", three, 4));
    assert_counts(simplify_same(graph), 2, 2, 0, 0);
    assert_int_equal(graph->n_nodes, 4);
    zq_graph_drop(graph);
}

/* A convolution whose output others need too, or the caller, keeps it. */
static void test_bn_behind_a_shared_conv(void **state) {
    (void)state;
    for (int output = 0; output < 2; output++) {
        zq_graph *graph = zq_graph_new();
        const int x = build_input(graph, "x", SHAPE(-1, 3, 5, 5));
        const int c = conv(graph, "c", x, 3, 4, 1, 1);
        build_output(graph, bn(graph, "y", c, 4));
        build_output(graph, output ? c : relu(graph, "r", c));
        assert_counts(simplify_same(graph), 1, 0, 1, 0);
        assert_stats(graph, "c", "y", true, 4);
        zq_graph_drop(graph);
    }
}

static void test_bn_behind_gemm(void **state) {
    (void)state;
    for (int variant = 0; variant < 8; variant++) {
        const bool transposed = variant & 1, biased = variant & 2, scaled = variant & 4;
        zq_graph *graph = zq_graph_new();
        const int x = build_input(graph, "x", SHAPE(-1, 6));
        const int w = weights(graph, "g", transposed ? SHAPE(4, 6) : SHAPE(6, 4));
        const int b = scaled ? build_random(graph, "b", SHAPE(1, 1), seed, -1, 1)
                             : build_random(graph, "b", SHAPE(4), seed, -1, 1);
        const int g = build_node(graph, "Gemm", "g", biased ? 3 : 2, (const int[]){x, w, b});
        zq_node_set_int(build_last(graph), "transB", transposed);
        if (scaled) {
            zq_node_set_float(build_last(graph), "alpha", 1.5f);
            zq_node_set_float(build_last(graph), "beta", -0.5f);
        }
        build_output(graph, bn(graph, "y", g, 4));
        assert_counts(simplify_same(graph), 1, 1, 0, 0);
        assert_int_equal(graph->n_nodes, 1);
        assert_stats(graph, "y", "y", false, 4);
        zq_graph_drop(graph);
    }
}

/* A bias for each row (here: image) can't take a scale for each channel. */
static void test_bn_behind_gemm_with_odd_bias(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    const int x = build_input(graph, "x", SHAPE(2, 6));
    const int w = weights(graph, "g", SHAPE(6, 4)), b = build_random(graph, "b", SHAPE(2, 1), seed, -1, 1);
    build_output(graph, bn(graph, "y", build_node(graph, "Gemm", "g", VALUES(x, w, b)), 4));
    assert_counts(simplify_same(graph), 1, 0, 1, 0);
    assert_int_equal(build_count(graph, "Mul"), 1);
    zq_graph_drop(graph);
}

static void test_matmul_becomes_gemm(void **state) {
    (void)state;
    for (int variant = 0; variant < 3; variant++) {
        zq_graph *graph = zq_graph_new();
        const int x = build_input(graph, "x", SHAPE(-1, 6));
        const int m = build_node(graph, "MatMul", "m", VALUES(x, weights(graph, "m", SHAPE(6, 4))));
        const int b = variant == 1 ? build_random(graph, "b", SHAPE(1, 4), seed, -1, 1)
                                   : build_random(graph, "b", SHAPE(4), seed, -1, 1);
        int y = variant == 1 ? build_node(graph, "Add", "y", VALUES(b, m))
                             : build_node(graph, "Add", "y", VALUES(m, b));
        if (variant == 2)
            y = bn(graph, "z", y, 4);
        build_output(graph, y);
        assert_counts(simplify_same(graph), variant == 2, variant == 2, 0, 0);
        assert_int_equal(graph->n_nodes, 1);
        assert_int_equal(build_count(graph, "Gemm"), 1);
        zq_graph_drop(graph);
    }
}

/* Its channels are the last axis, BatchNormalization's are axis 1. */
static void test_bn_behind_3d_matmul(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    const int x = build_input(graph, "x", SHAPE(-1, 4, 6));
    const int m = build_node(graph, "MatMul", "m", VALUES(x, weights(graph, "m", SHAPE(6, 4))));
    build_output(graph, bn(graph, "y", m, 4));
    assert_counts(simplify_same(graph), 1, 0, 1, 0);
    assert_int_equal(build_count(graph, "MatMul"), 1);
    zq_graph_drop(graph);
}

static void test_zero_and_negative_gamma(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    const int x = build_input(graph, "x", SHAPE(-1, 3, 5, 5));
    build_output(graph, bn(graph, "y", conv(graph, "c", x, 3, 4, 1, 1), 4));
    zq_real *gamma = value_of(graph, "y_gamma")->constant->data;
    gamma[0] = 0;
    gamma[1] = -2;
    assert_counts(simplify_same(graph), 1, 1, 0, 0);
    assert_true(value_of(graph, "y")->stats->std[0] == 0 && value_of(graph, "y")->stats->std[1] == 2);
    zq_graph_drop(graph);
}

/* ---- other BatchNormalization */

static void test_bn_elsewhere(void **state) {
    (void)state;
    static const int64_t dims[] = {-1, 3, 2, 3, 2, 2};
    for (int rank = 2; rank <= 6; rank++) {
        zq_graph *graph = zq_graph_new();
        const int x = build_input(graph, "x", zq_shape_of(rank, dims));
        build_output(graph, bn(graph, "y", relu(graph, "r", x), 3));
        assert_counts(simplify_same(graph), 1, 0, 1, 0);
        const bool depthwise = rank >= 3 && rank <= 5;
        assert_int_equal(build_count(graph, "Conv"), depthwise);
        assert_int_equal(build_count(graph, "Mul"), !depthwise);
        assert_stats(graph, "r", "y", true, 3);
        assert_null(value_of(graph, "y")->stats);
        if (depthwise)
            assert_string_equal(graph->nodes[1].name, "y_node");
        zq_graph_drop(graph);
    }
}

/* Two behind one value: both become convolutions, the first says what is known of the value. */
static void test_two_bn_on_one_value(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    const int x = build_input(graph, "x", SHAPE(-1, 3, 5, 5));
    build_output(graph, bn(graph, "y", x, 3));
    build_output(graph, bn(graph, "z", x, 3));
    assert_counts(simplify_same(graph), 2, 0, 2, 0);
    assert_stats(graph, "x", "y", true, 3);
    zq_graph_drop(graph);
}

/* The second goes into the depthwise convolution that the first became. */
static void test_bn_behind_bn(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    const int x = build_input(graph, "x", SHAPE(-1, 3, 5, 5));
    build_output(graph, bn(graph, "z", bn(graph, "y", relu(graph, "r", x), 3), 3));
    assert_counts(simplify_same(graph), 2, 1, 1, 0);
    assert_int_equal(graph->n_nodes, 2);
    assert_stats(graph, "r", "y", true, 3);
    assert_stats(graph, "z", "z", false, 3);
    zq_graph_drop(graph);
}

/* Relu -> BatchNormalization -> Conv without padding */
static void test_absorbed_into_the_next_conv(void **state) {
    (void)state;
    static const int64_t groups[] = {1, 2, 4};
    for (int k = 0; k < 3; k++) {
        zq_graph *graph = zq_graph_new();
        const int x = build_input(graph, "x", SHAPE(-1, 4, 5, 6));
        const int y = bn(graph, "y", relu(graph, "r", x), 4);
        build_output(graph, bn(graph, "z", conv(graph, "c", y, 4, 8, groups[k], 0), 8));
        assert_counts(simplify_same(graph), 2, 1, 1, 1);
        assert_int_equal(graph->n_nodes, 2);
        assert_stats(graph, "r", "y", true, 4);
        assert_stats(graph, "z", "z", false, 8);
        zq_graph_drop(graph);
    }
}

static void test_absorbed_with_auto_pad(void **state) {
    (void)state;
    static const char *const modes[] = {"VALID", "SAME_UPPER"};
    for (int k = 0; k < 2; k++) {
        zq_graph *graph = zq_graph_new();
        const int x = build_input(graph, "x", SHAPE(-1, 4, 5, 6));
        const int y = bn(graph, "y", relu(graph, "r", x), 4);
        const int c = build_node(graph, "Conv", "c", VALUES(y, weights(graph, "c", SHAPE(2, 4, 3, 3))));
        zq_node_set_string(build_last(graph), "auto_pad", modes[k]);
        build_output(graph, c);
        assert_counts(simplify_same(graph), 1, 0, 1, k == 0);
        zq_graph_drop(graph);
    }
}

/* A shift can't pass zero padding, a scale can. */
static void test_absorbed_with_padding(void **state) {
    (void)state;
    for (int shifted = 0; shifted < 2; shifted++) {
        zq_graph *graph = zq_graph_new();
        const int x = build_input(graph, "x", SHAPE(-1, 4, 5, 6));
        const int y = bn(graph, "y", relu(graph, "r", x), 4);
        build_output(graph, conv(graph, "c", y, 4, 8, 1, 1));
        memset(value_of(graph, "y_mean")->constant->data, 0, 4 * sizeof(zq_real));
        if (!shifted)
            memset(value_of(graph, "y_beta")->constant->data, 0, 4 * sizeof(zq_real));
        assert_counts(simplify_same(graph), 1, 0, 1, !shifted);
        zq_graph_drop(graph);
    }
}

/* Not absorbed: two readers; a reader that is no convolution; a graph output. */
static void test_not_absorbed(void **state) {
    (void)state;
    for (int variant = 0; variant < 3; variant++) {
        zq_graph *graph = zq_graph_new();
        const int x = build_input(graph, "x", SHAPE(-1, 4, 5, 6));
        const int y = bn(graph, "y", relu(graph, "r", x), 4);
        if (variant < 2)
            build_output(graph, relu(graph, "s", y));
        if (variant == 2)
            build_output(graph, y);
        if (variant != 1)
            build_output(graph, conv(graph, "c", y, 4, 8, 1, 0));
        assert_counts(simplify_same(graph), 1, 0, 1, 0);
        zq_graph_drop(graph);
    }
}

/* The convolution that absorbs shares its weights with another one. */
static void test_absorbed_into_shared_weights(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    const int x = build_input(graph, "x", SHAPE(-1, 4, 5, 6));
    const int y = bn(graph, "y", relu(graph, "r", x), 4), w = weights(graph, "shared", SHAPE(3, 4, 3, 3));
    build_output(graph, build_node(graph, "Conv", "c", VALUES(y, w)));
    build_output(graph, build_node(graph, "Conv", "d", VALUES(x, w)));
    assert_counts(simplify_same(graph), 1, 0, 1, 1);
    zq_graph_drop(graph);
}

/* ---- arithmetic per channel */

static void test_arithmetic_behind_conv(void **state) {
    (void)state;
    static const char *const ops[] = {"Add", "Sub", "Mul", "Div"};
    for (int variant = 0; variant < 4 * 2 * 3; variant++) {
        const char *op = ops[variant % 4];
        const bool swapped = variant / 4 % 2;
        zq_graph *graph = zq_graph_new();
        const int x = build_input(graph, "x", SHAPE(-1, 3, 5, 5));
        const int c = conv(graph, "c", x, 3, 4, 1, 1);
        const zq_shape shapes[] = {SHAPE(4, 1, 1), SHAPE(1, 4, 1, 1), {0}};
        const int k = build_random(graph, "k", shapes[variant / 8], seed, 0.5, 2);
        build_output(graph,
                     build_node(graph, op, "y", 2, swapped ? (const int[]){k, c} : (const int[]){c, k}));
        simplify_same(graph);
        const bool left = variant % 4 == 3 && swapped; /* k / x is no affine map */
        assert_int_equal(graph->n_nodes, left ? 2 : 1);
        assert_null(value_of(graph, "y")->stats);
        zq_graph_drop(graph);
    }
}

static void test_other_arithmetic_stays(void **state) {
    (void)state;
    const zq_shape shapes[] = {SHAPE(4), SHAPE(4, 5, 4), SHAPE(1, 1, 4, 1, 1), SHAPE(2, 1, 1, 1)};
    for (size_t k = 0; k < COUNT_OF(shapes); k++) {
        zq_graph *graph = zq_graph_new();
        const int x = build_input(graph, "x", SHAPE(k < 2 ? -1 : 1, 3, 5, 4));
        const int c = conv(graph, "c", x, 3, 4, 1, 1);
        build_output(
            graph, build_node(graph, "Mul", "y", VALUES(c, build_random(graph, "k", shapes[k], seed, 1, 2))));
        simplify_same(graph);
        assert_int_equal(graph->n_nodes, 2);
        zq_graph_drop(graph);
    }
}

static void test_division_by_zero_stays(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    const int x = build_input(graph, "x", SHAPE(-1, 3, 5, 5)), c = conv(graph, "c", x, 3, 4, 1, 1);
    build_output(graph, build_node(graph, "Div", "y",
                                   VALUES(c, build_random(graph, "k", SHAPE(4, 1, 1), seed, 0, 0))));
    build_done(graph);
    simplify_ok(graph);
    assert_int_equal(graph->n_nodes, 2);
    zq_graph_drop(graph);
}

/* Conv -> BatchNormalization -> Mul: what is known behind BatchNormalization is known behind Mul. */
static void test_arithmetic_moves_stats(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    const int x = build_input(graph, "x", SHAPE(-1, 3, 5, 5));
    const int y = bn(graph, "y", conv(graph, "c", x, 3, 4, 1, 1), 4);
    const int k = build_random(graph, "k", SHAPE(4, 1, 1), seed, -2, -1);
    build_output(graph, build_node(graph, "Mul", "z", VALUES(y, k)));
    simplify_same(graph);
    const zq_stats *stats = value_of(graph, "z")->stats;
    assert_non_null(stats);
    for (int64_t c = 0; c < 4; c++) {
        const double by = -2 + zq_random_uniform(zq_random_seed(seed, "k"), (uint64_t)c);
        assert_true(fabs(stats->mean[c] - by * number("y", BETA, c)) < 1e-6);
        assert_true(fabs(stats->std[c] + by * fabs(number("y", GAMMA, c))) < 1e-6);
    }
    zq_graph_drop(graph);
}

static void test_arithmetic_on_a_shared_value_stays(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    const int x = build_input(graph, "x", SHAPE(-1, 3, 5, 5)), c = conv(graph, "c", x, 3, 4, 1, 1);
    const int k = build_random(graph, "k", SHAPE(4, 1, 1), seed, 1, 2);
    build_output(graph, build_node(graph, "Mul", "y", VALUES(c, k)));
    build_output(graph, relu(graph, "r", c));
    simplify_same(graph);
    assert_int_equal(graph->n_nodes, 3);
    zq_graph_drop(graph);
}

/* x + x reads twice */
static void test_double_reader(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    const int x = build_input(graph, "x", SHAPE(-1, 3, 5, 5)), c = conv(graph, "c", x, 3, 4, 1, 1);
    build_output(graph, build_node(graph, "Add", "y", VALUES(c, c)));
    simplify_same(graph);
    assert_int_equal(graph->n_nodes, 2);
    zq_graph_drop(graph);
}

/* ---- copies */

static void test_copies_go(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    const int x = build_input(graph, "x", SHAPE(-1, 3, 5, 5));
    const int a = build_node(graph, "Identity", "a", VALUES(x)),
              b = build_node(graph, "Dropout", "b", VALUES(a));
    const int w = build_node(graph, "Identity", "w", VALUES(weights(graph, "c", SHAPE(4, 3, 1, 1))));
    const int c = build_node(graph, "Conv", "c", VALUES(b, w));
    const int y = bn(graph, "y", build_node(graph, "Identity", "d", VALUES(c)), 4);
    build_output(graph, build_node(graph, "Identity", "z", VALUES(y)));
    assert_counts(simplify_same(graph), 1, 1, 0, 0);
    assert_int_equal(graph->n_nodes, 1);
    assert_stats(graph, "z", "y", false, 4);
    zq_graph_drop(graph);
}

/* Outputs keep their names, whatever they are copies of. */
static void test_copies_that_are_outputs(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    const int x = build_input(graph, "x", SHAPE(-1, 3)), r = relu(graph, "r", x);
    build_output(graph, build_node(graph, "Identity", "of_input", VALUES(x)));
    build_output(graph, build_node(graph, "Identity", "first", VALUES(r)));
    build_output(graph, build_node(graph, "Identity", "second", VALUES(r)));
    build_output(graph, relu(graph, "after", build_node(graph, "Identity", "copy", VALUES(r))));
    simplify_same(graph);
    assert_int_equal(build_count(graph, "Identity"), 2);
    assert_int_equal(zq_graph_find_value(graph, "r"), -1);
    zq_graph_drop(graph);
}

/* ---- refusals */

static zq_graph *damaged_net(const char *constant, double with) {
    zq_graph *graph = zq_graph_new();
    const int x = build_input(graph, "x", SHAPE(-1, 3, 5, 5));
    build_output(graph, bn(graph, "y", conv(graph, "c", x, 3, 4, 1, 1), 4));
    ((zq_real *)value_of(graph, constant)->constant->data)[2] = (zq_real)with;
    return graph;
}

static void test_refusals(void **state) {
    (void)state;
    simplify_fails(damaged_net("c.w", NAN), ZQ_ERR_FORMAT,
                   "tensor 'c.w' of Conv node 'c_node' holds nan at index 2");
    simplify_fails(damaged_net("c.w", INFINITY), ZQ_ERR_FORMAT, "holds inf at index 2");
    simplify_fails(damaged_net("y_mean", -INFINITY), ZQ_ERR_FORMAT,
                   "tensor 'y_mean' of BatchNormalization node 'y_node' holds -inf");
    simplify_fails(damaged_net("y_var", -1), ZQ_ERR_FORMAT,
                   "BatchNormalization node 'y_node': the variance of channel 2 plus epsilon is -0.999");
    zq_graph *graph = damaged_net("y_gamma", 3e38);
    ((zq_real *)value_of(graph, "y_var")->constant->data)[2] = 0;
    simplify_fails(graph, ZQ_ERR_FORMAT, "Conv node 'c_node': its weights overflow");
}

static void test_computed_statistics(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    const int x = build_input(graph, "x", SHAPE(-1, 3, 5, 5)), scale = build_input(graph, "s", SHAPE(3));
    int inputs[5] = {x, scale};
    for (int k = 1; k < 4; k++)
        inputs[1 + k] = bn_constant(graph, "y", k, 3);
    build_output(graph, build_node(graph, "BatchNormalization", "y", 5, inputs));
    graph->values[x].shape.dims[0] = 1; /* two inputs, one of them without a batch */
    simplify_fails(graph, ZQ_ERR_UNSUPPORTED,
                   "BatchNormalization node 'y_node': its scale is computed while the network runs");
}

/* ---- all together, on random networks */

/* A chain of random layers of 4 channels with some branches, each reading values[...] before it. */
static zq_graph *random_net(uint64_t net_seed) {
    enum { LAYERS = 14, CHANNELS = 4 };
    zq_graph *graph = zq_graph_new();
    int values[LAYERS + 1] = {build_input(graph, "x", SHAPE(-1, CHANNELS, 4, 4))};
    seed = net_seed;
    for (int k = 0; k < LAYERS; k++) {
        char name[16] = {'v', (char)('a' + k)};
        const uint64_t bits = zq_random_bits(net_seed, (uint64_t)k);
        const int src = values[bits % 4 == 0 && k > 0 ? k - 1 : k];
        switch (bits / 4 % 6) {
        case 0:
        case 1:
            values[k + 1] = bn(graph, name, src, CHANNELS);
            break;
        case 2:
            values[k + 1] = conv(graph, name, src, CHANNELS, CHANNELS, bits / 64 % 2 ? CHANNELS : 1, 1);
            break;
        case 3:
            values[k + 1] = build_node(graph, "Conv", name,
                                       VALUES(src, weights(graph, name, SHAPE(CHANNELS, CHANNELS, 1, 1))));
            break;
        case 4:
            values[k + 1] =
                bits / 64 % 2 ? relu(graph, name, src) : build_node(graph, "Identity", name, VALUES(src));
            break;
        default:
            values[k + 1] = build_node(graph, "Add", name, VALUES(src, values[k > 1 ? k - 2 : 0]));
        }
    }
    build_output(graph, values[LAYERS]);
    if (net_seed % 3 == 0)
        build_output(graph, values[LAYERS / 2]);
    return graph;
}

static void test_random_networks(void **state) {
    (void)state;
    for (uint64_t k = 0; k < 200; k++) {
        zq_graph *graph = random_net(1000 + k);
        const zq_simplify_counts counts = simplify_same(graph);
        assert_int_equal(build_count(graph, "BatchNormalization"), 0);
        assert_true(counts.bn_folded + counts.bn_affine <= counts.bn_total &&
                    counts.bn_absorbed <= counts.bn_affine);
        zq_graph_drop(graph);
    }
    seed = 2020;
}

static void test_out_of_memory(void **state) {
    (void)state;
    for (long k = 1;; k++) {
        zq_graph *graph = random_net(1003);
        zq_simplify_counts counts;
        build_done(graph);
        assert_int_equal(zq_fold_constants(graph, NULL, NULL), ZQ_OK);
        zq_alloc_fail_at(k);
        const zq_status status = zq_simplify(graph, &counts, NULL);
        zq_alloc_fail_at(0);
        zq_graph_drop(graph);
        if (status == ZQ_OK)
            break;
        assert_int_equal(status, ZQ_ERR_MEMORY);
        assert_true(k < 2000);
    }
    seed = 2020;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bn_behind_conv),
        cmocka_unit_test(test_bn_behind_conv_1d_and_3d),
        cmocka_unit_test(test_bn_twice_behind_conv),
        cmocka_unit_test(test_shared_weights),
        cmocka_unit_test(test_bn_behind_a_shared_conv),
        cmocka_unit_test(test_bn_behind_gemm),
        cmocka_unit_test(test_bn_behind_gemm_with_odd_bias),
        cmocka_unit_test(test_matmul_becomes_gemm),
        cmocka_unit_test(test_bn_behind_3d_matmul),
        cmocka_unit_test(test_zero_and_negative_gamma),
        cmocka_unit_test(test_bn_elsewhere),
        cmocka_unit_test(test_two_bn_on_one_value),
        cmocka_unit_test(test_bn_behind_bn),
        cmocka_unit_test(test_absorbed_into_the_next_conv),
        cmocka_unit_test(test_absorbed_with_auto_pad),
        cmocka_unit_test(test_absorbed_with_padding),
        cmocka_unit_test(test_not_absorbed),
        cmocka_unit_test(test_absorbed_into_shared_weights),
        cmocka_unit_test(test_arithmetic_behind_conv),
        cmocka_unit_test(test_other_arithmetic_stays),
        cmocka_unit_test(test_division_by_zero_stays),
        cmocka_unit_test(test_arithmetic_moves_stats),
        cmocka_unit_test(test_arithmetic_on_a_shared_value_stays),
        cmocka_unit_test(test_double_reader),
        cmocka_unit_test(test_copies_go),
        cmocka_unit_test(test_copies_that_are_outputs),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_computed_statistics),
        cmocka_unit_test(test_random_networks),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
