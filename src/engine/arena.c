/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/arena.h"
#include "base/memory.h"

#include <stdlib.h>

/* Far from overflow, whatever is rounded up and added. */
static const size_t MOST_BYTES = SIZE_MAX / 4;

static size_t rounded(size_t bytes) {
    return (bytes + ZQ_ARENA_ALIGNMENT - 1) / ZQ_ARENA_ALIGNMENT * ZQ_ARENA_ALIGNMENT;
}

/* Largest first; among equals the earlier one, so that the result doesn't depend on the sort. */
static int by_size(const void *a, const void *b) {
    const zq_arena_block *x = *(zq_arena_block *const *)a, *y = *(zq_arena_block *const *)b;
    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    return x < y ? -1 : x > y;
}

static bool meet(const zq_arena_block *a, const zq_arena_block *b) {
    return a->first <= b->last && b->first <= a->last;
}

/* Offset of the tightest gap for block between the placed blocks (sorted by offset) that it meets. */
static size_t best_offset(int n_placed, zq_arena_block *const *placed, const zq_arena_block *block) {
    const size_t bytes = rounded(block->bytes);
    size_t end = 0, best = SIZE_MAX, best_gap = SIZE_MAX;
    for (int i = 0; i < n_placed; i++) {
        if (!meet(placed[i], block))
            continue;
        if (placed[i]->offset > end) {
            const size_t gap = placed[i]->offset - end;
            if (gap >= bytes && gap < best_gap) {
                best = end;
                best_gap = gap;
            }
        }
        const size_t placed_end = placed[i]->offset + rounded(placed[i]->bytes);
        if (placed_end > end)
            end = placed_end;
    }
    return best != SIZE_MAX ? best : end;
}

static void insert(int n_placed, zq_arena_block **placed, zq_arena_block *block) {
    int i = n_placed;
    for (; i > 0 && placed[i - 1]->offset > block->offset; i--)
        placed[i] = placed[i - 1];
    placed[i] = block;
}

zq_status zq_arena_plan(int n_blocks, zq_arena_block *blocks, size_t *bytes_out, zq_error *err) {
    size_t total = 0;
    for (int i = 0; i < n_blocks; i++) {
        if (blocks[i].bytes > MOST_BYTES - total)
            return zq_fail(err, ZQ_ERR_LIMIT, "the network's values need more memory than can be addressed");
        total += rounded(blocks[i].bytes);
        if (total > MOST_BYTES)
            total = MOST_BYTES;
    }
    zq_arena_block **order = zq_alloc((size_t)n_blocks, sizeof *order);
    zq_arena_block **placed = zq_alloc((size_t)n_blocks, sizeof *placed);
    zq_status status = ZQ_OK;
    if (order == NULL || placed == NULL) {
        status = zq_fail_memory(err);
        goto done;
    }
    for (int i = 0; i < n_blocks; i++)
        order[i] = &blocks[i];
    qsort(order, (size_t)n_blocks, sizeof *order, by_size);
    *bytes_out = 0;
    for (int i = 0; i < n_blocks; i++) {
        order[i]->offset = best_offset(i, placed, order[i]);
        insert(i, placed, order[i]);
        const size_t end = order[i]->offset + rounded(order[i]->bytes);
        if (end > *bytes_out)
            *bytes_out = end;
    }
done:
    zq_free(order);
    zq_free(placed);
    return status;
}
