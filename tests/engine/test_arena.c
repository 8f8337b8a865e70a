/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"
#include "base/random.h"
#include "engine/arena.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void none_needs_nothing(void **state) {
    (void)state;
    size_t bytes = 1;
    assert_int_equal(zq_arena_plan(0, NULL, &bytes, NULL), ZQ_OK);
    assert_int_equal(bytes, 0);
}

/* In a chain each value lives for two steps: the arena holds the largest neighbours, not the sum. */
static void a_chain_shares(void **state) {
    (void)state;
    zq_arena_block blocks[] = {{.bytes = 640, .first = 0, .last = 1},
                               {.bytes = 640, .first = 1, .last = 2},
                               {.bytes = 640, .first = 2, .last = 3},
                               {.bytes = 64, .first = 3, .last = 4}};
    size_t bytes = 0;
    assert_int_equal(zq_arena_plan(4, blocks, &bytes, NULL), ZQ_OK);
    assert_int_equal(bytes, 1280);
}

static void overflow_is_refused(void **state) {
    (void)state;
    zq_arena_block blocks[] = {{.bytes = SIZE_MAX / 2 - 100, .first = 0, .last = 1},
                               {.bytes = SIZE_MAX / 2, .first = 1, .last = 2}};
    size_t bytes = 0;
    zq_error err;
    assert_int_equal(zq_arena_plan(2, blocks, &bytes, &err), ZQ_ERR_LIMIT);
}

static void allocation_failure_is_reported(void **state) {
    (void)state;
    zq_arena_block block = {.bytes = 64, .first = 0, .last = 1};
    for (long n = 1; n <= 2; n++) {
        size_t bytes = 0;
        zq_alloc_fail_at(n);
        assert_int_equal(zq_arena_plan(1, &block, &bytes, NULL), ZQ_ERR_MEMORY);
    }
    zq_alloc_fail_at(0);
}

enum { N_BLOCKS = 60, N_TIMES = 40 };

/* Most bytes alive at one time: no arena can be smaller. */
static size_t lower_bound(const zq_arena_block *blocks) {
    size_t most = 0;
    for (int time = 0; time < N_TIMES; time++) {
        size_t alive = 0;
        for (int i = 0; i < N_BLOCKS; i++)
            if (blocks[i].first <= time && time <= blocks[i].last)
                alive += (blocks[i].bytes + 63) / 64 * 64;
        most = alive > most ? alive : most;
    }
    return most;
}

static void check_disjoint(uint64_t seed, const zq_arena_block *blocks, size_t bytes) {
    for (int i = 0; i < N_BLOCKS; i++) {
        const zq_arena_block *a = &blocks[i];
        if (a->offset % ZQ_ARENA_ALIGNMENT != 0 || a->offset + a->bytes > bytes)
            fail_msg("seed %llu: block %d lies at %zu", (unsigned long long)seed, i, a->offset);
        for (int j = 0; j < i; j++) {
            const zq_arena_block *b = &blocks[j];
            const bool together = a->first <= b->last && b->first <= a->last;
            const bool overlap = a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
            if (together && overlap)
                fail_msg("seed %llu: blocks %d and %d overlap", (unsigned long long)seed, i, j);
        }
    }
}

static void random_lifetimes_never_overlap(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        zq_arena_block blocks[N_BLOCKS] = {0};
        uint64_t counter = 0;
        for (int i = 0; i < N_BLOCKS; i++) {
            blocks[i].bytes = zq_random_bits(seed, counter++) % 5000;
            blocks[i].first = (int)(zq_random_bits(seed, counter++) % N_TIMES);
            const int left = N_TIMES - blocks[i].first;
            blocks[i].last = blocks[i].first + (int)(zq_random_bits(seed, counter++) % (uint64_t)left) / 3;
        }
        size_t bytes = 0;
        assert_int_equal(zq_arena_plan(N_BLOCKS, blocks, &bytes, NULL), ZQ_OK);
        check_disjoint(seed, blocks, bytes);
        const size_t bound = lower_bound(blocks);
        if (bytes < bound || bytes > bound * 3 / 2)
            fail_msg("seed %llu: %zu bytes, lower bound %zu", (unsigned long long)seed, bytes, bound);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(none_needs_nothing),
        cmocka_unit_test(a_chain_shares),
        cmocka_unit_test(overflow_is_refused),
        cmocka_unit_test(allocation_failure_is_reported),
        cmocka_unit_test(random_lifetimes_never_overlap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
