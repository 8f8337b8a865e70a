/* SPDX-License-Identifier: Apache-2.0 */
/* Minimal filtering against loops written from the definition, on random windows. */
#include "base/memory.h"
#include "base/random.h"
#include "engine/winograd.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>
#include <omp.h>

enum { N_PROBLEMS = 60 };

static uint64_t n_drawn;

static int64_t draw(int64_t lo, int64_t hi) {
    return lo + (int64_t)(zq_random_uniform(7, n_drawn++) * (double)(hi - lo + 1));
}

static zq_window draw_window(void) {
    zq_window w = {.n_spatial = 2,
                   .n_images = draw(8, 12),
                   .c_in = 16 * draw(2, 6),
                   .c_out = 16 * draw(2, 6),
                   .groups = 1};
    for (int i = 0; i < 2; i++) {
        w.kernel[i] = 3;
        w.stride[i] = w.dilation[i] = 1;
        w.pad_lo[i] = draw(0, 2);
        w.pad_hi[i] = draw(0, 2);
        w.in[i] = draw(7, 15);
        w.out[i] = w.in[i] + w.pad_lo[i] + w.pad_hi[i] - 2;
    }
    return w;
}

static float *random_array(int64_t n) {
    float *array = zq_alloc_raw((size_t)n, sizeof *array);
    assert_non_null(array);
    for (int64_t i = 0; i < n; i++)
        array[i] = (float)(2 * zq_random_uniform(8, n_drawn++) - 1);
    return array;
}

/* Every multiply-add of the convolution w: from src to dst, or from the gradient of dst to that of src. */
static void define(const zq_window *w, bool backward, const float *weights, const float *from, double *to) {
    for (int64_t n = 0; n < w->n_images; n++)
        for (int64_t at = 0; at < w->out[0] * w->out[1] * 9; at++) {
            const int64_t tap = at % 9, out = at / 9;
            const int64_t y = out / w->out[1] + tap / 3 - w->pad_lo[0];
            const int64_t x = out % w->out[1] + tap % 3 - w->pad_lo[1];
            if (y < 0 || y >= w->in[0] || x < 0 || x >= w->in[1])
                continue;
            const int64_t src = ((n * w->in[0] + y) * w->in[1] + x) * w->c_in;
            const int64_t dst = (n * w->out[0] * w->out[1] + out) * w->c_out;
            for (int64_t o = 0; o < w->c_out; o++)
                for (int64_t c = 0; c < w->c_in; c++) {
                    const double weight = weights[(o * w->c_in + c) * 9 + tap];
                    to[backward ? src + c : dst + o] += weight * from[backward ? dst + o : src + c];
                }
        }
}

static void check(const zq_window *forward, bool backward) {
    const zq_window w = backward ? zq_winograd_backward(forward) : *forward;
    const int64_t n_src = w.n_images * w.in[0] * w.in[1] * w.c_in;
    const int64_t n_dst = w.n_images * w.out[0] * w.out[1] * w.c_out;
    const zq_clamp clamp = {(float)draw(-1, 0), draw(0, 1) == 1 ? INFINITY : 1};
    const bool clamps = draw(0, 1) == 1, biased = draw(0, 1) == 1;
    float *weights = random_array(w.c_out * w.c_in * 9), *src = random_array(n_src);
    float *bias = random_array(w.c_out), *room = random_array((int64_t)zq_winograd_room(&w));
    float *dst = random_array(n_dst), *again = random_array(n_dst);
    double *expected = zq_alloc((size_t)n_dst, sizeof *expected);
    assert_non_null(expected);
    assert_true(zq_winograd_takes(&w));
    assert_int_equal(zq_winograd_run(&w, backward, src, weights, biased ? bias : NULL, clamps ? &clamp : NULL,
                                     room, dst, NULL),
                     ZQ_OK);
    omp_set_num_threads(1);
    assert_int_equal(zq_winograd_run(&w, backward, src, weights, biased ? bias : NULL, clamps ? &clamp : NULL,
                                     room, again, NULL),
                     ZQ_OK);
    omp_set_num_threads(omp_get_num_procs());
    assert_memory_equal(dst, again, (size_t)n_dst * sizeof *dst); /* whatever the number of threads */
    define(forward, backward, weights, src, expected);
    double largest = 0;
    for (int64_t i = 0; i < n_dst; i++)
        largest = fmax(largest, fabs(expected[i]));
    for (int64_t i = 0; i < n_dst; i++) {
        double y = expected[i] + (biased ? bias[i % w.c_out] : 0);
        y = clamps ? fmin(fmax(y, clamp.lo), clamp.hi) : y;
        if (!(fabs(dst[i] - y) <= 3e-5 * largest))
            fail_msg("dst[%lld]: %.9g instead of %.9g", (long long)i, dst[i], y);
    }
    zq_free(weights);
    zq_free(src);
    zq_free(bias);
    zq_free(room);
    zq_free(dst);
    zq_free(again);
    zq_free(expected);
}

static void both_directions_match_the_definition(void **state) {
    (void)state;
    for (int problem = 0; problem < N_PROBLEMS; problem++) {
        const zq_window w = draw_window();
        check(&w, false);
        check(&w, true);
    }
}

/* More tiles than are taken at a time. */
static void many_tiles_match_the_definition(void **state) {
    (void)state;
    zq_window w = draw_window();
    w.n_images = 3;
    for (int i = 0; i < 2; i++) {
        w.in[i] = 45;
        w.out[i] = 45 + w.pad_lo[i] + w.pad_hi[i] - 2;
    }
    check(&w, false);
    check(&w, true);
}

/* More weights than are transformed at a time, and a remainder. */
static void many_channels_match_the_definition(void **state) {
    (void)state;
    zq_window w = draw_window();
    w.c_in = 336;
    w.c_out = 208;
    check(&w, false);
    check(&w, true);
}

static void other_convolutions_are_left_to_others(void **state) {
    (void)state;
    const zq_window taken = draw_window();
    assert_true(zq_winograd_takes(&taken));
    zq_window w = taken;
    w.stride[1] = 2;
    assert_false(zq_winograd_takes(&w));
    w = taken;
    w.dilation[0] = 2;
    assert_false(zq_winograd_takes(&w));
    w = taken;
    w.kernel[0] = 5;
    assert_false(zq_winograd_takes(&w));
    w = taken;
    w.groups = 2;
    assert_false(zq_winograd_takes(&w));
    w = taken;
    w.c_in = 36;
    assert_false(zq_winograd_takes(&w));
    w = taken;
    w.n_images = 1; /* too few tiles to pay for the weights */
    w.out[0] = w.out[1] = 7;
    assert_false(zq_winograd_takes(&w));
}

static void not_a_number_passes(void **state) {
    (void)state;
    zq_window w = draw_window();
    float *weights = random_array(w.c_out * w.c_in * 9);
    float *src = random_array(w.n_images * w.in[0] * w.in[1] * w.c_in);
    float *dst = random_array(w.n_images * w.out[0] * w.out[1] * w.c_out);
    float *room = random_array((int64_t)zq_winograd_room(&w));
    src[(5 * w.in[1] + 5) * w.c_in] = NAN;
    assert_int_equal(
        zq_winograd_run(&w, false, src, weights, NULL, &(zq_clamp){0, INFINITY}, room, dst, NULL), ZQ_OK);
    assert_true(isnan(dst[((3 + w.pad_lo[0]) * w.out[1] + 3 + w.pad_lo[1]) * w.c_out]));
    zq_free(weights);
    zq_free(src);
    zq_free(dst);
    zq_free(room);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_directions_match_the_definition),
        cmocka_unit_test(many_tiles_match_the_definition),
        cmocka_unit_test(many_channels_match_the_definition),
        cmocka_unit_test(other_convolutions_are_left_to_others),
        cmocka_unit_test(not_a_number_passes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
