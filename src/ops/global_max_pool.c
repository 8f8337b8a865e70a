/* SPDX-License-Identifier: Apache-2.0 */
/* GlobalMaxPool: the largest element of each channel of each image, [N, C, spatial...] to [N, C, 1...]. */
#include "ops/check.h"

static zq_status infer(const zq_io *io, zq_error *err) {
    ZQ_TRY(zq_check_float(io, 0, 3, ZQ_MAX_RANK, err));
    zq_shape shape = io->in[0]->shape;
    for (int d = 2; d < shape.rank; d++)
        shape.dims[d] = 1;
    return zq_check_result(io, &shape, err);
}

/* Index of the first largest of n elements. */
static int64_t find_max(int64_t n, const zq_real *x) {
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

static zq_status forward(const zq_io *io, zq_error *err) {
    (void)err;
    const int64_t n_channels = zq_shape_count(&io->out[0]->shape);
    const int64_t n_inner = zq_shape_count(&io->in[0]->shape) / n_channels;
    const zq_real *x = io->in[0]->data;
    zq_real *y = io->out[0]->data;
#pragma omp parallel for
    for (int64_t c = 0; c < n_channels; c++)
        y[c] = x[c * n_inner + find_max(n_inner, x + c * n_inner)];
    return ZQ_OK;
}

/* The element that won gets the whole gradient; of equal ones the first. */
static zq_status backward(const zq_io *io, zq_error *err) {
    (void)err;
    if (!zq_check_gradient(io) || io->d_in[0] == NULL)
        return ZQ_OK;
    const int64_t n_channels = zq_shape_count(&io->out[0]->shape);
    const int64_t n_inner = zq_shape_count(&io->in[0]->shape) / n_channels;
    const zq_real *x = io->in[0]->data, *d_y = io->d_out[0]->data;
    zq_real *d_x = io->d_in[0]->data;
    for (int64_t c = 0; c < n_channels; c++) {
        for (int64_t i = 0; i < n_inner; i++)
            d_x[c * n_inner + i] = 0;
        d_x[c * n_inner + find_max(n_inner, x + c * n_inner)] = d_y[c];
    }
    return ZQ_OK;
}

const zq_op zq_op_global_max_pool = {
    .name = "GlobalMaxPool",
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .traits = ZQ_OP_SAME_SCALE,
    .infer = infer,
    .forward = forward,
    .backward = backward,
};
