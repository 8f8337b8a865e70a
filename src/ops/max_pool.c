/* SPDX-License-Identifier: Apache-2.0 */
/* MaxPool: the largest element under a window; padding never wins. */
#include "ops/check.h"
#include "ops/window.h"

#include <float.h>

static zq_status infer(const zq_io *io, zq_error *err) {
    zq_geometry geometry;
    ZQ_TRY(zq_check_float(io, 0, 3, 2 + ZQ_WINDOW_SPATIAL, err));
    ZQ_TRY(zq_window_resolve(io->node, &io->in[0]->shape, NULL, &geometry, err));
    const zq_shape shape = zq_geometry_shape(&geometry);
    return zq_check_result(io, &shape, err);
}

/* Index in the channel x of the first largest element under the window at one output position; -1 where a
 * dilated window has no cell in the input. */
static int64_t window_max(const zq_geometry *window, const zq_real *x, const int64_t at[3]) {
    const int64_t *in = window->in, *dilation = window->dilation;
    int64_t from[3], first[3], end[3], best = -1;
    for (int k = 0; k < 3; k++)
        from[k] = zq_geometry_clip(window, k, at[k], &first[k], &end[k]);
    for (int64_t i = first[0]; i < end[0]; i++)
        for (int64_t j = first[1]; j < end[1]; j++)
            for (int64_t k = first[2]; k < end[2]; k++) {
                const int64_t row = (from[0] + i * dilation[0]) * in[1] + from[1] + j * dilation[1];
                const int64_t index = row * in[2] + from[2] + k * dilation[2];
                if (best < 0 || x[index] > x[best])
                    best = index;
            }
    return best;
}

static zq_status forward(const zq_io *io, zq_error *err) {
    zq_geometry window;
    ZQ_TRY(zq_window_resolve(io->node, &io->in[0]->shape, NULL, &window, err));
    const int64_t n_src = zq_geometry_cells_in(&window), n_dst = zq_geometry_cells_out(&window);
    window = zq_geometry_3d(&window);
    const zq_real *x = io->in[0]->data;
    zq_real *y = io->out[0]->data;
#pragma omp parallel for
    for (int64_t nc = 0; nc < window.n_images * window.c_in; nc++)
        for (int64_t o = 0; o < n_dst; o++) {
            int64_t at[3];
            zq_geometry_unravel(window.out, o, at);
            const int64_t best = window_max(&window, x + nc * n_src, at);
            y[nc * n_dst + o] = best >= 0 ? x[nc * n_src + best] : -FLT_MAX;
        }
    return ZQ_OK;
}

/* The element that won gets the whole gradient; of equal ones the first. */
static zq_status backward(const zq_io *io, zq_error *err) {
    if (!zq_check_gradient(io) || io->d_in[0] == NULL)
        return ZQ_OK;
    zq_geometry window;
    ZQ_TRY(zq_window_resolve(io->node, &io->in[0]->shape, NULL, &window, err));
    const int64_t n_src = zq_geometry_cells_in(&window), n_dst = zq_geometry_cells_out(&window);
    window = zq_geometry_3d(&window);
    const zq_real *x = io->in[0]->data, *d_y = io->d_out[0]->data;
    zq_real *d_x = io->d_in[0]->data;
#pragma omp parallel for
    for (int64_t nc = 0; nc < window.n_images * window.c_in; nc++) {
        for (int64_t i = 0; i < n_src; i++)
            d_x[nc * n_src + i] = 0;
        for (int64_t o = 0; o < n_dst; o++) {
            int64_t at[3];
            zq_geometry_unravel(window.out, o, at);
            const int64_t best = window_max(&window, x + nc * n_src, at);
            if (best >= 0)
                d_x[nc * n_src + best] += d_y[nc * n_dst + o];
        }
    }
    return ZQ_OK;
}

const zq_op zq_op_max_pool = {
    .name = "MaxPool",
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 2,
    .traits = ZQ_OP_SAME_SCALE | ZQ_OP_INTEGER,
    .params_bytes = sizeof(zq_window_params),
    .parse = zq_window_parse,
    .infer = infer,
    .forward = forward,
    .backward = backward,
};
