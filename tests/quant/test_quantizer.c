/* SPDX-License-Identifier: Apache-2.0 */
/* The quantizer against the formula in double. */
#include "base/memory.h"
#include "base/random.h"
#include "quant/quantizer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SEED = 20200616 };

static double half_even(double x) {
    const double down = floor(x), rest = x - down;
    if (rest != 0.5)
        return rest < 0.5 ? down : down + 1;
    return fmod(down, 2) == 0 ? down : down + 1;
}

static double clamp(double x, double lo, double hi) {
    return x < lo ? lo : x > hi ? hi : x;
}

/* n random weights; channel c has its own spread, and a few outliers. */
static void fill(float *w, int64_t n_channels, int64_t per_channel, uint64_t seed) {
    for (int64_t i = 0; i < n_channels * per_channel; i++) {
        const int64_t c = i / per_channel;
        w[i] = (float)(zq_random_normal(seed, (uint64_t)i) * exp((double)(c % 7) - 5));
        if (zq_random_uniform(seed + 1, (uint64_t)i) < 0.01)
            w[i] *= 5;
    }
}

static double channel_error(const zq_weights *q, const float *w, int64_t c) {
    double sum = 0;
    for (int64_t i = c * q->per_channel; i < (c + 1) * q->per_channel; i++) {
        const double d = w[i] - (double)(q->q[i] - q->zero_point[c]) * q->scale[c];
        sum += d * d;
    }
    return sum;
}

static void test_activation_range(void **state) {
    (void)state;
    zq_activation a = zq_activation_from_range(0, 2.55f, 8);
    assert_true(a.used);
    assert_int_equal(a.zero_point, 0);
    assert_int_equal(a.q_max, 255);
    assert_float_equal(a.scale, 0.01f, 1e-9);

    a = zq_activation_from_range(-1, 3, 4);
    assert_int_equal(a.q_max, 15);
    assert_float_equal(a.scale, 4.0 / 15, 1e-7);
    assert_int_equal(a.zero_point, 4); /* 3.75 */

    a = zq_activation_from_range(2, 4, 8); /* 0 comes inside */
    assert_int_equal(a.zero_point, 0);
    assert_float_equal(a.scale, 4.0 / 255, 1e-8);

    a = zq_activation_from_range(-4, -2, 8);
    assert_int_equal(a.zero_point, 255);
    assert_float_equal(a.scale, 4.0 / 255, 1e-8);
}

/* Signed bytes around 0, whatever the range. */
static void test_activation_symmetric(void **state) {
    (void)state;
    const zq_activation_spec spec = {.bits = 8, .symmetric = true};
    static const float ranges[][3] = {{-1, 3, 3}, {-4, 2, 4}, {0, 6, 6}, {2, 4, 4}, {0, 0, 1}};
    for (size_t k = 0; k < sizeof ranges / sizeof ranges[0]; k++) {
        const zq_activation a = zq_activation_of_range(&spec, ranges[k][0], ranges[k][1]);
        assert_true(a.used && a.is_signed && a.zero_point == 128 && a.q_max == 255);
        assert_true(fabsf(a.scale - ranges[k][2] / 127) < 1e-7f);
        float y;
        zq_activation_apply(&a, 1, &ranges[k][2], &y);
        assert_true(fabsf(y - ranges[k][2]) < 1e-5f);
    }
}

static void test_activation_degenerate(void **state) {
    (void)state;
    const float ranges[][2] = {{0, 0},      {1, -1},      {NAN, NAN}, {-INFINITY, INFINITY}, {-3e38f, 3e38f},
                               {0, 1e-44f}, {-1e-44f, 0}, {NAN, 1},   {INFINITY, -1.0f}};
    for (size_t k = 0; k < sizeof ranges / sizeof ranges[0]; k++)
        for (int bits = 2; bits <= 8; bits++) {
            const zq_activation a = zq_activation_from_range(ranges[k][0], ranges[k][1], bits);
            assert_true(a.scale > 0 && isfinite(a.scale));
            assert_in_range(a.zero_point, 0, a.q_max);
            const float zero = 0;
            float back = 1;
            zq_activation_apply(&a, 1, &zero, &back);
            assert_true(back == 0);
        }
}

static void test_activation_apply(void **state) {
    (void)state;
    print_message("seed %d\n", SEED);
    enum { N = 1000 };
    for (int bits = 2; bits <= 8; bits++) {
        const zq_activation a = zq_activation_from_range(-0.7f, 2.1f, bits);
        float x[N], y[N];
        for (int i = 0; i < N; i++)
            x[i] = (float)(zq_random_normal(SEED, (uint64_t)i) * 1.5);
        x[0] = 0;
        zq_activation_apply(&a, N, x, y);
        assert_true(y[0] == 0);
        for (int i = 0; i < N; i++) {
            const double q = clamp(half_even(x[i] / a.scale) + a.zero_point, 0, a.q_max);
            assert_true(y[i] == (float)(q - a.zero_point) * a.scale);
        }
        zq_activation_apply(&a, N, x, x); /* in place */
        assert_memory_equal(x, y, sizeof x);
        zq_activation_apply(&a, N, x, x); /* once more changes nothing */
        assert_memory_equal(x, y, sizeof x);
    }
}

/* Values on the edge between two levels: multiplying by the inverse of the scale would put some of them on
 * the other side. */
static void test_division(void **state) {
    (void)state;
    float x[255], y[255];
    for (int k = 0; k < 200; k++) {
        const zq_activation a = zq_activation_from_range(0, 1.0f + 0.01f * (float)k, 8);
        for (int i = 0; i < 255; i++)
            x[i] = (float)((i + 0.5) * a.scale);
        zq_activation_apply(&a, 255, x, y);
        for (int i = 0; i < 255; i++) {
            const float ratio = x[i] / a.scale;
            assert_true(y[i] == (float)half_even(ratio) * a.scale);
        }
    }
}

static void test_ties(void **state) {
    (void)state;
    const zq_activation a = {.used = true, .scale = 0.5f, .zero_point = 100, .q_max = 255};
    const float x[] = {0.25f, 0.75f, 1.25f, -0.25f, -0.75f, -1.25f};
    const float expected[] = {0, 1, 1, 0, -1, -1};
    float y[6];
    zq_activation_apply(&a, 6, x, y);
    for (int i = 0; i < 6; i++)
        assert_true(y[i] == expected[i]);

    const float w[] = {127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 126.5f};
    const int q[] = {127, 0, 2, 2, 0, -2, -2, 126};
    const zq_weight_spec spec = {.bits = 8, .range = ZQ_WEIGHT_MINMAX};
    zq_weights weights;
    assert_int_equal(zq_weights_quantize(&spec, 1, 8, w, NULL, &weights, NULL), ZQ_OK);
    for (int i = 0; i < 8; i++)
        assert_int_equal(weights.q[i], q[i]);
    zq_weights_clear(&weights);
}

/* Two of the largest products with unsigned bytes fit 16 bits where a bit is spared, and only 8 bits spare
 * one.
 */
static void test_spare_bit(void **state) {
    (void)state;
    const float w[] = {1, -1, 0.25f, -2};
    for (int bits = 4; bits <= 8; bits += 4) {
        const zq_weight_spec spec = {.bits = bits, .spare_bit = true, .range = ZQ_WEIGHT_MINMAX};
        zq_weights weights;
        assert_int_equal(zq_weights_quantize(&spec, 1, 4, w, NULL, &weights, NULL), ZQ_OK);
        assert_int_equal(weights.bits, bits);
        assert_int_equal(weights.q_max, bits == 8 ? 63 : 7);
        assert_int_equal(weights.q_min, bits == 8 ? -64 : -8);
        assert_true(bits < 8 || (weights.q[3] == -63 && 2 * 255 * -weights.q_min <= INT16_MAX + 1));
        zq_weights_clear(&weights);
    }
}

/* Min-max against the definition in double, both schemes, all widths. */
static void test_weights_minmax(void **state) {
    (void)state;
    print_message("seed %d\n", SEED);
    enum { C = 13, N = 37 };
    float w[C * N], back[C * N];
    fill(w, C, N, SEED);
    for (int bits = 2; bits <= 8; bits++)
        for (int asymmetric = 0; asymmetric < 2; asymmetric++) {
            const zq_weight_spec spec = {.bits = bits, .asymmetric = asymmetric, .range = ZQ_WEIGHT_MINMAX};
            zq_weights q;
            assert_int_equal(zq_weights_quantize(&spec, C, N, w, NULL, &q, NULL), ZQ_OK);
            assert_int_equal(q.q_max, (1 << (bits - 1)) - 1);
            assert_int_equal(q.q_min, bits == 8 && !asymmetric ? -127 : -(1 << (bits - 1)));
            zq_weights_dequantize(&q, back);
            for (int c = 0; c < C; c++) {
                double lo = 0, hi = 0;
                for (int i = c * N; i < (c + 1) * N; i++) {
                    lo = fmin(lo, w[i]);
                    hi = fmax(hi, w[i]);
                }
                const double scale = asymmetric ? (hi - lo) / ((1 << bits) - 1) : fmax(-lo, hi) / q.q_max;
                const int zero = asymmetric ? q.q_min + (int)half_even(-lo / scale) : 0;
                assert_true(q.scale[c] == (float)scale);
                assert_int_equal(q.zero_point[c], zero);
                for (int i = c * N; i < (c + 1) * N; i++) {
                    const float ratio = w[i] / q.scale[c];
                    assert_int_equal(q.q[i], (int)clamp(half_even(ratio) + zero, q.q_min, q.q_max));
                    assert_true(back[i] == (float)(q.q[i] - zero) * q.scale[c]);
                    assert_true(fabs((double)back[i] - w[i]) <= scale * 1.00001);
                }
            }
            zq_weights_clear(&q);
        }
}

/* Never worse than min-max, and close to an exhaustive search of the scale. */
static void test_weights_mse(void **state) {
    (void)state;
    print_message("seed %d\n", SEED);
    enum { C = 16, N = 60 };
    float w[C * N];
    fill(w, C, N, SEED + 5);
    for (int i = 0; i < N; i++)
        w[i] = -fabsf(w[i]); /* the extra negative level serves this channel */
    for (int bits = 2; bits <= 8; bits++)
        for (int asymmetric = 0; asymmetric < 2; asymmetric++) {
            zq_weight_spec spec = {.bits = bits, .asymmetric = asymmetric, .range = ZQ_WEIGHT_MINMAX};
            zq_weights plain, best;
            assert_int_equal(zq_weights_quantize(&spec, C, N, w, NULL, &plain, NULL), ZQ_OK);
            spec.range = ZQ_WEIGHT_MSE;
            assert_int_equal(zq_weights_quantize(&spec, C, N, w, NULL, &best, NULL), ZQ_OK);
            for (int c = 0; c < C; c++) {
                const double error = channel_error(&best, w, c);
                assert_true(error <= channel_error(&plain, w, c) * (1 + 1e-6));
                double least = INFINITY;
                for (int k = 1; k <= 2000; k++) {
                    const double scale = plain.scale[c] * k / 2000.0;
                    double sum = 0;
                    for (int i = c * N; i < (c + 1) * N; i++) {
                        const double q = clamp(half_even(w[i] / scale), best.q_min - best.zero_point[c],
                                               best.q_max - best.zero_point[c]);
                        sum += (w[i] - q * scale) * (w[i] - q * scale);
                    }
                    least = fmin(least, sum);
                }
                /* With fine levels the error is a ragged function of the scale: a little luck is left. */
                assert_true(error <= least * (bits <= 4 ? 1.02 : 1.4));
            }
            zq_weights_clear(&plain);
            zq_weights_clear(&best);
        }
}

static void test_weights_percentile(void **state) {
    (void)state;
    enum { N = 101 };
    float w[N];
    for (int i = 0; i < N; i++)
        w[(i * 37) % N] = (float)(i % 2 == 0 ? i : -i); /* |w| is 0..100 in disorder */
    zq_weight_spec spec = {.bits = 8, .range = ZQ_WEIGHT_PERCENTILE, .percentile = 90};
    zq_weights q;
    assert_int_equal(zq_weights_quantize(&spec, 1, N, w, NULL, &q, NULL), ZQ_OK);
    assert_float_equal(q.scale[0], 90.0 / 127, 1e-6);
    zq_weights_clear(&q);
    spec.percentile = 99.5;
    assert_int_equal(zq_weights_quantize(&spec, 1, N, w, NULL, &q, NULL), ZQ_OK);
    assert_float_equal(q.scale[0], 99.5 / 127, 1e-6);
    zq_weights_clear(&q);

    for (int i = 0; i < N; i++)
        w[(i * 37) % N] = (float)(i - 50);
    spec = (zq_weight_spec){.bits = 4, .asymmetric = true, .range = ZQ_WEIGHT_PERCENTILE, .percentile = 95};
    assert_int_equal(zq_weights_quantize(&spec, 1, N, w, NULL, &q, NULL), ZQ_OK);
    assert_float_equal(q.scale[0], 90.0 / 15, 1e-5); /* -45..45 */
    assert_int_equal(q.zero_point[0], 0);            /* -8 + 7.5, to even */
    zq_weights_clear(&q);

    float one = 3; /* a channel of one element: the percentile is the element */
    spec = (zq_weight_spec){.bits = 8, .range = ZQ_WEIGHT_PERCENTILE, .percentile = 99};
    assert_int_equal(zq_weights_quantize(&spec, 1, 1, &one, NULL, &q, NULL), ZQ_OK);
    assert_int_equal(q.q[0], 127);
    zq_weights_clear(&q);
}

static int by_magnitude(const void *a, const void *b) {
    const float x = fabsf(*(const float *)a), y = fabsf(*(const float *)b);
    return (x > y) - (x < y);
}

/* Percentiles of random weights, with and without repeated values, against sorting. */
static void test_percentile_sorted(void **state) {
    (void)state;
    print_message("seed %d\n", SEED);
    uint64_t counter = 0;
    for (int trial = 0; trial < 2000; trial++) {
        const int n = 1 + (int)(zq_random_bits(SEED, counter++) % 40);
        float w[40], sorted[40];
        for (int i = 0; i < n; i++) {
            w[i] = (float)zq_random_normal(SEED, counter++);
            if (trial % 2 == 0)
                w[i] = roundf(2 * w[i]);
        }
        const double percentile = 100 * zq_random_uniform(SEED, counter++);
        memcpy(sorted, w, sizeof sorted);
        qsort(sorted, (size_t)n, sizeof *sorted, by_magnitude);
        const double at = percentile / 100 * (n - 1);
        const int below = (int)at, above = below + 1 < n ? below + 1 : below;
        const double a = fabsf(sorted[below]), b = fabsf(sorted[above]), bound = a + (at - below) * (b - a);
        if (bound == 0)
            continue; /* the whole range then stays */
        const zq_weight_spec spec = {.bits = 8, .range = ZQ_WEIGHT_PERCENTILE, .percentile = percentile};
        zq_weights q;
        assert_int_equal(zq_weights_quantize(&spec, 1, n, w, NULL, &q, NULL), ZQ_OK);
        assert_float_equal(q.scale[0], bound / 127, 1e-6 * bound);
        zq_weights_clear(&q);
    }
}

static void test_dead_channel_and_floor(void **state) {
    (void)state;
    const float w[] = {0, 0, 0, 1e-30f, -1e-30f, 0, 1, -1, 0.5f};
    const float floors[] = {0, 0, 0.25f};
    for (int range = ZQ_WEIGHT_MINMAX; range <= ZQ_WEIGHT_PERCENTILE; range++)
        for (int asymmetric = 0; asymmetric < 2; asymmetric++) {
            const zq_weight_spec spec = {
                .bits = 4, .asymmetric = asymmetric, .range = (zq_weight_range)range, .percentile = 100};
            zq_weights q;
            float back[9];
            assert_int_equal(zq_weights_quantize(&spec, 3, 3, w, floors, &q, NULL), ZQ_OK);
            zq_weights_dequantize(&q, back);
            for (int i = 0; i < 6; i++)
                assert_true(back[i] == 0);
            assert_true(q.scale[0] == 1e-4f); /* leaves the bias of a dead channel room */
            assert_true(q.scale[1] >= 1e-10f);
            assert_true(q.scale[2] >= 0.25f && q.scale[2] <= 0.26f);
            for (int i = 6; i < 9; i++)
                assert_true(fabsf(back[i] - w[i]) <= 0.126f);
            zq_weights_clear(&q);
        }
}

static void test_weights_refused(void **state) {
    (void)state;
    zq_error err = {0};
    zq_weights q;
    zq_weight_spec spec = {.bits = 8, .range = ZQ_WEIGHT_MSE};
    const float nan[] = {1, NAN, 2, 3}, infinite[] = {1, 2, -INFINITY, 3};
    assert_int_equal(zq_weights_quantize(&spec, 2, 2, nan, NULL, &q, &err), ZQ_ERR_FORMAT);
    assert_non_null(strstr(err.text, "1 of 2 channels"));
    assert_null(q.q);
    assert_int_equal(zq_weights_quantize(&spec, 2, 2, infinite, NULL, &q, &err), ZQ_ERR_FORMAT);
    assert_int_equal(zq_weights_quantize(&spec, INT64_MAX, 2, nan, NULL, &q, &err), ZQ_ERR_FORMAT);
    assert_int_equal(zq_weights_quantize(&spec, 0, 2, nan, NULL, &q, &err), ZQ_ERR_FORMAT);
    spec.bits = 9;
    assert_int_equal(zq_weights_quantize(&spec, 2, 2, nan, NULL, &q, &err), ZQ_ERR_USAGE);
}

static void test_out_of_memory(void **state) {
    (void)state;
    const float w[] = {1, 2, 3, 4};
    const zq_weight_spec spec = {.bits = 4, .range = ZQ_WEIGHT_PERCENTILE, .percentile = 99};
    zq_weights q;
    for (long k = 1; k <= 4; k++) {
        zq_alloc_fail_at(k);
        const zq_status status = zq_weights_quantize(&spec, 2, 2, w, NULL, &q, NULL);
        zq_alloc_fail_at(0);
        assert_int_equal(status, ZQ_ERR_MEMORY);
        assert_null(q.q);
    }
    assert_int_equal(zq_weights_quantize(&spec, 2, 2, w, NULL, &q, NULL), ZQ_OK);
    zq_weights_clear(&q);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_activation_range),
        cmocka_unit_test(test_activation_symmetric),
        cmocka_unit_test(test_activation_degenerate),
        cmocka_unit_test(test_activation_apply),
        cmocka_unit_test(test_ties),
        cmocka_unit_test(test_division),
        cmocka_unit_test(test_percentile_sorted),
        cmocka_unit_test(test_weights_minmax),
        cmocka_unit_test(test_weights_mse),
        cmocka_unit_test(test_weights_percentile),
        cmocka_unit_test(test_dead_channel_and_floor),
        cmocka_unit_test(test_weights_refused),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_spare_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
