/* SPDX-License-Identifier: Apache-2.0 */
/* Gather: takes the slices of input 0 along axis that input 1 names (negative: from the end). */
#include "ops/elementwise.h"
#include "ops/infer.h"
#include "ops/move.h"

#include <inttypes.h>
#include <string.h>

typedef struct params {
    int64_t axis;
} params;

static zq_status parse(const zq_node *node, void *params_out, zq_error *err) {
    params *p = params_out;
    return zq_node_int(node, "axis", 0, &p->axis, err);
}

static int gather_axis(const zq_io *io) {
    const params *p = io->node->params;
    return (int)(p->axis < 0 ? p->axis + io->in[0]->shape.rank : p->axis);
}

static zq_status check_indices(const zq_io *io, int axis, zq_error *err) {
    char text[ZQ_NODE_TEXT];
    const int64_t size = io->in[0]->shape.dims[axis], n = zq_shape_count(&io->in[1]->shape);
    for (int64_t k = 0; k < n; k++) {
        const int64_t index = zq_tensor_item_i64(io->in[1], k);
        if (index < -size || index >= size)
            return zq_fail(err, ZQ_ERR_FORMAT,
                           "%s: index %" PRId64 " doesn't exist in dimension %d of size %" PRId64,
                           zq_node_text(io->node, text), index, axis, size);
    }
    return ZQ_OK;
}

static zq_status infer(const zq_io *io, zq_error *err) {
    char text[ZQ_NODE_TEXT];
    const zq_shape *src = &io->in[0]->shape, *indices = &io->in[1]->shape;
    zq_shape shape = {.rank = src->rank - 1 + indices->rank};
    int axis;
    ZQ_TRY(zq_infer_axis(io, ((const params *)io->node->params)->axis, src->rank, &axis, err));
    if (io->in[1]->dtype != ZQ_I64 && io->in[1]->dtype != ZQ_I32)
        return zq_infer_refuse_dtype(io, io->in[1]->dtype, "int64 or int32 indices", err);
    if (shape.rank > ZQ_MAX_RANK)
        return zq_fail(err, ZQ_ERR_UNSUPPORTED,
                       "%s: its output would have %d dimensions, at most %d are supported",
                       zq_node_text(io->node, text), shape.rank, ZQ_MAX_RANK);
    for (int d = 0; d < shape.rank; d++)
        shape.dims[d] = d < axis                   ? src->dims[d]
                        : d < axis + indices->rank ? indices->dims[d - axis]
                                                   : src->dims[d - indices->rank + 1];
    if (io->in[1]->data != NULL)
        ZQ_TRY(check_indices(io, axis, err));
    return zq_infer_output(io, 0, io->in[0]->dtype, &shape, err);
}

/* The source as [n_outer, size, n_inner]; slice k of the output comes from slice source(k). */
typedef struct layout {
    int64_t n_outer, size, n_inner, n_indices;
    const zq_tensor *indices;
} layout;

static zq_status read_layout(const zq_io *io, layout *out, zq_error *err) {
    const zq_shape *src = &io->in[0]->shape;
    const int axis = gather_axis(io);
    *out = (layout){.n_outer = zq_move_count(src, 0, axis),
                    .size = src->dims[axis],
                    .n_inner = zq_move_count(src, axis + 1, src->rank),
                    .n_indices = zq_shape_count(&io->in[1]->shape),
                    .indices = io->in[1]};
    return check_indices(io, axis, err);
}

static int64_t source_slice(const layout *l, int64_t k) {
    const int64_t index = zq_tensor_item_i64(l->indices, k);
    return index < 0 ? index + l->size : index;
}

static zq_status forward(const zq_io *io, zq_error *err) {
    layout l;
    ZQ_TRY(read_layout(io, &l, err));
    const size_t bytes = zq_dtype_bytes(io->in[0]->dtype) * (size_t)l.n_inner;
    const char *src = io->in[0]->data;
    char *dst = io->out[0]->data;
#pragma omp parallel for schedule(static) if (l.n_outer * l.n_indices * l.n_inner >= ZQ_PARALLEL_MIN)
    for (int64_t o = 0; o < l.n_outer; o++)
        for (int64_t k = 0; k < l.n_indices; k++)
            memcpy(dst + (size_t)(o * l.n_indices + k) * bytes,
                   src + (size_t)(o * l.size + source_slice(&l, k)) * bytes, bytes);
    return ZQ_OK;
}

/* An index may occur several times: gradients add up. */
static zq_status backward(const zq_io *io, zq_error *err) {
    layout l;
    ZQ_TRY(read_layout(io, &l, err));
    zq_elementwise_zero_gradients(io);
    if (!zq_elementwise_has_gradient(io))
        return ZQ_OK;
#pragma omp parallel for schedule(static) if (l.n_outer * l.n_indices * l.n_inner >= ZQ_PARALLEL_MIN)
    for (int64_t o = 0; o < l.n_outer; o++)
        for (int64_t k = 0; k < l.n_indices; k++) {
            const zq_real *d_y = (const zq_real *)io->d_out[0]->data + (o * l.n_indices + k) * l.n_inner;
            zq_real *d_x = (zq_real *)io->d_in[0]->data + (o * l.size + source_slice(&l, k)) * l.n_inner;
            for (int64_t i = 0; i < l.n_inner; i++)
                d_x[i] += d_y[i];
        }
    return ZQ_OK;
}

const zq_op zq_op_gather = {
    .name = "Gather",
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .traits = ZQ_OP_SAME_SCALE | ZQ_OP_INTEGER,
    .params_bytes = sizeof(params),
    .parse = parse,
    .infer = infer,
    .forward = forward,
    .backward = backward,
};
