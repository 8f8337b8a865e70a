/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/feedback.h"

#include "base/memory.h"
#include "engine/dense.h"
#include "engine/onednn/onednn.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    ROWS = 32,  /* channels that one thread takes through all blocks */
    BLOCK = 64, /* weights whose errors are fed back one by one; behind them, a block at once */
    TRIES = 6,  /* with ten times the damping each */
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

/* The gram matrix in order, with something added to the diagonal. */
static void arrange(int64_t k, const float *gram, const int *order, float damping, float *dst) {
#pragma omp parallel for schedule(static) if (k > BLOCK)
    for (int64_t i = 0; i < k; i++) {
        for (int64_t j = 0; j <= i; j++) {
            const int64_t a = order[i], b = order[j];
            dst[i * k + j] = a > b ? gram[a * k + b] : gram[b * k + a];
        }
        dst[i * k + i] += damping;
    }
}

zq_status zq_feedback_new(int64_t k, float *gram, double damping, zq_feedback *out, zq_error *err) {
    double trace = 0;
    bool positive = false;
    *out = (zq_feedback){.k = k};
    out->factor = zq_alloc_raw((size_t)(k * k), sizeof *out->factor);
    out->order = zq_alloc_raw((size_t)k, sizeof *out->order);
    zq_status status = out->factor == NULL || out->order == NULL ? zq_fail_memory(err) : ZQ_OK;
    if (status == ZQ_OK)
        status = find_order(k, gram, out->order, err);
    for (int64_t i = 0; i < k; i++)
        trace += gram[i * k + i];
    const double mean = trace > 0 ? trace / (double)k : 1; /* an input of zeros: any rounding is as good */
    for (int n = 0; status == ZQ_OK && !positive && n < TRIES; n++, damping *= 10) {
        arrange(k, gram, out->order, (float)(damping * mean), out->factor);
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

/* One channel and one block, from its last weight to its first. sum: [BLOCK] entries of e L so far. */
static double round_block(const zq_feedback *f, int64_t begin, int64_t end, const float *w, float scale,
                          int zero_point, const zq_weights *limits, float *error, float *sum, int8_t *q) {
    const float per_scale = 1 / scale;
    const float lo = (float)(limits->q_min - zero_point), hi = (float)(limits->q_max - zero_point);
    double loss = 0;
    for (int64_t t = end - 1; t >= begin; t--) {
        const float *const row = f->factor + t * f->k + begin;
        const int64_t at = t - begin;
        float level = (w[f->order[t]] + sum[at] / row[at]) * per_scale;
        level = level > lo ? level : lo;
        level = level < hi ? level : hi;
        level = nearbyintf(level);
        const float e = w[f->order[t]] - level * scale;
        q[f->order[t]] = (int8_t)((int)level + zero_point);
        error[t] = e;
        const double entry = (double)e * row[at] + sum[at];
        loss += entry * entry;
#pragma omp simd
        for (int64_t j = 0; j < at; j++)
            sum[j] += e * row[j];
    }
    return loss;
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

/* What entries of e L begin at. */
static void load_sums(int64_t n, int64_t width, const float *z, int64_t k, float *sum) {
    if (z == NULL) {
        memset(sum, 0, (size_t)(n * BLOCK) * sizeof *sum);
        return;
    }
    for (int64_t c = 0; c < n; c++)
        memcpy(sum + c * BLOCK, z + c * k, (size_t)width * sizeof *sum);
}

/* A few channels through all blocks. error: [n, k]; sum: [n, BLOCK]. */
static zq_status round_rows(const zq_feedback *f, int64_t first, int64_t n, const float *w, const float *z,
                            zq_weights *weights, float *error, float *sum, double *loss, zq_error *err) {
    const int64_t k = f->k;
    for (int64_t c = 0; c < n; c++)
        loss[c] = 0;
    for (int64_t begin = (k - 1) / BLOCK * BLOCK; begin >= 0; begin -= BLOCK) {
        const int64_t end = begin + BLOCK < k ? begin + BLOCK : k;
        load_sums(n, end - begin, z == NULL ? NULL : z + begin, k, sum);
        ZQ_TRY(zq_dnn_gemm_inside(false, false, n, end - begin, k - end, 1, error + end, k,
                                  f->factor + end * k + begin, k, 1, sum, BLOCK, err));
        for (int64_t c = 0; c < n; c++)
            loss[c] += round_block(f, begin, end, w + c * k, weights->scale[first + c],
                                   weights->zero_point[first + c], weights, error + c * k, sum + c * BLOCK,
                                   weights->q + (first + c) * k);
    }
    return ZQ_OK;
}

/* dst [n, k] = src L; rows in the factor's order. */
static zq_status multiply(const zq_feedback *f, int64_t n, const float *src, float *dst, zq_error *err) {
    const int64_t k = f->k;
    memset(dst, 0, (size_t)(n * k) * sizeof *dst);
    for (int64_t begin = 0; begin < k; begin += BLOCK) {
        const int64_t end = begin + BLOCK < k ? begin + BLOCK : k;
        if (end < k)
            ZQ_TRY(zq_dnn_gemm_inside(false, false, n, end - begin, k - end, 1, src + end, k,
                                      f->factor + end * k + begin, k, 0, dst + begin, k, err));
        for (int64_t c = 0; c < n; c++)
            for (int64_t i = begin; i < end; i++)
                for (int64_t t = begin; t <= i; t++)
                    dst[c * k + t] += src[c * k + i] * f->factor[i * k + t];
    }
    return ZQ_OK;
}

/* |w L + z - s q L|^2 is least at s = (w L + z) (q L)^T / |q L|^2; rows: [4, ROWS, k]. */
static zq_status fit_rows(const zq_feedback *f, int64_t first, int64_t n, const float *w, const float *z,
                          const float *floor, zq_weights *weights, float *rows, zq_error *err) {
    const int64_t k = f->k;
    float *const level = rows + n * k, *const wanted = level + n * k, *const had = wanted + n * k;
    for (int64_t c = 0; c < n; c++)
        for (int64_t t = 0; t < k; t++) {
            const int64_t i = f->order[t];
            rows[c * k + t] = w[c * k + i];
            level[c * k + t] = (float)(weights->q[(first + c) * k + i] - weights->zero_point[first + c]);
        }
    ZQ_TRY(multiply(f, n, rows, wanted, err));
    ZQ_TRY(multiply(f, n, level, had, err));
    for (int64_t c = 0; c < n; c++) {
        double product = 0, square = 0;
        for (int64_t t = 0; t < k; t++) {
            product += ((double)wanted[c * k + t] + (z == NULL ? 0 : z[c * k + t])) * had[c * k + t];
            square += (double)had[c * k + t] * had[c * k + t];
        }
        if (product > 0 && square > 0)
            weights->scale[first + c] = fmaxf((float)(product / square), floor[c]);
    }
    return ZQ_OK;
}

zq_status zq_feedback_fit(const zq_feedback *feedback, int64_t first, int64_t n, const float *w,
                          const float *z, const float *floor, zq_weights *weights, zq_error *err) {
    const int64_t k = feedback->k, n_parts = (n + ROWS - 1) / ROWS;
    zq_status status = ZQ_OK;
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t part = 0; part < n_parts; part++) {
        const int64_t at = part * ROWS, n_rows = n - at < ROWS ? n - at : ROWS;
        float *rows = zq_alloc_raw((size_t)(4 * n_rows * k), sizeof *rows);
        zq_error own = {0};
        const zq_status done = rows == NULL
                                   ? zq_fail_memory(&own)
                                   : fit_rows(feedback, first + at, n_rows, w + at * k,
                                              z == NULL ? NULL : z + at * k, floor + at, weights, rows, &own);
        zq_free(rows);
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

zq_status zq_feedback_round(const zq_feedback *feedback, int64_t first, int64_t n, const float *w,
                            const float *z, zq_weights *weights, double *loss, zq_error *err) {
    const int64_t k = feedback->k, n_parts = (n + ROWS - 1) / ROWS;
    zq_status status = ZQ_OK;
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t part = 0; part < n_parts; part++) {
        const int64_t at = part * ROWS, rows = n - at < ROWS ? n - at : ROWS;
        float *error = zq_alloc_raw((size_t)(rows * (k + BLOCK)), sizeof *error);
        zq_error own = {0};
        const zq_status done =
            error == NULL ? zq_fail_memory(&own)
                          : round_rows(feedback, first + at, rows, w + at * k, z == NULL ? NULL : z + at * k,
                                       weights, error, error + rows * k, loss + at, &own);
        zq_free(error);
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
