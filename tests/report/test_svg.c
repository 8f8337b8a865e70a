/* SPDX-License-Identifier: Apache-2.0 */
#include "report/svg.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void check_ticks(const zq_axis *axis, int most, int n, const double *expected) {
    double ticks[32];
    assert_int_equal(zq_axis_ticks(axis, most, ticks), n);
    for (int i = 0; i < n; i++)
        assert_float_equal(ticks[i], expected[i], 1e-9 * fabs(expected[i]));
}

static void test_ticks(void **state) {
    (void)state;
    check_ticks(&(zq_axis){.lo = 0, .hi = 8}, 5, 5, (double[]){0, 2, 4, 6, 8});
    check_ticks(&(zq_axis){.lo = 87e3, .hi = 290e3}, 6, 4, (double[]){100e3, 150e3, 200e3, 250e3});
    check_ticks(&(zq_axis){.lo = -0.3, .hi = 0.3}, 4, 3, (double[]){-0.2, 0, 0.2});
    check_ticks(&(zq_axis){.lo = 0.002, .hi = 20, .log = true}, 8, 4, (double[]){0.01, 0.1, 1, 10});
    check_ticks(&(zq_axis){.lo = 0.01, .hi = 0.15, .log = true}, 6, 4, (double[]){0.01, 0.02, 0.05, 0.1});
    double ticks[32];
    const zq_axis huge = {.lo = 1e-300, .hi = 1e300, .log = true};
    assert_in_range(zq_axis_ticks(&huge, 6, ticks), 4, 6);
}

/* Axes of nothing, of one point and of values that don't fit are axes all the same. */
static void test_odd_axes(void **state) {
    (void)state;
    for (int log = 0; log < 2; log++)
        for (int kind = 0; kind < 4; kind++) {
            static const double values[] = {0, -3, 5, 1e-30};
            zq_axis axis = {.lo = 1, .hi = 0, .log = log};
            double ticks[32];
            zq_axis_include(&axis, NAN);
            zq_axis_include(&axis, INFINITY);
            if (kind > 0)
                zq_axis_include(&axis, values[kind]);
            zq_axis_finish(&axis, 0.05);
            assert_true(axis.lo < axis.hi && isfinite(axis.lo) && isfinite(axis.hi));
            assert_true(!log || axis.lo > 0);
            assert_in_range(zq_axis_ticks(&axis, 6, ticks), 1, 6);
        }
}

static void test_places(void **state) {
    (void)state;
    const zq_axis linear = {.lo = -1, .hi = 3}, log = {.lo = 0.01, .hi = 100, .log = true};
    assert_float_equal(zq_axis_place(&linear, 0), 0.25, 1e-12);
    assert_float_equal(zq_axis_place(&linear, 9), 1, 0);
    assert_float_equal(zq_axis_place(&linear, NAN), 0, 0);
    assert_float_equal(zq_axis_place(&log, 1), 0.5, 1e-12);
    assert_float_equal(zq_axis_place(&log, 0), 0, 0);
    assert_float_equal(zq_axis_place(&log, -1), 0, 0);
    assert_float_equal(zq_axis_place(&log, INFINITY), 1, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ticks),
        cmocka_unit_test(test_odd_axes),
        cmocka_unit_test(test_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
