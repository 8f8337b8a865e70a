/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/loops.h"
#include "graph/op.h"

#include <string.h>

bool zq_rows_of(const zq_slot *slot, zq_rows *out) {
    const bool innermost = slot->last || slot->positions == 1 || slot->channels == 1;
    const int64_t n_channels = slot->channels > 0 ? slot->channels : 1;
    *out = (zq_rows){(int64_t)slot->n / n_channels, n_channels};
    return innermost;
}

static bool bound_of(const zq_plan *plan, const zq_node *node, int input, float *bound) {
    if (input >= node->n_inputs || node->inputs[input] < 0)
        return true;
    const zq_tensor *constant = plan->slots[node->inputs[input]].constant;
    if (constant == NULL || constant->dtype != ZQ_F32)
        return false;
    *bound = (float)zq_tensor_item(constant, 0);
    return true;
}

bool zq_clamp_of(const zq_plan *plan, int at, zq_clamp *out) {
    const zq_node *node = &plan->graph->nodes[at];
    *out = ZQ_NO_CLAMP;
    if (node->outputs[0] < 0 || plan->slots[node->outputs[0]].dtype != ZQ_F32)
        return false;
    if (strcmp(node->op->name, "Relu") == 0) {
        out->lo = 0;
        return true;
    }
    return strcmp(node->op->name, "Clip") == 0 && bound_of(plan, node, 1, &out->lo) &&
           bound_of(plan, node, 2, &out->hi);
}

/* Comparisons are written so that NaN passes: it shall be noticed at the end. */
static inline float clamped(float x, zq_clamp clamp) {
    x = x < clamp.lo ? clamp.lo : x;
    return x > clamp.hi ? clamp.hi : x;
}

void zq_loop_clamp(size_t n, const float *x, zq_clamp clamp, float *dst) {
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < n; i++)
        dst[i] = clamped(x[i], clamp);
}

static void clamp_sum_row(int64_t n, const float *restrict x, zq_clamp clamp, float *restrict dst,
                          double *restrict sum, double *restrict square) {
#pragma omp simd
    for (int64_t c = 0; c < n; c++) {
        const double value = x[c];
        sum[c] += value;
        square[c] += value * value;
        dst[c] = clamped(x[c], clamp);
    }
}

void zq_loop_clamp_sum(const zq_slot *slot, zq_clamp clamp, float *dst, double *sums) {
    const int64_t n_channels = slot->channels, image_size = n_channels * slot->positions;
    const float *const x = slot->data;
    memset(sums, 0, (size_t)(slot->images * n_channels) * 2 * sizeof *sums);
#pragma omp parallel for schedule(static)
    for (int64_t image = 0; image < slot->images; image++) {
        double *const sum = sums + image * 2 * n_channels;
        for (int64_t i = image * image_size; i < (image + 1) * image_size; i += n_channels)
            clamp_sum_row(n_channels, x + i, clamp, dst + i, sum, sum + n_channels);
    }
}

/* Copies of the bounds and no branches, or else the bytes written keep the compiler from vectorizing. */
static void add_piece(size_t n, const float *a, const float *b, zq_clamp clamp, float *dst, uint8_t *passed) {
    const float lo = clamp.lo, hi = clamp.hi;
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        const float sum = a[i] + b[i];
        passed[i] = (uint8_t)((sum > lo) & (sum < hi));
        dst[i] = clamped(sum, (zq_clamp){lo, hi});
    }
}

void zq_loop_add(size_t n, const float *a, const float *b, zq_clamp clamp, float *dst, uint8_t *passed) {
    enum { PIECE = 4096 };
    if (passed == NULL) {
#pragma omp parallel for simd schedule(static)
        for (size_t i = 0; i < n; i++)
            dst[i] = clamped(a[i] + b[i], clamp);
        return;
    }
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i += PIECE)
        add_piece(n - i < PIECE ? n - i : PIECE, a + i, b + i, clamp, dst + i, passed + i);
}

static inline float passed(float at, zq_clamp clamp, float d) {
    return at > clamp.lo && at < clamp.hi ? d : 0;
}

static void slope_row(int64_t n, const float *at, zq_clamp clamp, const float *d_y, bool add, float *dst) {
    if (add) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            dst[i] += passed(at[i], clamp, d_y[i]);
    } else {
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            dst[i] = passed(at[i], clamp, d_y[i]);
    }
}

static void seeded_row(int64_t n, const float *at, zq_clamp clamp, const float *d_y, const float *z,
                       const zq_plan_seed *seed, bool add, float *dst) {
    const float *const c1 = seed->c1, *const c2 = seed->c2, *const mean = seed->mean;
    if (add) {
#pragma omp simd
        for (int64_t c = 0; c < n; c++)
            dst[c] += passed(at[c], clamp, d_y[c]) + (c1[c] + c2[c] * (z[c] - mean[c]));
    } else {
#pragma omp simd
        for (int64_t c = 0; c < n; c++)
            dst[c] = passed(at[c], clamp, d_y[c]) + (c1[c] + c2[c] * (z[c] - mean[c]));
    }
}

static void add_row(int64_t n, const float *d_y, bool add, float *dst) {
    if (!add) {
        if (dst != d_y)
            memcpy(dst, d_y, (size_t)n * sizeof *dst);
        return;
    }
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        dst[i] += d_y[i];
}

/* Without a seed there are no channels: long rows serve better. */
enum { FLAT_ROW = 4096 };

static void slope_flat(int64_t n, const float *at, zq_clamp clamp, const float *d_y, const zq_sink *sink) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i += FLAT_ROW) {
        const int64_t length = n - i < FLAT_ROW ? n - i : FLAT_ROW;
        slope_row(length, at + i, clamp, d_y + i, sink->add, sink->dst + i);
    }
}

void zq_loop_slope(zq_rows rows, const float *at, zq_clamp clamp, const float *d_y, const float *z,
                   const zq_sink *sink) {
    const int64_t n_channels = rows.n_channels;
    if (sink->seed == NULL) {
        slope_flat(rows.n_rows * n_channels, at, clamp, d_y, sink);
        return;
    }
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows.n_rows; row++) {
        const int64_t i = row * n_channels;
        seeded_row(n_channels, at + i, clamp, d_y + i, z + i, sink->seed, sink->add, sink->dst + i);
    }
}

/* Elements at .. at + n of one branch, whose gradient is d. */
static void put_piece(int64_t at, int64_t n, int64_t n_channels, const float *d, const zq_branch *branch) {
    const zq_plan_seed *seed = branch->sink.seed;
    float *const dst = branch->sink.dst;
    if (seed == NULL) {
        add_row(n, d, branch->sink.add, dst + at);
        return;
    }
    for (int64_t i = at; i < at + n;) {
        const int64_t c = i % n_channels, rest = at + n - i;
        const int64_t length = n_channels - c < rest ? n_channels - c : rest;
        const zq_plan_seed part = {.c1 = seed->c1 + c, .c2 = seed->c2 + c, .mean = seed->mean + c};
        seeded_row(length, branch->z + i, ZQ_NO_CLAMP, d + (i - at), branch->z + i, &part, branch->sink.add,
                   dst + i);
        i += length;
    }
}

void zq_loop_fork(zq_rows rows, const uint8_t *passed, const float *d_y, int n_branches,
                  const zq_branch *branches) {
    enum { PIECE = 2048 }; /* stays in the first-level cache; d_y may be overwritten when it has been read */
    const int64_t n = rows.n_rows * rows.n_channels;
#pragma omp parallel for schedule(static)
    for (int64_t at = 0; at < n; at += PIECE) {
        const int64_t length = n - at < PIECE ? n - at : PIECE;
        float d[PIECE];
#pragma omp simd
        for (int64_t i = 0; i < length; i++)
            d[i] = passed == NULL || passed[at + i] != 0 ? d_y[at + i] : 0;
        for (int k = 0; k < n_branches; k++)
            put_piece(at, length, rows.n_channels, d, &branches[k]);
    }
}

void zq_loop_mask(size_t n, const float *at, zq_clamp clamp, float *d) {
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < n; i++)
        d[i] = passed(at[i], clamp, d[i]);
}
