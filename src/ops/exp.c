/* SPDX-License-Identifier: Apache-2.0 */
/* Exp. */
#include "ops/elementwise.h"
#include "ops/infer.h"

static zq_status forward(const zq_io *io, zq_error *err) {
    (void)err;
    ZQ_UNARY_FORWARD(io, exp(x));
    return ZQ_OK;
}

static zq_status backward(const zq_io *io, zq_error *err) {
    (void)err;
    ZQ_UNARY_BACKWARD(io, d_y * y);
    return ZQ_OK;
}

const zq_op zq_op_exp = {
    .name = "Exp",
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .traits = ZQ_OP_UNARY,
    .infer = zq_infer_float,
    .forward = forward,
    .backward = backward,
};
