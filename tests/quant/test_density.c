/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/density.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static zq_density density_of(size_t n, const float *x) {
    zq_histogram histogram;
    zq_density density;
    zq_histogram_init(&histogram);
    zq_histogram_add(&histogram, n, x);
    zq_density_make(&histogram, &density);
    return density;
}

static double sum(const zq_density *density) {
    double all = density->zeros;
    for (int i = 0; i < ZQ_DENSITY_BINS; i++)
        all += density->share[i];
    return all;
}

/* Every element is in some bin or a zero, whatever the range. */
static void test_nothing_is_lost(void **state) {
    (void)state;
    static const float ranges[][2] = {{0, 6},   {-3, 3}, {-1e-20F, 5e10F}, {100, 100.001F},
                                      {-7, -7}, {0, 0},  {-0.1F, 2}};
    enum { N = 5000 };
    static float x[N];
    for (size_t r = 0; r < sizeof ranges / sizeof *ranges; r++) {
        for (int i = 0; i < N; i++)
            x[i] = i % 4 == 3 && ranges[r][0] <= 0 && ranges[r][1] >= 0
                       ? 0
                       : ranges[r][0] + (ranges[r][1] - ranges[r][0]) * (float)i / (N - 1);
        const zq_density density = density_of(N, x);
        assert_float_equal(sum(&density), 1, 1e-4);
        assert_float_equal(density.n, N, 0);
    }
}

static void test_shape(void **state) {
    (void)state;
    enum { N = 48000 };
    static float x[N];
    for (int i = 0; i < N; i++) /* even over 1..3 */
        x[i] = 1 + 2 * (i + 0.5F) / N;
    const zq_density density = density_of(N, x);
    for (int i = 0; i < ZQ_DENSITY_BINS; i++)
        assert_float_equal(density.share[i], 1.0 / ZQ_DENSITY_BINS, 0.15 / ZQ_DENSITY_BINS);
    assert_float_equal(zq_density_outside(&density, 0, 4), 0, 1e-6);
    assert_float_equal(zq_density_outside(&density, 1.5, 4), 0.25, 0.01);
    assert_float_equal(zq_density_outside(&density, 1.5, 2.5), 0.5, 0.01);
    assert_float_equal(zq_density_outside(&density, 4, 5), 1, 1e-5);
}

static void test_nothing_and_one_value(void **state) {
    (void)state;
    const float x[3] = {2, 2, 2};
    zq_density density = density_of(0, x);
    assert_true(density.n == 0 && zq_density_outside(&density, 0, 1) == 0);
    density = density_of(3, x);
    assert_float_equal(zq_density_outside(&density, 0, 3), 0, 0);
    assert_float_equal(zq_density_outside(&density, 0, 1), 1, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_lost),
        cmocka_unit_test(test_shape),
        cmocka_unit_test(test_nothing_and_one_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
