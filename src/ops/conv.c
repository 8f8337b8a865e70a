/* SPDX-License-Identifier: Apache-2.0 */
/* Conv: y[n, m, o] = bias[m] + sum over c, k of w[m, c, k] * x[n, group of m + c, o * stride - pad + k *
 * dilation] */
#include "ops/check.h"
#include "ops/window.h"

static zq_status infer(const zq_io *io, zq_error *err) {
    zq_geometry geometry;
    ZQ_TRY(zq_check_float(io, 0, 3, 2 + ZQ_WINDOW_SPATIAL, err));
    ZQ_TRY(zq_check_float(io, 1, 3, 2 + ZQ_WINDOW_SPATIAL, err));
    ZQ_TRY(zq_window_resolve(io->node, &io->in[0]->shape, &io->in[1]->shape, &geometry, err));
    if (io->n_in > 2 && io->in[2] != NULL)
        ZQ_TRY(zq_check_vector(io, 2, geometry.c_out, "bias", err));
    const zq_shape shape = zq_geometry_shape(&geometry);
    return zq_check_result(io, &shape, err);
}

/* What all loops need: the window over three axes and the number of elements in one channel of each tensor.
 */
typedef struct sizes {
    zq_geometry window;
    int64_t c_in, c_out;          /* channels of one group */
    int64_t n_src, n_dst, n_taps; /* elements of a channel of x, of y, and of a kernel */
} sizes;

static zq_status resolve(const zq_io *io, sizes *out, zq_error *err) {
    zq_geometry geometry;
    ZQ_TRY(zq_window_resolve(io->node, &io->in[0]->shape, &io->in[1]->shape, &geometry, err));
    *out = (sizes){.window = zq_geometry_3d(&geometry),
                   .c_in = geometry.c_in / geometry.groups,
                   .c_out = geometry.c_out / geometry.groups,
                   .n_src = zq_geometry_cells_in(&geometry),
                   .n_dst = zq_geometry_cells_out(&geometry),
                   .n_taps = 1};
    for (int k = 0; k < geometry.n_spatial; k++)
        out->n_taps *= geometry.kernel[k];
    return ZQ_OK;
}

/* One channel of x under the window at one output position, times one kernel. */
static double window_dot(const zq_geometry *window, const zq_real *x, const zq_real *w, const int64_t at[3]) {
    const int64_t *in = window->in, *kernel = window->kernel, *dilation = window->dilation;
    int64_t from[3], first[3], end[3];
    for (int k = 0; k < 3; k++)
        from[k] = zq_geometry_clip(window, k, at[k], &first[k], &end[k]);
    double sum = 0;
    for (int64_t i = first[0]; i < end[0]; i++)
        for (int64_t j = first[1]; j < end[1]; j++) {
            const int64_t row =
                ((from[0] + i * dilation[0]) * in[1] + from[1] + j * dilation[1]) * in[2] + from[2];
            const zq_real *taps = w + (i * kernel[1] + j) * kernel[2];
            for (int64_t k = first[2]; k < end[2]; k++)
                sum += (double)x[row + k * dilation[2]] * taps[k];
        }
    return sum;
}

static zq_status forward(const zq_io *io, zq_error *err) {
    sizes s;
    ZQ_TRY(resolve(io, &s, err));
    const zq_real *x = io->in[0]->data, *w = io->in[1]->data;
    const zq_real *bias = io->n_in > 2 && io->in[2] != NULL ? io->in[2]->data : NULL;
    zq_real *y = io->out[0]->data;
#pragma omp parallel for
    for (int64_t nm = 0; nm < s.window.n_images * s.window.c_out; nm++) {
        const int64_t n = nm / s.window.c_out, m = nm % s.window.c_out;
        const zq_real *x_group = x + (n * s.window.c_in + m / s.c_out * s.c_in) * s.n_src;
        for (int64_t o = 0; o < s.n_dst; o++) {
            int64_t at[3];
            zq_geometry_unravel(s.window.out, o, at);
            double sum = bias != NULL ? (double)bias[m] : 0;
            for (int64_t c = 0; c < s.c_in; c++)
                sum += window_dot(&s.window, x_group + c * s.n_src, w + (m * s.c_in + c) * s.n_taps, at);
            y[nm * s.n_dst + o] = (zq_real)sum;
        }
    }
    return ZQ_OK;
}

/* Output position whose window has the given cell at an input position, or -1. */
static int64_t output_of(const zq_geometry *window, int axis, int64_t in, int64_t cell) {
    const int64_t scaled = in + window->pad_lo[axis] - cell * window->dilation[axis];
    const int64_t out = scaled / window->stride[axis];
    return scaled >= 0 && scaled % window->stride[axis] == 0 && out < window->out[axis] ? out : -1;
}

/* What one channel of y hands back to one input position: the transpose of window_dot. */
static double window_back(const zq_geometry *window, const zq_real *d_y, const zq_real *w,
                          const int64_t at[3]) {
    const int64_t *out = window->out, *kernel = window->kernel;
    double sum = 0;
    for (int64_t i = 0; i < kernel[0]; i++) {
        const int64_t plane = output_of(window, 0, at[0], i);
        for (int64_t j = 0; plane >= 0 && j < kernel[1]; j++) {
            const int64_t row = output_of(window, 1, at[1], j);
            for (int64_t k = 0; row >= 0 && k < kernel[2]; k++) {
                const int64_t column = output_of(window, 2, at[2], k);
                if (column >= 0)
                    sum += (double)d_y[(plane * out[1] + row) * out[2] + column] *
                           w[(i * kernel[1] + j) * kernel[2] + k];
            }
        }
    }
    return sum;
}

static void backward_source(const sizes *s, const zq_real *w, const zq_real *d_y, zq_real *d_x) {
#pragma omp parallel for
    for (int64_t nc = 0; nc < s->window.n_images * s->window.c_in; nc++) {
        const int64_t n = nc / s->window.c_in, group = nc % s->window.c_in / s->c_in, c = nc % s->c_in;
        for (int64_t i = 0; i < s->n_src; i++) {
            int64_t at[3];
            zq_geometry_unravel(s->window.in, i, at);
            double sum = 0;
            for (int64_t m = group * s->c_out; m < (group + 1) * s->c_out; m++)
                sum += window_back(&s->window, d_y + (n * s->window.c_out + m) * s->n_dst,
                                   w + (m * s->c_in + c) * s->n_taps, at);
            d_x[nc * s->n_src + i] = (zq_real)sum;
        }
    }
}

/* d_w[m, c, k] = sum over n, o of d_y[n, m, o] * x under cell k of the window at o */
static void backward_weight(const sizes *s, const zq_real *x, const zq_real *d_y, zq_real *d_w) {
    const zq_geometry *window = &s->window;
#pragma omp parallel for
    for (int64_t t = 0; t < window->c_out * s->c_in * s->n_taps; t++) {
        const int64_t m = t / s->n_taps / s->c_in, c = m / s->c_out * s->c_in + t / s->n_taps % s->c_in;
        int64_t cell[3], at[3], from[3];
        zq_geometry_unravel(window->kernel, t % s->n_taps, cell);
        double sum = 0;
        for (int64_t no = 0; no < window->n_images * s->n_dst; no++) {
            const int64_t n = no / s->n_dst, o = no % s->n_dst;
            bool inside = true;
            zq_geometry_unravel(window->out, o, at);
            for (int k = 0; k < 3; k++) {
                from[k] = at[k] * window->stride[k] - window->pad_lo[k] + cell[k] * window->dilation[k];
                inside = inside && from[k] >= 0 && from[k] < window->in[k];
            }
            if (inside)
                sum += (double)d_y[(n * window->c_out + m) * s->n_dst + o] *
                       x[(n * window->c_in + c) * s->n_src +
                         (from[0] * window->in[1] + from[1]) * window->in[2] + from[2]];
        }
        d_w[t] = (zq_real)sum;
    }
}

static void backward_bias(const sizes *s, const zq_real *d_y, zq_real *d_bias) {
    for (int64_t m = 0; m < s->window.c_out; m++) {
        double sum = 0;
        for (int64_t n = 0; n < s->window.n_images; n++)
            for (int64_t o = 0; o < s->n_dst; o++)
                sum += d_y[(n * s->window.c_out + m) * s->n_dst + o];
        d_bias[m] = (zq_real)sum;
    }
}

static zq_status backward(const zq_io *io, zq_error *err) {
    if (!zq_check_gradient(io))
        return ZQ_OK;
    sizes s;
    ZQ_TRY(resolve(io, &s, err));
    const zq_real *d_y = io->d_out[0]->data;
    if (io->d_in[0] != NULL)
        backward_source(&s, io->in[1]->data, d_y, io->d_in[0]->data);
    if (io->d_in[1] != NULL)
        backward_weight(&s, io->in[0]->data, d_y, io->d_in[1]->data);
    if (io->n_in > 2 && io->d_in[2] != NULL)
        backward_bias(&s, d_y, io->d_in[2]->data);
    return ZQ_OK;
}

static double macs(const zq_io *io) {
    const zq_shape *weight = &io->in[1]->shape;
    double taps = 1; /* of one output element */
    for (int k = 1; k < weight->rank; k++)
        taps *= (double)weight->dims[k];
    return taps * (double)zq_shape_count(&io->out[0]->shape);
}

const zq_op zq_op_conv = {
    .name = "Conv",
    .min_in = 2,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .traits = ZQ_OP_WEIGHTED | ZQ_OP_INTEGER,
    .params_bytes = sizeof(zq_window_params),
    .parse = zq_window_parse,
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .macs = macs,
};
