/* SPDX-License-Identifier: Apache-2.0 */
/* Pow: a to the power of b; b may be of another type than a, whose type the result has. */
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

ZQ_ROW(i64, int64_t, (int64_t)pow((double)a, (double)b))
ZQ_ROW(i32, int32_t, (int32_t)pow((double)a, (double)b))

static const zq_binary binary = {.f32 = f32, .i64 = i64, .i32 = i32, .d_a = d_a, .d_b = d_b};

static zq_status infer(const zq_io *io, zq_error *err) {
    char text[ZQ_NODE_TEXT];
    if (io->in[0]->dtype != ZQ_F32 && io->in[1]->dtype == ZQ_F32)
        return zq_fail(err, ZQ_ERR_UNSUPPORTED, "%s: raises integers to fractional powers",
                       zq_node_text(io->node, text));
    const zq_tensor b = {.dtype = io->in[0]->dtype, .shape = io->in[1]->shape};
    zq_io same = *io;
    same.in = (const zq_tensor *const[]){io->in[0], &b};
    return zq_broadcast_infer(&same, &binary, err);
}

/* The exponents in the type of the base, owned. */
static zq_tensor *converted(const zq_tensor *b, zq_dtype dtype) {
    zq_tensor *copy = zq_tensor_new(dtype, &b->shape);
    const int64_t n = copy == NULL ? 0 : zq_shape_count(&b->shape);
    for (int64_t i = 0; i < n; i++)
        if (dtype == ZQ_F32)
            ((zq_real *)copy->data)[i] = (zq_real)zq_tensor_item(b, i);
        else if (dtype == ZQ_I64)
            ((int64_t *)copy->data)[i] = zq_tensor_item_i64(b, i);
        else
            ((int32_t *)copy->data)[i] = (int32_t)zq_tensor_item_i64(b, i);
    return copy;
}

static zq_status run(const zq_io *io, zq_status (*compute)(const zq_io *, const zq_binary *, zq_error *),
                     zq_error *err) {
    if (io->in[0]->dtype == io->in[1]->dtype)
        return compute(io, &binary, err);
    zq_tensor *b = converted(io->in[1], io->in[0]->dtype);
    if (b == NULL)
        return zq_fail_memory(err);
    zq_io same = *io;
    same.in = (const zq_tensor *const[]){io->in[0], b};
    const zq_status status = compute(&same, &binary, err);
    zq_tensor_drop(b);
    return status;
}

static zq_status forward(const zq_io *io, zq_error *err) {
    return run(io, zq_broadcast_forward, err);
}

static zq_status backward(const zq_io *io, zq_error *err) {
    return run(io, zq_broadcast_backward, err);
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
