/* SPDX-License-Identifier: Apache-2.0 */
#include "base/random.h"
#include "graph/op.h"
#include "quant/sensitivity.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void assert_near(double a, double b, double tolerance) {
    if (!(fabs(a - b) <= tolerance))
        fail_msg("%.9g differs from %.9g by more than %g", a, b, tolerance);
}

/* input -> op -> output of this shape (of one image); op NULL: the input is the output. */
static zq_graph *graph_with_output(const char *op, zq_shape shape) {
    zq_graph *graph = zq_graph_new();
    const int input = zq_graph_add_value(graph, "input", ZQ_F32, &shape);
    const int output = zq_graph_add_value(graph, "output", ZQ_F32, &shape);
    zq_graph_add_input(graph, input);
    zq_graph_add_node(graph, zq_op_find(op), "", 1, &input, 1, &output);
    zq_graph_add_output(graph, output);
    return graph;
}

static zq_output_rule rule(const char *op, int rank, int64_t a, int64_t b, int64_t c, int64_t d) {
    zq_graph *graph = graph_with_output(op, zq_shape_of(rank, (const int64_t[]){a, b, c, d}));
    const zq_output_rule rule = zq_output_rule_of(graph, 0);
    zq_graph_drop(graph);
    return rule;
}

static void rules_follow_producer_and_shape(void **state) {
    (void)state;
    assert_int_equal(rule("Gemm", 2, 1, 10, 0, 0), ZQ_OUTPUT_SOFTMAX);
    assert_int_equal(rule("Conv", 4, 1, 10, 1, 1), ZQ_OUTPUT_SOFTMAX);
    assert_int_equal(rule("GlobalAveragePool", 4, 1, 10, 1, 1), ZQ_OUTPUT_SOFTMAX);
    assert_int_equal(rule("Softmax", 2, 1, 10, 0, 0), ZQ_OUTPUT_PROBABILITY);
    assert_int_equal(rule("Softmax", 4, 1, 10, 7, 7), ZQ_OUTPUT_PROBABILITY);
    assert_int_equal(rule("Conv", 4, 1, 10, 7, 7), ZQ_OUTPUT_SQUARED);
    assert_int_equal(rule("Sigmoid", 2, 1, 10, 0, 0), ZQ_OUTPUT_SQUARED);
    assert_int_equal(rule("Gemm", 2, 1, 1, 0, 0), ZQ_OUTPUT_SQUARED);
}

static void rules_look_through_flatten(void **state) {
    (void)state;
    const zq_shape map = zq_shape_of(4, (const int64_t[]){1, 10, 1, 1});
    const zq_shape flat = zq_shape_of(2, (const int64_t[]){1, 10});
    zq_graph *graph = graph_with_output("Conv", map);
    const int from = graph->outputs[0], to = zq_graph_add_value(graph, "flat", ZQ_F32, &flat);
    zq_graph_add_node(graph, zq_op_find("Flatten"), "", 1, &from, 1, &to);
    graph->outputs[0] = to;
    assert_int_equal(zq_output_rule_of(graph, 0), ZQ_OUTPUT_SOFTMAX);
    zq_graph_drop(graph);
}

enum { IMAGES = 3, CLASSES = 7, POSITIONS = 5 };

static void fill(uint64_t seed, size_t n, double scale, float *x) {
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(scale * zq_random_normal(seed, i));
}

/* The definition, without any care for overflow. */
static double naive_kl(const float *a, const float *b, int n) {
    double sum_a = 0, sum_b = 0, kl = 0;
    for (int i = 0; i < n; i++) {
        sum_a += exp(a[i]);
        sum_b += exp(b[i]);
    }
    for (int i = 0; i < n; i++)
        kl += exp(a[i]) / sum_a * log(exp(a[i]) / sum_a / (exp(b[i]) / sum_b));
    return kl;
}

static void kl_of_logits_is_the_formula(void **state) {
    (void)state;
    zq_graph *graph = graph_with_output("Gemm", zq_shape_of(2, (const int64_t[]){1, CLASSES}));
    float a[IMAGES * CLASSES], b[IMAGES * CLASSES];
    const float *reference[] = {a}, *other[] = {b};
    double distance[IMAGES], agreement[IMAGES];
    fill(1, IMAGES * CLASSES, 3, a);
    fill(2, IMAGES * CLASSES, 3, b);
    for (int i = 0; i < CLASSES; i++)
        b[i] = 2 * a[i]; /* the first image keeps its order */
    zq_output_distance(graph, IMAGES, reference, other, distance, agreement);
    for (int i = 0; i < IMAGES; i++)
        assert_near(distance[i], naive_kl(a + i * CLASSES, b + i * CLASSES, CLASSES), 1e-9);
    assert_near(agreement[0], 1, 0);
    zq_output_distance(graph, IMAGES, reference, reference, distance, NULL);
    assert_near(distance[2], 0, 1e-12);
    zq_graph_drop(graph);
}

static void large_and_broken_logits_stay_finite(void **state) {
    (void)state;
    zq_graph *graph = graph_with_output("Gemm", zq_shape_of(2, (const int64_t[]){1, 2}));
    float a[8] = {1e4F, -1e4F, 0, 0, -INFINITY, 0, 1, 1}, b[8] = {-1e4F, 1e4F, NAN, 0, 0, 0, INFINITY, 0};
    const float *reference[] = {a}, *other[] = {b};
    double distance[4];
    zq_output_distance(graph, 4, reference, other, distance, NULL);
    assert_near(distance[0], 2e4, 1e-6);
    assert_near(distance[1], 1e6, 0);
    assert_near(distance[2], log(2), 1e-12); /* a class that the reference rules out */
    assert_near(distance[3], 1e6, 0);
    zq_graph_drop(graph);
}

/* [outer, classes, inner]: channels-first probabilities at several positions are averaged. */
static void probabilities_use_the_channel_axis(void **state) {
    (void)state;
    zq_graph *graph = graph_with_output("Softmax", zq_shape_of(4, (const int64_t[]){1, 2, 1, POSITIONS}));
    float a[2 * POSITIONS], b[2 * POSITIONS];
    const float *reference[] = {a}, *other[] = {b};
    double distance, agreement, expected = 0, same = 0;
    for (int i = 0; i < POSITIONS; i++) {
        const double p = 0.1 + 0.15 * i, q = i == 4 ? 0 : 0.6;
        a[i] = (float)p;
        a[POSITIONS + i] = (float)(1 - p);
        b[i] = (float)q;
        b[POSITIONS + i] = (float)(1 - q);
        expected += (p * log(p / fmax(q, 1e-12)) + (1 - p) * log((1 - p) / (1 - q))) / POSITIONS;
        same += (double)((p < 0.5) == (q < 0.5)) / POSITIONS;
    }
    zq_output_distance(graph, 1, reference, other, &distance, &agreement);
    assert_near(distance, expected, 1e-5);
    assert_near(agreement, same, 1e-12);
    zq_graph_drop(graph);
}

static void squared_error_is_relative_to_the_spread(void **state) {
    (void)state;
    zq_graph *graph = graph_with_output("Conv", zq_shape_of(4, (const int64_t[]){1, 2, 1, 2}));
    float a[8] = {1, 3, 1, 3, 5, 5, 5, 5}, b[8] = {2, 3, 1, 3, 5, 5, 5, 6};
    const float *reference[] = {a}, *other[] = {b};
    double distance[2];
    zq_output_distance(graph, 2, reference, other, distance, NULL);
    assert_near(distance[0], 1.0 / 4, 1e-12);
    assert_near(distance[1], 1, 1e-12); /* a constant reference */
    zq_output_distance(graph, 2, reference, reference, distance, NULL);
    assert_near(distance[1], 0, 0);
    zq_graph_drop(graph);
}

static void outputs_are_averaged(void **state) {
    (void)state;
    zq_graph *graph = graph_with_output("Gemm", zq_shape_of(2, (const int64_t[]){1, 2}));
    const zq_shape shape = zq_shape_of(4, (const int64_t[]){1, 1, 1, 2});
    const int input = graph->inputs[0], map = zq_graph_add_value(graph, "map", ZQ_F32, &shape);
    zq_graph_add_node(graph, zq_op_find("Relu"), "", 1, &input, 1, &map);
    zq_graph_add_output(graph, map);
    float logits[2] = {0, 1}, changed[2] = {1, 0}, a[2] = {0, 2}, b[2] = {0, 3};
    const float *reference[] = {logits, a}, *other[] = {changed, b};
    double distance;
    zq_output_distance(graph, 1, reference, other, &distance, NULL);
    assert_near(distance, (naive_kl(logits, changed, 2) + 0.5) / 2, 1e-9);
    zq_graph_drop(graph);
}

/* It is as long as for one image, however many there are. */
static void a_constant_output_is_left_out(void **state) {
    (void)state;
    zq_graph *graph = graph_with_output("Gemm", zq_shape_of(2, (const int64_t[]){1, 2}));
    float logits[4] = {0, 1, 0, 1}, changed[4] = {1, 0, 0, 1}, *numbers = malloc(3 * sizeof(float));
    for (int i = 0; i < 3; i++)
        numbers[i] = (float)i;
    zq_graph_add_output(graph, zq_graph_add_constant(graph, "numbers", zq_tensor_new_f32(3, numbers)));
    const float *reference[] = {logits, numbers}, *other[] = {changed, numbers};
    double distance[2];
    zq_output_distance(graph, 2, reference, other, distance, NULL);
    assert_near(distance[0], naive_kl(logits, changed, 2) / 2, 1e-9);
    assert_near(distance[1], 0, 0);
    free(numbers);
    zq_graph_drop(graph);
}

/* Half of the mean square of a small change along all probes, against the distance itself. */
static void check_probes(const char *op, zq_shape shape, double tolerance) {
    zq_graph *graph = graph_with_output(op, shape);
    const int64_t n = zq_shape_count(&shape);
    float *z = malloc((size_t)n * sizeof *z), *moved = malloc((size_t)n * sizeof *z);
    float *probe = malloc((size_t)n * sizeof *z);
    double distance, mean = 0;
    const bool probabilities = strcmp(op, "Softmax") == 0;
    for (int64_t i = 0; i < n; i++) {
        z[i] = (float)zq_random_normal(3, (uint64_t)i);
        moved[i] = z[i] + 0.01F * (float)zq_random_normal(4, (uint64_t)i);
    }
    double sums[2] = {0};
    for (int64_t i = 0; i < n && probabilities; i++) {
        sums[0] += exp(z[i]);
        sums[1] += exp(moved[i]);
    }
    for (int64_t i = 0; i < n && probabilities; i++) {
        z[i] = (float)(exp(z[i]) / sums[0]);
        moved[i] = (float)(exp(moved[i]) / sums[1]);
    }
    zq_output_distance(graph, 1, (const float *const[]){z}, (const float *const[]){moved}, &distance, NULL);
    for (int number = 0; number < ZQ_N_PROBES; number++) {
        double along = 0;
        zq_output_probe(graph, 0, 1, z, number, 0, probe);
        for (int64_t i = 0; i < n; i++)
            along += (double)probe[i] * ((double)moved[i] - z[i]);
        mean += along * along / ZQ_N_PROBES;
    }
    print_message("%s of %d: %g, by probes %g\n", op, (int)n, distance, mean / 2);
    assert_near(mean / 2 / distance, 1, tolerance);
    free(z);
    free(moved);
    free(probe);
    zq_graph_drop(graph);
}

static void probes_give_the_distance_of_small_changes(void **state) {
    (void)state;
    /* as many classes as probes leave nothing to chance; with more there is a scatter */
    check_probes("Gemm", zq_shape_of(2, (const int64_t[]){1, ZQ_N_PROBES}), 0.03);
    check_probes("Softmax", zq_shape_of(2, (const int64_t[]){1, ZQ_N_PROBES}), 0.03);
    check_probes("Gemm", zq_shape_of(2, (const int64_t[]){1, 1000}), 0.7);
    check_probes("Conv", zq_shape_of(4, (const int64_t[]){1, 10, 7, 7}), 0.7);
}

/* The gradient of the distance of two images against differences, in both outputs' units. */
static void check_gradient(const char *op, zq_shape shape) {
    enum { N = 2 };
    zq_graph *graph = graph_with_output(op, shape);
    const int64_t n = zq_shape_count(&shape);
    float *z = malloc((size_t)(N * n) * sizeof *z), *other = malloc((size_t)(N * n) * sizeof *z);
    float *gradient = malloc((size_t)(N * n) * sizeof *z);
    const bool probabilities = strcmp(op, "Softmax") == 0;
    fill(5, (size_t)(N * n), 1, z);
    fill(6, (size_t)(N * n), 1, other);
    for (int64_t i = 0; i < N * n && probabilities; i++) { /* which need not add up to 1 */
        z[i] = (float)(exp(z[i]) / (double)n);
        other[i] = (float)(exp(other[i]) / (double)n);
    }
    zq_output_gradient(graph, 0, N, z, other, gradient);
    for (int64_t i = 0; i < N * n; i++) {
        const float step = 0.02F * other[i], middle = other[i];
        double distance[2][N];
        for (int k = 0; k < 2; k++) {
            other[i] = k == 0 ? middle - step : middle + step;
            zq_output_distance(graph, N, (const float *const[]){z}, (const float *const[]){other},
                               distance[k], NULL);
        }
        other[i] = middle;
        const double slope = (distance[1][i / n] - distance[0][i / n]) / (2.0 * step) / N;
        assert_near(gradient[i], slope, 1e-4 + 1e-2 * fabs(slope));
    }
    free(z);
    free(other);
    free(gradient);
    zq_graph_drop(graph);
}

static void gradients_are_differences(void **state) {
    (void)state;
    check_gradient("Gemm", zq_shape_of(2, (const int64_t[]){1, 7}));
    check_gradient("Softmax", zq_shape_of(2, (const int64_t[]){1, 7}));
    check_gradient("Softmax", zq_shape_of(4, (const int64_t[]){1, 5, 2, 3}));
    check_gradient("Conv", zq_shape_of(4, (const int64_t[]){1, 4, 3, 2}));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_follow_producer_and_shape),
        cmocka_unit_test(rules_look_through_flatten),
        cmocka_unit_test(kl_of_logits_is_the_formula),
        cmocka_unit_test(large_and_broken_logits_stay_finite),
        cmocka_unit_test(probabilities_use_the_channel_axis),
        cmocka_unit_test(squared_error_is_relative_to_the_spread),
        cmocka_unit_test(outputs_are_averaged),
        cmocka_unit_test(a_constant_output_is_left_out),
        cmocka_unit_test(probes_give_the_distance_of_small_changes),
        cmocka_unit_test(gradients_are_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
