/* SPDX-License-Identifier: Apache-2.0 */
/* Mod: the remainder of a / b. It has the sign of b; with fmod=1 that of a. */
#include "ops/broadcast.h"

typedef struct params {
    bool truncated; /* fmod=1 */
} params;

/* The remainder of anything by -1 is 0, which processors find with an overflow. */
#define TRUNCATED (b == -1 ? 0 : a % b)
#define FLOORED (TRUNCATED != 0 && (a < 0) != (b < 0) ? a % b + b : TRUNCATED)

static inline zq_real floored_real(zq_real a, zq_real b) {
    const zq_real r = fmod(a, b);
    return r == 0 ? copysign((zq_real)0, b) : (r < 0) != (b < 0) ? r + b : r;
}

ZQ_ROW(f32_truncated, zq_real, fmod(a, b))
ZQ_ROW(f32, zq_real, floored_real(a, b))
ZQ_ROW(i64_truncated, int64_t, TRUNCATED)
ZQ_ROW(i32_truncated, int32_t, TRUNCATED)
ZQ_ROW(i64, int64_t, FLOORED)
ZQ_ROW(i32, int32_t, FLOORED)

static const zq_binary floored = {.f32 = f32, .i64 = i64, .i32 = i32},
                       truncated = {.f32 = f32_truncated, .i64 = i64_truncated, .i32 = i32_truncated};

static const zq_binary *binary_of(const zq_io *io) {
    const params *p = io->node->params;
    return p->truncated ? &truncated : &floored;
}

static zq_status parse(const zq_node *node, void *params_out, zq_error *err) {
    params *p = params_out;
    int64_t fmod;
    ZQ_TRY(zq_node_int(node, "fmod", 0, &fmod, err));
    p->truncated = fmod != 0;
    return ZQ_OK;
}

static zq_status infer(const zq_io *io, zq_error *err) {
    return zq_broadcast_infer(io, binary_of(io), err);
}

static zq_status forward(const zq_io *io, zq_error *err) {
    ZQ_TRY(zq_broadcast_check_divisor(io, err));
    return zq_broadcast_forward(io, binary_of(io), err);
}

const zq_op zq_op_mod = {
    .name = "Mod",
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .traits = ZQ_OP_BROADCAST,
    .params_bytes = sizeof(params),
    .parse = parse,
    .infer = infer,
    .forward = forward,
};
