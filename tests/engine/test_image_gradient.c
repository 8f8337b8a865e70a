/* SPDX-License-Identifier: Apache-2.0 */
/* The gradient to images against loops written from the definition, on random windows. */
#include "base/memory.h"
#include "base/random.h"
#include "engine/image_gradient.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>
#include <omp.h>

enum { N_PROBLEMS = 200 };

static uint64_t n_drawn;

static int64_t draw(int64_t lo, int64_t hi) {
    return lo + (int64_t)(zq_random_uniform(7, n_drawn++) * (double)(hi - lo + 1));
}

static zq_window draw_window(void) {
    zq_window w = {
        .n_spatial = 2, .n_images = draw(1, 3), .c_in = draw(1, 4), .c_out = 16 * draw(1, 3), .groups = 1};
    for (int i = 0; i < 2; i++) {
        w.kernel[i] = draw(1, 5);
        w.stride[i] = draw(1, 3);
        w.dilation[i] = draw(1, 2);
        w.pad_lo[i] = draw(0, w.kernel[i] - 1);
        const int64_t extent = (w.kernel[i] - 1) * w.dilation[i] + 1;
        w.in[i] = extent + draw(0, 12);
        w.pad_hi[i] = draw(0, w.kernel[i] - 1);
        w.out[i] = (w.in[i] + w.pad_lo[i] + w.pad_hi[i] - extent) / w.stride[i] + 1;
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

/* d_src from the definition: every multiply-add of the convolution the other way round. */
static void define(const zq_window *w, const float *weights, const float *d_dst, double *d_src) {
    for (int64_t n = 0; n < w->n_images; n++)
        for (int64_t at = 0; at < w->out[0] * w->out[1] * w->kernel[0] * w->kernel[1]; at++) {
            const int64_t tap = at % (w->kernel[0] * w->kernel[1]), out = at / (w->kernel[0] * w->kernel[1]);
            const int64_t y =
                out / w->out[1] * w->stride[0] + tap / w->kernel[1] * w->dilation[0] - w->pad_lo[0];
            const int64_t x =
                out % w->out[1] * w->stride[1] + tap % w->kernel[1] * w->dilation[1] - w->pad_lo[1];
            if (y < 0 || y >= w->in[0] || x < 0 || x >= w->in[1])
                continue;
            for (int64_t o = 0; o < w->c_out; o++)
                for (int64_t c = 0; c < w->c_in; c++)
                    d_src[((n * w->in[0] + y) * w->in[1] + x) * w->c_in + c] +=
                        (double)d_dst[(n * w->out[0] * w->out[1] + out) * w->c_out + o] *
                        weights[(o * w->c_in + c) * w->kernel[0] * w->kernel[1] + tap];
        }
}

static void check(const zq_window *w) {
    const int64_t n_src = w->n_images * w->in[0] * w->in[1] * w->c_in;
    float *weights = random_array(w->c_out * w->c_in * w->kernel[0] * w->kernel[1]);
    float *d_dst = random_array(w->n_images * w->out[0] * w->out[1] * w->c_out);
    float *packed = zq_alloc_raw(zq_image_gradient_packed_count(w), sizeof *packed);
    float *d_src = random_array(n_src), *again = random_array(n_src);
    double *expected = zq_alloc((size_t)n_src, sizeof *expected);
    assert_true(packed != NULL && expected != NULL);
    zq_image_gradient_pack(w, weights, packed);
    zq_image_gradient_run(w, d_dst, packed, d_src);
    omp_set_num_threads(1);
    zq_image_gradient_run(w, d_dst, packed, again);
    omp_set_num_threads(omp_get_num_procs());
    assert_memory_equal(d_src, again, (size_t)n_src * sizeof *d_src); /* whatever the number of threads */
    define(w, weights, d_dst, expected);
    for (int64_t i = 0; i < n_src; i++)
        if (!(fabs(d_src[i] - expected[i]) <= 2e-5 * (1 + fabs(expected[i]))))
            fail_msg("d_src[%lld]: %.9g instead of %.9g", (long long)i, d_src[i], expected[i]);
    zq_free(weights);
    zq_free(d_dst);
    zq_free(packed);
    zq_free(d_src);
    zq_free(again);
    zq_free(expected);
}

static void gradients_match_the_definition(void **state) {
    (void)state;
    for (int problem = 0; problem < N_PROBLEMS; problem++) {
        const zq_window w = draw_window();
        assert_true(zq_image_gradient_takes(&w));
        check(&w);
    }
}

static void other_convolutions_are_left_to_others(void **state) {
    (void)state;
    zq_window w = draw_window();
    w.c_in = 5;
    assert_false(zq_image_gradient_takes(&w));
    w.c_in = 2;
    w.groups = 2;
    assert_false(zq_image_gradient_takes(&w));
    w.groups = 1;
    w.c_out = 20;
    assert_false(zq_image_gradient_takes(&w));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_match_the_definition),
        cmocka_unit_test(other_convolutions_are_left_to_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
