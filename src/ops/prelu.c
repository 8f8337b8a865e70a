/* SPDX-License-Identifier: Apache-2.0 */
/* PRelu: a where a >= 0, slope b * a elsewhere; b is broadcast to the shape of a. */
#include "ops/broadcast.h"
#include "ops/infer.h"

ZQ_ROW(f32, zq_real, a < 0 ? a * b : a)
ZQ_ROW_GRADIENT(d_a, a < 0 ? d_y * b : d_y)
ZQ_ROW_GRADIENT(d_b, a < 0 ? d_y * a : 0)

static const zq_binary binary = {.f32 = f32, .d_a = d_a, .d_b = d_b};

static zq_status infer(const zq_io *io, zq_error *err) {
    char text[ZQ_NODE_TEXT], a_text[ZQ_SHAPE_TEXT], b_text[ZQ_SHAPE_TEXT];
    const zq_shape *a = &io->in[0]->shape, *b = &io->in[1]->shape;
    zq_shape shape;
    if (!zq_broadcast_shape(a, b, &shape) || !zq_shape_equal(&shape, a))
        return zq_fail(err, ZQ_ERR_FORMAT, "%s: its slope %s can't be broadcast to its input %s",
                       zq_node_text(io->node, text), zq_shape_text(b, b_text), zq_shape_text(a, a_text));
    return zq_broadcast_infer(io, &binary, err);
}

static zq_status forward(const zq_io *io, zq_error *err) {
    return zq_broadcast_forward(io, &binary, err);
}

static zq_status backward(const zq_io *io, zq_error *err) {
    return zq_broadcast_backward(io, &binary, err);
}

const zq_op zq_op_prelu = {
    .name = "PRelu",
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .traits = ZQ_OP_BROADCAST,
    .infer = infer,
    .forward = forward,
    .backward = backward,
};
