/* SPDX-License-Identifier: Apache-2.0 */
#include "base/random.h"
#include "quant/calibrate.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum {
    BINS = ZQ_HISTOGRAM_BINS,
    ZERO = ZQ_HISTOGRAM_ZERO,
    BLOCK = 4096, /* elements binned at a time: their indices stay in the first-level cache */
    N_SHRINKS = 100,
    MOST_COUNTED = 1 << 20, /* elements of one call: of more, as many */
    LEAST_EXPONENT = -100,  /* of a width: its inverse is still a float */
};
static const double shrink = 0.965; /* from one clip candidate to the next: the last is 0.03 of the extreme */

void zq_histogram_init(zq_histogram *histogram) {
    memset(histogram, 0, sizeof *histogram);
}

/* Doubles the width: pairs of bins become one, away from the middle outwards. */
static void double_width(zq_histogram *h) {
    double merged[BINS] = {0};
    for (int i = 0; i < BINS / 2; i++)
        merged[BINS / 4 + i] = h->count[2 * i] + h->count[2 * i + 1];
    memcpy(h->count, merged, sizeof merged);
    h->width *= 2;
}

/* Makes |x| <= largest fit into the bins. */
static void widen(zq_histogram *h, float largest) {
    int exponent;
    frexp(largest, &exponent); /* largest < 2^exponent */
    exponent -= 10;            /* 1024 bins on each side */
    const double width = ldexp(1, exponent > LEAST_EXPONENT ? exponent : LEAST_EXPONENT);
    if (h->width == 0)
        h->width = width;
    /* Far apart, the halvings would move everything next to the middle anyway. */
    for (int k = 0; h->width < width && k < 2 * BINS; k++)
        double_width(h);
}

typedef struct extremes {
    float lo, hi;
    size_t n_bad; /* not finite */
} extremes;

void zq_histogram_merge(zq_histogram *histogram, zq_histogram *other, double weight) {
    if (other->n == 0)
        return;
    if (histogram->width == 0)
        histogram->width = other->width;
    for (int k = 0; histogram->width < other->width && k < 2 * BINS; k++)
        double_width(histogram);
    for (int k = 0; other->width < histogram->width && k < 2 * BINS; k++)
        double_width(other);
    for (int i = 0; i < BINS; i++)
        histogram->count[i] += weight * other->count[i];
    histogram->zeros += weight * other->zeros;
    histogram->lo = histogram->n == 0 || other->lo < histogram->lo ? other->lo : histogram->lo;
    histogram->hi = histogram->n == 0 || other->hi > histogram->hi ? other->hi : histogram->hi;
    histogram->n += weight * other->n;
}

static extremes find_extremes(size_t n, const float *x) {
    float lo = FLT_MAX, hi = -FLT_MAX;
    size_t n_bad = 0;
#pragma omp simd reduction(min : lo) reduction(max : hi) reduction(+ : n_bad)
    for (size_t i = 0; i < n; i++) {
        lo = x[i] < lo ? x[i] : lo;
        hi = x[i] > hi ? x[i] : hi;
        n_bad += !(fabsf(x[i]) <= FLT_MAX);
    }
    return (extremes){lo, hi, n_bad};
}

/* Counts finite values that fit. Two tables take turns, because successive values often fall into one bin and
 * an increment must wait for the one before. Each counts as `weight` of them. */
static void count_block(zq_histogram *h, size_t n, const float *x, double weight) {
    int index[BLOCK], n_zeros = 0;
    uint32_t even[BINS] = {0}, odd[BINS] = {0};
    const float per_width = (float)(1 / h->width);
#pragma omp simd reduction(+ : n_zeros)
    for (size_t i = 0; i < n; i++) {
        index[i] = (int)floorf(x[i] * per_width) + ZERO;
        n_zeros += x[i] == 0;
    }
    for (size_t i = 0; i + 1 < n; i += 2) {
        even[index[i]]++;
        odd[index[i + 1]]++;
    }
    if (n % 2 != 0)
        even[index[n - 1]]++;
    for (int i = 0; i < BINS; i++)
        h->count[i] += weight * ((double)even[i] + (double)odd[i]);
    h->count[ZERO] -= weight * n_zeros;
    h->zeros += weight * n_zeros;
}

/* Blocks spread over all elements, one at random in each of as many parts: planes repeat at even distances.
 */
static void count_some(zq_histogram *h, size_t n, const float *x) {
    const size_t n_blocks = MOST_COUNTED / BLOCK, part = n / n_blocks;
    const double weight = (double)n / MOST_COUNTED;
    for (size_t k = 0; k < n_blocks; k++) {
        const double at = zq_random_uniform(0, k) * (double)(part - BLOCK);
        count_block(h, BLOCK, x + k * part + (size_t)at, weight);
    }
}

static void add_finite(zq_histogram *h, size_t n, const float *x, const extremes *found) {
    h->lo = h->n == 0 || found->lo < h->lo ? found->lo : h->lo;
    h->hi = h->n == 0 || found->hi > h->hi ? found->hi : h->hi;
    h->n += (double)n;
    if (found->lo == 0 && found->hi == 0) {
        h->zeros += (double)n;
        return;
    }
    widen(h, fmaxf(-found->lo, found->hi));
    if (n > MOST_COUNTED) {
        count_some(h, n, x);
        return;
    }
    for (size_t i = 0; i < n; i += BLOCK)
        count_block(h, n - i < BLOCK ? n - i : BLOCK, x + i, 1);
}

void zq_histogram_add(zq_histogram *histogram, size_t n, const float *x) {
    const extremes found = find_extremes(n, x);
    if (n == 0)
        return;
    if (found.n_bad == 0) {
        add_finite(histogram, n, x, &found);
        return;
    }
    histogram->n_bad += (double)found.n_bad;
    float finite[BLOCK]; /* rare: pick the others out */
    size_t n_finite = 0;
    for (size_t i = 0; i < n; i++) {
        if (fabsf(x[i]) <= FLT_MAX)
            finite[n_finite++] = x[i];
        if (n_finite == BLOCK || (i + 1 == n && n_finite > 0)) {
            const extremes part = find_extremes(n_finite, finite);
            add_finite(histogram, n_finite, finite, &part);
            n_finite = 0;
        }
    }
}

/* ---- ranges */

/* Integral from 0 to x of (t - nearest level)^2 dt, in units where levels are the integers lo..hi: a full
 * cell gives 1/12, the rest of the last one a cube. Beyond the last level the same cube is the clipping
 * error, which counts `clipped` times. */
static inline double error_integral(double x, double lo, double hi, double clipped) {
    double level = nearbyint(x);
    level = level > lo ? level : lo;
    level = level < hi ? level : hi;
    const double rest = x - level, far = fabs(rest) - 0.5;
    const double cube = rest * rest * rest / 3;
    return level / 12 + (far > 0 ? clipped * cube + copysign((1 - clipped) / 24, rest) : cube);
}

/* Squared error of quantizing what the histogram holds, with elements spread evenly within a bin (only up to
 * the extremes in the outermost ones) and exact zeros free of error. */
static double squared_error(const zq_histogram *h, int first, int last, const zq_activation *a,
                            double clipped) {
    const double lo = -a->zero_point, hi = a->q_max - a->zero_point;
    const double per_scale = 1 / (double)a->scale;
    double left = fmax((first - ZERO) * h->width, h->lo) * per_scale;
    double integral = error_integral(left, lo, hi, clipped), sum = 0;
    for (int i = first; i <= last; i++) {
        const double right = fmin((i + 1 - ZERO) * h->width, h->hi) * per_scale;
        const double next = error_integral(right, lo, hi, clipped);
        if (h->count[i] > 0) {
            const double level = fmin(fmax(nearbyint(left), lo), hi);
            const bool point =
                !(right - left > 1e-9 * fabs(right)); /* all at the extreme, such as Clip's bound */
            const double off = left - level, at_point = off * off * (fabs(off) > 0.5 ? clipped : 1);
            sum += h->count[i] * (point ? at_point : (next - integral) / (right - left));
        }
        left = right;
        integral = next;
    }
    return sum * (double)a->scale * (double)a->scale;
}

/* The search for clip bounds of least squared error. */
typedef struct clip {
    const zq_histogram *histogram;
    int first, last; /* bins that hold anything */
    const zq_activation_spec *spec;
    double clipped;       /* how often a clipped element's error counts */
    double lo, hi, error; /* the best so far */
} clip;

static void try_clip(clip *c, double lo, double hi) {
    const zq_activation a = zq_activation_of_range(c->spec, (float)lo, (float)hi);
    const double error = squared_error(c->histogram, c->first, c->last, &a, c->clipped);
    if (error < c->error) {
        c->lo = lo;
        c->hi = hi;
        c->error = error;
    }
}

/* What few places of an image are about, such as the objects that a detector finds, drowns in a sum over all
 * of them, and it is the large values that are clipped. Below 7 bits there are no levels to spare for it. */
static double clipped_of(const zq_activation_spec *spec) {
    return spec->places && spec->bits > 6 ? ldexp(1, 2 * (spec->bits - 6)) : 1;
}

static void range_mse(const zq_histogram *h, const zq_activation_spec *spec, float *lo, float *hi) {
    const double low = *lo, high = *hi;
    clip c = {.histogram = h,
              .first = 0,
              .last = BINS - 1,
              .spec = spec,
              .clipped = clipped_of(spec),
              .error = INFINITY};
    while (c.first < c.last && h->count[c.first] == 0)
        c.first++;
    while (c.last > c.first && h->count[c.last] == 0)
        c.last--;
    double factor = 1;
    for (int k = 0; k < N_SHRINKS; k++, factor *= shrink)
        try_clip(&c, low * factor, high * factor);
    /* Then each side with the other held. */
    for (int round = 0; round < 2 && low < 0 && high > 0; round++) {
        factor = 1;
        const double held_low = c.lo;
        for (int k = 0; k < N_SHRINKS; k++, factor *= shrink)
            try_clip(&c, held_low, high * factor);
        factor = 1;
        const double held_high = c.hi;
        for (int k = 0; k < N_SHRINKS; k++, factor *= shrink)
            try_clip(&c, low * factor, held_high);
    }
    *lo = (float)c.lo;
    *hi = (float)c.hi;
}

/* The bound with `cut` elements outside it, walking from the extreme towards 0 (side 1: from above, -1: from
 * below). Where the whole side would be cut, the extreme. */
static double percentile_bound(const zq_histogram *h, int side, double cut, double extreme) {
    double outside = 0;
    for (int k = ZERO - 1; k >= 0; k--) { /* the bin k widths away from 0 */
        const double count = h->count[side > 0 ? ZERO + k : ZERO - 1 - k];
        if (count > 0 && outside + count > cut) {
            const double bound = (k + 1 - (cut - outside) / count) * h->width;
            return bound < fabs(extreme) ? side * bound : extreme;
        }
        outside += count;
    }
    return extreme;
}

void zq_histogram_range(const zq_histogram *histogram, const zq_activation_spec *spec, float *lo, float *hi) {
    *lo = histogram->lo;
    *hi = histogram->hi;
    if (spec->method == ZQ_RANGE_MINMAX || histogram->width == 0)
        return;
    *lo = fminf(*lo, 0);
    *hi = fmaxf(*hi, 0);
    if (spec->method == ZQ_RANGE_PERCENTILE) {
        const double cut = fmin(fmax(1 - spec->percentile / 100, 0), 1) * histogram->n;
        *lo = (float)percentile_bound(histogram, -1, cut, *lo);
        *hi = (float)percentile_bound(histogram, 1, cut, *hi);
    } else
        range_mse(histogram, spec, lo, hi);
}
