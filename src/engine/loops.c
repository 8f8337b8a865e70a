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

/* The elements of a piece that begins at i. */
static inline size_t piece_of(size_t i, size_t n) {
    return n - i < ZQ_PIECE ? n - i : ZQ_PIECE;
}

/* How many of the n elements from at on belong to one row; the first has channel *c. */
static inline size_t of_row(size_t at, size_t n, size_t n_channels, size_t *c) {
    *c = at % n_channels;
    return n_channels - *c < n ? n_channels - *c : n;
}

void zq_loop_clamp(size_t n, zq_cells x, zq_clamp clamp, zq_cells dst) {
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i += ZQ_PIECE) {
        const size_t length = piece_of(i, n);
        float buffers[2][ZQ_PIECE];
        const float *const from = zq_cells_read(x, i, length, buffers[0]);
        float *const to = zq_cells_begin(dst, i, buffers[1]);
#pragma omp simd
        for (size_t k = 0; k < length; k++)
            to[k] = clamped(from[k], clamp);
        zq_cells_end(dst, i, length, to);
    }
}

/* n_rows rows from element first on; n_rows and the kinds of cells are constants where this is called, so
 * that the inner loop is unrolled and sums are read and written once for all of the rows. */
static inline void clamp_sum_rows(int n_rows, size_t n_channels, zq_cells x, zq_clamp clamp, zq_cells dst,
                                  size_t first, double *restrict sum, double *restrict square) {
#pragma omp simd
    for (size_t c = 0; c < n_channels; c++) {
        double s = sum[c], q = square[c];
#pragma GCC unroll 4
        for (int row = 0; row < n_rows; row++) {
            const size_t at = first + (size_t)row * n_channels + c;
            const float value = zq_cells_get(x, at);
            s += (double)value;
            q += (double)value * (double)value;
            zq_cells_put(dst, at, clamped(value, clamp));
        }
        sum[c] = s;
        square[c] = q;
    }
}

/* One image, which begins at element first. */
static inline void clamp_sum_image(zq_cells x, size_t first, size_t n_positions, size_t n_channels,
                                   zq_clamp clamp, zq_cells dst, double *sum) {
    double *const square = sum + n_channels;
    size_t i = 0;
    for (; i + 4 <= n_positions; i += 4)
        clamp_sum_rows(4, n_channels, x, clamp, dst, first + i * n_channels, sum, square);
    for (; i < n_positions; i++)
        clamp_sum_rows(1, n_channels, x, clamp, dst, first + i * n_channels, sum, square);
}

void zq_loop_clamp_sum(const zq_slot *slot, zq_clamp clamp, zq_cells dst, double *sums) {
    const size_t n_channels = (size_t)slot->channels, n_positions = (size_t)slot->positions;
    memset(sums, 0, (size_t)slot->images * n_channels * 2 * sizeof *sums);
#pragma omp parallel for schedule(static)
    for (int64_t image = 0; image < slot->images; image++) {
        const size_t first = (size_t)image * n_positions * n_channels;
        double *const sum = sums + (size_t)image * 2 * n_channels;
        if (slot->half && dst.half)
            clamp_sum_image((zq_cells){slot->data, true}, first, n_positions, n_channels, clamp,
                            (zq_cells){dst.data, true}, sum);
        else if (slot->half)
            clamp_sum_image((zq_cells){slot->data, true}, first, n_positions, n_channels, clamp,
                            (zq_cells){dst.data, false}, sum);
        else if (dst.half)
            clamp_sum_image((zq_cells){slot->data, false}, first, n_positions, n_channels, clamp,
                            (zq_cells){dst.data, true}, sum);
        else
            clamp_sum_image((zq_cells){slot->data, false}, first, n_positions, n_channels, clamp,
                            (zq_cells){dst.data, false}, sum);
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

static void add_unmarked(size_t n, const float *a, const float *b, zq_clamp clamp, float *dst) {
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        dst[i] = clamped(a[i] + b[i], clamp);
}

void zq_loop_add(size_t n, zq_cells a, zq_cells b, zq_clamp clamp, zq_cells dst, uint8_t *passed) {
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i += ZQ_PIECE) {
        const size_t length = piece_of(i, n);
        float buffers[3][ZQ_PIECE];
        const float *const x = zq_cells_read(a, i, length, buffers[0]);
        const float *const y = zq_cells_read(b, i, length, buffers[1]);
        float *const to = zq_cells_begin(dst, i, buffers[2]);
        if (passed == NULL)
            add_unmarked(length, x, y, clamp, to);
        else
            add_piece(length, x, y, clamp, to, passed + i);
        zq_cells_end(dst, i, length, to);
    }
}

void zq_loop_accumulate(size_t n, zq_cells src, zq_cells dst) {
    zq_loop_add(n, src, dst, ZQ_NO_CLAMP, dst, NULL);
}

static inline float passed(float at, zq_clamp clamp, float d) {
    return at > clamp.lo && at < clamp.hi ? d : 0;
}

static void slope_row(size_t n, const float *at, zq_clamp clamp, const float *d_y, bool add, float *dst) {
    if (add) {
#pragma omp simd
        for (size_t i = 0; i < n; i++)
            dst[i] += passed(at[i], clamp, d_y[i]);
    } else {
#pragma omp simd
        for (size_t i = 0; i < n; i++)
            dst[i] = passed(at[i], clamp, d_y[i]);
    }
}

/* Channels c .. c + n of a row. */
static void seeded_row(size_t n, size_t c, const float *at, zq_clamp clamp, const float *d_y, const float *z,
                       const zq_plan_seed *seed, bool add, float *dst) {
    const float *const c1 = seed->c1 + c, *const c2 = seed->c2 + c, *const mean = seed->mean + c;
    if (add) {
#pragma omp simd
        for (size_t i = 0; i < n; i++)
            dst[i] += passed(at[i], clamp, d_y[i]) + (c1[i] + c2[i] * (z[i] - mean[i]));
    } else {
#pragma omp simd
        for (size_t i = 0; i < n; i++)
            dst[i] = passed(at[i], clamp, d_y[i]) + (c1[i] + c2[i] * (z[i] - mean[i]));
    }
}

void zq_loop_slope(zq_rows rows, zq_cells at, zq_clamp clamp, zq_cells d_y, zq_cells z, const zq_sink *sink) {
    const size_t n_channels = (size_t)rows.n_channels, n = (size_t)rows.n_rows * n_channels;
    const zq_cells dst = sink->cells;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i += ZQ_PIECE) {
        const size_t length = piece_of(i, n);
        float buffers[4][ZQ_PIECE];
        const float *const where = zq_cells_read(at, i, length, buffers[0]);
        const float *const d = zq_cells_read(d_y, i, length, buffers[1]);
        float *const to = zq_cells_open(dst, sink->add, i, length, buffers[2]);
        if (sink->seed == NULL)
            slope_row(length, where, clamp, d, sink->add, to);
        else {
            const float *const from = z.data == at.data ? where : zq_cells_read(z, i, length, buffers[3]);
            for (size_t k = 0, m, c; k < length; k += m) {
                m = of_row(i + k, length - k, n_channels, &c);
                seeded_row(m, c, where + k, clamp, d + k, from + k, sink->seed, sink->add, to + k);
            }
        }
        zq_cells_end(dst, i, length, to);
    }
}

static void add_row(size_t n, const float *d_y, bool add, float *dst) {
    if (!add) {
        if (dst != d_y)
            memcpy(dst, d_y, n * sizeof *dst);
        return;
    }
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        dst[i] += d_y[i];
}

/* Elements at .. at + n of one branch, whose gradient is d. */
static void put_piece(size_t at, size_t n, size_t n_channels, const float *d, const zq_branch *branch) {
    const zq_sink *const sink = &branch->sink;
    float buffers[2][ZQ_PIECE];
    float *const to = zq_cells_open(sink->cells, sink->add, at, n, buffers[0]);
    if (sink->seed == NULL)
        add_row(n, d, sink->add, to);
    else {
        const float *const z = zq_cells_read(branch->z, at, n, buffers[1]);
        for (size_t i = 0, m, c; i < n; i += m) {
            m = of_row(at + i, n - i, n_channels, &c);
            seeded_row(m, c, z + i, ZQ_NO_CLAMP, d + i, z + i, sink->seed, sink->add, to + i);
        }
    }
    zq_cells_end(sink->cells, at, n, to);
}

void zq_loop_fork(zq_rows rows, const uint8_t *passed, zq_cells d_y, int n_branches,
                  const zq_branch *branches) {
    const size_t n = (size_t)(rows.n_rows * rows.n_channels);
#pragma omp parallel for schedule(static)
    for (size_t at = 0; at < n; at += ZQ_PIECE) {
        const size_t length = piece_of(at, n);
        float d[ZQ_PIECE], buffer[ZQ_PIECE]; /* d_y may be overwritten when it has been read */
        const float *const from = zq_cells_read(d_y, at, length, buffer);
#pragma omp simd
        for (size_t i = 0; i < length; i++)
            d[i] = passed == NULL || passed[at + i] != 0 ? from[i] : 0;
        for (int k = 0; k < n_branches; k++)
            put_piece(at, length, (size_t)rows.n_channels, d, &branches[k]);
    }
}

void zq_loop_seed(zq_rows rows, zq_cells z, const zq_plan_seed *seed, bool add, zq_cells dst) {
    static const float none[ZQ_PIECE];
    const size_t n = (size_t)(rows.n_rows * rows.n_channels);
    const zq_branch branch = {.z = z, .sink = {.cells = dst, .add = add, .seed = seed}};
#pragma omp parallel for schedule(static)
    for (size_t at = 0; at < n; at += ZQ_PIECE)
        put_piece(at, piece_of(at, n), (size_t)rows.n_channels, none, &branch);
}

void zq_loop_mask(size_t n, zq_cells at, zq_clamp clamp, zq_cells d) {
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i += ZQ_PIECE) {
        const size_t length = piece_of(i, n);
        float buffers[2][ZQ_PIECE];
        const float *const where = zq_cells_read(at, i, length, buffers[0]);
        float *const to = zq_cells_open(d, true, i, length, buffers[1]);
        slope_row(length, where, clamp, to, false, to);
        zq_cells_end(d, i, length, to);
    }
}
