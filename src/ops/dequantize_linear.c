/* SPDX-License-Identifier: Apache-2.0 */
/* DequantizeLinear: (q - zero point) * scale. */
#include "ops/elementwise.h"
#include "ops/infer.h"
#include "ops/scale.h"

static zq_status infer(const zq_io *io, zq_error *err) {
    const zq_dtype dtype = io->in[0]->dtype;
    int64_t low, high;
    if (!zq_scale_range(dtype, &low, &high))
        return zq_infer_refuse_dtype(io, dtype, "integers of 32, 8, 4 and 2 bits", err);
    ZQ_TRY(zq_scale_check(io, dtype, err));
    return zq_infer_output(io, 0, ZQ_F32, &io->in[0]->shape, err);
}

#define DEQUANTIZE_ROW(type, wide)                                                                           \
    for (int64_t i = first; i < first + n; i++)                                                              \
    dst[i] = (zq_real)((wide)((const type *)src)[i] - (wide)zero_point) * scale

static zq_status forward(const zq_io *io, zq_error *err) {
    (void)err;
    const zq_scale_rows rows = zq_scale_split(io);
    const zq_dtype dtype = io->in[0]->dtype;
    const void *src = io->in[0]->data;
    zq_real *dst = io->out[0]->data;
#pragma omp parallel for schedule(static) if (rows.total >= ZQ_PARALLEL_MIN)
    for (int64_t r = 0; r < rows.n_rows; r++) {
        int64_t zero_point;
        const zq_real scale = zq_scale_of(io, &rows, r, &zero_point);
        const int64_t first = r * rows.n, n = zq_scale_row_size(&rows, r);
        if (dtype == ZQ_I32)
            DEQUANTIZE_ROW(int32_t, int64_t);
        else if (dtype == ZQ_U8 || dtype == ZQ_U4 || dtype == ZQ_U2)
            DEQUANTIZE_ROW(uint8_t, int32_t);
        else
            DEQUANTIZE_ROW(int8_t, int32_t);
    }
    return ZQ_OK;
}

const zq_op zq_op_dequantize_linear = {
    .name = "DequantizeLinear",
    .min_in = 2,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .params_bytes = sizeof(zq_scale_params),
    .parse = zq_scale_parse,
    .infer = infer,
    .forward = forward,
};
