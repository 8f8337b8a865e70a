/* SPDX-License-Identifier: Apache-2.0 */
#include "base/random.h"
#include "graph/op.h"
#include "quant/distill.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_IN = 3, N_OUT = 24, SIDE = 3, AREA = SIDE * SIDE, PATCHES = 20000 };

static void assert_near(double a, double b, double tolerance) {
    if (!(fabs(a - b) <= tolerance))
        fail_msg("%.9g differs from %.9g by more than %g", a, b, tolerance);
}

static zq_options options_with_norm(double max, int n, const double *mean, const double *std) {
    zq_options options;
    memset(&options, 0, sizeof options);
    options.input_max = max;
    options.n_input_norm = n;
    for (int c = 0; c < n; c++) {
        options.input_mean[c] = mean[c];
        options.input_std[c] = std[c];
    }
    return options;
}

static void normalisation_gives_the_box(void **state) {
    (void)state;
    zq_options options =
        options_with_norm(255, 3, (const double[]){100, 110, 120}, (const double[]){50, 60, 1});
    zq_box box;
    assert_int_equal(zq_box_from_norm(&options, 3, &box, NULL), ZQ_OK);
    assert_false(box.estimated);
    assert_near(box.lo[0], -2, 1e-6);
    assert_near(box.hi[1], 145.0 / 60, 1e-6);
    assert_near(box.hi[2], 135, 1e-6);
    assert_near(box.mean[2], 0.45 * 255 - 120, 1e-4);
    zq_box_clear(&box);
    options = options_with_norm(1, 0, NULL, NULL);
    assert_int_equal(zq_box_from_norm(&options, 1, &box, NULL), ZQ_OK);
    assert_near(box.lo[0], 0, 0);
    assert_near(box.hi[0], 1, 0);
    zq_box_clear(&box);
}

static void impossible_normalisations_are_refused(void **state) {
    (void)state;
    const double one[4] = {1, 1, 1, 1}, zero[4] = {0, 0, 0, 0};
    zq_options options = options_with_norm(255, 4, one, one);
    zq_error err;
    zq_box box;
    assert_int_equal(zq_box_from_norm(&options, 3, &box, &err), ZQ_ERR_USAGE);
    assert_non_null(strstr(err.text, "3 channels"));
    options = options_with_norm(255, 1, zero, zero);
    assert_int_equal(zq_box_from_norm(&options, 3, &box, &err), ZQ_ERR_USAGE);
    assert_non_null(strstr(err.text, "deviation"));
    options = options_with_norm(-1, 1, zero, one);
    assert_int_equal(zq_box_from_norm(&options, 3, &box, &err), ZQ_ERR_USAGE);
    zq_box_clear(&box);
}

/* A patch of an imagined photo: 20 exponentially correlated brightnesses are enough to test with a field
 * whose neighbours correlate by about 0.95: a plane through random slopes, plus colour. */
static void photo_patch(uint64_t seed, double std, const double *mean, float *patch) {
    const double slope = sqrt(0.05), colour = sqrt(0.1);
    const double level = zq_random_normal(seed, 0), dx = slope * zq_random_normal(seed, 1),
                 dy = slope * zq_random_normal(seed, 2);
    for (int c = 0; c < N_IN; c++) {
        const double own = colour * zq_random_normal(seed, 3 + (uint64_t)c);
        for (int i = 0; i < AREA; i++) {
            const double common = level + dx * (i % SIDE - 1) + dy * (i / SIDE - 1);
            patch[c * AREA + i] = (float)(mean[c] + std * (sqrt(0.9) * common + own));
        }
    }
}

/* input -> Conv [-> Relu], whose last value carries the statistics of photo patches. */
static zq_graph *first_layer(uint64_t seed, double std, const double *mean, bool behind_relu) {
    const zq_shape image = zq_shape_of(4, (const int64_t[]){1, N_IN, 32, 32});
    const zq_shape map = zq_shape_of(4, (const int64_t[]){1, N_OUT, 30, 30});
    const zq_shape filter = zq_shape_of(4, (const int64_t[]){N_OUT, N_IN, SIDE, SIDE});
    zq_graph *graph = zq_graph_new();
    zq_tensor *weight = zq_tensor_new(ZQ_F32, &filter);
    float *const w = weight->data, patch[N_IN * AREA], bias[N_OUT];
    for (int i = 0; i < N_OUT * N_IN * AREA; i++)
        w[i] =
            (float)(zq_random_normal(seed, (uint64_t)i) + zq_random_normal(seed + 1, (uint64_t)(i / AREA)));
    for (int o = 0; o < N_OUT; o++)
        bias[o] = (float)(30 * std * zq_random_normal(seed + 2, (uint64_t)o));
    zq_stats *stats = zq_stats_new(N_OUT);
    double sum[N_OUT] = {0}, square[N_OUT] = {0};
    for (uint64_t p = 0; p < PATCHES; p++) {
        photo_patch(zq_random_bits(seed, p), std, mean, patch);
        for (int o = 0; o < N_OUT; o++) {
            double z = bias[o];
            for (int i = 0; i < N_IN * AREA; i++)
                z += (double)w[o * N_IN * AREA + i] * patch[i];
            z = behind_relu ? fmax(z, 0) : z;
            sum[o] += z / PATCHES;
            square[o] += z * z / PATCHES;
        }
    }
    for (int o = 0; o < N_OUT; o++) {
        stats->mean[o] = (float)sum[o];
        stats->std[o] = (float)sqrt(square[o] - sum[o] * sum[o]);
    }
    const int input = zq_graph_add_value(graph, "input", ZQ_F32, &image);
    const int inputs[] = {input, zq_graph_add_constant(graph, "w", weight),
                          zq_graph_add_constant(graph, "b", zq_tensor_new_f32(N_OUT, bias))};
    int output = zq_graph_add_value(graph, "z", ZQ_F32, &map);
    zq_graph_add_input(graph, input);
    zq_graph_add_node(graph, zq_op_find("Conv"), "", 3, inputs, 1, &output);
    if (behind_relu) {
        const int relu = zq_graph_add_value(graph, "relu", ZQ_F32, &map);
        zq_graph_add_node(graph, zq_op_find("Relu"), "", 1, &output, 1, &relu);
        output = relu;
    }
    zq_graph_add_output(graph, output);
    zq_value_set_stats(&graph->values[output], stats);
    return graph;
}

static void estimate_finds(bool behind_relu, double tolerance) {
    const double mean[N_IN] = {-20, 3, 15}, std = 70;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        print_message("seed %d\n", (int)seed);
        zq_graph *graph = first_layer(seed, std, mean, behind_relu);
        zq_box box;
        assert_int_equal(zq_box_estimate(graph, &box, NULL), ZQ_OK);
        assert_true(box.estimated);
        for (int c = 0; c < N_IN; c++) {
            assert_near(box.mean[c], mean[c], tolerance * std);
            assert_near(box.std[c], std, 2 * tolerance * std);
            assert_near(box.hi[c] - box.lo[c], 1.24 * box.std[c] / 0.275, 1e-3 * std);
        }
        zq_box_clear(&box);
        zq_graph_drop(graph);
    }
}

static void estimate_reads_the_first_convolution(void **state) {
    (void)state;
    estimate_finds(false, 0.1);
}

static void estimate_looks_through_relu(void **state) {
    (void)state;
    estimate_finds(true, 0.15);
}

static void statistics_of_the_input_are_taken_as_they_are(void **state) {
    (void)state;
    const zq_shape image = zq_shape_of(4, (const int64_t[]){1, 1, 8, 8});
    zq_graph *graph = zq_graph_new();
    const int input = zq_graph_add_value(graph, "input", ZQ_F32, &image);
    zq_graph_add_input(graph, input);
    zq_stats *stats = zq_stats_new(1);
    stats->mean[0] = 5;
    stats->std[0] = 2.75F;
    zq_value_set_stats(&graph->values[input], stats);
    zq_box box;
    assert_int_equal(zq_box_estimate(graph, &box, NULL), ZQ_OK);
    assert_near(box.lo[0], -0.7, 1e-5);
    assert_near(box.hi[0], 11.7, 1e-5);
    zq_box_clear(&box);
    zq_value_set_stats(&graph->values[input], NULL);
    assert_int_equal(zq_box_estimate(graph, &box, NULL), ZQ_OK);
    assert_near(box.lo[0], -2.5, 0);
    assert_near(box.std[0], 1, 0);
    zq_box_clear(&box);
    zq_graph_drop(graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(normalisation_gives_the_box),
        cmocka_unit_test(impossible_normalisations_are_refused),
        cmocka_unit_test(estimate_reads_the_first_convolution),
        cmocka_unit_test(estimate_looks_through_relu),
        cmocka_unit_test(statistics_of_the_input_are_taken_as_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
