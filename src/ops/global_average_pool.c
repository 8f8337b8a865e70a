/* SPDX-License-Identifier: Apache-2.0 */
/* GlobalAveragePool: the mean of each channel of each image, [N, C, spatial...] to [N, C, 1...]. */
#include "ops/check.h"

static zq_status infer(const zq_io *io, zq_error *err) {
    ZQ_TRY(zq_check_float(io, 0, 3, ZQ_MAX_RANK, err));
    zq_shape shape = io->in[0]->shape;
    for (int d = 2; d < shape.rank; d++)
        shape.dims[d] = 1;
    return zq_check_result(io, &shape, err);
}

static zq_status forward(const zq_io *io, zq_error *err) {
    (void)err;
    const int64_t n_channels = zq_shape_count(&io->out[0]->shape);
    const int64_t n_inner = zq_shape_count(&io->in[0]->shape) / n_channels;
    const zq_real *x = io->in[0]->data;
    zq_real *y = io->out[0]->data;
#pragma omp parallel for
    for (int64_t c = 0; c < n_channels; c++) {
        double sum = 0;
        for (int64_t i = c * n_inner; i < (c + 1) * n_inner; i++)
            sum += x[i];
        y[c] = (zq_real)(sum / (double)n_inner);
    }
    return ZQ_OK;
}

static zq_status backward(const zq_io *io, zq_error *err) {
    (void)err;
    if (!zq_check_gradient(io) || io->d_in[0] == NULL)
        return ZQ_OK;
    const int64_t count = zq_shape_count(&io->in[0]->shape);
    const int64_t n_inner = count / zq_shape_count(&io->out[0]->shape);
    const zq_real *d_y = io->d_out[0]->data;
    zq_real *d_x = io->d_in[0]->data;
    for (int64_t i = 0; i < count; i++)
        d_x[i] = d_y[i / n_inner] / (zq_real)n_inner;
    return ZQ_OK;
}

const zq_op zq_op_global_average_pool = {
    .name = "GlobalAveragePool",
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .traits = ZQ_OP_INTEGER,
    .infer = infer,
    .forward = forward,
    .backward = backward,
};
