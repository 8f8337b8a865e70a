/* SPDX-License-Identifier: Apache-2.0 */
/* Floor. */
#include "ops/elementwise.h"
#include "ops/infer.h"

static zq_status forward(const zq_io *io, zq_error *err) {
    (void)err;
    ZQ_UNARY_FORWARD(io, floor(x));
    return ZQ_OK;
}

const zq_op zq_op_floor = {
    .name = "Floor",
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .traits = ZQ_OP_UNARY,
    .infer = zq_infer_float,
    .forward = forward,

};
