/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/feedback.h"

#include "base/memory.h"
#include "engine/dense.h"
#include "engine/onednn/onednn.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    LANES = 8,
    ROWS = 128, /* channels that one thread takes through all blocks */
    BLOCK = 64, /* weights whose errors are fed back one by one; behind them, a block at once ... */
    SPAN = 256, /* ... and behind these, as many: large products are the fast ones */
    TRIES = 6,  /* with ten times the damping each */
    REFITS = 2, /* of a scale, between moves of its weights */
    SWEEPS = 20 /* over the weights of a channel; most need less */
};

typedef struct ranked {
    float diagonal;
    int column;
} ranked;

static int compare(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    return x->diagonal != y->diagonal ? (x->diagonal > y->diagonal) - (x->diagonal < y->diagonal)
                                      : (x->column > y->column) - (x->column < y->column);
}

static zq_status find_order(int64_t k, const float *gram, int *order, zq_error *err) {
    ranked *rank = zq_alloc_raw((size_t)k, sizeof *rank);
    if (rank == NULL)
        return zq_fail_memory(err);
    for (int64_t i = 0; i < k; i++)
        rank[i] = (ranked){gram[i * k + i], (int)i};
    qsort(rank, (size_t)k, sizeof *rank, compare);
    for (int64_t i = 0; i < k; i++)
        order[i] = rank[i].column;
    zq_free(rank);
    return ZQ_OK;
}

/* The upper triangle becomes that of a symmetric matrix, tile by tile. */
static void mirror(int64_t k, float *gram) {
#pragma omp parallel for schedule(dynamic, 1) if (k > BLOCK)
    for (int64_t i = 0; i < k; i += BLOCK)
        for (int64_t j = 0; j <= i; j += BLOCK)
            for (int64_t row = i; row < i + BLOCK && row < k; row++)
                for (int64_t column = j; column < j + BLOCK && column < row; column++)
                    gram[column * k + row] = gram[row * k + column];
}

/* The symmetric gram matrix in order, with something added to the diagonal; its lower triangle. */
static void arrange(int64_t k, const float *gram, const int *order, float damping, float *dst) {
#pragma omp parallel for schedule(static, 16) if (k > BLOCK)
    for (int64_t i = 0; i < k; i++) {
        const float *const row = gram + order[i] * k;
        for (int64_t j = 0; j <= i; j++)
            dst[i * k + j] = row[order[j]];
        dst[i * k + i] += damping;
    }
}

zq_status zq_feedback_new(int64_t k, float *gram, double damping, zq_feedback *out, zq_error *err) {
    double trace = 0;
    bool positive = false;
    *out = (zq_feedback){.k = k, .gram = gram};
    out->factor = zq_alloc_raw((size_t)(k * k), sizeof *out->factor);
    out->order = zq_alloc_raw((size_t)k, sizeof *out->order);
    zq_status status = out->factor == NULL || out->order == NULL ? zq_fail_memory(err) : ZQ_OK;
    if (status == ZQ_OK)
        status = find_order(k, gram, out->order, err);
    for (int64_t i = 0; i < k; i++)
        trace += gram[i * k + i];
    if (status == ZQ_OK)
        mirror(k, gram);
    const double mean = trace > 0 ? trace / (double)k : 1; /* an input of zeros: any rounding is as good */
    for (int n = 0; status == ZQ_OK && !positive && n < TRIES; n++, damping *= 10) {
        out->added = (float)(damping * mean);
        arrange(k, gram, out->order, out->added, out->factor);
        status = zq_dense_cholesky(k, out->factor, &positive, err);
    }
    if (status == ZQ_OK && !positive)
        status = zq_fail(err, ZQ_ERR_INTERNAL, "the second moments of a layer's inputs are no such thing");
    if (status != ZQ_OK)
        zq_feedback_clear(out);
    return status;
}

void zq_feedback_clear(zq_feedback *feedback) {
    zq_free(feedback->factor);
    zq_free(feedback->order);
    *feedback = (zq_feedback){0};
}

/* LANES channels at a time: weights of one channel wait for each other. */
typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));

/* To nearest, for |x| < 2^22: beyond 2^23 floats are whole. */
static inline lanes nearest(lanes x) {
    const float whole = 0x1.8p23F;
    return (x + whole) - whole;
}

/* Scales, zero points and weights of up to LANES channels; lanes without a channel hold zeros. */
typedef struct bundle {
    int64_t first, n; /* channels of the part */
    lanes scale, per_scale, lo, hi;
    int zero_point[LANES];
} bundle;

static bundle bundle_of(const zq_weights *weights, int64_t at, int64_t first, int64_t n) {
    bundle b = {.first = first, .n = n < LANES ? n : LANES};
    for (int64_t c = 0; c < LANES; c++) {
        const bool there = c < b.n;
        b.zero_point[c] = there ? weights->zero_point[at + c] : 0;
        b.scale[c] = there ? weights->scale[at + c] : 1;
        b.per_scale[c] = 1 / b.scale[c];
        b.lo[c] = (float)(weights->q_min - b.zero_point[c]);
        b.hi[c] = (float)(weights->q_max - b.zero_point[c]);
    }
    return b;
}

/* One block, from its last weight to its first. w, rest, q: [channels of the part, k], in the factor's order.
 * w becomes e. rest: entries of e L + z so far, in the end all there is to them. */
static void round_block(const zq_feedback *f, const bundle *b, int64_t begin, int64_t end, float *w,
                        float *rest, int8_t *q, double *loss) {
    const int64_t k = f->k, width = end - begin;
    lanes sum[BLOCK], square = {0};
    w += b->first * k + begin;
    rest += b->first * k + begin;
    q += b->first * k + begin;
    memset(sum, 0, sizeof sum);
    for (int64_t c = 0; c < b->n; c++)
        for (int64_t j = 0; j < width; j++)
            sum[j][c] = rest[c * k + j];
    for (int64_t at = width - 1; at >= 0; at--) {
        const float *const row = f->factor + (begin + at) * k + begin;
        lanes wanted = {0};
        for (int64_t c = 0; c < b->n; c++)
            wanted[c] = w[c * k + at];
        lanes level = (wanted + sum[at] * (1 / row[at])) * b->per_scale;
        for (int c = 0; c < LANES; c++) {
            level[c] = level[c] > b->lo[c] ? level[c] : b->lo[c];
            level[c] = level[c] < b->hi[c] ? level[c] : b->hi[c];
        }
        level = nearest(level);
        const lanes e = wanted - level * b->scale;
        for (int64_t j = 0; j <= at; j++)
            sum[j] += e * row[j];
        square += sum[at] * sum[at];
        for (int64_t c = 0; c < b->n; c++) {
            q[c * k + at] = (int8_t)((int)level[c] + b->zero_point[c]);
            w[c * k + at] = e[c];
        }
    }
    for (int64_t c = 0; c < b->n; c++) {
        for (int64_t j = 0; j < width; j++)
            rest[c * k + j] = sum[j][c];
        loss[b->first + c] += (double)square[c];
    }
}

zq_status zq_feedback_solve(const zq_feedback *feedback, int64_t n, float *residual, zq_error *err) {
    const int64_t k = feedback->k;
    float *row = zq_alloc_raw((size_t)k, sizeof *row);
    if (row == NULL)
        return zq_fail_memory(err);
    for (int64_t c = 0; c < n; c++) {
        for (int64_t t = 0; t < k; t++)
            row[t] = residual[c * k + feedback->order[t]];
        memcpy(residual + c * k, row, (size_t)k * sizeof *row);
    }
    zq_free(row);
    return zq_dense_solve(k, feedback->factor, n, residual, err);
}

/* rest or dst [n, k] begins at z. */
static void begin_at(int64_t count, const float *z, float *dst) {
    if (z == NULL)
        memset(dst, 0, (size_t)count * sizeof *dst);
    else
        memcpy(dst, z, (size_t)count * sizeof *dst);
}

/* A few channels through all blocks. w: [n, k] in the factor's order, becomes e; q: [n, k] in that order. */
static zq_status round_rows(const zq_feedback *f, int64_t first, int64_t n, float *w, const float *z,
                            zq_weights *weights, int8_t *q, float *rest, double *loss, zq_error *err) {
    const int64_t k = f->k;
    memset(loss, 0, (size_t)n * sizeof *loss);
    begin_at(n * k, z, rest);
    int64_t span_end = k; /* everything behind it is in rest */
    for (int64_t begin = (k - 1) / BLOCK * BLOCK; begin >= 0; begin -= BLOCK) {
        const int64_t end = begin + BLOCK < k ? begin + BLOCK : k;
        ZQ_TRY(zq_dnn_gemm_inside(false, false, n, end - begin, span_end - end, 1, w + end, k,
                                  f->factor + end * k + begin, k, 1, rest + begin, k, err));
        for (int64_t c = 0; c < n; c += LANES) {
            const bundle b = bundle_of(weights, first + c, c, n - c);
            round_block(f, &b, begin, end, w, rest, q, loss);
        }
        if (begin % SPAN != 0)
            continue;
        const int64_t next = begin > SPAN ? begin - SPAN : 0;
        ZQ_TRY(zq_dnn_gemm_inside(false, false, n, begin - next, k - begin, 1, w + begin, k,
                                  f->factor + begin * k + next, k, 1, rest + next, k, err));
        span_end = begin;
    }
    for (int64_t c = 0; c < n; c++)
        for (int64_t t = 0; t < k; t++)
            weights->q[(first + c) * k + f->order[t]] = q[c * k + t];
    return ZQ_OK;
}

/* dst [n, k] = w L + z; w in the factor's order. */
static zq_status project_rows(const zq_feedback *f, int64_t n, const float *w, const float *z, float *dst,
                              zq_error *err) {
    const int64_t k = f->k;
    begin_at(n * k, z, dst);
    for (int64_t begin = 0; begin < k; begin += BLOCK) {
        const int64_t end = begin + BLOCK < k ? begin + BLOCK : k;
        ZQ_TRY(zq_dnn_gemm_inside(false, false, n, end - begin, k - end, 1, w + end, k,
                                  f->factor + end * k + begin, k, 1, dst + begin, k, err));
        for (int64_t c = 0; c < n; c++)
            for (int64_t i = begin; i < end; i++)
                for (int64_t t = begin; t <= i; t++)
                    dst[c * k + t] += w[c * k + i] * f->factor[i * k + t];
    }
    return ZQ_OK;
}

void zq_feedback_fit(const zq_feedback *feedback, int64_t first, int64_t n, const float *wanted,
                     const float *rest, const float *floor, zq_weights *weights) {
    const int64_t k = feedback->k;
#pragma omp parallel for schedule(static)
    for (int64_t c = 0; c < n; c++) {
        double product = 0, square = 0;
        for (int64_t i = c * k; i < (c + 1) * k; i++) {
            const double had = (double)wanted[i] - rest[i]; /* s q L */
            product += wanted[i] * had;
            square += had * had;
        }
        float *const scale = &weights->scale[first + c];
        if (product > 0 && square > 0)
            *scale = fmaxf((float)(*scale * product / square), floor[c]);
    }
}

/* ---- coordinate descent */

/* A weight moves when another level is nearer by more than rounding errors of sums could feign. */
static const float least_move = 0.501F;

/* dst [n, k] = rows L^T, in the factor's order. */
static zq_status times_factor(const zq_feedback *f, int64_t n, const float *rows, float *dst, zq_error *err) {
    const int64_t k = f->k;
    float corner[BLOCK * BLOCK]; /* of L at its diagonal, with the zeros above */
    for (int64_t begin = 0; begin < k; begin += BLOCK) {
        const int64_t width = begin + BLOCK < k ? BLOCK : k - begin;
        for (int64_t i = 0; i < width; i++)
            for (int64_t t = 0; t < width; t++)
                corner[i * BLOCK + t] = t <= i ? f->factor[(begin + i) * k + begin + t] : 0;
        ZQ_TRY(zq_dnn_gemm_inside(false, true, n, width, width, 1, rows + begin, k, corner, BLOCK, 0,
                                  dst + begin, k, err));
        ZQ_TRY(zq_dnn_gemm_inside(false, true, n, width, begin, 1, rows, k, f->factor + begin * k, k, 1,
                                  dst + begin, k, err));
    }
    return ZQ_OK;
}

/* One channel in the order of its weights, with M = w H + R and w^ H what should be and what is. */
typedef struct channel {
    int8_t *q;
    float *wanted, *gradient; /* [k] M, and M - w^ H: half of what the damage falls by as w^ grows */
    float scale, floor;
    int zero_point, lo, hi;
} channel;

/* Whether weight i has gone where it does least damage, all others as they are. */
static bool move_weight(const zq_feedback *f, const channel *c, int64_t i) {
    const float *const row = f->gram + i * f->k;
    const float step = c->gradient[i] / (c->scale * (row[i] + f->added));
    if (!(fabsf(step) > least_move))
        return false;
    const float level = nearbyintf((float)c->q[i] + step);
    const int q = level < (float)c->lo ? c->lo : level > (float)c->hi ? c->hi : (int)level;
    if (q == c->q[i])
        return false;
    const float by = (float)(q - c->q[i]) * c->scale;
    c->q[i] = (int8_t)q;
    for (int64_t j = 0; j < f->k; j++)
        c->gradient[j] -= by * row[j];
    c->gradient[i] -= by * f->added;
    return true;
}

static void move_weights(const zq_feedback *f, const channel *c) {
    bool moved = true;
    for (int sweep = 0; moved && sweep < SWEEPS; sweep++) {
        moved = false;
        for (int64_t i = 0; i < f->k; i++)
            moved = move_weight(f, c, i) || moved;
    }
}

/* The scale at which the levels do least damage: w^ M / w^ H w^. */
static void fit_scale(const zq_feedback *f, channel *c) {
    double product = 0, square = 0;
    for (int64_t i = 0; i < f->k; i++) {
        const double level = c->q[i] - c->zero_point;
        product += level * c->wanted[i];
        square += level * ((double)c->wanted[i] - c->gradient[i]);
    }
    if (!(product > 0 && square > 0))
        return;
    const float before = c->scale;
    c->scale = fmaxf((float)(before * product / square), c->floor);
    for (int64_t i = 0; i < f->k; i++)
        c->gradient[i] = c->wanted[i] - c->scale / before * (c->wanted[i] - c->gradient[i]);
}

/* A few channels, of weights from first on; wanted, rest and floor begin there. */
static zq_status refine_rows(const zq_feedback *f, int64_t first, int64_t n, const float *wanted,
                             const float *rest, const float *floor, zq_weights *weights, zq_error *err) {
    const int64_t k = f->k;
    float *found = zq_alloc_raw((size_t)((2 * n + 2) * k), sizeof *found), *own = found + 2 * n * k;
    zq_status status = found == NULL ? zq_fail_memory(err) : times_factor(f, n, wanted, found, err);
    if (status == ZQ_OK)
        status = times_factor(f, n, rest, found + n * k, err);
    for (int64_t i = 0; status == ZQ_OK && i < n; i++) {
        const int64_t at = first + i;
        channel c = {.q = weights->q + at * k,
                     .wanted = own,
                     .gradient = own + k,
                     .scale = weights->scale[at],
                     .floor = floor[i],
                     .zero_point = weights->zero_point[at],
                     .lo = weights->q_min,
                     .hi = weights->q_max};
        for (int64_t t = 0; t < k; t++) {
            c.wanted[f->order[t]] = found[i * k + t];
            c.gradient[f->order[t]] = found[(n + i) * k + t];
        }
        move_weights(f, &c);
        for (int fit = 0; fit < REFITS; fit++) {
            fit_scale(f, &c);
            move_weights(f, &c);
        }
        weights->scale[at] = c.scale;
    }
    zq_free(found);
    return status;
}

zq_status zq_feedback_refine(const zq_feedback *feedback, int64_t first, int64_t n, const float *wanted,
                             const float *rest, const float *floor, zq_weights *weights, zq_error *err) {
    const int64_t k = feedback->k, n_parts = (n + ROWS - 1) / ROWS;
    zq_status status = ZQ_OK;
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t i = 0; i < n_parts; i++) {
        const int64_t at = i * n / n_parts, n_own = (i + 1) * n / n_parts - at;
        zq_error own = {0};
        const zq_status done = refine_rows(feedback, first + at, n_own, wanted + at * k, rest + at * k,
                                           floor + at, weights, &own);
        if (done != ZQ_OK) {
#pragma omp critical(zq_feedback)
            {
                status = done;
                *err = own;
            }
        }
    }
    return status;
}

/* ---- a few channels for each thread */

typedef struct part {
    const zq_feedback *feedback;
    int64_t first, n; /* channels of weights */
    const float *w, *z;
    zq_weights *weights; /* NULL: projected */
    float *dst;          /* [n, k] */
    double *loss;
} part;

static zq_status do_part(const part *p, zq_error *err) {
    const int64_t n = p->n, k = p->feedback->k;
    float *w = zq_alloc_raw((size_t)(n * k), sizeof *w);
    int8_t *q = zq_alloc_raw((size_t)(n * k), sizeof *q);
    if (w == NULL || q == NULL) {
        zq_free(w);
        zq_free(q);
        return zq_fail_memory(err);
    }
    for (int64_t c = 0; c < n; c++)
        for (int64_t t = 0; t < k; t++)
            w[c * k + t] = p->w[c * k + p->feedback->order[t]];
    const zq_status status = p->weights == NULL ? project_rows(p->feedback, n, w, p->z, p->dst, err)
                                                : round_rows(p->feedback, p->first, n, w, p->z, p->weights, q,
                                                             p->dst, p->loss, err);
    zq_free(w);
    zq_free(q);
    return status;
}

static zq_status do_parts(const part *all, zq_error *err) {
    const int64_t k = all->feedback->k, n_parts = (all->n + ROWS - 1) / ROWS;
    zq_status status = ZQ_OK;
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t i = 0; i < n_parts; i++) {
        const int64_t at = i * all->n / n_parts;
        part own = *all;
        own.first += at;
        own.n = (i + 1) * all->n / n_parts - at;
        own.w += at * k;
        own.z = all->z == NULL ? NULL : all->z + at * k;
        own.dst += at * k;
        own.loss = all->loss == NULL ? NULL : all->loss + at;
        zq_error error = {0};
        const zq_status done = do_part(&own, &error);
        if (done != ZQ_OK) {
#pragma omp critical(zq_feedback)
            {
                status = done;
                *err = error;
            }
        }
    }
    return status;
}

zq_status zq_feedback_project(const zq_feedback *feedback, int64_t n, const float *w, const float *z,
                              float *wanted_out, zq_error *err) {
    return do_parts(&(part){.feedback = feedback, .n = n, .w = w, .z = z, .dst = wanted_out}, err);
}

zq_status zq_feedback_round(const zq_feedback *feedback, int64_t first, int64_t n, const float *w,
                            const float *z, zq_weights *weights, float *rest, double *loss, zq_error *err) {
    return do_parts(&(part){.feedback = feedback,
                            .first = first,
                            .n = n,
                            .w = w,
                            .z = z,
                            .weights = weights,
                            .dst = rest,
                            .loss = loss},
                    err);
}
