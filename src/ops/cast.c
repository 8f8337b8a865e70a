/* SPDX-License-Identifier: Apache-2.0 */
/* Cast. Float to integer cuts toward zero and saturates; integer to narrower integer keeps the low bits. */
#include "ops/elementwise.h"
#include "ops/infer.h"

#include <inttypes.h>

typedef struct params {
    zq_dtype to;
} params;

/* Attribute `to`: TensorProto.DataType. Double becomes float, the only floating-point type inside. */
static zq_status parse(const zq_node *node, void *params_out, zq_error *err) {
    static const struct {
        int64_t onnx;
        zq_dtype dtype;
    } types[] = {{1, ZQ_F32},  {2, ZQ_U8},  {3, ZQ_I8},  {6, ZQ_I32}, {7, ZQ_I64}, {9, ZQ_BOOL},
                 {11, ZQ_F32}, {21, ZQ_U4}, {22, ZQ_I4}, {25, ZQ_U2}, {26, ZQ_I2}};
    params *p = params_out;
    char text[ZQ_NODE_TEXT];
    int64_t to;
    ZQ_TRY(zq_node_int(node, "to", 0, &to, err));
    for (size_t k = 0; k < sizeof types / sizeof types[0]; k++)
        if (types[k].onnx == to)
            p->to = types[k].dtype;
    if (p->to == ZQ_NONE)
        return zq_fail(err, ZQ_ERR_UNSUPPORTED,
                       "%s: casts to %s (ONNX type %" PRId64
                       "), which is not supported: export the model in float32",
                       zq_node_text(node, text),
                       to == 10   ? "float16"
                       : to == 16 ? "bfloat16"
                                  : "another type",
                       to);
    return ZQ_OK;
}

static zq_status infer(const zq_io *io, zq_error *err) {
    const params *p = io->node->params;
    return zq_infer_output(io, 0, p->to, &io->in[0]->shape, err);
}

/* Bits of an integer type, negative for a signed one. */
static int bits_of(zq_dtype dtype) {
    switch (dtype) {
    case ZQ_U8:
        return 8;
    case ZQ_I8:
        return -8;
    case ZQ_U4:
        return 4;
    case ZQ_I4:
        return -4;
    case ZQ_U2:
        return 2;
    case ZQ_I2:
        return -2;
    case ZQ_I32:
        return -32;
    default:
        return -64;
    }
}

static int64_t smallest(int bits) {
    return bits > 0 ? 0 : bits == -64 ? INT64_MIN : -((int64_t)1 << (-bits - 1));
}

static int64_t largest(int bits) {
    return bits > 0 ? ((int64_t)1 << bits) - 1 : bits == -64 ? INT64_MAX : ((int64_t)1 << (-bits - 1)) - 1;
}

/* NaN becomes 0. */
static int64_t from_float(double x, int bits) {
    if (isnan(x))
        return 0;
    if (x >= (double)largest(bits)) /* for 64 bits this is 2^63, which doesn't fit */
        return largest(bits);
    return x <= (double)smallest(bits) ? smallest(bits) : (int64_t)x;
}

static int64_t wrap(int64_t x, int bits) {
    if (bits == -64)
        return x;
    const int width = bits < 0 ? -bits : bits;
    const int64_t low = (int64_t)((uint64_t)x & (((uint64_t)1 << width) - 1));
    return low > largest(bits) ? low - ((int64_t)1 << width) : low;
}

static int64_t to_integer(const zq_tensor *src, int64_t i, zq_dtype to) {
    if (to == ZQ_BOOL)
        return zq_tensor_item(src, i) != 0;
    return src->dtype == ZQ_F32 ? from_float(zq_tensor_item(src, i), bits_of(to))
                                : wrap(zq_tensor_item_i64(src, i), bits_of(to));
}

static zq_status forward(const zq_io *io, zq_error *err) {
    (void)err;
    const zq_tensor *src = io->in[0];
    const zq_dtype to = io->out[0]->dtype;
    void *dst = io->out[0]->data;
    const int64_t n = zq_shape_count(&io->out[0]->shape);
#pragma omp parallel for schedule(static) if (n >= ZQ_PARALLEL_MIN)
    for (int64_t i = 0; i < n; i++)
        switch (to) {
        case ZQ_F32:
            ((zq_real *)dst)[i] = (zq_real)zq_tensor_item(src, i);
            break;
        case ZQ_I64:
            ((int64_t *)dst)[i] = to_integer(src, i, to);
            break;
        case ZQ_I32:
            ((int32_t *)dst)[i] = (int32_t)to_integer(src, i, to);
            break;
        default: /* one byte, signed or not */
            ((uint8_t *)dst)[i] = (uint8_t)to_integer(src, i, to);
            break;
        }
    return ZQ_OK;
}

/* Float to float is the identity; elsewhere the slope is 0. */
static zq_status backward(const zq_io *io, zq_error *err) {
    (void)err;
    if (io->in[0]->dtype == ZQ_F32 && io->out[0]->dtype == ZQ_F32)
        ZQ_UNARY_BACKWARD(io, d_y);
    else
        zq_elementwise_zero_gradients(io);
    return ZQ_OK;
}

const zq_op zq_op_cast = {
    .name = "Cast",
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .params_bytes = sizeof(params),
    .parse = parse,
    .infer = infer,
    .forward = forward,
    .backward = backward,
};
