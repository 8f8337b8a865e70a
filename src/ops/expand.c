/* SPDX-License-Identifier: Apache-2.0 */
/* Expand: broadcasts input 0 with the shape in input 1. */
#include "ops/broadcast.h"
#include "ops/elementwise.h"
#include "ops/infer.h"
#include "ops/move.h"

static zq_status infer(const zq_io *io, zq_error *err) {
    char text[ZQ_NODE_TEXT], from[ZQ_SHAPE_TEXT], to[ZQ_SHAPE_TEXT];
    const zq_shape *src = &io->in[0]->shape;
    zq_shape wanted = {0}, shape;
    ZQ_TRY(zq_infer_ints(io, 1, "shape", ZQ_MAX_RANK, wanted.dims, &wanted.rank, err));
    if (!zq_broadcast_shape(src, &wanted, &shape))
        return zq_fail(err, ZQ_ERR_FORMAT, "%s: %s can't be broadcast to %s", zq_node_text(io->node, text),
                       zq_shape_text(src, from), zq_shape_text(&wanted, to));
    return zq_infer_output(io, 0, io->in[0]->dtype, &shape, err);
}

static zq_status forward(const zq_io *io, zq_error *err) {
    (void)err;
    const zq_shape *src = &io->in[0]->shape;
    zq_box box = zq_move_dense(&io->out[0]->shape);
    int64_t steps[ZQ_MAX_RANK];
    zq_move_steps(src, steps);
    for (int d = 0; d < box.rank; d++) {
        const int own = d - (box.rank - src->rank);
        box.src_steps[d] = own >= 0 && src->dims[own] != 1 ? steps[own] : 0;
    }
    zq_move_box(&box, zq_dtype_bytes(io->in[0]->dtype), io->in[0]->data, io->out[0]->data);
    return ZQ_OK;
}

static zq_status backward(const zq_io *io, zq_error *err) {
    (void)err;
    if (zq_elementwise_has_gradient(io))
        zq_broadcast_sum(&io->out[0]->shape, io->d_out[0]->data, &io->in[0]->shape, io->d_in[0]->data);
    return ZQ_OK;
}

const zq_op zq_op_expand = {
    .name = "Expand",
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .traits = ZQ_OP_SAME_SCALE | ZQ_OP_INTEGER,
    .infer = infer,
    .forward = forward,
    .backward = backward,
};
