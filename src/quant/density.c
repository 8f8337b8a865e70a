/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/density.h"

#include <math.h>
#include <string.h>

/* Spreads an amount that lies evenly over from..to. */
static void spread(zq_density *density, double from, double to, double amount) {
    const double width = ((double)density->hi - density->lo) / ZQ_DENSITY_BINS;
    from = fmax(from, density->lo);
    to = fmin(to, density->hi);
    int bin = (int)fmin(fmax((from - density->lo) / width, 0), ZQ_DENSITY_BINS - 1);
    if (!(to > from)) { /* an extreme that begins its bin */
        density->share[bin] += (float)amount;
        return;
    }
    for (; bin < ZQ_DENSITY_BINS; bin++) {
        const double left = fmax(from, density->lo + bin * width);
        const double right = bin + 1 < ZQ_DENSITY_BINS ? fmin(to, density->lo + (bin + 1) * width) : to;
        if (right > left)
            density->share[bin] += (float)(amount * (right - left) / (to - from));
        if (right >= to)
            break;
    }
}

void zq_density_make(const zq_histogram *histogram, zq_density *out) {
    *out = (zq_density){.n = histogram->n, .lo = histogram->lo, .hi = histogram->hi};
    if (histogram->n <= 0)
        return;
    out->zeros = (float)(histogram->zeros / histogram->n);
    for (int i = 0; i < ZQ_HISTOGRAM_BINS; i++) {
        const double from = (i - ZQ_HISTOGRAM_ZERO) * histogram->width;
        if (histogram->count[i] > 0 && out->hi > out->lo)
            spread(out, from, from + histogram->width, histogram->count[i] / histogram->n);
        else if (histogram->count[i] > 0)
            out->share[0] = 1;
    }
}

double zq_density_outside(const zq_density *density, double lo, double hi) {
    const double width = ((double)density->hi - density->lo) / ZQ_DENSITY_BINS;
    double outside = 0;
    if (!(width > 0))
        return density->n > 0 && (density->lo < lo || density->lo > hi) ? 1 : 0;
    for (int i = 0; i < ZQ_DENSITY_BINS; i++) {
        const double left = density->lo + i * width;
        const double inside = fmin(left + width, hi) - fmax(left, lo);
        outside += density->share[i] * (1 - fmin(fmax(inside / width, 0), 1));
    }
    return outside;
}
