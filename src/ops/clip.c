/* SPDX-License-Identifier: Apache-2.0 */
/* Clip: min(max(x, input 1), input 2), both optional scalars. On integers too: the form in which activations
 * under 8 bits are written clips the integers between Q and DQ. */
#include "ops/elementwise.h"
#include "ops/infer.h"

#include <math.h>

static zq_status check_bound(const zq_io *io, int i, zq_error *err) {
    char text[ZQ_NODE_TEXT], shape[ZQ_SHAPE_TEXT];
    const zq_tensor *bound = zq_infer_input(io, i);
    if (bound == NULL)
        return ZQ_OK;
    if (zq_shape_count(&bound->shape) != 1)
        return zq_fail(err, ZQ_ERR_FORMAT, "%s: its %s has the shape %s, expected one number",
                       zq_node_text(io->node, text), i == 1 ? "minimum" : "maximum",
                       zq_shape_text(&bound->shape, shape));
    if (bound->dtype != io->in[0]->dtype)
        return zq_fail(err, ZQ_ERR_FORMAT, "%s: its %s is %s, but its data is %s",
                       zq_node_text(io->node, text), i == 1 ? "minimum" : "maximum",
                       zq_dtype_name(bound->dtype), zq_dtype_name(io->in[0]->dtype));
    return ZQ_OK;
}

static zq_status infer(const zq_io *io, zq_error *err) {
    const zq_dtype dtype = io->in[0]->dtype;
    if (dtype != ZQ_F32 && dtype != ZQ_I64 && dtype != ZQ_I32 && dtype != ZQ_U8 && dtype != ZQ_I8)
        return zq_infer_refuse_dtype(io, dtype, "float, int64, int32, uint8 or int8", err);
    ZQ_TRY(check_bound(io, 1, err));
    ZQ_TRY(check_bound(io, 2, err));
    return zq_infer_same(io, err);
}

static zq_real float_bound(const zq_io *io, int i, zq_real fallback) {
    const zq_tensor *bound = zq_infer_input(io, i);
    return bound != NULL ? *(const zq_real *)bound->data : fallback;
}

static int64_t int_bound(const zq_io *io, int i, int64_t fallback) {
    const zq_tensor *bound = zq_infer_input(io, i);
    return bound != NULL ? zq_tensor_item_i64(bound, 0) : fallback;
}

/* The bounds are elements of the same type, so the result fits it. */
#define CLIP_INTEGERS(io, type)                                                                              \
    do {                                                                                                     \
        const int64_t n = zq_shape_count(&(io)->out[0]->shape);                                              \
        const int64_t low = int_bound(io, 1, INT64_MIN), high = int_bound(io, 2, INT64_MAX);                 \
        const type *src = (io)->in[0]->data;                                                                 \
        type *dst = (io)->out[0]->data;                                                                      \
        for (int64_t i = 0; i < n; i++) {                                                                    \
            const int64_t raised = src[i] < low ? low : src[i];                                              \
            dst[i] = (type)(raised > high ? high : raised);                                                  \
        }                                                                                                    \
    } while (0)

static inline zq_real clamp(zq_real x, zq_real low, zq_real high) {
    x = x < low ? low : x;
    return x > high ? high : x;
}

static zq_status forward(const zq_io *io, zq_error *err) {
    const zq_real low = io->in[0]->dtype == ZQ_F32 ? float_bound(io, 1, -INFINITY) : 0;
    const zq_real high = io->in[0]->dtype == ZQ_F32 ? float_bound(io, 2, INFINITY) : 0;
    switch (io->in[0]->dtype) {
    case ZQ_F32:
        ZQ_UNARY_FORWARD(io, clamp(x, low, high));
        return ZQ_OK;
    case ZQ_I64:
        CLIP_INTEGERS(io, int64_t);
        return ZQ_OK;
    case ZQ_I32:
        CLIP_INTEGERS(io, int32_t);
        return ZQ_OK;
    case ZQ_U8:
        CLIP_INTEGERS(io, uint8_t);
        return ZQ_OK;
    case ZQ_I8:
        CLIP_INTEGERS(io, int8_t);
        return ZQ_OK;
    default:
        return zq_infer_refuse_dtype(io, io->in[0]->dtype, "float or integers", err);
    }
}

/* The slope is 0 at the bounds themselves: a saturated value has nowhere to go. */
static zq_status backward(const zq_io *io, zq_error *err) {
    (void)err;
    const zq_real low = float_bound(io, 1, -INFINITY), high = float_bound(io, 2, INFINITY);
    ZQ_UNARY_BACKWARD(io, x > low && x < high ? d_y : 0);
    return ZQ_OK;
}

const zq_op zq_op_clip = {
    .name = "Clip",
    .min_in = 1,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .traits = ZQ_OP_UNARY | ZQ_OP_INTEGER,
    .infer = infer,
    .forward = forward,
    .backward = backward,
};
