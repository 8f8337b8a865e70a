/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/move.h"

#include "base/memory.h"
#include "ops/elementwise.h"

#include <string.h>

void zq_move_steps(const zq_shape *shape, int64_t steps[ZQ_MAX_RANK]) {
    const bool empty = zq_shape_count(shape) <= 0; /* then the products below could overflow */
    int64_t step = 1;
    for (int d = shape->rank - 1; d >= 0; d--) {
        steps[d] = empty ? 0 : step;
        step *= empty ? 1 : shape->dims[d];
    }
}

zq_box zq_move_dense(const zq_shape *shape) {
    zq_box box = {.rank = shape->rank};
    memcpy(box.dims, shape->dims, sizeof box.dims);
    zq_move_steps(shape, box.src_steps);
    zq_move_steps(shape, box.dst_steps);
    return box;
}

zq_box zq_move_reversed(const zq_box *box) {
    zq_box reversed = *box;
    memcpy(reversed.src_steps, box->dst_steps, sizeof reversed.src_steps);
    memcpy(reversed.dst_steps, box->src_steps, sizeof reversed.dst_steps);
    return reversed;
}

int64_t zq_move_count(const zq_shape *shape, int first, int end) {
    int64_t count = 1;
    for (int d = first; d < end; d++)
        if (!zq_mul_i64(count, shape->dims[d], &count))
            return INT64_MAX;
    return count;
}

/* The same box without dimensions of size 1 and with neighbours joined where both memories allow it; rank at
 * least 1.
 */
static zq_box join(const zq_box *box) {
    zq_box joined = {.rank = 0};
    for (int d = 0; d < box->rank; d++) {
        const int last = joined.rank - 1;
        if (box->dims[d] == 1)
            continue;
        if (last >= 0 && joined.src_steps[last] == box->src_steps[d] * box->dims[d] &&
            joined.dst_steps[last] == box->dst_steps[d] * box->dims[d]) {
            joined.dims[last] *= box->dims[d];
            joined.src_steps[last] = box->src_steps[d];
            joined.dst_steps[last] = box->dst_steps[d];
            continue;
        }
        joined.dims[joined.rank] = box->dims[d];
        joined.src_steps[joined.rank] = box->src_steps[d];
        joined.dst_steps[joined.rank] = box->dst_steps[d];
        joined.rank++;
    }
    if (joined.rank == 0) {
        joined.rank = 1;
        joined.dims[0] = joined.src_steps[0] = joined.dst_steps[0] = 1;
    }
    return joined;
}

/* memcpy with a constant size is a plain load and store, whatever the type of the elements is. */
#define COPY_ROW(bytes)                                                                                      \
    for (int64_t i = 0; i < n; i++)                                                                          \
    memcpy(dst + i * dst_step * (bytes), src + i * src_step * (bytes), bytes)

static void move_row(int64_t n, size_t element_bytes, const char *src, int64_t src_step, char *dst,
                     int64_t dst_step) {
    if (src_step == 1 && dst_step == 1)
        memcpy(dst, src, (size_t)n * element_bytes);
    else if (element_bytes == 1)
        COPY_ROW(1);
    else if (element_bytes == 4)
        COPY_ROW(4);
    else
        COPY_ROW(8);
}

static void move_axis(const zq_box *box, int axis, size_t element_bytes, const char *src, char *dst) {
    const int64_t src_step = box->src_steps[axis], dst_step = box->dst_steps[axis];
    if (axis == box->rank - 1) {
        move_row(box->dims[axis], element_bytes, src, src_step, dst, dst_step);
        return;
    }
    for (int64_t i = 0; i < box->dims[axis]; i++)
        move_axis(box, axis + 1, element_bytes, src + i * src_step * (int64_t)element_bytes,
                  dst + i * dst_step * (int64_t)element_bytes);
}

void zq_move_box(const zq_box *box, size_t element_bytes, const void *src, void *dst) {
    int64_t count = 1;
    for (int d = 0; d < box->rank; d++)
        if (box->dims[d] == 0)
            return; /* the others may be of any size: their product is not to be formed */
    const zq_box joined = join(box);
    for (int d = 0; d < joined.rank; d++)
        count *= joined.dims[d];
    if (joined.rank == 1) {
        move_axis(&joined, 0, element_bytes, src, dst);
        return;
    }
    const int64_t src_bytes = joined.src_steps[0] * (int64_t)element_bytes,
                  dst_bytes = joined.dst_steps[0] * (int64_t)element_bytes;
#pragma omp parallel for schedule(static) if (count >= ZQ_PARALLEL_MIN)
    for (int64_t i = 0; i < joined.dims[0]; i++)
        move_axis(&joined, 1, element_bytes, (const char *)src + i * src_bytes, (char *)dst + i * dst_bytes);
}

static void copy_all(const zq_tensor *src, zq_tensor *dst) {
    if (src->data != dst->data)
        memcpy(dst->data, src->data, (size_t)zq_shape_count(&src->shape) * zq_dtype_bytes(src->dtype));
}

zq_status zq_move_forward(const zq_io *io, zq_error *err) {
    (void)err;
    copy_all(io->in[0], io->out[0]);
    return ZQ_OK;
}

zq_status zq_move_backward(const zq_io *io, zq_error *err) {
    (void)err;
    if (zq_elementwise_has_gradient(io))
        copy_all(io->d_out[0], io->d_in[0]);
    return ZQ_OK;
}
