/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/quantizer.h"

#include "base/memory.h"

#include <float.h>
#include <math.h>
#include <omp.h>
#include <string.h>

/* Scales below this belong to dead channels; the floor keeps products of scales normal floats. */
static const double least_scale = 1e-10;

/* Of a channel of zeros. Its bias is still an int32 in units of input scale * weight scale: this scale leaves
 * room for a bias of 800 times the 8-bit input range, in steps of 1/10000 of an input step. */
static const float dead_scale = 1e-4f;

enum {
    BLOCK = 1024,      /* elements summed in float before they go into a double */
    N_SHRINKS = 64,    /* clip candidates of the least-squares search */
    STRIDE = 4,        /* of its first round */
    N_REFINEMENTS = 8, /* least-squares steps from the best of them */
};
/* From one candidate to the next: the last clips at 0.1 (0.4 with 5 bits or more) of the maximum. */
static const double shrink_coarse = 0.965, shrink_fine = 0.985;

/* The integer nearest to x / scale, ties to even, within lo..hi; NaN gives lo. Division, not multiplication
 * by the inverse: that is what QuantizeLinear does. */
static inline float nearest(float x, float scale, float lo, float hi) {
    float q = x / scale;
    q = q > lo ? q : lo;
    q = q < hi ? q : hi;
    return nearbyintf(q);
}

zq_activation zq_activation_from_range(float lo, float hi, int bits) {
    /* Written so that NaN becomes 0. */
    const double low = lo < 0 ? fmax(lo, -FLT_MAX) : 0;
    const double high = hi > 0 ? fmin(hi, FLT_MAX) : 0;
    const int q_max = (1 << bits) - 1;
    const double span = high - low > 0 ? high - low : 1;
    const float scale = (float)fmax(span / q_max, least_scale);
    return (zq_activation){
        .used = true, .scale = scale, .zero_point = (int)nearbyint(-low / scale), .q_max = q_max};
}

zq_activation zq_activation_of_range(const zq_activation_spec *spec, float lo, float hi) {
    if (!spec->symmetric)
        return zq_activation_from_range(lo, hi, spec->bits);
    const double extreme = fmin(fmaxf(-lo, hi), FLT_MAX), bound = extreme > 0 ? extreme : 1;
    return (zq_activation){.used = true,
                           .scale = (float)fmax(bound / 127, least_scale),
                           .zero_point = 128,
                           .q_max = 255,
                           .is_signed = true};
}

void zq_activation_apply(const zq_activation *activation, size_t n, const float *src, float *dst) {
    const float scale = activation->scale;
    const float lo = (float)-activation->zero_point;
    const float hi = (float)(activation->q_max - activation->zero_point);
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        dst[i] = nearest(src[i], scale, lo, hi) * scale;
}

/* ---- weights */

/* One channel while its scale is chosen. lo, hi: levels relative to the zero point. */
typedef struct channel {
    const float *w;
    size_t n;
    float lo, hi;
} channel;

/* The search multiplies where the quantizer divides: at a tie between two levels both have the same error. */
static inline float level_of(const channel *c, float x, float per_scale) {
    float q = x * per_scale;
    q = q > c->lo ? q : c->lo;
    q = q < c->hi ? q : c->hi;
    return nearbyintf(q);
}

static double squared_error(const channel *c, float scale) {
    const float per_scale = 1 / scale;
    double sum = 0;
    for (size_t first = 0; first < c->n; first += BLOCK) {
        const size_t n = c->n - first < BLOCK ? c->n - first : BLOCK;
        const float *w = c->w + first;
        float part = 0;
#pragma omp simd reduction(+ : part)
        for (size_t i = 0; i < n; i++) {
            const float d = w[i] * per_scale - level_of(c, w[i], per_scale);
            part += d * d;
        }
        sum += part;
    }
    return sum * (double)scale * (double)scale;
}

/* The scale of least squared error for the levels that scale leads to; 0 when all of them are 0. */
static float refit(const channel *c, float scale) {
    const float per_scale = 1 / scale;
    double wq = 0, qq = 0;
    for (size_t first = 0; first < c->n; first += BLOCK) {
        const size_t n = c->n - first < BLOCK ? c->n - first : BLOCK;
        const float *w = c->w + first;
        float part_wq = 0, part_qq = 0;
#pragma omp simd reduction(+ : part_wq, part_qq)
        for (size_t i = 0; i < n; i++) {
            const float q = level_of(c, w[i], per_scale);
            part_wq += q * w[i];
            part_qq += q * q;
        }
        wq += part_wq;
        qq += part_qq;
    }
    return qq > 0 && wq > 0 ? (float)(wq / qq) : 0;
}

/* Scales that clip more and more, every STRIDE-th first and then those around the best, and from there
 * alternating least squares. The scale given is a candidate, so the result is never worse. */
static float least_squares_scale(const channel *c, float scale) {
    const double shrink = c->hi - c->lo > 16 ? shrink_fine : shrink_coarse;
    float best = scale;
    double best_error = INFINITY;
    int best_k = 0;
    for (int k = 0; k < N_SHRINKS; k += STRIDE) {
        const float candidate = (float)(scale * pow(shrink, k));
        const double error = squared_error(c, candidate);
        if (error < best_error) {
            best_error = error;
            best = candidate;
            best_k = k;
        }
    }
    for (int k = best_k < STRIDE ? 1 : best_k - STRIDE + 1, last = best_k + STRIDE - 1; k <= last; k++) {
        const float candidate = (float)(scale * pow(shrink, k));
        const double error = k == best_k ? best_error : squared_error(c, candidate);
        if (error < best_error) {
            best_error = error;
            best = candidate;
        }
    }
    for (int k = 0; k < N_REFINEMENTS; k++) {
        const float refined = refit(c, best);
        const double error = refined > 0 ? squared_error(c, refined) : best_error;
        if (!(error < best_error))
            break;
        best_error = error;
        best = refined;
    }
    return best;
}

static void swap(float *a, float *b) {
    const float held = *a;
    *a = *b;
    *b = held;
}

/* Moves the k-th smallest of x to x[k], smaller ones before it and larger ones behind it (quickselect). */
static void select_nth(float *x, int64_t n, int64_t k) {
    int64_t first = 0, last = n - 1;
    while (first < last) {
        const int64_t middle = first + (last - first) / 2;
        if (x[middle] < x[first])
            swap(&x[middle], &x[first]);
        if (x[last] < x[first])
            swap(&x[last], &x[first]);
        if (x[last] < x[middle])
            swap(&x[last], &x[middle]);
        const float pivot = x[middle];
        int64_t i = first, j = last;
        while (i <= j) {
            while (x[i] < pivot)
                i++;
            while (pivot < x[j])
                j--;
            if (i <= j)
                swap(&x[i++], &x[j--]);
        }
        if (k <= j)
            last = j;
        else if (k >= i)
            first = i;
        else
            return;
    }
}

/* Percentile with linear interpolation between neighbours; x is reordered. */
static float percentile_of(float *x, int64_t n, double percentile) {
    const double position = fmin(fmax(percentile, 0), 100) / 100 * (double)(n - 1);
    const int64_t k = (int64_t)position;
    select_nth(x, n, k);
    float next = k + 1 < n ? x[k + 1] : x[k];
    for (int64_t i = k + 1; i < n; i++)
        next = x[i] < next ? x[i] : next;
    return (float)(x[k] + (position - (double)k) * ((double)next - (double)x[k]));
}

/* What the percentile leaves of the range lo..hi: of |w| when symmetric, of each side otherwise. A side that
 * would vanish stays as it is. scratch: [n]. */
static void clip_range(const zq_weight_spec *spec, const float *w, int64_t n, float *scratch, float *lo,
                       float *hi) {
    memcpy(scratch, w, (size_t)n * sizeof *w);
    if (spec->asymmetric) {
        const float high = percentile_of(scratch, n, spec->percentile);
        const float low = percentile_of(scratch, n, 100 - spec->percentile);
        *hi = high > 0 ? high : *hi;
        *lo = low < 0 ? low : *lo;
        return;
    }
    for (int64_t i = 0; i < n; i++)
        scratch[i] = fabsf(scratch[i]);
    const float bound = percentile_of(scratch, n, spec->percentile);
    if (bound > 0) {
        *hi = bound;
        *lo = -bound;
    }
}

/* Extremes with 0 inside; false where an element is not finite. */
static bool find_range(const float *w, int64_t n, float *lo_out, float *hi_out) {
    float lo = 0, hi = 0;
    bool finite = true;
    for (int64_t i = 0; i < n; i++) {
        lo = w[i] < lo ? w[i] : lo;
        hi = w[i] > hi ? w[i] : hi;
        finite = finite && fabsf(w[i]) <= FLT_MAX;
    }
    *lo_out = lo;
    *hi_out = hi;
    return finite;
}

/* Scale and zero point of the range lo..hi, which holds 0. */
static float scale_of_range(const zq_weight_spec *spec, const zq_weights *out, float lo, float hi,
                            int *zero_point) {
    *zero_point = 0;
    if (lo == 0 && hi == 0)
        return dead_scale;
    if (!spec->asymmetric)
        return (float)fmax(fmax(-lo, hi) / (double)out->q_max, least_scale);
    const float scale = (float)fmax(((double)hi - lo) / (out->q_max - out->q_min), least_scale);
    *zero_point = out->q_min + (int)nearbyint(-(double)lo / scale);
    return scale;
}

/* False where a weight is not finite. */
static bool quantize_channel(const zq_weight_spec *spec, const float *w, float floor, float *scratch,
                             int64_t c, zq_weights *out) {
    const int64_t n = out->per_channel;
    float lo, hi;
    if (!find_range(w, n, &lo, &hi))
        return false;
    if (spec->range == ZQ_WEIGHT_PERCENTILE)
        clip_range(spec, w, n, scratch, &lo, &hi);
    int zero_point;
    float scale = scale_of_range(spec, out, lo, hi, &zero_point);
    const channel levels = {.w = w,
                            .n = (size_t)n,
                            .lo = (float)(out->q_min - zero_point),
                            .hi = (float)(out->q_max - zero_point)};
    if (spec->range == ZQ_WEIGHT_MSE)
        scale = least_squares_scale(&levels, scale);
    scale = fmaxf(fmaxf(scale, floor), (float)least_scale);
    out->scale[c] = scale;
    out->zero_point[c] = zero_point;
    int8_t *q = out->q + c * n;
    for (int64_t i = 0; i < n; i++)
        q[i] = (int8_t)((int)nearest(w[i], scale, levels.lo, levels.hi) + zero_point);
    return true;
}

static zq_status weights_new(const zq_weight_spec *spec, int64_t n_channels, int64_t per_channel,
                             zq_weights *out, zq_error *err) {
    *out = (zq_weights){.bits = spec->bits, .n_channels = n_channels, .per_channel = per_channel};
    int64_t count;
    if (spec->bits < 2 || spec->bits > 8)
        return zq_fail(err, ZQ_ERR_USAGE, "weights can have 2 to 8 bits, not %d", spec->bits);
    if (n_channels < 1 || per_channel < 1 || !zq_mul_i64(n_channels, per_channel, &count))
        return zq_fail(err, ZQ_ERR_FORMAT,
                       "a weight of %lld channels with %lld elements each can't be quantized",
                       (long long)n_channels, (long long)per_channel);
    const int bits = spec->bits == 8 && spec->spare_bit ? 7 : spec->bits;
    out->q_max = (1 << (bits - 1)) - 1;
    out->q_min = -out->q_max - (bits < 8 || spec->asymmetric ? 1 : 0);
    out->scale = zq_alloc((size_t)n_channels, sizeof *out->scale);
    out->zero_point = zq_alloc((size_t)n_channels, sizeof *out->zero_point);
    out->q = zq_alloc_raw((size_t)count, sizeof *out->q);
    return out->scale != NULL && out->zero_point != NULL && out->q != NULL ? ZQ_OK : zq_fail_memory(err);
}

zq_status zq_weights_quantize(const zq_weight_spec *spec, int64_t n_channels, int64_t per_channel,
                              const float *w, const float *scale_floor, zq_weights *out, zq_error *err) {
    float *scratch = NULL; /* a channel for each thread */
    int n_threads = omp_get_max_threads();
    if (n_threads > n_channels)
        n_threads = n_channels > 1 ? (int)n_channels : 1;
    zq_status status = weights_new(spec, n_channels, per_channel, out, err);
    if (status != ZQ_OK)
        goto done;
    if (spec->range == ZQ_WEIGHT_PERCENTILE) {
        size_t n_scratch;
        if (zq_mul_size((size_t)n_threads, (size_t)per_channel, &n_scratch))
            scratch = zq_alloc_raw(n_scratch, sizeof *scratch);
        if (scratch == NULL) {
            status = zq_fail_memory(err);
            goto done;
        }
    }
    int n_bad = 0;
#pragma omp parallel for num_threads(n_threads) schedule(dynamic, 8) reduction(+ : n_bad)
    for (int64_t c = 0; c < n_channels; c++) {
        float *mine = scratch == NULL ? NULL : scratch + omp_get_thread_num() * per_channel;
        n_bad += !quantize_channel(spec, w + c * per_channel, scale_floor == NULL ? 0 : scale_floor[c], mine,
                                   c, out);
    }
    if (n_bad > 0)
        status =
            zq_fail(err, ZQ_ERR_FORMAT, "%d of %lld channels of a weight hold a NaN or an infinite value",
                    n_bad, (long long)n_channels);
done:
    zq_free(scratch);
    if (status != ZQ_OK)
        zq_weights_clear(out);
    return status;
}

zq_status zq_weights_copy(const zq_weights *weights, zq_weights *out, zq_error *err) {
    const size_t n = (size_t)weights->n_channels;
    *out = *weights;
    out->scale = zq_memdup(weights->scale, n * sizeof *out->scale);
    out->zero_point = zq_memdup(weights->zero_point, n * sizeof *out->zero_point);
    out->q = zq_memdup(weights->q, n * (size_t)weights->per_channel);
    if (out->scale != NULL && out->zero_point != NULL && out->q != NULL)
        return ZQ_OK;
    zq_weights_clear(out);
    return zq_fail_memory(err);
}

void zq_weights_dequantize(const zq_weights *weights, float *w_out) {
    const int64_t n = weights->per_channel;
    for (int64_t c = 0; c < weights->n_channels; c++) {
        const int8_t *q = weights->q + c * n;
        const float scale = weights->scale[c];
        const int zero_point = weights->zero_point[c];
        for (int64_t i = 0; i < n; i++)
            w_out[c * n + i] = (float)(q[i] - zero_point) * scale;
    }
}

void zq_weights_clear(zq_weights *weights) {
    zq_free(weights->scale);
    zq_free(weights->zero_point);
    zq_free(weights->q);
    *weights = (zq_weights){0};
}
