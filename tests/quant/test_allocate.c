/* SPDX-License-Identifier: Apache-2.0 */
/* The frontier against every combination of widths. */
#include "base/memory.h"
#include "base/random.h"
#include "quant/allocate.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { SEED = 4 };

/* Sums of a point's own choice, in the order of the layers. */
static zq_frontier_point sum_of(const zq_frontier *f, int point, int n_widths, const uint64_t *bytes,
                                const double *omega) {
    zq_frontier_point sum = {0, 0};
    for (int i = 0; i < f->n_layers; i++) {
        const int k = f->choice[(size_t)point * (size_t)f->n_layers + (size_t)i];
        assert_in_range(k, 0, n_widths - 1);
        assert_true(omega[i * n_widths + k] >= 0);
        sum.bytes += bytes[i * n_widths + k];
        sum.omega += omega[i * n_widths + k];
    }
    return sum;
}

static void check_points(const zq_frontier *f, int n_widths, const uint64_t *bytes, const double *omega) {
    assert_true(f->n_points > 0);
    for (int p = 0; p < f->n_points; p++) {
        const zq_frontier_point sum = sum_of(f, p, n_widths, bytes, omega);
        assert_true(sum.bytes == f->points[p].bytes);
        assert_true(sum.omega == f->points[p].omega);
        if (p > 0) {
            assert_true(f->points[p].bytes > f->points[p - 1].bytes);
            assert_true(f->points[p].omega < f->points[p - 1].omega);
        }
    }
}

/* Least omega of at most limit bytes over all combinations; infinity: none. */
static double brute_force(int n_layers, int n_widths, const uint64_t *bytes, const double *omega,
                          uint64_t limit) {
    int choice[8] = {0};
    double best = INFINITY;
    for (;;) {
        uint64_t size = 0;
        double sum = 0;
        bool allowed = true;
        for (int i = 0; i < n_layers; i++) {
            size += bytes[i * n_widths + choice[i]];
            sum += omega[i * n_widths + choice[i]];
            allowed = allowed && omega[i * n_widths + choice[i]] >= 0;
        }
        if (allowed && size <= limit && sum < best)
            best = sum;
        int i = 0;
        while (i < n_layers && ++choice[i] == n_widths)
            choice[i++] = 0;
        if (i == n_layers)
            return best;
    }
}

static void test_brute_force(void **state) {
    (void)state;
    print_message("seed %d\n", SEED);
    uint64_t counter = 0;
    for (int trial = 0; trial < 300; trial++) {
        const int n_layers = 1 + (int)(zq_random_bits(SEED, counter++) % 7);
        const int n_widths = 1 + (int)(zq_random_bits(SEED, counter++) % 3);
        uint64_t bytes[7 * 3], total = 0;
        double omega[7 * 3];
        for (int at = 0; at < n_layers * n_widths; at++) {
            bytes[at] = zq_random_bits(SEED, counter++) % (trial % 2 == 0 ? 8 : 1000); /* 8: many ties */
            omega[at] = zq_random_uniform(SEED, counter++);
            if (trial % 3 == 0)
                omega[at] = floor(8 * omega[at]); /* ties again */
            if (zq_random_uniform(SEED, counter++) < 0.15 && at % n_widths != 0)
                omega[at] = -1;
            total += bytes[at];
        }
        zq_frontier f;
        assert_int_equal(zq_allocate(n_layers, n_widths, bytes, omega, 0, &f, NULL), ZQ_OK);
        check_points(&f, n_widths, bytes, omega);
        for (int k = 0; k <= 20; k++) {
            const uint64_t limit = total * (uint64_t)k / 20;
            const double best = brute_force(n_layers, n_widths, bytes, omega, limit);
            const int at = zq_frontier_at(&f, limit);
            if (at < 0)
                assert_true(isinf(best));
            else {
                assert_true(f.points[at].bytes <= limit);
                assert_true(f.points[at].omega == best);
            }
        }
        zq_frontier_clear(&f);
    }
}

/* Lower bound for three widths with convex omega: each layer may mix widths (the Lagrange dual at the
 * limit, over prices of a byte). */
static double relaxed(int n_layers, const uint64_t *bytes, const double *omega, uint64_t limit) {
    double bound = 0;
    for (double price = 1e-12; price < 1; price *= 1.02) {
        double sum = -price * (double)limit;
        for (int i = 0; i < n_layers; i++) {
            double best = INFINITY;
            for (int k = 0; k < 3; k++)
                best = fmin(best, omega[i * 3 + k] + price * (double)bytes[i * 3 + k]);
            sum += best;
        }
        bound = fmax(bound, sum);
    }
    return bound;
}

/* Many layers: bounded, the smallest and the best configuration are there, and little is lost. */
static void test_many_layers(void **state) {
    (void)state;
    print_message("seed %d\n", SEED);
    enum { LAYERS = 1000, WIDTHS = 3 };
    static uint64_t bytes[LAYERS * WIDTHS];
    static double omega[LAYERS * WIDTHS];
    uint64_t least = 0, most = 0;
    double best = 0;
    for (int i = 0; i < LAYERS; i++) {
        const uint64_t n = 100 + zq_random_bits(SEED, (uint64_t)i) % 1000000;
        const double size = zq_random_uniform(SEED + 1, (uint64_t)i);
        for (int k = 0; k < WIDTHS; k++) {
            bytes[i * WIDTHS + k] = n * (uint64_t)(1 << (k + 1)) / 8;
            omega[i * WIDTHS + k] = size * pow(16, 1 - k);
        }
        least += bytes[i * WIDTHS];
        most += bytes[i * WIDTHS + 2];
        best += omega[i * WIDTHS + 2];
    }
    zq_frontier coarse, fine;
    assert_int_equal(zq_allocate(LAYERS, WIDTHS, bytes, omega, 1024, &coarse, NULL), ZQ_OK);
    assert_int_equal(zq_allocate(LAYERS, WIDTHS, bytes, omega, 0, &fine, NULL), ZQ_OK);
    assert_true(coarse.n_points <= 1024 && fine.n_points <= 4096);
    check_points(&coarse, WIDTHS, bytes, omega);
    check_points(&fine, WIDTHS, bytes, omega);
    assert_true(fine.points[0].bytes == least);
    assert_true(fine.points[fine.n_points - 1].bytes == most);
    assert_true(fine.points[fine.n_points - 1].omega == best);
    for (int k = 1; k < 20; k++) {
        const uint64_t limit = least + (most - least) / 20 * (uint64_t)k;
        const double bound = relaxed(LAYERS, bytes, omega, limit);
        assert_true(coarse.points[zq_frontier_at(&coarse, limit)].omega <= bound * 1.03);
        assert_true(fine.points[zq_frontier_at(&fine, limit)].omega <= bound * 1.005);
    }
    zq_frontier_clear(&coarse);
    zq_frontier_clear(&fine);
}

/* Bounded lists stay valid for every bound, the smallest ones too. */
static void test_bounds(void **state) {
    (void)state;
    enum { LAYERS = 12, WIDTHS = 3 };
    uint64_t bytes[LAYERS * WIDTHS], least = 0;
    double omega[LAYERS * WIDTHS];
    for (int at = 0; at < LAYERS * WIDTHS; at++) {
        bytes[at] = 1 + (uint64_t)(at % WIDTHS) * (1 + zq_random_bits(SEED, (uint64_t)at) % 100);
        omega[at] = (1 + zq_random_uniform(SEED, (uint64_t)at)) / (1 + at % WIDTHS);
        least += at % WIDTHS == 0 ? bytes[at] : 0;
    }
    for (int max_points = 1; max_points < 40; max_points++) {
        zq_frontier f;
        assert_int_equal(zq_allocate(LAYERS, WIDTHS, bytes, omega, max_points, &f, NULL), ZQ_OK);
        assert_true(f.n_points <= (max_points < 2 ? 2 : max_points));
        check_points(&f, WIDTHS, bytes, omega);
        assert_true(f.points[0].bytes == least);
        zq_frontier_clear(&f);
    }
}

static void test_at(void **state) {
    (void)state;
    const uint64_t bytes[] = {10, 20, 40};
    const double omega[] = {3, 2, 1};
    zq_frontier f;
    assert_int_equal(zq_allocate(1, 3, bytes, omega, 0, &f, NULL), ZQ_OK);
    assert_int_equal(f.n_points, 3);
    assert_int_equal(zq_frontier_at(&f, 9), -1);
    assert_int_equal(zq_frontier_at(&f, 10), 0);
    assert_int_equal(zq_frontier_at(&f, 39), 1);
    assert_int_equal(zq_frontier_at(&f, 40), 2);
    assert_int_equal(zq_frontier_at(&f, UINT64_MAX), 2);
    zq_frontier_clear(&f);
}

static void test_refused(void **state) {
    (void)state;
    zq_error err = {0};
    zq_frontier f;
    const uint64_t huge[] = {UINT64_MAX - 1, 1, UINT64_MAX - 1, 1};
    const double fine[] = {1, 2, 1, 2};
    assert_int_equal(zq_allocate(2, 2, huge, fine, 0, &f, &err), ZQ_ERR_LIMIT);
    assert_null(f.points);
    const double partly[] = {-1, 2, 1, 2}; /* the huge width isn't allowed: no overflow */
    assert_int_equal(zq_allocate(2, 2, huge, partly, 0, &f, &err), ZQ_OK);
    assert_true(f.points[0].bytes == 2);
    assert_true(f.points[f.n_points - 1].bytes == UINT64_MAX);
    zq_frontier_clear(&f);
    const double none[] = {1, 2, NAN, INFINITY};
    assert_int_equal(zq_allocate(2, 2, huge, none, 0, &f, &err), ZQ_ERR_INTERNAL);
    assert_non_null(strstr(err.text, "layer 2 of 2"));
    assert_int_equal(zq_allocate(1, 0, huge, fine, 0, &f, &err), ZQ_ERR_INTERNAL);
    assert_int_equal(zq_allocate(0, 2, huge, fine, 0, &f, &err), ZQ_OK); /* nothing to choose */
    assert_int_equal(f.n_points, 1);
    assert_true(f.points[0].bytes == 0);
    zq_frontier_clear(&f);
}

static void test_out_of_memory(void **state) {
    (void)state;
    const uint64_t bytes[] = {1, 2, 4, 1, 2, 4};
    const double omega[] = {3, 2, 1, 3, 2, 1};
    long k = 1;
    for (;; k++) {
        zq_frontier f;
        zq_alloc_fail_at(k);
        const zq_status status = zq_allocate(2, 3, bytes, omega, 0, &f, NULL);
        zq_alloc_fail_at(0);
        zq_frontier_clear(&f);
        if (status == ZQ_OK)
            break;
        assert_int_equal(status, ZQ_ERR_MEMORY);
    }
    assert_true(k > 6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_brute_force), cmocka_unit_test(test_many_layers),
        cmocka_unit_test(test_bounds),      cmocka_unit_test(test_at),
        cmocka_unit_test(test_refused),     cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
