/* SPDX-License-Identifier: Apache-2.0 */
/* QuantizeLinear: saturate(round(x / scale) + zero point), ties to even. */
#include "ops/elementwise.h"
#include "ops/infer.h"
#include "ops/scale.h"

/* The type of the zero point; without one, attribute output_dtype (ONNX types), by default uint8. */
static zq_dtype quantized_dtype(const zq_io *io) {
    const zq_tensor *zero_point = zq_infer_input(io, 2);
    if (zero_point != NULL)
        return zero_point->dtype;
    switch (((const zq_scale_params *)io->node->params)->output_dtype) {
    case 0:
    case 2:
        return ZQ_U8;
    case 3:
        return ZQ_I8;
    case 21:
        return ZQ_U4;
    case 22:
        return ZQ_I4;
    case 25:
        return ZQ_U2;
    case 26:
        return ZQ_I2;
    default:
        return ZQ_NONE;
    }
}

static zq_status infer(const zq_io *io, zq_error *err) {
    char text[ZQ_NODE_TEXT];
    const zq_dtype dtype = quantized_dtype(io);
    int64_t low, high;
    if (io->in[0]->dtype != ZQ_F32)
        return zq_infer_refuse_dtype(io, io->in[0]->dtype, "float", err);
    if (!zq_scale_range(dtype, &low, &high) || dtype == ZQ_I32)
        return zq_fail(err, ZQ_ERR_UNSUPPORTED,
                       "%s: only integers of 8, 4 and 2 bits are supported as its output",
                       zq_node_text(io->node, text));
    ZQ_TRY(zq_scale_check(io, dtype, err));
    return zq_infer_output(io, 0, dtype, &io->in[0]->shape, err);
}

/* low and high have the zero point taken off. NaN becomes low. */
static inline zq_real quantize(zq_real x, zq_real scale, zq_real low, zq_real high) {
    const zq_real q = nearbyint(x / scale);
    return !(q >= low) ? low : q > high ? high : q;
}

static zq_status forward(const zq_io *io, zq_error *err) {
    (void)err;
    int64_t least = 0, most = 0;
    zq_scale_range(io->out[0]->dtype, &least, &most);
    const zq_scale_rows rows = zq_scale_split(io);
    const zq_real *src = io->in[0]->data;
    uint8_t *dst = io->out[0]->data; /* int8_t has the same bytes */
#pragma omp parallel for schedule(static) if (rows.total >= ZQ_PARALLEL_MIN)
    for (int64_t r = 0; r < rows.n_rows; r++) {
        int64_t zero_point;
        const zq_real scale = zq_scale_of(io, &rows, r, &zero_point);
        const zq_real low = (zq_real)(least - zero_point), high = (zq_real)(most - zero_point);
        const int64_t first = r * rows.n, n = zq_scale_row_size(&rows, r);
        for (int64_t i = first; i < first + n; i++)
            dst[i] = (uint8_t)((int32_t)quantize(src[i], scale, low, high) + (int32_t)zero_point);
    }
    return ZQ_OK;
}

const zq_op zq_op_quantize_linear = {
    .name = "QuantizeLinear",
    .min_in = 2,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .params_bytes = sizeof(zq_scale_params),
    .parse = zq_scale_parse,
    .infer = infer,
    .forward = forward,
};
