/* SPDX-License-Identifier: Apache-2.0 */
/* Views: values seen as dimensions with strides, whatever their memory order. Moving elements (Reshape,
 * Transpose, Slice, Concat, the channel shuffle ...) is then copying from one view to another. */
#ifndef ZQ_ENGINE_STRIDED_H
#define ZQ_ENGINE_STRIDED_H

#include "engine/step.h"

enum { ZQ_VIEW_RANK = 2 * ZQ_MAX_RANK };

/* A value in logical order. */
typedef struct zq_view {
    int rank;
    int64_t extent[ZQ_VIEW_RANK], stride[ZQ_VIEW_RANK]; /* in elements of the value's memory */
    int64_t offset;
} zq_view;

zq_view zq_view_of(const zq_slot *slot);

/* The same elements in the same order with other dimensions; false where a new dimension would have no single
 * stride. (Merging dimensions is put off: it shows in zq_copy_make whether it is needed.) */
bool zq_view_reshape(zq_view *view, int rank, const int64_t *dims);

/* Permutes dimensions: groups[i] .. groups[i + 1] - 1 of the view are dimension i of n; perm as in ONNX. */
void zq_view_transpose(zq_view *view, int n, const int *groups, const int64_t *perm);

/* A copy from a view to another with the same elements in the same order. */
typedef struct zq_copy {
    int rank;
    int64_t extent[ZQ_VIEW_RANK], src_stride[ZQ_VIEW_RANK], dst_stride[ZQ_VIEW_RANK]; /* outermost first */
    int64_t src_offset, dst_offset;
} zq_copy;

/* False where the two have no common refinement. */
bool zq_copy_make(const zq_view *src, const zq_view *dst, zq_copy *out);
zq_copy zq_copy_reversed(const zq_copy *copy);

/* dst = src, or dst += src. */
void zq_copy_run(const zq_copy *copy, const float *src, bool add, float *dst);

#endif
