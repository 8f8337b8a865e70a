/* SPDX-License-Identifier: Apache-2.0 */
/* Histograms and the ranges drawn from them against the raw values. */
#include "base/random.h"
#include "quant/calibrate.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SEED = 11, N = 20000 };

/* kind 0: normal; 1: rectified; 2: heavy tails; 3: clipped at 6; 4: mostly positive with a small negative
 * side; 5: all negative */
static void fill(float *x, int kind) {
    for (int i = 0; i < N; i++) {
        const double z = zq_random_normal(SEED + (uint64_t)kind, (uint64_t)i);
        const double values[] = {z,
                                 fmax(z, 0),
                                 z * exp(fabs(z)),
                                 fmin(fmax(3 * z + 2, 0), 6),
                                 z > 0 ? 4 * z * z : 0.1 * z,
                                 -fabs(z) - 1};
        x[i] = (float)values[kind];
    }
}

/* An error beyond half a step, where x is clipped, counts more than once. */
static double raw_error(const float *x, const zq_activation *a, double clipped) {
    double sum = 0;
    for (int i = 0; i < N; i++) {
        float y;
        zq_activation_apply(a, 1, &x[i], &y);
        const double off = (double)x[i] - y;
        sum += off * off * (fabs(off) > 0.5 * (double)a->scale ? clipped : 1);
    }
    return sum / N;
}

static void test_counts(void **state) {
    (void)state;
    print_message("seed %d\n", SEED);
    static float x[N];
    for (int kind = 0; kind < 6; kind++) {
        fill(x, kind);
        zq_histogram h;
        zq_histogram_init(&h);
        zq_histogram_add(&h, N, x);
        static double expected[ZQ_HISTOGRAM_BINS];
        memset(expected, 0, sizeof expected);
        double zeros = 0;
        float lo = INFINITY, hi = -INFINITY;
        for (int i = 0; i < N; i++) {
            lo = fminf(lo, x[i]);
            hi = fmaxf(hi, x[i]);
            if (x[i] == 0)
                zeros++;
            else
                expected[(int)floor(x[i] / h.width) + ZQ_HISTOGRAM_ZERO]++;
        }
        assert_true(h.n == N && h.zeros == zeros && h.lo == lo && h.hi == hi);
        assert_memory_equal(h.count, expected, sizeof expected);
        assert_true(fmaxf(-lo, hi) >= 512 * h.width); /* no wider than needed */
    }
}

/* Any order and any portions give the same histogram. */
static void test_order(void **state) {
    (void)state;
    print_message("seed %d\n", SEED);
    static float x[N];
    fill(x, 2);
    for (int i = 0; i < N; i++)
        x[i] *= (float)exp2(-20 + 30.0 * i / N); /* grows: many doublings one way, none the other */
    x[7] = 0;
    zq_histogram whole, up, down;
    zq_histogram_init(&whole);
    zq_histogram_init(&up);
    zq_histogram_init(&down);
    zq_histogram_add(&whole, N, x);
    for (size_t i = 0, n = 1; i < N; i += n, n = n * 3 % 5003) {
        n = n < N - i ? n : N - i;
        zq_histogram_add(&up, n, x + i);
    }
    for (size_t i = N; i-- > 0;)
        zq_histogram_add(&down, 1, x + i);
    assert_memory_equal(&whole, &up, sizeof whole);
    assert_memory_equal(&whole, &down, sizeof whole);
}

static void test_odd_values(void **state) {
    (void)state;
    zq_histogram h;
    float lo = 1, hi = 2;
    zq_histogram_init(&h);
    zq_histogram_add(&h, 0, NULL);
    for (int method = ZQ_RANGE_MSE; method <= ZQ_RANGE_PERCENTILE; method++) {
        zq_histogram_range(&h, &(zq_activation_spec){(zq_range_method)method, 99, 8, false, false}, &lo, &hi);
        assert_true(lo == 0 && hi == 0);
    }
    const float zeros[] = {0, -0.0f, 0};
    zq_histogram_add(&h, 3, zeros);
    zq_histogram_range(&h, &(zq_activation_spec){ZQ_RANGE_MSE, 99, 8, false, false}, &lo, &hi);
    assert_true(lo == 0 && hi == 0 && h.zeros == 3);

    const float odd[] = {NAN, INFINITY, -INFINITY, 1e-44f, -1e-44f, 3e38f, -3e38f, 1};
    zq_histogram_add(&h, 8, odd);
    assert_true(h.n == 8 && h.zeros == 3);
    assert_true(h.lo == -3e38f && h.hi == 3e38f);
    double total = h.zeros;
    for (int i = 0; i < ZQ_HISTOGRAM_BINS; i++) {
        assert_true(h.count[i] >= 0);
        total += h.count[i];
    }
    assert_true(total == h.n);
    for (int method = ZQ_RANGE_MSE; method <= ZQ_RANGE_PERCENTILE; method++) {
        zq_histogram_range(&h, &(zq_activation_spec){(zq_range_method)method, 99, 8, false, false}, &lo, &hi);
        assert_true(isfinite(lo) && isfinite(hi) && lo <= 0 && hi >= 0);
    }
    const float bad[] = {NAN, NAN};
    zq_histogram_init(&h);
    zq_histogram_add(&h, 2, bad);
    assert_true(h.n == 0 && h.lo == 0 && h.hi == 0);
}

static void test_minmax(void **state) {
    (void)state;
    const float x[] = {2, 3, 5.5f};
    zq_histogram h;
    float lo, hi;
    zq_histogram_init(&h);
    zq_histogram_add(&h, 3, x);
    zq_histogram_range(&h, &(zq_activation_spec){ZQ_RANGE_MINMAX, 0, 8, false, false}, &lo, &hi);
    assert_true(lo == 2 && hi == 5.5f);
}

static int by_value(const void *a, const void *b) {
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void test_percentile(void **state) {
    (void)state;
    print_message("seed %d\n", SEED);
    static float x[N];
    for (int kind = 0; kind < 6; kind++)
        for (int p = 0; p < 3; p++) {
            const double percentile = (const double[]){99, 99.9, 100}[p];
            fill(x, kind);
            zq_histogram h;
            float lo, hi;
            zq_histogram_init(&h);
            zq_histogram_add(&h, N, x);
            zq_histogram_range(&h, &(zq_activation_spec){ZQ_RANGE_PERCENTILE, percentile, 8, false, false},
                               &lo, &hi);
            qsort(x, N, sizeof *x, by_value);
            const int cut = (int)lround((1 - percentile / 100) * N);
            const double slack = 1.01 * h.width;
            assert_true(fabs(hi - fmax(x[N - 1 - cut], 0)) <= slack ||
                        fabs(hi - fmax(x[N - (cut > 0 ? cut : 1)], 0)) <= slack);
            assert_true(fabs(lo - fmin(x[cut], 0)) <= slack ||
                        fabs(lo - fmin(x[cut > 0 ? cut - 1 : 0], 0)) <= slack);
            if (percentile == 100)
                assert_true(lo == fminf(h.lo, 0) && hi == fmaxf(h.hi, 0));
        }
}

/* A side that is all beyond the percentile keeps its extreme: the range never vanishes. */
static void test_percentile_sparse(void **state) {
    (void)state;
    static float x[N];
    memset(x, 0, sizeof x);
    x[5] = 3;
    zq_histogram h;
    float lo, hi;
    zq_histogram_init(&h);
    zq_histogram_add(&h, N, x);
    zq_histogram_range(&h, &(zq_activation_spec){ZQ_RANGE_PERCENTILE, 99, 8, false, false}, &lo, &hi);
    assert_true(lo == 0 && hi == 3);
}

/* The range of least squared error against a finer search on the raw values. */
static void check_mse(const float *x, int kind, int bits, bool places, double clipped) {
    zq_histogram h;
    float lo, hi;
    zq_histogram_init(&h);
    zq_histogram_add(&h, N, x);
    zq_histogram_range(&h, &(zq_activation_spec){ZQ_RANGE_MSE, 0, bits, false, places}, &lo, &hi);
    assert_true(lo <= 0 && hi >= 0);
    assert_true(h.lo < 0 || lo == 0);
    assert_true(h.hi > 0 || hi == 0);
    const zq_activation chosen = zq_activation_from_range(lo, hi, bits);
    const zq_activation whole = zq_activation_from_range(h.lo, h.hi, bits);
    const double error = raw_error(x, &chosen, clipped);
    assert_true(error <= raw_error(x, &whole, clipped) * 1.01);
    double least = INFINITY;
    for (int a = 1; a <= 25; a++)
        for (int b = 1; b <= 25; b++) {
            if ((h.lo >= 0 && a > 1) || (h.hi <= 0 && b > 1))
                continue;
            const zq_activation other =
                zq_activation_from_range(h.lo * (float)a / 25, h.hi * (float)b / 25, bits);
            least = fmin(least, raw_error(x, &other, clipped));
        }
    if (error > least * 1.05)
        fail_msg("kind %d, %d bits, clipping counts %g times: %g, the best is %g", kind, bits, clipped, error,
                 least);
}

static void test_mse(void **state) {
    (void)state;
    print_message("seed %d\n", SEED);
    static float x[N];
    for (int kind = 0; kind < 6; kind++) {
        fill(x, kind);
        for (int bits = 2; bits <= 8; bits += 2)
            check_mse(x, kind, bits, false, 1);
        check_mse(x, kind, 6, true, 1);
        check_mse(x, kind, 7, true, 4);
        check_mse(x, kind, 8, true, 16);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),     cmocka_unit_test(test_order),
        cmocka_unit_test(test_odd_values), cmocka_unit_test(test_minmax),
        cmocka_unit_test(test_percentile), cmocka_unit_test(test_percentile_sparse),
        cmocka_unit_test(test_mse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
