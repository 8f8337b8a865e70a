/* SPDX-License-Identifier: Apache-2.0 */
/* BatchNormalization at inference: y = scale * (x - mean) / sqrt(var + epsilon) + bias, each for a channel
 * (axis 1). */
#include "ops/check.h"

#include <math.h>

enum input { X, SCALE, BIAS, MEAN, VAR };

typedef struct params {
    float epsilon;
} params;

static zq_status parse(const zq_node *node, void *params_out, zq_error *err) {
    params *p = params_out;
    char name[ZQ_NODE_TEXT];
    int64_t training;
    ZQ_TRY(zq_node_float(node, "epsilon", 1e-5f, &p->epsilon, err));
    ZQ_TRY(zq_node_int(node, "training_mode", 0, &training, err));
    if (training != 0)
        return zq_fail(
            err, ZQ_ERR_UNSUPPORTED,
            "%s: attribute training_mode is %lld; only a network exported for inference (0) is supported",
            zq_node_text(node, name), (long long)training);
    if (!(p->epsilon >= 0) || isinf(p->epsilon))
        return zq_fail(err, ZQ_ERR_FORMAT, "%s: attribute epsilon is %g; expected 0 or a positive number",
                       zq_node_text(node, name), (double)p->epsilon);
    return zq_check_single_output(node, "statistics of training", err);
}

static zq_status infer(const zq_io *io, zq_error *err) {
    static const char *const names[] = {"data", "scale", "bias", "mean", "variance"};
    ZQ_TRY(zq_check_float(io, X, 2, ZQ_MAX_RANK, err));
    for (int k = SCALE; k <= VAR; k++)
        ZQ_TRY(zq_check_vector(io, k, io->in[X]->shape.dims[1], names[k], err));
    return zq_check_result(io, &io->in[X]->shape, err);
}

typedef struct sizes {
    int64_t n_images, n_channels, n_inner;
} sizes;

static sizes resolve(const zq_io *io) {
    const zq_shape *shape = &io->in[X]->shape;
    sizes s = {.n_images = shape->dims[0], .n_channels = shape->dims[1], .n_inner = 1};
    for (int d = 2; d < shape->rank; d++)
        s.n_inner *= shape->dims[d];
    return s;
}

static double item(const zq_io *io, enum input input, int64_t channel) {
    return ((const zq_real *)io->in[input]->data)[channel];
}

/* 1 / standard deviation of a channel. */
static double inverse_std(const zq_io *io, int64_t channel) {
    const params *p = io->node->params;
    return 1 / sqrt(item(io, VAR, channel) + (double)p->epsilon);
}

static zq_status forward(const zq_io *io, zq_error *err) {
    (void)err;
    const sizes s = resolve(io);
    const zq_real *x = io->in[X]->data;
    zq_real *y = io->out[0]->data;
#pragma omp parallel for
    for (int64_t nc = 0; nc < s.n_images * s.n_channels; nc++) {
        const int64_t c = nc % s.n_channels;
        const double factor = item(io, SCALE, c) * inverse_std(io, c), mean = item(io, MEAN, c);
        const double bias = item(io, BIAS, c);
        for (int64_t i = nc * s.n_inner; i < (nc + 1) * s.n_inner; i++)
            y[i] = (zq_real)(((double)x[i] - mean) * factor + bias);
    }
    return ZQ_OK;
}

static void backward_source(const zq_io *io, const sizes *s, const zq_real *d_y, zq_real *d_x) {
#pragma omp parallel for
    for (int64_t nc = 0; nc < s->n_images * s->n_channels; nc++) {
        const int64_t c = nc % s->n_channels;
        const double factor = item(io, SCALE, c) * inverse_std(io, c);
        for (int64_t i = nc * s->n_inner; i < (nc + 1) * s->n_inner; i++)
            d_x[i] = (zq_real)(d_y[i] * factor);
    }
}

static void store(const zq_io *io, enum input input, int64_t channel, double value) {
    if (io->d_in[input] != NULL)
        ((zq_real *)io->d_in[input]->data)[channel] = (zq_real)value;
}

/* All four are made of two sums over the channel: of d_y, and of d_y * (x - mean). */
static void backward_parameters(const zq_io *io, const sizes *s, const zq_real *d_y) {
    const zq_real *x = io->in[X]->data;
    for (int64_t c = 0; c < s->n_channels; c++) {
        const double mean = item(io, MEAN, c), scale = item(io, SCALE, c), inverse = inverse_std(io, c);
        double sum = 0, centred = 0;
        for (int64_t n = 0; n < s->n_images; n++)
            for (int64_t i = 0; i < s->n_inner; i++) {
                const int64_t at = (n * s->n_channels + c) * s->n_inner + i;
                sum += d_y[at];
                centred += (double)d_y[at] * ((double)x[at] - mean);
            }
        store(io, SCALE, c, centred * inverse);
        store(io, BIAS, c, sum);
        store(io, MEAN, c, -sum * scale * inverse);
        store(io, VAR, c, -0.5 * centred * scale * inverse * inverse * inverse);
    }
}

static zq_status backward(const zq_io *io, zq_error *err) {
    (void)err;
    if (!zq_check_gradient(io))
        return ZQ_OK;
    const sizes s = resolve(io);
    const zq_real *d_y = io->d_out[0]->data;
    if (io->d_in[X] != NULL)
        backward_source(io, &s, d_y, io->d_in[X]->data);
    for (int k = SCALE; k <= VAR; k++)
        if (io->d_in[k] != NULL) {
            backward_parameters(io, &s, d_y);
            break;
        }
    return ZQ_OK;
}

const zq_op zq_op_batch_normalization = {
    .name = "BatchNormalization",
    .min_in = 5,
    .max_in = 5,
    .min_out = 1,
    .max_out = 5,
    .params_bytes = sizeof(params),
    .parse = parse,
    .infer = infer,
    .forward = forward,
    .backward = backward,
};
