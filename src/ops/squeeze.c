/* SPDX-License-Identifier: Apache-2.0 */
/* Squeeze: takes out the dimensions of size 1 that input 1 names (all of them when it is omitted). */
#include "ops/infer.h"
#include "ops/move.h"

static zq_status named_axes(const zq_io *io, bool removed[ZQ_MAX_RANK], zq_error *err) {
    char text[ZQ_NODE_TEXT], shape_text[ZQ_SHAPE_TEXT];
    const zq_shape *src = &io->in[0]->shape;
    int64_t axes[ZQ_MAX_RANK];
    int n, axis;
    ZQ_TRY(zq_infer_ints(io, 1, "axes", ZQ_MAX_RANK, axes, &n, err));
    for (int k = 0; k < n; k++) {
        ZQ_TRY(zq_infer_axis(io, axes[k], src->rank, &axis, err));
        if (src->dims[axis] != 1)
            return zq_fail(err, ZQ_ERR_FORMAT, "%s: dimension %d of %s is not 1, so it can't be squeezed",
                           zq_node_text(io->node, text), axis, zq_shape_text(src, shape_text));
        removed[axis] = true;
    }
    return ZQ_OK;
}

static zq_status infer(const zq_io *io, zq_error *err) {
    const zq_shape *src = &io->in[0]->shape;
    zq_shape shape = {0};
    bool removed[ZQ_MAX_RANK] = {false};
    if (zq_infer_input(io, 1) != NULL)
        ZQ_TRY(named_axes(io, removed, err));
    else
        for (int d = 0; d < src->rank; d++)
            removed[d] = src->dims[d] == 1;
    for (int d = 0; d < src->rank; d++)
        if (!removed[d])
            shape.dims[shape.rank++] = src->dims[d];
    return zq_infer_output(io, 0, io->in[0]->dtype, &shape, err);
}

const zq_op zq_op_squeeze = {
    .name = "Squeeze",
    .min_in = 1,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .traits = ZQ_OP_SAME_SCALE | ZQ_OP_INTEGER,
    .infer = infer,
    .forward = zq_move_forward,
    .backward = zq_move_backward,
};
