/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges of activations on the distilled images. */
#ifndef ZQ_QUANT_CALIBRATE_H
#define ZQ_QUANT_CALIBRATE_H

#include "quant/distill.h"
#include "quant/quantizer.h"

/* Streaming histogram of a tensor: 2048 bins over a range that doubles when a value falls outside. */
typedef struct zq_histogram {
    float lo, hi; /* extremes seen */
    double width; /* of a bin; bin i covers [(i - 1024) width, (i - 1023) width) */
    double count[2048];
    double n, zeros; /* elements seen; of these exactly 0 (not in the bins) */
} zq_histogram;

void zq_histogram_init(zq_histogram *histogram);
void zq_histogram_add(zq_histogram *histogram, size_t n, const float *x);

/* The range of the method: min-max, percentile of |x| on each side, or least squared error of quantizing to
 * bits. */
void zq_histogram_range(const zq_histogram *histogram, zq_range_method method, double percentile, int bits,
                        float *lo, float *hi);

/* Ranges of all float values that are computed at run time. activations: [graph->n_values], written; used is
 * true where a range was found. values_that_hold_images: graph inputs get the box where it is known. */
zq_status zq_calibrate(zq_graph *graph, const zq_images *images, const zq_box *box, zq_range_method method,
                       double percentile, int bits, zq_activation *activations, zq_error *err);

#endif
