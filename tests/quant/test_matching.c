/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/matching.h"
#include "tiny_net.h"

enum { IMAGES = 4, SIDE = 12, IMAGE = 3 * SIDE * SIDE };

static zq_plan *plan_of(zq_graph *graph, int64_t n_images) {
    const zq_plan_options options = {.n_images = n_images, .gradient = true, .keep_values = true};
    zq_plan *plan;
    zq_error err;
    if (zq_plan_new(graph, &options, &plan, &err) != ZQ_OK)
        fail_msg("%s", err.text);
    return plan;
}

static double loss_of(zq_matching *matching, zq_plan *plan, int64_t plan_images, zq_matching_loss loss,
                      const float *pixels, float *d_pixels) {
    double value;
    zq_error err;
    if (zq_matching_evaluate(matching, plan, plan_images, loss, IMAGES, IMAGE, pixels, d_pixels, &value,
                             &err) != ZQ_OK)
        fail_msg("%s", err.text);
    return value;
}

static void random_pixels(uint64_t seed, float *pixels) {
    for (int i = 0; i < IMAGES * IMAGE; i++)
        pixels[i] = (float)zq_random_normal(seed, (uint64_t)i);
}

/* Central differences along random directions, in a network without kinks. */
static void gradient_is_the_difference(zq_matching_loss loss) {
    for (uint64_t seed = 1; seed <= 3; seed++) {
        static float pixels[IMAGES * IMAGE], moved[IMAGES * IMAGE], gradient[IMAGES * IMAGE];
        print_message("seed %d\n", (int)seed);
        zq_graph *graph = tiny_net_with("Sigmoid", seed, SIDE, 0);
        zq_plan *plan = plan_of(graph, IMAGES);
        zq_matching matching;
        assert_int_equal(zq_matching_init(graph, &matching, NULL), ZQ_OK);
        assert_int_equal(matching.n_targets, 2);
        random_pixels(seed, pixels);
        loss_of(&matching, plan, IMAGES, loss, pixels, gradient);
        for (uint64_t d = 0; d < 4; d++) {
            double expected = 0, difference = 0;
            const double step = 3e-3;
            for (int sign = -1; sign <= 1; sign += 2) {
                for (int i = 0; i < IMAGES * IMAGE; i++)
                    moved[i] =
                        pixels[i] + (float)(sign * step * zq_random_normal(seed + 100 + d, (uint64_t)i));
                difference += sign * loss_of(&matching, plan, IMAGES, loss, moved, NULL) / (2 * step);
            }
            for (int i = 0; i < IMAGES * IMAGE; i++)
                expected += gradient[i] * zq_random_normal(seed + 100 + d, (uint64_t)i);
            if (fabs(expected - difference) > 5e-3 * fabs(expected) + 5e-4)
                fail_msg("along direction %d the gradient says %g, differences say %g", (int)d, expected,
                         difference);
        }
        zq_matching_clear(&matching);
        zq_plan_drop(plan);
        zq_graph_drop(graph);
    }
}

static void relative_gradient_is_the_difference(void **state) {
    (void)state;
    gradient_is_the_difference(ZQ_MATCH_RELATIVE);
}

static void absolute_gradient_is_the_difference(void **state) {
    (void)state;
    gradient_is_the_difference(ZQ_MATCH_ABSOLUTE);
}

/* The loss from the definition, over values read out of the plan. */
static void loss_is_the_formula(void **state) {
    (void)state;
    static float pixels[IMAGES * IMAGE], z[IMAGES * 8 * 6 * 6];
    zq_graph *graph = tiny_net(7, SIDE, 0);
    zq_plan *plan = plan_of(graph, IMAGES);
    zq_matching matching;
    assert_int_equal(zq_matching_init(graph, &matching, NULL), ZQ_OK);
    random_pixels(7, pixels);
    graph->values[zq_graph_find_value(graph, "z1")].stats->std[0] = 1e-9F; /* dead: measured by the floor */
    const double relative = loss_of(&matching, plan, IMAGES, ZQ_MATCH_RELATIVE, pixels, NULL);
    const double absolute = loss_of(&matching, plan, IMAGES, ZQ_MATCH_ABSOLUTE, pixels, NULL);
    double expected_relative = 0, expected_absolute = 0;
    for (int t = 0; t < 2; t++) {
        const int value = zq_graph_find_value(graph, t == 0 ? "z1" : "z2"), C = t == 0 ? 8 : 6;
        const zq_stats *stats = graph->values[value].stats;
        double rms = 0;
        zq_plan_read(plan, value, z);
        for (int c = 0; c < C; c++)
            rms += (double)stats->std[c] * stats->std[c] / C;
        for (int c = 0; c < C; c++) {
            double m = 0, square = 0;
            for (int n = 0; n < IMAGES; n++)
                for (int i = 0; i < 36; i++) {
                    m += z[(n * C + c) * 36 + i] / (IMAGES * 36.0);
                    square += (double)z[(n * C + c) * 36 + i] * z[(n * C + c) * 36 + i] / (IMAGES * 36.0);
                }
            const double a = m - stats->mean[c], b = sqrt(square - m * m) - stats->std[c];
            const double unit = fmax(stats->std[c], 0.05 * sqrt(rms));
            expected_absolute += a * a + b * b;
            expected_relative += (a * a + b * b) / (unit * unit) / (2 * C);
        }
    }
    assert_true(fabs(relative - expected_relative) < 1e-4 * expected_relative);
    assert_true(fabs(absolute - expected_absolute) < 1e-4 * expected_absolute);
    zq_matching_clear(&matching);
    zq_plan_drop(plan);
    zq_graph_drop(graph);
}

/* The description by value: its residuals make the loss, its spreads lie around what was reached. */
static void description_is_the_loss(void **state) {
    (void)state;
    static float pixels[IMAGES * IMAGE];
    zq_graph *graph = tiny_net(5, SIDE, 0);
    zq_plan *plan = plan_of(graph, IMAGES);
    zq_matching matching;
    assert_int_equal(zq_matching_init(graph, &matching, NULL), ZQ_OK);
    random_pixels(5, pixels);
    const double loss = loss_of(&matching, plan, IMAGES, ZQ_MATCH_RELATIVE, pixels, NULL);
    double mean = 0;
    for (int i = 0; i < matching.n_targets; i++) {
        const zq_target *t = &matching.targets[i];
        zq_match match;
        assert_int_equal(zq_matching_describe(t, &match, NULL), ZQ_OK);
        assert_true(match.value == t->value && match.n_channels == t->n_channels);
        assert_true(match.mean.low <= match.mean.middle && match.mean.middle <= match.mean.high);
        assert_true(match.std.low <= match.std.middle && match.std.middle <= match.std.high);
        int above = 0;
        for (int64_t c = 0; c < t->n_channels; c++)
            above += (t->m[c] - t->mu[c]) / t->unit[c] > match.mean.middle;
        assert_true(above <= t->n_channels / 2);
        mean += match.residual / matching.n_targets;
    }
    assert_float_equal(mean, loss, 1e-5 * loss);
    zq_matching_clear(&matching);
    zq_plan_drop(plan);
    zq_graph_drop(graph);
}

/* Statistics are those of all images, whatever the batch of the plan. */
static void batches_change_nothing(void **state) {
    (void)state;
    static float pixels[IMAGES * IMAGE], whole[IMAGES * IMAGE], parts[IMAGES * IMAGE];
    zq_graph *graph = tiny_net(9, SIDE, 0);
    zq_plan *plan = plan_of(graph, IMAGES), *small = plan_of(graph, 1);
    zq_matching matching;
    assert_int_equal(zq_matching_init(graph, &matching, NULL), ZQ_OK);
    random_pixels(9, pixels);
    const double a = loss_of(&matching, plan, IMAGES, ZQ_MATCH_RELATIVE, pixels, whole);
    const double b = loss_of(&matching, small, 1, ZQ_MATCH_RELATIVE, pixels, parts);
    double largest = 0, error = 0;
    for (int i = 0; i < IMAGES * IMAGE; i++) {
        largest = fmax(largest, fabs(whole[i]));
        error = fmax(error, fabs(whole[i] - parts[i]));
    }
    assert_true(fabs(a - b) < 1e-5 * a);
    assert_true(largest > 0 && error < 1e-4 * largest);
    zq_matching_clear(&matching);
    zq_plan_drop(plan);
    zq_plan_drop(small);
    zq_graph_drop(graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(relative_gradient_is_the_difference),
        cmocka_unit_test(absolute_gradient_is_the_difference),
        cmocka_unit_test(loss_is_the_formula),
        cmocka_unit_test(description_is_the_loss),
        cmocka_unit_test(batches_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
