/* SPDX-License-Identifier: Apache-2.0 */
/* Unsqueeze: puts in dimensions of size 1 so that they are where input 1 says. */
#include "ops/infer.h"
#include "ops/move.h"

static zq_status infer(const zq_io *io, zq_error *err) {
    char text[ZQ_NODE_TEXT];
    const zq_shape *src = &io->in[0]->shape;
    int64_t axes[ZQ_MAX_RANK];
    bool added[ZQ_MAX_RANK] = {false};
    int n, axis;
    ZQ_TRY(zq_infer_ints(io, 1, "axes", ZQ_MAX_RANK, axes, &n, err));
    zq_shape shape = {.rank = src->rank + n};
    if (shape.rank > ZQ_MAX_RANK)
        return zq_fail(err, ZQ_ERR_UNSUPPORTED,
                       "%s: its output would have %d dimensions, at most %d are supported",
                       zq_node_text(io->node, text), shape.rank, ZQ_MAX_RANK);
    for (int k = 0; k < n; k++) {
        ZQ_TRY(zq_infer_axis(io, axes[k], shape.rank, &axis, err));
        if (added[axis])
            return zq_fail(err, ZQ_ERR_FORMAT, "%s: axis %d is named twice", zq_node_text(io->node, text),
                           axis);
        added[axis] = true;
    }
    for (int d = 0, from = 0; d < shape.rank; d++)
        shape.dims[d] = added[d] ? 1 : src->dims[from++];
    return zq_infer_output(io, 0, io->in[0]->dtype, &shape, err);
}

const zq_op zq_op_unsqueeze = {
    .name = "Unsqueeze",
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .traits = ZQ_OP_SAME_SCALE | ZQ_OP_INTEGER,
    .infer = infer,
    .forward = zq_move_forward,
    .backward = zq_move_backward,
};
