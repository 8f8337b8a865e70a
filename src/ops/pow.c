/* SPDX-License-Identifier: Apache-2.0 */
/* Pow: a to the power of b. Float only. */
#include "ops/broadcast.h"

/* The exponents that networks really use, without the cost of pow(). */
static inline zq_real power(zq_real a, zq_real b) {
    return b == 2 ? a * a : b == (zq_real)0.5 ? sqrt(a) : pow(a, b);
}

/* b * a^(b - 1); a constant (b = 0) has the slope 0 at a = 0 too. */
static inline zq_real base_slope(zq_real a, zq_real b) {
    return b == 0 ? 0 : b * power(a, b - 1);
}

/* a^b * log(a): real for positive a only. */
static inline zq_real exponent_slope(zq_real a, zq_real b) {
    return a > 0 ? power(a, b) * log(a) : 0;
}

ZQ_ROW(f32, zq_real, power(a, b))
ZQ_ROW_GRADIENT(d_a, d_y *base_slope(a, b))
ZQ_ROW_GRADIENT(d_b, d_y *exponent_slope(a, b))

static const zq_binary binary = {.f32 = f32, .d_a = d_a, .d_b = d_b};

static zq_status infer(const zq_io *io, zq_error *err) {
    return zq_broadcast_infer(io, &binary, err);
}

static zq_status forward(const zq_io *io, zq_error *err) {
    return zq_broadcast_forward(io, &binary, err);
}

static zq_status backward(const zq_io *io, zq_error *err) {
    return zq_broadcast_backward(io, &binary, err);
}

const zq_op zq_op_pow = {
    .name = "Pow",
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .traits = ZQ_OP_BROADCAST,
    .infer = infer,
    .forward = forward,
    .backward = backward,
};
