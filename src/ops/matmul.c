/* SPDX-License-Identifier: Apache-2.0 */
/* MatMul: numpy.matmul. Matrices lie in the last two dimensions; those before broadcast. A vector counts as
 * one row (input 0) or one column (input 1), which the output then lacks. */
#include "ops/check.h"

typedef struct sizes {
    int64_t m, n, k;
    int batch_rank;
    int64_t batch[ZQ_MAX_RANK]; /* broadcast dimensions before the matrices */
    int64_t a_step[ZQ_MAX_RANK],
        b_step[ZQ_MAX_RANK]; /* elements from one matrix to the next along each; 0: the same */
} sizes;

/* Dimension d, of batch_rank, of one input's stack of matrices: missing ones are 1. */
static int64_t batch_dim(const zq_shape *shape, int batch_rank, int d) {
    const int own = shape->rank - 2, from = d - (batch_rank - own);
    return own > 0 && from >= 0 ? shape->dims[from] : 1;
}

static void fill_steps(const zq_shape *shape, int64_t matrix, const sizes *s, int64_t *step) {
    for (int d = s->batch_rank - 1; d >= 0; d--) {
        const int64_t n = batch_dim(shape, s->batch_rank, d);
        step[d] = n > 1 ? matrix : 0;
        matrix *= n;
    }
}

/* False when the shapes don't fit. */
static bool resolve(const zq_shape *a, const zq_shape *b, sizes *out) {
    *out = (sizes){.m = a->rank > 1 ? a->dims[a->rank - 2] : 1,
                   .k = a->dims[a->rank - 1],
                   .n = b->rank > 1 ? b->dims[b->rank - 1] : 1};
    if (out->k != (b->rank > 1 ? b->dims[b->rank - 2] : b->dims[0]))
        return false;
    const int rank = a->rank > b->rank ? a->rank : b->rank;
    out->batch_rank = rank > 2 ? rank - 2 : 0;
    for (int d = 0; d < out->batch_rank; d++) {
        const int64_t n_a = batch_dim(a, out->batch_rank, d), n_b = batch_dim(b, out->batch_rank, d);
        if (n_a != n_b && n_a != 1 && n_b != 1)
            return false;
        out->batch[d] = n_a > n_b ? n_a : n_b;
    }
    fill_steps(a, out->m * out->k, out, out->a_step);
    fill_steps(b, out->k * out->n, out, out->b_step);
    return true;
}

static zq_status infer(const zq_io *io, zq_error *err) {
    char name[ZQ_NODE_TEXT], a_text[ZQ_SHAPE_TEXT], b_text[ZQ_SHAPE_TEXT];
    ZQ_TRY(zq_check_float(io, 0, 1, ZQ_MAX_RANK, err));
    ZQ_TRY(zq_check_float(io, 1, 1, ZQ_MAX_RANK, err));
    const zq_shape *a = &io->in[0]->shape, *b = &io->in[1]->shape;
    sizes s;
    if (!resolve(a, b, &s))
        return zq_fail(
            err, ZQ_ERR_FORMAT,
            "%s: inputs of shape %s and %s can't be multiplied; expected inner dimensions that agree and "
            "others that broadcast",
            zq_node_text(io->node, name), zq_shape_text(a, a_text), zq_shape_text(b, b_text));
    zq_shape shape = zq_shape_of(s.batch_rank, s.batch);
    if (a->rank > 1)
        shape.dims[shape.rank++] = s.m;
    if (b->rank > 1)
        shape.dims[shape.rank++] = s.n;
    return zq_check_result(io, &shape, err);
}

static int64_t count_batches(const sizes *s) {
    int64_t n = 1;
    for (int d = 0; d < s->batch_rank; d++)
        n *= s->batch[d];
    return n;
}

/* Where the matrix of a batch starts. */
static int64_t offset(const sizes *s, const int64_t *step, int64_t batch) {
    int64_t sum = 0;
    for (int d = s->batch_rank - 1; d >= 0; d--) {
        sum += batch % s->batch[d] * step[d];
        batch /= s->batch[d];
    }
    return sum;
}

static zq_status forward(const zq_io *io, zq_error *err) {
    (void)err;
    sizes s;
    resolve(&io->in[0]->shape, &io->in[1]->shape, &s);
    const zq_real *a = io->in[0]->data, *b = io->in[1]->data;
    zq_real *y = io->out[0]->data;
#pragma omp parallel for
    for (int64_t row = 0; row < count_batches(&s) * s.m; row++) {
        const zq_real *a_row = a + offset(&s, s.a_step, row / s.m) + row % s.m * s.k;
        const zq_real *b_matrix = b + offset(&s, s.b_step, row / s.m);
        for (int64_t n = 0; n < s.n; n++) {
            double sum = 0;
            for (int64_t k = 0; k < s.k; k++)
                sum += (double)a_row[k] * b_matrix[k * s.n + n];
            y[row * s.n + n] = (zq_real)sum;
        }
    }
    return ZQ_OK;
}

static void clear(zq_tensor *tensor) {
    zq_real *data = tensor->data;
    const int64_t count = zq_shape_count(&tensor->shape);
    for (int64_t i = 0; i < count; i++)
        data[i] = 0;
}

/* Batches one after another: broadcast ones add to the same matrix. */
static void backward_a(const sizes *s, const zq_real *b, const zq_real *d_y, zq_tensor *d_a) {
    clear(d_a);
    for (int64_t batch = 0; batch < count_batches(s); batch++) {
        zq_real *d = (zq_real *)d_a->data + offset(s, s->a_step, batch);
        const zq_real *b_matrix = b + offset(s, s->b_step, batch), *d_matrix = d_y + batch * s->m * s->n;
#pragma omp parallel for
        for (int64_t i = 0; i < s->m * s->k; i++) {
            double sum = 0;
            for (int64_t n = 0; n < s->n; n++)
                sum += (double)d_matrix[i / s->k * s->n + n] * b_matrix[i % s->k * s->n + n];
            d[i] += (zq_real)sum;
        }
    }
}

static void backward_b(const sizes *s, const zq_real *a, const zq_real *d_y, zq_tensor *d_b) {
    clear(d_b);
    for (int64_t batch = 0; batch < count_batches(s); batch++) {
        zq_real *d = (zq_real *)d_b->data + offset(s, s->b_step, batch);
        const zq_real *a_matrix = a + offset(s, s->a_step, batch), *d_matrix = d_y + batch * s->m * s->n;
#pragma omp parallel for
        for (int64_t i = 0; i < s->k * s->n; i++) {
            double sum = 0;
            for (int64_t m = 0; m < s->m; m++)
                sum += (double)a_matrix[m * s->k + i / s->n] * d_matrix[m * s->n + i % s->n];
            d[i] += (zq_real)sum;
        }
    }
}

static zq_status backward(const zq_io *io, zq_error *err) {
    (void)err;
    if (!zq_check_gradient(io))
        return ZQ_OK;
    sizes s;
    resolve(&io->in[0]->shape, &io->in[1]->shape, &s);
    if (io->d_in[0] != NULL)
        backward_a(&s, io->in[1]->data, io->d_out[0]->data, io->d_in[0]);
    if (io->d_in[1] != NULL)
        backward_b(&s, io->in[0]->data, io->d_out[0]->data, io->d_in[1]);
    return ZQ_OK;
}

static double macs(const zq_io *io) {
    const zq_shape *a = &io->in[0]->shape;
    return (double)zq_shape_count(&io->out[0]->shape) * (double)a->dims[a->rank - 1];
}

const zq_op zq_op_matmul = {
    .name = "MatMul",
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .traits = ZQ_OP_WEIGHTED | ZQ_OP_INTEGER,
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .macs = macs,
};
