/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges of activations on the distilled images. */
#ifndef ZQ_QUANT_CALIBRATE_H
#define ZQ_QUANT_CALIBRATE_H

#include "quant/distill.h"
#include "quant/quantizer.h"

/* Streaming histogram of a tensor: bins over a range that doubles when a value falls outside. Widths are
 * powers of two, so the result doesn't depend on the order or the portions in which values come. */
enum { ZQ_HISTOGRAM_BINS = 2048, ZQ_HISTOGRAM_ZERO = 1024 };
typedef struct zq_histogram {
    float lo, hi; /* extremes seen; 0 before any */
    double width; /* of a bin; bin i covers [(i - 1024) width, (i - 1023) width); 0 before any value but 0 */
    double count[ZQ_HISTOGRAM_BINS];
    double n, zeros; /* finite elements seen; of these exactly 0 (not in the bins) */
    double n_bad;    /* infinities and NaN, which count nowhere else */
} zq_histogram;

void zq_histogram_init(zq_histogram *histogram);
void zq_histogram_add(zq_histogram *histogram, size_t n, const float *x);

/* Adds the other's elements, each counting weight times. other may get wider bins. */
void zq_histogram_merge(zq_histogram *histogram, zq_histogram *other, double weight);

/* The range of the method: min-max, the percentile of all elements on each side, or least squared error of
 * quantizing with zq_activation_of_range. lo <= 0 <= hi except for min-max, which gives the
 * extremes. An empty histogram gives 0, 0. */
void zq_histogram_range(const zq_histogram *histogram, const zq_activation_spec *spec, float *lo, float *hi);

typedef struct zq_density zq_density; /* quant/density.h */

/* Ranges of all float values that are computed at run time, for each of n_widths widths in place of
 * spec->bits. activations: [n_widths][graph->n_values], written; used is true where a range was found (a
 * value that the engine fuses away has none). Graph input 0 gets the whole box where one is given (NULL:
 * none). densities: [graph->n_values], what was seen; NULL: not wanted. */
zq_status zq_calibrate_widths(zq_graph *graph, const zq_images *images, const zq_box *box,
                              const zq_activation_spec *spec, int n_widths, const int *widths,
                              zq_activation *const *activations, zq_density *densities, zq_error *err);

/* The same for spec->bits alone. */
zq_status zq_calibrate(zq_graph *graph, const zq_images *images, const zq_box *box,
                       const zq_activation_spec *spec, zq_activation *activations, zq_density *densities,
                       zq_error *err);

#endif
