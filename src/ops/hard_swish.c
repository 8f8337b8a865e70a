/* SPDX-License-Identifier: Apache-2.0 */
/* HardSwish: x * max(0, min(1, x / 6 + 1 / 2)). */
#include "ops/elementwise.h"
#include "ops/infer.h"

static inline zq_real gate(zq_real x) {
    const zq_real g = x / 6 + (zq_real)0.5;
    return g < 0 ? 0 : g > 1 ? 1 : g;
}

/* Inside, the derivative of x * x / 6 + x / 2. */
static inline zq_real slope(zq_real x) {
    return x <= -3 ? 0 : x >= 3 ? 1 : x / 3 + (zq_real)0.5;
}

static zq_status forward(const zq_io *io, zq_error *err) {
    (void)err;
    ZQ_UNARY_FORWARD(io, x * gate(x));
    return ZQ_OK;
}

static zq_status backward(const zq_io *io, zq_error *err) {
    (void)err;
    ZQ_UNARY_BACKWARD(io, d_y * slope(x));
    return ZQ_OK;
}

const zq_op zq_op_hard_swish = {
    .name = "HardSwish",
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .traits = ZQ_OP_UNARY,
    .infer = zq_infer_float,
    .forward = forward,
    .backward = backward,
};
