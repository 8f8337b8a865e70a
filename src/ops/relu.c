/* SPDX-License-Identifier: Apache-2.0 */
/* Relu: max(x, 0). NaN stays NaN, so that it is noticed at the end. */
#include "ops/elementwise.h"
#include "ops/infer.h"

static zq_status forward(const zq_io *io, zq_error *err) {
    (void)err;
    ZQ_UNARY_FORWARD(io, x < 0 ? 0 : x);
    return ZQ_OK;
}

static zq_status backward(const zq_io *io, zq_error *err) {
    (void)err;
    ZQ_UNARY_BACKWARD(io, x > 0 ? d_y : 0);
    return ZQ_OK;
}

const zq_op zq_op_relu = {
    .name = "Relu",
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .traits = ZQ_OP_UNARY | ZQ_OP_INTEGER,
    .infer = zq_infer_float,
    .forward = forward,
    .backward = backward,
};
