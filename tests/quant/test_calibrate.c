/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges of a small network against those of its values, read one image at a time. */
#include "base/memory.h"
#include "base/random.h"
#include "engine/plan.h"
#include "graph/op.h"
#include "quant/calibrate.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { SEED = 21, IMAGES = 6, SIZE = 3 * 8 * 8 };

static int add_value(zq_graph *graph, const char *name, int rank, const int64_t *dims) {
    const zq_shape shape = zq_shape_of(rank, dims);
    return zq_graph_add_value(graph, name, ZQ_F32, &shape);
}

/* x -> Conv 3x3 -> Relu -> Sigmoid */
static zq_graph *build(bool free_batch, int64_t batch) {
    zq_graph *g = zq_graph_new();
    assert_non_null(g);
    g->free_batch = free_batch;
    const int64_t in[] = {free_batch ? -1 : batch, 3, 8, 8}, out[] = {free_batch ? 1 : batch, 4, 6, 6};
    const zq_shape weights = zq_shape_of(4, (const int64_t[]){4, 3, 3, 3});
    zq_tensor *w = zq_tensor_new(ZQ_F32, &weights);
    assert_non_null(w);
    for (int i = 0; i < 4 * 27; i++)
        ((zq_real *)w->data)[i] = (zq_real)zq_random_normal(SEED, (uint64_t)i);
    const int x = add_value(g, "x", 4, in), c = add_value(g, "c", 4, out);
    const int r = add_value(g, "r", 4, out), s = add_value(g, "s", 4, out);
    const int weight = zq_graph_add_constant(g, "w", w);
    zq_graph_add_input(g, x);
    zq_graph_add_node(g, zq_op_find("Conv"), "conv", 2, (const int[]){x, weight}, 1, &c);
    zq_graph_add_node(g, zq_op_find("Relu"), "relu", 1, &c, 1, &r);
    zq_graph_add_node(g, zq_op_find("Sigmoid"), "sigmoid", 1, &r, 1, &s);
    zq_graph_add_output(g, s);
    for (int n = 0; n < g->n_nodes; n++)
        assert_int_equal(zq_node_parse(&g->nodes[n], NULL), ZQ_OK);
    return g;
}

static zq_images make_images(float *data) {
    for (int i = 0; i < IMAGES * SIZE; i++)
        data[i] = (float)zq_random_normal(SEED + 1, (uint64_t)i);
    return (zq_images){.shape = zq_shape_of(4, (const int64_t[]){IMAGES, 3, 8, 8}), .data = data};
}

/* Extremes of a value over the images, from the plain operators. */
static void find_extremes(zq_graph *g, const zq_images *images, int value, float *lo, float *hi) {
    const zq_plan_options options = {.n_images = 1, .keep_values = true, .reference = true};
    zq_plan *plan;
    zq_error err;
    if (zq_plan_new(g, &options, &plan, &err) != ZQ_OK)
        fail_msg("%s", err.text);
    *lo = INFINITY;
    *hi = -INFINITY;
    for (int i = 0; i < IMAGES; i++) {
        float data[4 * 36 > SIZE ? 4 * 36 : SIZE];
        zq_plan_set_input(plan, 0, images->data + i * SIZE);
        assert_int_equal(zq_plan_forward(plan, &err), ZQ_OK);
        zq_plan_read(plan, value, data);
        for (int64_t k = 0; k < zq_shape_count(zq_plan_shape(plan, value)); k++) {
            *lo = fminf(*lo, data[k]);
            *hi = fmaxf(*hi, data[k]);
        }
    }
    zq_plan_drop(plan);
}

static void test_minmax(void **state) {
    (void)state;
    print_message("seed %d\n", SEED);
    static float data[IMAGES * SIZE];
    const zq_images images = make_images(data);
    zq_graph *g = build(true, 0);
    zq_activation found[16];
    zq_error err;
    if (zq_calibrate(g, &images, NULL, &(zq_activation_spec){ZQ_RANGE_MINMAX, 0, 8, false, false}, found,
                     NULL, &err) != ZQ_OK)
        fail_msg("%s", err.text);
    int n_used = 0;
    for (int v = 0; v < g->n_values; v++) {
        if (g->values[v].constant != NULL) {
            assert_false(found[v].used);
            continue;
        }
        if (!found[v].used)
            continue;
        n_used++;
        float lo, hi;
        find_extremes(g, &images, v, &lo, &hi);
        const zq_activation expected = zq_activation_from_range(lo, hi, 8);
        assert_float_equal(found[v].scale, expected.scale, 1e-5 * expected.scale);
        assert_int_equal(found[v].zero_point, expected.zero_point);
    }
    assert_true(n_used >= 3); /* x, r, s; c may be fused away */
    assert_true(found[g->inputs[0]].used && found[g->outputs[0]].used);
    zq_graph_drop(g);
}

static void test_box(void **state) {
    (void)state;
    static float data[IMAGES * SIZE];
    const zq_images images = make_images(data);
    zq_graph *g = build(true, 0);
    zq_activation found[16];
    float lo[] = {-1, -3, -2}, hi[] = {2, 1, 5};
    const zq_box box = {.n_channels = 3, .lo = lo, .hi = hi};
    assert_int_equal(zq_calibrate(g, &images, &box, &(zq_activation_spec){ZQ_RANGE_MSE, 0, 8, false, false},
                                  found, NULL, NULL),
                     ZQ_OK);
    const zq_activation expected = zq_activation_from_range(-3, 5, 8);
    assert_true(found[g->inputs[0]].used);
    assert_true(found[g->inputs[0]].scale == expected.scale);
    assert_int_equal(found[g->inputs[0]].zero_point, expected.zero_point);
    zq_graph_drop(g);
}

/* A batch that the file fixes, dividing the images or not, changes nothing that min-max sees. */
static void test_fixed_batch(void **state) {
    (void)state;
    static float data[IMAGES * SIZE];
    const zq_images images = make_images(data);
    zq_activation free_batch[16], fixed[16];
    zq_graph *g = build(true, 0);
    assert_int_equal(zq_calibrate(g, &images, NULL,
                                  &(zq_activation_spec){ZQ_RANGE_MINMAX, 0, 4, false, false}, free_batch,
                                  NULL, NULL),
                     ZQ_OK);
    zq_graph_drop(g);
    for (int64_t batch = 1; batch <= 8; batch += 3) { /* 1, 4 and 7 of 6 images */
        g = build(false, batch);
        zq_error err;
        if (zq_calibrate(g, &images, NULL, &(zq_activation_spec){ZQ_RANGE_MINMAX, 0, 4, false, false}, fixed,
                         NULL, &err) != ZQ_OK)
            fail_msg("batch %d: %s", (int)batch, err.text);
        for (int v = 0; v < g->n_values; v++) {
            assert_int_equal(fixed[v].used, free_batch[v].used);
            assert_float_equal(fixed[v].scale, free_batch[v].scale, 1e-5 * free_batch[v].scale);
            assert_int_equal(fixed[v].zero_point, free_batch[v].zero_point);
        }
        zq_graph_drop(g);
    }
}

static void test_threads(void **state) {
    (void)state;
    static float data[IMAGES * SIZE];
    const zq_images images = make_images(data);
    zq_graph *g = build(true, 0);
    zq_activation one[16], three[16];
    const int n_threads = omp_get_max_threads();
    for (int method = ZQ_RANGE_MSE; method <= ZQ_RANGE_PERCENTILE; method++) {
        omp_set_num_threads(1);
        assert_int_equal(zq_calibrate(g, &images, NULL,
                                      &(zq_activation_spec){(zq_range_method)method, 99, 8, false, false},
                                      one, NULL, NULL),
                         ZQ_OK);
        omp_set_num_threads(3);
        assert_int_equal(zq_calibrate(g, &images, NULL,
                                      &(zq_activation_spec){(zq_range_method)method, 99, 8, false, false},
                                      three, NULL, NULL),
                         ZQ_OK);
        for (int v = 0; v < g->n_values; v++)
            assert_true(one[v].scale == three[v].scale && one[v].zero_point == three[v].zero_point);
    }
    omp_set_num_threads(n_threads);
    zq_graph_drop(g);
}

static void test_refused(void **state) {
    (void)state;
    static float data[IMAGES * SIZE];
    zq_images images = make_images(data);
    zq_graph *g = build(true, 0);
    zq_activation found[16];
    zq_error err = {0};
    images.shape.dims[1] = 2;
    assert_true(zq_calibrate(g, &images, NULL, &(zq_activation_spec){ZQ_RANGE_MSE, 0, 8, false, false}, found,
                             NULL, &err) != ZQ_OK);
    assert_true(strlen(err.text) > 0);
    images.shape = (zq_shape){0};
    assert_true(zq_calibrate(g, &images, NULL, &(zq_activation_spec){ZQ_RANGE_MSE, 0, 8, false, false}, found,
                             NULL, &err) != ZQ_OK);
    zq_graph_drop(g);
}

static void test_overflow(void **state) {
    (void)state;
    static float data[IMAGES * SIZE];
    const zq_images images = make_images(data);
    zq_graph *g = build(true, 0);
    zq_activation found[16];
    zq_error err = {0};
    zq_real *w = g->values[zq_graph_find_value(g, "w")].constant->data;
    for (int i = 0; i < 27; i++) /* one of four channels */
        w[i] = 3e38F;
    assert_int_equal(zq_calibrate(g, &images, NULL, &(zq_activation_spec){ZQ_RANGE_MSE, 0, 8, false, false},
                                  found, NULL, &err),
                     ZQ_ERR_FORMAT);
    assert_non_null(strstr(err.text, "becomes infinite or NaN"));
    zq_graph_drop(g);
}

static void test_out_of_memory(void **state) {
    (void)state;
    static float data[IMAGES * SIZE];
    const zq_images images = make_images(data);
    zq_graph *g = build(true, 0);
    zq_activation found[16];
    long k = 1;
    for (;; k++) {
        zq_alloc_fail_at(k);
        const zq_status status = zq_calibrate(
            g, &images, NULL, &(zq_activation_spec){ZQ_RANGE_MSE, 0, 8, false, false}, found, NULL, NULL);
        zq_alloc_fail_at(0);
        if (status == ZQ_OK)
            break;
        assert_int_equal(status, ZQ_ERR_MEMORY);
    }
    assert_true(k > 6);
    zq_graph_drop(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_minmax),        cmocka_unit_test(test_box),
        cmocka_unit_test(test_fixed_batch),   cmocka_unit_test(test_threads),
        cmocka_unit_test(test_refused),       cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
