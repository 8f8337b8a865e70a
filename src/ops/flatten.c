/* SPDX-License-Identifier: Apache-2.0 */
/* Flatten to two dimensions: those before axis, and the others. */
#include "ops/infer.h"
#include "ops/move.h"

typedef struct params {
    int64_t axis;
} params;

static zq_status parse(const zq_node *node, void *params_out, zq_error *err) {
    params *p = params_out;
    return zq_node_int(node, "axis", 1, &p->axis, err);
}

static zq_status infer(const zq_io *io, zq_error *err) {
    const params *p = io->node->params;
    const zq_shape *src = &io->in[0]->shape;
    int axis = src->rank;
    if (p->axis != src->rank) /* behind the last dimension is allowed, too */
        ZQ_TRY(zq_infer_axis(io, p->axis, src->rank, &axis, err));
    const int64_t dims[2] = {zq_move_count(src, 0, axis), zq_move_count(src, axis, src->rank)};
    const zq_shape shape = zq_shape_of(2, dims);
    return zq_infer_output(io, 0, io->in[0]->dtype, &shape, err);
}

const zq_op zq_op_flatten = {
    .name = "Flatten",
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .traits = ZQ_OP_SAME_SCALE | ZQ_OP_INTEGER,
    .params_bytes = sizeof(params),
    .parse = parse,
    .infer = infer,
    .forward = zq_move_forward,
    .backward = zq_move_backward,
};
