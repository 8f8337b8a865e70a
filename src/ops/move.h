/* SPDX-License-Identifier: Apache-2.0 */
/* Moving elements of any type: one strided copy serves Transpose, Slice, Split, Concat, Pad and Expand. */
#ifndef ZQ_OPS_MOVE_H
#define ZQ_OPS_MOVE_H

#include "graph/op.h"

/* A box of elements in two memories: element (i0, i1, ...) is at src[sum of i * src_steps] and at dst[sum of
 * i * dst_steps]. Steps are in elements; they may be negative (backwards), those of src also 0 (repeat). */
typedef struct zq_box {
    int rank;
    int64_t dims[ZQ_MAX_RANK], src_steps[ZQ_MAX_RANK], dst_steps[ZQ_MAX_RANK];
} zq_box;

/* Copies a box; src and dst point at its element (0, 0, ...) and don't overlap. */
void zq_move_box(const zq_box *box, size_t element_bytes, const void *src, void *dst);

/* Steps of a dense tensor in row-major order; all 0 when it has no elements. */
void zq_move_steps(const zq_shape *shape, int64_t steps[ZQ_MAX_RANK]);

/* A box of the given shape with dense steps on both sides. */
zq_box zq_move_dense(const zq_shape *shape);

/* The way back: src and dst change places. */
zq_box zq_move_reversed(const zq_box *box);

/* Elements in the dimensions first .. end - 1; INT64_MAX on overflow. */
int64_t zq_move_count(const zq_shape *shape, int first, int end);

/* forward and backward of operators that change the shape only (in place, when the caller gives the same
 * memory). */
zq_status zq_move_forward(const zq_io *io, zq_error *err);
zq_status zq_move_backward(const zq_io *io, zq_error *err);

#endif
