/* SPDX-License-Identifier: Apache-2.0 */
/* The grouped search: where damage adds up it is the dynamic program, where it doesn't it beats it. */
#include "quant/grouped.h"

#include "base/memory.h"
#include "base/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { SEED = 6, MOST_LAYERS = 9, WIDTHS = 3 };

/* Damage of a choice: a sum over layers, and over pairs of neighbours that both are narrow. */
typedef struct truth {
    int n_layers, calls, fail_at;
    uint64_t costs[MOST_LAYERS * WIDTHS];
    double omega[MOST_LAYERS * WIDTHS], together[MOST_LAYERS];
} truth;

static double damage_of(const truth *t, int n, const uint8_t *choice) {
    double sum = 0;
    for (int i = 0; i < n; i++) {
        sum += t->omega[i * WIDTHS + choice[i]];
        if (i > 0 && choice[i] == 0 && choice[i - 1] == 0)
            sum += t->together[i];
    }
    return sum;
}

static zq_status measure(void *user, int n, const uint8_t *choice, double *damage_out) {
    truth *t = user;
    for (int i = 0; i < n; i++)
        assert_true(t->omega[i * WIDTHS + choice[i]] >= 0);
    *damage_out = damage_of(t, n, choice);
    return ++t->calls == t->fail_at ? ZQ_ERR_CANCELLED : ZQ_OK;
}

static void make(truth *t, uint64_t seed, int n_layers, bool together) {
    uint64_t counter = 0;
    *t = (truth){.n_layers = n_layers};
    for (int i = 0; i < n_layers; i++) {
        double omega = 0;
        for (int k = WIDTHS - 1; k >= 0; k--) {
            t->costs[i * WIDTHS + k] = (uint64_t)(k + 1) * (1 + zq_random_bits(seed, counter++) % 5);
            omega += zq_random_uniform(seed, counter++);
            t->omega[i * WIDTHS + k] = omega;
        }
        if (i % 4 == 1)
            t->omega[i * WIDTHS + 1] = -1; /* not allowed */
        t->together[i] = together ? 4 * zq_random_uniform(seed, counter++) - 1 : 0;
    }
}

/* So many bins that each cost has its own. */
static zq_grouped_problem problem_of(truth *t) {
    return (zq_grouped_problem){.n_layers = t->n_layers,
                                .n_widths = WIDTHS,
                                .costs = t->costs,
                                .omega = t->omega,
                                .n_tried = 10,
                                .n_kept = 5,
                                .n_bins = 500,
                                .n_together = 4,
                                .measure = measure,
                                .user = t};
}

static void check_points(const truth *t, const zq_frontier *f) {
    for (int p = 0; p < f->n_points; p++) {
        const uint8_t *choice = f->choice + (size_t)p * (size_t)t->n_layers;
        uint64_t cost = 0;
        for (int i = 0; i < t->n_layers; i++)
            cost += t->costs[i * WIDTHS + choice[i]];
        assert_true(cost == f->points[p].bytes);
        assert_true(damage_of(t, t->n_layers, choice) == f->points[p].omega);
        assert_true(p == 0 || (f->points[p].bytes > f->points[p - 1].bytes &&
                               f->points[p].omega < f->points[p - 1].omega));
    }
}

static void test_sums(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        truth t;
        zq_frontier grouped, exact;
        int64_t n_measured;
        make(&t, SEED + seed, 1 + (int)(seed % MOST_LAYERS), false);
        const zq_grouped_problem problem = problem_of(&t);
        assert_int_equal(zq_grouped_search(&problem, &grouped, &n_measured, NULL), ZQ_OK);
        assert_int_equal(zq_allocate(t.n_layers, WIDTHS, t.costs, t.omega, 0, &exact, NULL), ZQ_OK);
        check_points(&t, &grouped);
        assert_int_equal(grouped.n_points, exact.n_points);
        for (int p = 0; p < exact.n_points; p++) {
            assert_true(grouped.points[p].bytes == exact.points[p].bytes);
            assert_true(fabs(grouped.points[p].omega - exact.points[p].omega) < 1e-9);
        }
        assert_int_equal(n_measured, t.calls);
        assert_true(n_measured + t.n_layers * WIDTHS <= zq_grouped_formula(&problem));
        zq_frontier_clear(&grouped);
        zq_frontier_clear(&exact);
    }
}

/* Of at most limit, the damage of the point that a frontier offers. */
static double offered(const truth *t, const zq_frontier *f, uint64_t limit) {
    const int point = zq_frontier_at(f, limit);
    return point < 0 ? INFINITY : damage_of(t, t->n_layers, f->choice + (size_t)point * (size_t)t->n_layers);
}

static void test_interactions(void **state) {
    (void)state;
    int n_better = 0, n_worse = 0;
    for (uint64_t seed = 0; seed < 60; seed++) {
        truth t;
        zq_frontier grouped, independent;
        int64_t n_measured;
        make(&t, SEED + seed, MOST_LAYERS, true);
        const zq_grouped_problem problem = problem_of(&t);
        assert_int_equal(zq_grouped_search(&problem, &grouped, &n_measured, NULL), ZQ_OK);
        assert_int_equal(zq_allocate(t.n_layers, WIDTHS, t.costs, t.omega, 0, &independent, NULL), ZQ_OK);
        check_points(&t, &grouped);
        assert_true(grouped.points[0].bytes == independent.points[0].bytes); /* the smallest is never lost */
        for (int p = 0; p < independent.n_points; p++) {
            const uint64_t limit = independent.points[p].bytes;
            n_better += offered(&t, &grouped, limit) < offered(&t, &independent, limit) - 1e-9;
            n_worse += offered(&t, &grouped, limit) > offered(&t, &independent, limit) + 1e-9;
        }
        zq_frontier_clear(&grouped);
        zq_frontier_clear(&independent);
    }
    print_message("better at %d limits, worse at %d\n", n_better, n_worse);
    assert_true(n_better > 20 * n_worse && n_better > 100);
}

static void test_failures(void **state) {
    (void)state;
    truth t;
    zq_frontier f;
    int64_t n_measured;
    make(&t, SEED, 6, true);
    zq_grouped_problem problem = problem_of(&t);
    problem.n_bins = 20;
    for (t.fail_at = 1; t.fail_at < 40; t.fail_at += 7, t.calls = 0)
        assert_int_equal(zq_grouped_search(&problem, &f, &n_measured, NULL), ZQ_ERR_CANCELLED);
    t.fail_at = 0;
    zq_status status = ZQ_ERR_MEMORY;
    for (long k = 1; status != ZQ_OK; k++) {
        zq_alloc_fail_at(k);
        status = zq_grouped_search(&problem, &f, &n_measured, NULL);
        zq_alloc_fail_at(0);
        assert_true(status == ZQ_OK || status == ZQ_ERR_MEMORY);
        assert_true(k < 50);
    }
    zq_frontier_clear(&f);
    for (int k = 0; k < WIDTHS; k++)
        t.omega[k] = NAN;
    assert_int_equal(zq_grouped_search(&problem, &f, &n_measured, NULL), ZQ_ERR_INTERNAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_interactions),
        cmocka_unit_test(test_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
