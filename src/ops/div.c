/* SPDX-License-Identifier: Apache-2.0 */
/* Div: a / b. Integers are cut toward zero; the quotient that overflows (the smallest by -1) wraps around. */
#include "ops/broadcast.h"

ZQ_ROW(f32, zq_real, a / b)
ZQ_ROW(i64, int64_t, b == -1 ? (int64_t)(0 - (uint64_t)a) : a / b)
ZQ_ROW(i32, int32_t, b == -1 ? (int32_t)(0 - (uint32_t)a) : a / b)
ZQ_ROW_GRADIENT(d_a, d_y / b)
ZQ_ROW_GRADIENT(d_b, -a / (b * b) * d_y)

static const zq_binary binary = {.f32 = f32, .i64 = i64, .i32 = i32, .d_a = d_a, .d_b = d_b};

static zq_status infer(const zq_io *io, zq_error *err) {
    return zq_broadcast_infer(io, &binary, err);
}

static zq_status forward(const zq_io *io, zq_error *err) {
    ZQ_TRY(zq_broadcast_check_divisor(io, err));
    return zq_broadcast_forward(io, &binary, err);
}

static zq_status backward(const zq_io *io, zq_error *err) {
    return zq_broadcast_backward(io, &binary, err);
}

const zq_op zq_op_div = {
    .name = "Div",
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .traits = ZQ_OP_BROADCAST,
    .infer = infer,
    .forward = forward,
    .backward = backward,
};
