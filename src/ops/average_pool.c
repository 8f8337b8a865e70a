/* SPDX-License-Identifier: Apache-2.0 */
/* AveragePool: the mean of the elements under a window. */
#include "ops/check.h"
#include "ops/window.h"

static zq_status infer(const zq_io *io, zq_error *err) {
    zq_geometry geometry;
    ZQ_TRY(zq_check_float(io, 0, 3, 2 + ZQ_WINDOW_SPATIAL, err));
    ZQ_TRY(zq_window_resolve(io->node, &io->in[0]->shape, NULL, &geometry, err));
    const zq_shape shape = zq_geometry_shape(&geometry);
    return zq_check_result(io, &shape, err);
}

/* The cells of the window at one output position that lie in the input, and the number to divide their sum
 * by. */
typedef struct cells {
    int64_t from[3], first[3], end[3];
    double divisor;
} cells;

static cells window_cells(const zq_geometry *window, const int64_t at[3]) {
    cells found = {.divisor = 1};
    for (int k = 0; k < 3; k++) {
        found.from[k] = zq_geometry_clip(window, k, at[k], &found.first[k], &found.end[k]);
        int64_t n = found.end[k] - found.first[k];
        if (window->count_padding) { /* but not what ceil_mode adds behind the padding */
            n = (window->in[k] + window->pad_hi[k] - 1 - found.from[k]) / window->dilation[k] + 1;
            n = n < window->kernel[k] ? n : window->kernel[k];
        }
        found.divisor *= n > 0 ? (double)n : 1; /* a dilated window may have no cell in the input: mean 0 */
    }
    return found;
}

static double window_mean(const zq_geometry *window, const zq_real *x, const int64_t at[3]) {
    const cells c = window_cells(window, at);
    double sum = 0;
    for (int64_t i = c.first[0]; i < c.end[0]; i++)
        for (int64_t j = c.first[1]; j < c.end[1]; j++)
            for (int64_t k = c.first[2]; k < c.end[2]; k++) {
                const int64_t row = (c.from[0] + i * window->dilation[0]) * window->in[1] + c.from[1];
                sum +=
                    x[(row + j * window->dilation[1]) * window->in[2] + c.from[2] + k * window->dilation[2]];
            }
    return sum / c.divisor;
}

static void window_spread(const zq_geometry *window, double d_y, const int64_t at[3], zq_real *d_x) {
    const cells c = window_cells(window, at);
    const zq_real share = (zq_real)(d_y / c.divisor);
    for (int64_t i = c.first[0]; i < c.end[0]; i++)
        for (int64_t j = c.first[1]; j < c.end[1]; j++)
            for (int64_t k = c.first[2]; k < c.end[2]; k++) {
                const int64_t row = (c.from[0] + i * window->dilation[0]) * window->in[1] + c.from[1];
                d_x[(row + j * window->dilation[1]) * window->in[2] + c.from[2] + k * window->dilation[2]] +=
                    share;
            }
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
            y[nc * n_dst + o] = (zq_real)window_mean(&window, x + nc * n_src, at);
        }
    return ZQ_OK;
}

static zq_status backward(const zq_io *io, zq_error *err) {
    if (!zq_check_gradient(io) || io->d_in[0] == NULL)
        return ZQ_OK;
    zq_geometry window;
    ZQ_TRY(zq_window_resolve(io->node, &io->in[0]->shape, NULL, &window, err));
    const int64_t n_src = zq_geometry_cells_in(&window), n_dst = zq_geometry_cells_out(&window);
    window = zq_geometry_3d(&window);
    const zq_real *d_y = io->d_out[0]->data;
    zq_real *d_x = io->d_in[0]->data;
#pragma omp parallel for
    for (int64_t nc = 0; nc < window.n_images * window.c_in; nc++) {
        for (int64_t i = 0; i < n_src; i++)
            d_x[nc * n_src + i] = 0;
        for (int64_t o = 0; o < n_dst; o++) {
            int64_t at[3];
            zq_geometry_unravel(window.out, o, at);
            window_spread(&window, d_y[nc * n_dst + o], at, d_x + nc * n_src);
        }
    }
    return ZQ_OK;
}

const zq_op zq_op_average_pool = {
    .name = "AveragePool",
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .traits = ZQ_OP_INTEGER,
    .params_bytes = sizeof(zq_window_params),
    .parse = zq_window_parse,
    .infer = infer,
    .forward = forward,
    .backward = backward,
};
