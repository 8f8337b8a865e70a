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

/* A few channels through all blocks. error: [n, k]; sum: [n, BLOCK]. */
static zq_status round_rows(const zq_feedback *f, int64_t first, int64_t n, const float *w,
                            zq_weights *weights, float *error, float *sum, double *loss, zq_error *err) {
    const int64_t k = f->k;
    for (int64_t c = 0; c < n; c++)
        loss[c] = 0;
    for (int64_t begin = (k - 1) / BLOCK * BLOCK; begin >= 0; begin -= BLOCK) {
        const int64_t end = begin + BLOCK < k ? begin + BLOCK : k;
        memset(sum, 0, (size_t)(n * BLOCK) * sizeof *sum);
        ZQ_TRY(zq_dnn_gemm_inside(false, false, n, end - begin, k - end, 1, error + end, k,
                                  f->factor + end * k + begin, k, 0, sum, BLOCK, err));
        for (int64_t c = 0; c < n; c++)
            loss[c] += round_block(f, begin, end, w + c * k, weights->scale[first + c],
                                   weights->zero_point[first + c], weights, error + c * k, sum + c * BLOCK,
                                   weights->q + (first + c) * k);
    }
    return ZQ_OK;
}

zq_status zq_feedback_round(const zq_feedback *feedback, int64_t first, int64_t n, const float *w,
                            zq_weights *weights, double *loss, zq_error *err) {
    const int64_t k = feedback->k, n_parts = (n + ROWS - 1) / ROWS;
    zq_status status = ZQ_OK;
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t part = 0; part < n_parts; part++) {
        const int64_t at = part * ROWS, rows = n - at < ROWS ? n - at : ROWS;
        float *error = zq_alloc_raw((size_t)(rows * (k + BLOCK)), sizeof *error);
        zq_error own = {0};
        const zq_status done = error == NULL ? zq_fail_memory(&own)
                                             : round_rows(feedback, first + at, rows, w + at * k, weights,
                                                          error, error + rows * k, loss + at, &own);
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
