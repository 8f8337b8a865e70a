/* SPDX-License-Identifier: Apache-2.0 */
/* Gemm: Y[m, n] = alpha * A'[m, k] B'[k, n] + beta * C, where ' transposes on demand and C broadcasts to [m,
 * n]. */
#include "ops/check.h"

typedef struct params {
    float alpha, beta;
    int64_t trans_a, trans_b;
} params;

static zq_status parse(const zq_node *node, void *params_out, zq_error *err) {
    params *p = params_out;
    ZQ_TRY(zq_node_float(node, "alpha", 1, &p->alpha, err));
    ZQ_TRY(zq_node_float(node, "beta", 1, &p->beta, err));
    ZQ_TRY(zq_node_int(node, "transA", 0, &p->trans_a, err));
    return zq_node_int(node, "transB", 0, &p->trans_b, err);
}

/* Sizes, and the steps between elements of A' and B' along each of their dimensions. */
typedef struct sizes {
    int64_t m, n, k;
    int64_t a_m, a_k, b_k, b_n;
    int64_t c_m, c_n; /* 0 along a broadcast dimension */
} sizes;

static bool has_c(const zq_io *io) {
    return io->n_in > 2 && io->in[2] != NULL;
}

static sizes resolve(const zq_io *io) {
    const params *p = io->node->params;
    const int64_t *a = io->in[0]->shape.dims, *b = io->in[1]->shape.dims;
    sizes s = {.m = a[p->trans_a ? 1 : 0], .k = a[p->trans_a ? 0 : 1], .n = b[p->trans_b ? 0 : 1]};
    s.a_m = p->trans_a ? 1 : a[1];
    s.a_k = p->trans_a ? a[1] : 1;
    s.b_k = p->trans_b ? 1 : b[1];
    s.b_n = p->trans_b ? b[1] : 1;
    if (has_c(io)) {
        const zq_shape *c = &io->in[2]->shape;
        const int64_t columns = c->rank >= 1 ? c->dims[c->rank - 1] : 1, rows = c->rank >= 2 ? c->dims[0] : 1;
        s.c_n = columns > 1 ? 1 : 0;
        s.c_m = rows > 1 ? columns : 0;
    }
    return s;
}

static zq_status check_c(const zq_io *io, const sizes *s, zq_error *err) {
    char name[ZQ_NODE_TEXT], text[ZQ_SHAPE_TEXT];
    ZQ_TRY(zq_check_float(io, 2, 0, 2, err));
    const zq_shape *c = &io->in[2]->shape;
    const int64_t columns = c->rank >= 1 ? c->dims[c->rank - 1] : 1, rows = c->rank >= 2 ? c->dims[0] : 1;
    if ((columns != 1 && columns != s->n) || (rows != 1 && rows != s->m))
        return zq_fail(
            err, ZQ_ERR_FORMAT, "%s: input 2 of shape %s; expected one that broadcasts to [%lld,%lld]",
            zq_node_text(io->node, name), zq_shape_text(c, text), (long long)s->m, (long long)s->n);
    return ZQ_OK;
}

static zq_status infer(const zq_io *io, zq_error *err) {
    const params *p = io->node->params;
    char name[ZQ_NODE_TEXT], a[ZQ_SHAPE_TEXT], b[ZQ_SHAPE_TEXT];
    ZQ_TRY(zq_check_float(io, 0, 2, 2, err));
    ZQ_TRY(zq_check_float(io, 1, 2, 2, err));
    const sizes s = resolve(io);
    if (s.k != io->in[1]->shape.dims[p->trans_b ? 1 : 0])
        return zq_fail(
            err, ZQ_ERR_FORMAT,
            "%s: inputs of shape %s%s and %s%s can't be multiplied; expected inner dimensions that agree",
            zq_node_text(io->node, name), zq_shape_text(&io->in[0]->shape, a),
            p->trans_a ? " (transposed)" : "", zq_shape_text(&io->in[1]->shape, b),
            p->trans_b ? " (transposed)" : "");
    if (has_c(io))
        ZQ_TRY(check_c(io, &s, err));
    const zq_shape shape = {.rank = 2, .dims = {s.m, s.n}};
    return zq_check_result(io, &shape, err);
}

static zq_status forward(const zq_io *io, zq_error *err) {
    (void)err;
    const params *p = io->node->params;
    const sizes s = resolve(io);
    const zq_real *a = io->in[0]->data, *b = io->in[1]->data, *c = has_c(io) ? io->in[2]->data : NULL;
    zq_real *y = io->out[0]->data;
#pragma omp parallel for
    for (int64_t i = 0; i < s.m * s.n; i++) {
        const int64_t m = i / s.n, n = i % s.n;
        double sum = 0;
        for (int64_t k = 0; k < s.k; k++)
            sum += (double)a[m * s.a_m + k * s.a_k] * b[k * s.b_k + n * s.b_n];
        sum *= p->alpha;
        y[i] = (zq_real)(c != NULL ? sum + p->beta * (double)c[m * s.c_m + n * s.c_n] : sum);
    }
    return ZQ_OK;
}

static void backward_a(const sizes *s, double alpha, const zq_real *b, const zq_real *d_y, zq_real *d_a) {
#pragma omp parallel for
    for (int64_t i = 0; i < s->m * s->k; i++) {
        const int64_t m = i / s->k, k = i % s->k;
        double sum = 0;
        for (int64_t n = 0; n < s->n; n++)
            sum += (double)d_y[m * s->n + n] * b[k * s->b_k + n * s->b_n];
        d_a[m * s->a_m + k * s->a_k] = (zq_real)(alpha * sum);
    }
}

static void backward_b(const sizes *s, double alpha, const zq_real *a, const zq_real *d_y, zq_real *d_b) {
#pragma omp parallel for
    for (int64_t i = 0; i < s->k * s->n; i++) {
        const int64_t k = i / s->n, n = i % s->n;
        double sum = 0;
        for (int64_t m = 0; m < s->m; m++)
            sum += (double)a[m * s->a_m + k * s->a_k] * d_y[m * s->n + n];
        d_b[k * s->b_k + n * s->b_n] = (zq_real)(alpha * sum);
    }
}

static void backward_c(const sizes *s, double beta, const zq_real *d_y, zq_tensor *d_c) {
    zq_real *d = d_c->data;
    const int64_t count = zq_shape_count(&d_c->shape);
    for (int64_t i = 0; i < count; i++)
        d[i] = 0;
    for (int64_t m = 0; m < s->m; m++)
        for (int64_t n = 0; n < s->n; n++)
            d[m * s->c_m + n * s->c_n] += (zq_real)(beta * (double)d_y[m * s->n + n]);
}

static zq_status backward(const zq_io *io, zq_error *err) {
    (void)err;
    if (!zq_check_gradient(io))
        return ZQ_OK;
    const params *p = io->node->params;
    const sizes s = resolve(io);
    const zq_real *d_y = io->d_out[0]->data;
    if (io->d_in[0] != NULL)
        backward_a(&s, p->alpha, io->in[1]->data, d_y, io->d_in[0]->data);
    if (io->d_in[1] != NULL)
        backward_b(&s, p->alpha, io->in[0]->data, d_y, io->d_in[1]->data);
    if (has_c(io) && io->d_in[2] != NULL)
        backward_c(&s, p->beta, d_y, io->d_in[2]);
    return ZQ_OK;
}

static double macs(const zq_io *io) {
    const sizes s = resolve(io);
    return (double)s.m * (double)s.n * (double)s.k;
}

const zq_op zq_op_gemm = {
    .name = "Gemm",
    .min_in = 2,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .traits = ZQ_OP_WEIGHTED | ZQ_OP_INTEGER,
    .params_bytes = sizeof(params),
    .parse = parse,
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .macs = macs,
};
