/* SPDX-License-Identifier: Apache-2.0 */
/* Softmax along one axis: y = exp(x - max) / sum of exp(x - max). */
#include "ops/check.h"
#include "ops/infer.h"

#include <math.h>

typedef struct params {
    int64_t axis;
} params;

static zq_status parse(const zq_node *node, void *params_out, zq_error *err) {
    params *p = params_out;
    return zq_node_int(node, "axis", -1, &p->axis, err);
}

/* Lines of n elements, inner apart; n_lines of them. */
typedef struct sizes {
    int64_t n_lines, n, inner;
} sizes;

static zq_status resolve(const zq_io *io, sizes *out, zq_error *err) {
    const params *p = io->node->params;
    const zq_shape *shape = &io->in[0]->shape;
    int axis;
    ZQ_TRY(zq_infer_axis(io, p->axis, shape->rank, &axis, err));
    *out = (sizes){.n_lines = zq_shape_count(shape) / shape->dims[axis], .n = shape->dims[axis], .inner = 1};
    for (int d = axis + 1; d < shape->rank; d++)
        out->inner *= shape->dims[d];
    return ZQ_OK;
}

static int64_t line_start(const sizes *s, int64_t line) {
    return line / s->inner * s->n * s->inner + line % s->inner;
}

static zq_status infer(const zq_io *io, zq_error *err) {
    sizes s;
    ZQ_TRY(zq_check_float(io, 0, 1, ZQ_MAX_RANK, err));
    ZQ_TRY(resolve(io, &s, err));
    return zq_check_result(io, &io->in[0]->shape, err);
}

static zq_status forward(const zq_io *io, zq_error *err) {
    sizes s;
    ZQ_TRY(resolve(io, &s, err));
#pragma omp parallel for
    for (int64_t line = 0; line < s.n_lines; line++) {
        const zq_real *x = (const zq_real *)io->in[0]->data + line_start(&s, line);
        zq_real *y = (zq_real *)io->out[0]->data + line_start(&s, line);
        double max = x[0], sum = 0;
        for (int64_t i = 1; i < s.n; i++)
            max = x[i * s.inner] > max ? x[i * s.inner] : max;
        for (int64_t i = 0; i < s.n; i++)
            sum += exp(x[i * s.inner] - max);
        for (int64_t i = 0; i < s.n; i++)
            y[i * s.inner] = (zq_real)(exp(x[i * s.inner] - max) / sum);
    }
    return ZQ_OK;
}

/* d_x = y * (d_y - sum of d_y * y) */
static zq_status backward(const zq_io *io, zq_error *err) {
    if (!zq_check_gradient(io) || io->d_in[0] == NULL)
        return ZQ_OK;
    sizes s;
    ZQ_TRY(resolve(io, &s, err));
#pragma omp parallel for
    for (int64_t line = 0; line < s.n_lines; line++) {
        const zq_real *y = (const zq_real *)io->out[0]->data + line_start(&s, line);
        const zq_real *d_y = (const zq_real *)io->d_out[0]->data + line_start(&s, line);
        zq_real *d_x = (zq_real *)io->d_in[0]->data + line_start(&s, line);
        double sum = 0;
        for (int64_t i = 0; i < s.n; i++)
            sum += (double)d_y[i * s.inner] * y[i * s.inner];
        for (int64_t i = 0; i < s.n; i++)
            d_x[i * s.inner] = (zq_real)(y[i * s.inner] * (d_y[i * s.inner] - sum));
    }
    return ZQ_OK;
}

const zq_op zq_op_softmax = {
    .name = "Softmax",
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
