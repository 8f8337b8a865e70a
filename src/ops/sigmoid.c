/* SPDX-License-Identifier: Apache-2.0 */
/* Sigmoid: 1 / (1 + exp(-x)). */
#include "ops/elementwise.h"
#include "ops/infer.h"

static zq_status forward(const zq_io *io, zq_error *err) {
    (void)err;
    ZQ_UNARY_FORWARD(io, 1 / (1 + exp(-x)));
    return ZQ_OK;
}

static zq_status backward(const zq_io *io, zq_error *err) {
    (void)err;
    ZQ_UNARY_BACKWARD(io, d_y * y * (1 - y));
    return ZQ_OK;
}

const zq_op zq_op_sigmoid = {
    .name = "Sigmoid",
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .traits = ZQ_OP_UNARY | ZQ_OP_INTEGER,
    .infer = zq_infer_float,
    .forward = forward,
    .backward = backward,
};
