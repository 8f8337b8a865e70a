/* SPDX-License-Identifier: Apache-2.0 */
/* Activations that share a grid, the damage of each grid, and the widths that a mean allows. */
#include "base/memory.h"
#include "quant/calibrate.h"
#include "quant/candidate.h"
#include "quant/grids.h"
#include "quant/rewrite.h"
#include "quant/sensitivity.h"
#include "tiny_net.h"

#include <math.h>

enum { SIDE = 8, N_IMAGES = 8, MOST_VALUES = 32, N = ZQ_N_GRID_WIDTHS };

/* A tiny network, its activations at every width, and its grids. */
typedef struct fixture {
    zq_graph *graph;
    zq_images images;
    zq_activation ranges[N][MOST_VALUES], *widths[N];
    zq_grids grids;
} fixture;

static void set_up(fixture *f, int64_t batch) {
    int scale_of[MOST_VALUES];
    *f = (fixture){.graph = tiny_net(7, SIDE, batch)};
    assert_true(f->graph->n_values <= MOST_VALUES);
    f->images.shape = zq_shape_of(4, (const int64_t[]){N_IMAGES, 3, SIDE, SIDE});
    const size_t n = (size_t)zq_shape_count(&f->images.shape);
    f->images.data = zq_alloc(n, sizeof *f->images.data);
    for (size_t i = 0; i < n; i++)
        f->images.data[i] = (float)zq_random_normal(11, i);
    for (int k = 0; k < N; k++)
        f->widths[k] = f->ranges[k];
    const zq_activation_spec spec = {.method = ZQ_RANGE_MSE};
    assert_int_equal(
        zq_calibrate_widths(f->graph, &f->images, NULL, &spec, N, zq_grid_widths, f->widths, NULL, NULL),
        ZQ_OK);
    for (int k = 0; k < N; k++)
        assert_int_equal(
            zq_place(f->graph, zq_form_of(ZQ_RUNTIME_ONNXRUNTIME), f->ranges[k], NULL, scale_of, NULL),
            ZQ_OK);
    assert_int_equal(zq_grids_new(f->graph, f->ranges[0], scale_of, &f->grids, NULL), ZQ_OK);
}

static void tear_down(fixture *f) {
    zq_grids_clear(&f->grids);
    zq_images_clear(&f->images);
    zq_graph_drop(f->graph);
}

static int grid_of(const fixture *f, const char *name) {
    return f->grids.of_value[zq_graph_find_value(f->graph, name)];
}

static void values_of_one_scale_are_one_grid(void **state) {
    (void)state;
    fixture f;
    set_up(&f, 0);
    assert_int_equal(f.grids.n, 3);
    assert_int_equal(grid_of(&f, "input"), -1); /* it keeps 8 bits */
    assert_int_equal(grid_of(&f, "a1"), 0);
    assert_int_equal(grid_of(&f, "a2"), 1);
    assert_int_equal(grid_of(&f, "pool"), 2);
    assert_int_equal(grid_of(&f, "flat"), 2);
    assert_int_equal(grid_of(&f, "z1"), -1);
    assert_int_equal(grid_of(&f, "logits"), -1);
    const uint64_t expected[] = {8 * SIDE * SIDE / 4, 6 * SIDE * SIDE / 4, 6 + 6};
    for (int g = 0; g < f.grids.n; g++)
        assert_int_equal(f.grids.elements[g], expected[g]);
    tear_down(&f);
}

/* Of the graph with Q/DQ at the values of one grid alone, as it would be written. */
static double damage_of(fixture *f, int grid, int width) {
    const zq_layers none = {0};
    zq_activation alone[MOST_VALUES];
    zq_graph *written;
    float **reference, **outputs;
    double distance[N_IMAGES], sum = 0;
    for (int v = 0; v < f->graph->n_values; v++) {
        alone[v] = f->ranges[width][v];
        alone[v].used = f->grids.of_value[v] == grid;
    }
    assert_int_equal(
        zq_rewrite(f->graph, zq_form_of(ZQ_RUNTIME_ONNXRUNTIME), &none, alone, NULL, &written, NULL), ZQ_OK);
    assert_int_equal(zq_outputs_run(f->graph, &f->images, &reference, NULL), ZQ_OK);
    assert_int_equal(zq_outputs_run(written, &f->images, &outputs, NULL), ZQ_OK);
    zq_output_distance(f->graph, N_IMAGES, (const float *const *)reference, (const float *const *)outputs,
                       distance, NULL);
    for (int i = 0; i < N_IMAGES; i++)
        sum += distance[i] / N_IMAGES;
    zq_outputs_drop(reference, 1);
    zq_outputs_drop(outputs, 1);
    zq_graph_drop(written);
    return sum;
}

static void damage_is_that_of_the_written_grid(void **state) {
    (void)state;
    for (int64_t batch = 0; batch <= 2; batch += 2) { /* a fixed one takes one width at a time */
        fixture f;
        double omega[MOST_VALUES * N];
        set_up(&f, batch);
        assert_int_equal(
            zq_grids_measure(f.graph, &f.grids, f.widths, &f.images, true, NULL, NULL, omega, NULL), ZQ_OK);
        for (int g = 0; g < f.grids.n; g++)
            for (int k = 0; k < N; k++) {
                const double expected = damage_of(&f, g, k);
                print_message("grid %d, %d bits: %g, expected %g\n", g, zq_grid_widths[k], omega[g * N + k],
                              expected);
                assert_true(fabs(omega[g * N + k] - expected) < 0.02 * expected + 1e-7);
            }
        tear_down(&f);
    }
}

/* Widths that aren't run follow from the errors of the values. */
static void sampled_damage_is_near(void **state) {
    (void)state;
    fixture f;
    double exact[MOST_VALUES * N], sampled[MOST_VALUES * N];
    set_up(&f, 0);
    assert_int_equal(zq_grids_measure(f.graph, &f.grids, f.widths, &f.images, true, NULL, NULL, exact, NULL),
                     ZQ_OK);
    assert_int_equal(
        zq_grids_measure(f.graph, &f.grids, f.widths, &f.images, false, NULL, NULL, sampled, NULL), ZQ_OK);
    for (int i = 0; i < f.grids.n * N; i++) {
        print_message("%d: %g, exactly %g\n", i, sampled[i], exact[i]);
        assert_true(sampled[i] > exact[i] / 4 && sampled[i] < exact[i] * 4);
    }
    tear_down(&f);
}

/* Any choice within the mean, by counting through all of them. */
static double best_of_all(const zq_grids *grids, const double *omega, double mean) {
    double best = INFINITY;
    for (int at = 0; at < N * N * N; at++) {
        double bits = 0, total = 0, sum = 0;
        for (int g = 0, rest = at; g < 3; g++, rest /= N) {
            bits += (double)grids->elements[g] * zq_grid_widths[rest % N];
            total += (double)grids->elements[g];
            sum += omega[g * N + rest % N];
        }
        if (bits <= mean * total && sum < best)
            best = sum;
    }
    return best;
}

static void the_best_widths_within_the_mean(void **state) {
    (void)state;
    static const double means[] = {4, 4.3, 5.5, 6, 7.9, 8};
    fixture f;
    double omega[3 * N];
    uint8_t choice[3];
    zq_activation chosen[MOST_VALUES];
    set_up(&f, 0);
    for (int i = 0; i < 3 * N; i++)
        omega[i] = zq_random_uniform(3, (uint64_t)i) * pow(0.25, i % N);
    for (size_t m = 0; m < sizeof means / sizeof means[0]; m++) {
        double sum = 0;
        assert_int_equal(zq_grids_allocate(&f.grids, omega, means[m], choice, NULL), ZQ_OK);
        for (int g = 0; g < 3; g++)
            sum += omega[g * N + choice[g]];
        assert_true(fabs(sum - best_of_all(&f.grids, omega, means[m])) < 1e-12);
        zq_grids_choose(&f.grids, f.widths, choice, chosen);
        assert_true(zq_activations_mean_bits(f.graph, chosen) <= means[m] + 1e-9);
        for (int v = 0; v < f.graph->n_values; v++)
            if (chosen[v].used && !chosen[v].wide)
                assert_int_equal(zq_activation_bits(&chosen[v]), zq_grid_widths[choice[f.grids.of_value[v]]]);
    }
    zq_error err = {0};
    assert_int_equal(zq_grids_allocate(&f.grids, omega, 3.9, choice, &err), ZQ_ERR_LIMIT);
    assert_non_null(strstr(err.text, "4 bits"));
    tear_down(&f);
}

static void memory_may_be_refused(void **state) {
    (void)state;
    fixture f;
    double omega[MOST_VALUES * N];
    uint8_t choice[4];
    set_up(&f, 0);
    int n_refused = 0;
    for (long k = 1; k <= 400; k++) { /* plans do with less where they can */
        zq_alloc_fail_at(k);
        zq_status status =
            zq_grids_measure(f.graph, &f.grids, f.widths, &f.images, true, NULL, NULL, omega, NULL);
        if (status == ZQ_OK)
            status = zq_grids_allocate(&f.grids, omega, 6, choice, NULL);
        zq_alloc_fail_at(0);
        assert_true(status == ZQ_OK || status == ZQ_ERR_MEMORY);
        n_refused += status != ZQ_OK;
    }
    assert_true(n_refused > 20);
    tear_down(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_one_scale_are_one_grid),
        cmocka_unit_test(damage_is_that_of_the_written_grid),
        cmocka_unit_test(sampled_damage_is_near),
        cmocka_unit_test(the_best_widths_within_the_mean),
        cmocka_unit_test(memory_may_be_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
