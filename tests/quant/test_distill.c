/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/distill.h"
#include "quant/noise.h"
#include "tiny_net.h"

#include <omp.h>

enum { SIDE = 16, IMAGES = 8 };

static zq_box tiny_box(void) {
    static float lo[] = {-2, -2, -2}, hi[] = {2, 2.5F, 3}, mean[] = {0, 0.1F, 0.2F}, std[] = {1, 1.1F, 1.2F};
    return (zq_box){.n_channels = 3, .lo = lo, .hi = hi, .mean = mean, .std = std};
}

static zq_images distil(zq_graph *graph, zq_distill_options options) {
    const zq_box box = tiny_box();
    zq_images images;
    zq_error err;
    if (options.n_images == 0)
        options.n_images = IMAGES;
    if (zq_distill(graph, &box, &options, &images, &err) != ZQ_OK)
        fail_msg("%s", err.text);
    return images;
}

static void fast_lowers_the_residual_inside_the_box(void **state) {
    (void)state;
    const zq_box box = tiny_box();
    for (uint64_t seed = 1; seed <= 3; seed++) {
        print_message("seed %d\n", (int)seed);
        zq_graph *graph = tiny_net(seed, SIDE, 0);
        zq_images noise = distil(graph, (zq_distill_options){.recipe = ZQ_DISTILL_NOISE, .seed = seed});
        zq_images images = distil(graph, (zq_distill_options){.recipe = ZQ_DISTILL_FAST, .seed = seed});
        assert_int_equal(noise.n_steps, 0);
        assert_int_equal(images.n_steps, 10);
        assert_int_equal(images.shape.dims[0], IMAGES);
        assert_true(fabs(images.loss[0] - noise.residual) < 1e-6 * noise.residual);
        assert_true(images.residual < 0.5 * noise.residual);
        for (int64_t i = 0; i < zq_shape_count(&images.shape); i++) {
            const int64_t c = i / (SIDE * SIDE) % 3;
            assert_true(images.data[i] >= box.lo[c] - 1e-5F && images.data[i] <= box.hi[c] + 1e-5F);
        }
        zq_images_clear(&noise);
        zq_images_clear(&images);
        zq_graph_drop(graph);
    }
}

static void paper_lowers_its_loss(void **state) {
    (void)state;
    zq_graph *graph = tiny_net(3, SIDE, 0);
    zq_images images = distil(graph, (zq_distill_options){.recipe = ZQ_DISTILL_PAPER, .n_steps = 60});
    assert_int_equal(images.n_steps, 60);
    assert_true(images.loss[59] < 0.5 * images.loss[0]);
    zq_images_clear(&images);
    zq_graph_drop(graph);
}

static void threads_change_nothing(void **state) {
    (void)state;
    zq_graph *graph = tiny_net(5, SIDE, 0);
    const int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    zq_images one = distil(graph, (zq_distill_options){.seed = 5});
    omp_set_num_threads(3);
    zq_images three = distil(graph, (zq_distill_options){.seed = 5});
    omp_set_num_threads(threads);
    zq_images other = distil(graph, (zq_distill_options){.seed = 6});
    const size_t bytes = (size_t)zq_shape_count(&one.shape) * sizeof(float);
    assert_memory_equal(one.data, three.data, bytes);
    assert_memory_not_equal(one.data, other.data, bytes);
    zq_images_clear(&one);
    zq_images_clear(&three);
    zq_images_clear(&other);
    zq_graph_drop(graph);
}

/* A network for two images at a time sees the same whole batch, in four parts. */
static void a_fixed_batch_gives_the_same_images(void **state) {
    (void)state;
    zq_graph *free_batch = tiny_net(5, SIDE, 0), *fixed = tiny_net(5, SIDE, 2);
    zq_images a = distil(free_batch, (zq_distill_options){.n_steps = 3});
    zq_images b = distil(fixed, (zq_distill_options){.n_steps = 3, .n_images = IMAGES - 1}); /* rounded up */
    assert_int_equal(b.shape.dims[0], IMAGES);
    assert_true(fabs(a.residual - b.residual) < 1e-3 * a.residual);
    zq_images_clear(&a);
    zq_images_clear(&b);
    zq_graph_drop(free_batch);
    zq_graph_drop(fixed);
}

/* 96 pixels or more: most steps at half size. */
static void large_images_start_small(void **state) {
    (void)state;
    zq_graph *graph = tiny_net(2, 97, 0);
    zq_images images = distil(graph, (zq_distill_options){.n_images = 2});
    assert_int_equal(images.shape.dims[2], 97);
    assert_int_equal(images.shape.dims[3], 97);
    assert_true(images.residual < 0.5 * images.loss[0]);
    zq_images_clear(&images);
    zq_graph_drop(graph);
}

static int stop_at_two(void *user, int step, int n_steps) {
    assert_int_equal(n_steps, 10);
    *(int *)user = step;
    return step == 2;
}

static void the_callback_cancels(void **state) {
    (void)state;
    zq_graph *graph = tiny_net(1, SIDE, 0);
    const zq_box box = tiny_box();
    int step = 0;
    const zq_distill_options options = {.n_images = 2, .callback = stop_at_two, .user = &step};
    zq_images images;
    zq_error err;
    assert_int_equal(zq_distill(graph, &box, &options, &images, &err), ZQ_ERR_CANCELLED);
    assert_int_equal(step, 2);
    assert_null(images.data);
    zq_graph_drop(graph);
}

static void missing_statistics_come_with_the_remedy(void **state) {
    (void)state;
    zq_graph *graph = tiny_net(1, SIDE, 0);
    const zq_box box = tiny_box();
    const zq_distill_options options = {.n_images = 2};
    zq_images images;
    zq_error err;
    zq_value_set_stats(&graph->values[zq_graph_find_value(graph, "z1")], NULL);
    zq_value_set_stats(&graph->values[zq_graph_find_value(graph, "z2")], NULL);
    assert_int_equal(zq_distill(graph, &box, &options, &images, &err), ZQ_ERR_STATISTICS);
    assert_non_null(strstr(err.text, "training=torch.onnx.TrainingMode.PRESERVE"));
    zq_images noise = distil(graph, (zq_distill_options){.recipe = ZQ_DISTILL_NOISE});
    assert_true(noise.residual == 0);
    zq_images_clear(&noise);
    zq_graph_drop(graph);
}

static void a_box_of_other_channels_is_refused(void **state) {
    (void)state;
    zq_graph *graph = tiny_net(1, SIDE, 0);
    zq_box box = tiny_box();
    box.n_channels = 1;
    const zq_distill_options options = {.n_images = 2};
    zq_images images;
    zq_error err;
    assert_int_equal(zq_distill(graph, &box, &options, &images, &err), ZQ_ERR_USAGE);
    assert_non_null(strstr(err.text, "[-1,3,16,16]"));
    zq_graph_drop(graph);
}

/* Unit variance, neighbours alike, channels alike. */
static void photo_noise_resembles_photos(void **state) {
    (void)state;
    enum { N = 64, C = 3, S = 32 };
    static float x[N * C * S * S];
    const zq_shape shape = zq_shape_of(4, (const int64_t[]){N, C, S, S});
    double square = 0, neighbours = 0, colours = 0, n = 0;
    assert_int_equal(zq_noise_add_photo(11, &shape, 0, 1, x, NULL), ZQ_OK);
    for (int image = 0; image < N; image++)
        for (int i = 0; i < S; i++)
            for (int j = 0; j + 1 < S; j++, n++) {
                const float *at = x + image * C * S * S + i * S + j;
                square += at[0] * at[0];
                neighbours += at[0] * at[1];
                colours += at[0] * at[S * S];
            }
    assert_true(fabs(square / n - 1) < 0.25);
    assert_true(neighbours / square > 0.6 && neighbours / square < 0.95);
    assert_true(fabs(colours / square - 0.9) < 0.05);
}

/* Some images have twice the contrast of others, as photos do. */
static void images_start_unlike_each_other(void **state) {
    (void)state;
    enum { N = 64 };
    zq_graph *graph = tiny_net(1, SIDE, 0);
    zq_images images = distil(graph, (zq_distill_options){.recipe = ZQ_DISTILL_NOISE, .n_images = N});
    double deviation[N], all = 0;
    for (int image = 0; image < N; image++) {
        double sum = 0, square = 0;
        for (int i = 0; i < SIDE * SIDE; i++) {
            const double x = images.data[image * 3 * SIDE * SIDE + i];
            sum += x / (SIDE * SIDE);
            square += x * x / (SIDE * SIDE);
        }
        deviation[image] = sqrt(square - sum * sum);
        all += deviation[image] / N;
    }
    int n_low = 0, n_high = 0;
    for (int image = 0; image < N; image++) {
        n_low += deviation[image] < 0.7 * all;
        n_high += deviation[image] > 1.2 * all;
    }
    print_message("%d with little contrast, %d with much\n", n_low, n_high);
    assert_true(n_low > N / 10 && n_high > N / 10);
    zq_images_clear(&images);
    zq_graph_drop(graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fast_lowers_the_residual_inside_the_box),
        cmocka_unit_test(paper_lowers_its_loss),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(a_fixed_batch_gives_the_same_images),
        cmocka_unit_test(large_images_start_small),
        cmocka_unit_test(the_callback_cancels),
        cmocka_unit_test(missing_statistics_come_with_the_remedy),
        cmocka_unit_test(a_box_of_other_channels_is_refused),
        cmocka_unit_test(photo_noise_resembles_photos),
        cmocka_unit_test(images_start_unlike_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
