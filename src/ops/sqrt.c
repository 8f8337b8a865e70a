/* SPDX-License-Identifier: Apache-2.0 */
/* Sqrt. The infinite slope at 0 counts as 0. */
#include "ops/elementwise.h"
#include "ops/infer.h"

static zq_status forward(const zq_io *io, zq_error *err) {
    (void)err;
    ZQ_UNARY_FORWARD(io, sqrt(x));
    return ZQ_OK;
}

static zq_status backward(const zq_io *io, zq_error *err) {
    (void)err;
    ZQ_UNARY_BACKWARD(io, y > 0 ? d_y / (2 * y) : 0);
    return ZQ_OK;
}

const zq_op zq_op_sqrt = {
    .name = "Sqrt",
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .traits = ZQ_OP_UNARY,
    .infer = zq_infer_float,
    .forward = forward,
    .backward = backward,
};
