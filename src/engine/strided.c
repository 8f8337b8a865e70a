/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/strided.h"

#include <string.h>

zq_view zq_view_of(const zq_slot *slot) {
    zq_view view = {.rank = slot->shape.rank};
    int64_t stride = 1;
    for (int i = view.rank - 1; i >= 0; i--) {
        view.extent[i] = slot->shape.dims[i];
        view.stride[i] = stride;
        stride *= view.extent[i];
    }
    if (slot->last) { /* [N, spatial..., C]: channels step by 1, positions by the number of channels */
        for (int i = 2; i < view.rank; i++)
            view.stride[i] *= slot->channels;
        view.stride[1] = 1;
    }
    return view;
}

static void insert_dim(zq_view *view, int at, int64_t extent, int64_t stride) {
    for (int i = view->rank; i > at; i--) {
        view->extent[i] = view->extent[i - 1];
        view->stride[i] = view->stride[i - 1];
    }
    view->extent[at] = extent;
    view->stride[at] = stride;
    view->rank++;
}

/* Splits dimension at of extent into [extent / inner, inner]; false where it doesn't divide. */
static bool split_dim(zq_view *view, int at, int64_t inner) {
    if (inner <= 0 || view->extent[at] % inner != 0 || view->rank == ZQ_VIEW_RANK)
        return false;
    const int64_t extent = view->extent[at], stride = view->stride[at];
    view->extent[at] = extent / inner;
    view->stride[at] = stride * inner;
    insert_dim(view, at + 1, inner, stride);
    return true;
}

static void drop_ones(zq_view *view) {
    int rank = 0;
    for (int i = 0; i < view->rank; i++) {
        if (view->extent[i] == 1)
            continue;
        view->extent[rank] = view->extent[i];
        view->stride[rank++] = view->stride[i];
    }
    view->rank = rank;
}

/* Splits the dimensions of both until they are the same, from the innermost outwards. */
static bool refine(zq_view *a, zq_view *b) {
    drop_ones(a);
    drop_ones(b);
    int i = a->rank - 1, j = b->rank - 1;
    while (i >= 0 && j >= 0) {
        const int64_t x = a->extent[i], y = b->extent[j];
        if (x > y && !split_dim(a, i, y))
            return false;
        if (y > x && !split_dim(b, j, x))
            return false;
        /* after a split the outer part keeps the index, so the one that wasn't split moves on */
        i -= x <= y;
        j -= y <= x;
    }
    return i < 0 && j < 0 && a->rank == b->rank;
}

bool zq_view_reshape(zq_view *view, int rank, const int64_t *dims) {
    zq_view wanted = {.rank = rank};
    memcpy(wanted.extent, dims, (size_t)rank * sizeof *dims);
    return refine(view, &wanted);
}

void zq_view_transpose(zq_view *view, int n, const int *groups, const int64_t *perm) {
    const zq_view from = *view;
    int at = 0;
    for (int i = 0; i < n; i++) {
        for (int k = groups[perm[i]]; k < groups[perm[i] + 1]; k++) {
            view->extent[at] = from.extent[k];
            view->stride[at++] = from.stride[k];
        }
    }
}

/* ---- copies */

static void swap_dims(zq_copy *copy, int i, int j) {
    const int64_t extent = copy->extent[i], src = copy->src_stride[i], dst = copy->dst_stride[i];
    copy->extent[i] = copy->extent[j];
    copy->src_stride[i] = copy->src_stride[j];
    copy->dst_stride[i] = copy->dst_stride[j];
    copy->extent[j] = extent;
    copy->src_stride[j] = src;
    copy->dst_stride[j] = dst;
}

/* Writes go forwards through memory; neighbouring dimensions that are one in both are merged. */
static void simplify(zq_copy *copy) {
    for (int i = 0; i < copy->rank; i++)
        for (int j = i; j > 0 && copy->dst_stride[j] > copy->dst_stride[j - 1]; j--)
            swap_dims(copy, j, j - 1);
    int rank = 0;
    for (int i = 0; i < copy->rank; i++) {
        const int64_t extent = copy->extent[i], src = copy->src_stride[i], dst = copy->dst_stride[i];
        if (rank > 0 && copy->src_stride[rank - 1] == extent * src &&
            copy->dst_stride[rank - 1] == extent * dst) {
            copy->extent[rank - 1] *= extent;
            copy->src_stride[rank - 1] = src;
            copy->dst_stride[rank - 1] = dst;
            continue;
        }
        copy->extent[rank] = extent;
        copy->src_stride[rank] = src;
        copy->dst_stride[rank++] = dst;
    }
    copy->rank = rank;
}

bool zq_copy_make(const zq_view *src, const zq_view *dst, zq_copy *out) {
    zq_view from = *src, to = *dst;
    if (!refine(&from, &to))
        return false;
    *out = (zq_copy){.rank = from.rank, .src_offset = from.offset, .dst_offset = to.offset};
    memcpy(out->extent, from.extent, sizeof out->extent);
    memcpy(out->src_stride, from.stride, sizeof out->src_stride);
    memcpy(out->dst_stride, to.stride, sizeof out->dst_stride);
    simplify(out);
    return true;
}

zq_copy zq_copy_reversed(const zq_copy *copy) {
    zq_copy reversed = *copy;
    memcpy(reversed.src_stride, copy->dst_stride, sizeof reversed.src_stride);
    memcpy(reversed.dst_stride, copy->src_stride, sizeof reversed.dst_stride);
    reversed.src_offset = copy->dst_offset;
    reversed.dst_offset = copy->src_offset;
    simplify(&reversed);
    return reversed;
}

static void copy_row(int64_t n, int64_t src_stride, int64_t dst_stride, const float *restrict src, bool add,
                     float *restrict dst) {
    if (src_stride == 1 && dst_stride == 1 && !add)
        memcpy(dst, src, (size_t)n * sizeof *dst);
    else if (src_stride == 1 && dst_stride == 1)
        for (int64_t i = 0; i < n; i++)
            dst[i] += src[i];
    else if (add)
        for (int64_t i = 0; i < n; i++)
            dst[i * dst_stride] += src[i * src_stride];
    else
        for (int64_t i = 0; i < n; i++)
            dst[i * dst_stride] = src[i * src_stride];
}

/* The two innermost dimensions at outer position index. */
static void copy_plane(const zq_copy *copy, int64_t index, const float *src, bool add, float *dst) {
    const int rank = copy->rank;
    for (int i = rank - 3; i >= 0; i--) {
        src += index % copy->extent[i] * copy->src_stride[i];
        dst += index % copy->extent[i] * copy->dst_stride[i];
        index /= copy->extent[i];
    }
    int row = rank - 2, column = rank - 1; /* the longer one is the inner loop */
    if (rank >= 2 && copy->extent[row] > copy->extent[column]) {
        row = rank - 1;
        column = rank - 2;
    }
    const int64_t n_rows = rank >= 2 ? copy->extent[row] : 1, n = rank >= 1 ? copy->extent[column] : 1;
    for (int64_t i = 0; i < n_rows; i++)
        copy_row(n, rank >= 1 ? copy->src_stride[column] : 1, rank >= 1 ? copy->dst_stride[column] : 1,
                 src + (rank >= 2 ? i * copy->src_stride[row] : 0), add,
                 dst + (rank >= 2 ? i * copy->dst_stride[row] : 0));
}

void zq_copy_run(const zq_copy *copy, const float *src, bool add, float *dst) {
    zq_copy c = *copy;
    if (c.rank == 2 && c.rank < ZQ_VIEW_RANK) { /* threads share outer dimensions: let there be one */
        c.rank = 3;
        for (int i = 2; i > 0; i--) {
            c.extent[i] = copy->extent[i - 1];
            c.src_stride[i] = copy->src_stride[i - 1];
            c.dst_stride[i] = copy->dst_stride[i - 1];
        }
        c.extent[0] = copy->extent[0];
        c.src_stride[0] = copy->src_stride[0];
        c.dst_stride[0] = copy->dst_stride[0];
        c.extent[1] = 1;
    }
    int64_t n_outer = 1;
    for (int i = 0; i < c.rank - 2; i++)
        n_outer *= c.extent[i];
#pragma omp parallel for schedule(static)
    for (int64_t index = 0; index < n_outer; index++)
        copy_plane(&c, index, src + c.src_offset, add, dst + c.dst_offset);
}
