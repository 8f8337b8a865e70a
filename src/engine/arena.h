/* SPDX-License-Identifier: Apache-2.0 */
/* Memory planner: one allocation for many buffers, where buffers that don't live at the same time share
 * bytes.
 *
 * Buffers are placed by size, largest first, each into the tightest gap between those that live at the same
 * time (best fit). For networks this comes within a few percent of the lower bound, the most bytes that live
 * at one time. */
#ifndef ZQ_ENGINE_ARENA_H
#define ZQ_ENGINE_ARENA_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ZQ_ARENA_ALIGNMENT = 64 }; /* bytes: a cache line, an AVX-512 register */

typedef struct zq_arena_block {
    size_t bytes;
    int first, last; /* lives from time first to time last, both included */
    size_t offset;   /* result: where it lies, a multiple of ZQ_ARENA_ALIGNMENT */
} zq_arena_block;

/* Sets every offset and *bytes_out, the size of the arena. ZQ_ERR_LIMIT when sizes overflow. */
zq_status zq_arena_plan(int n_blocks, zq_arena_block *blocks, size_t *bytes_out, zq_error *err);

#endif
