/* SPDX-License-Identifier: Apache-2.0 */
/* Fused elementwise loops over rows of channels, x[row, c]: all values that aren't in plain order have this
 * form. Each reads and writes every stream once: memory is what they wait for. */
#ifndef ZQ_ENGINE_LOOPS_H
#define ZQ_ENGINE_LOOPS_H

#include "engine/onednn/onednn.h"
#include "engine/step.h"

/* Rows and channels of a slot whose memory has channels innermost (or that has one channel). */
typedef struct zq_rows {
    int64_t n_rows, n_channels;
} zq_rows;

/* False where channels aren't innermost. */
bool zq_rows_of(const zq_slot *slot, zq_rows *out);

/* The bounds of a Relu or Clip node with constant bounds; false: another node. */
bool zq_clamp_of(const zq_plan *plan, int node, zq_clamp *out);

/* dst = clamp(x); dst may be x */
void zq_loop_clamp(size_t n, zq_cells x, zq_clamp clamp, zq_cells dst);

/* The same of a slot with channels innermost, and on the way the sums and sums of squares of x over each
 * image. sums: [images, 2, channels], written */
void zq_loop_clamp_sum(const zq_slot *slot, zq_clamp clamp, zq_cells dst, double *sums);

/* dst = clamp(a + b); dst may be a or b. passed: [n] 1 where the sum lies between the bounds, else 0; NULL:
 * not wanted */
void zq_loop_add(size_t n, zq_cells a, zq_cells b, zq_clamp clamp, zq_cells dst, uint8_t *passed);

/* Backward of that, to both inputs in one pass: sink of z (+)= passed * d_y + seed(z). passed NULL: 1. The
 * memory of either sink may be d_y's. */
typedef struct zq_branch {
    zq_cells z;
    zq_sink sink;
} zq_branch;
void zq_loop_fork(zq_rows rows, const uint8_t *passed, zq_cells d_y, int n_branches,
                  const zq_branch *branches);

/* sink of z (+)= slope(at) * d_y + seed(z): at, the input or output of the activation, tells the slope. The
 * sink's memory may be d_y's. */
void zq_loop_slope(zq_rows rows, zq_cells at, zq_clamp clamp, zq_cells d_y, zq_cells z, const zq_sink *sink);

/* In place: d = 0 where at is outside the bounds. */
void zq_loop_mask(size_t n, zq_cells at, zq_clamp clamp, zq_cells d);

/* dst (+)= seed(z) */
void zq_loop_seed(zq_rows rows, zq_cells z, const zq_plan_seed *seed, bool add, zq_cells dst);

/* dst += src */
void zq_loop_accumulate(size_t n, zq_cells src, zq_cells dst);

#endif
