/* SPDX-License-Identifier: Apache-2.0 */
/* What BatchNormalization promises about a value, as a histogram. */
#ifndef ZQ_QUANT_PRIOR_H
#define ZQ_QUANT_PRIOR_H

#include "quant/calibrate.h"

/* Few distilled images never show the rare large activations that real ones have, and at 8 bits a range too
 * narrow costs far more than one too wide. Where the mean and deviation of every channel are known (the value
 * carries stats, or an elementwise operator makes it of one that does), the tail is known too, roughly: that
 * of a Laplace distribution, since the activations of convolutions have heavier tails than a normal one. It
 * is added to what was seen, with the same weight. Elsewhere (sums, pooled features) a quarter is added as if
 * it were twice as large. */
zq_status zq_prior_add(const zq_graph *graph, int value, zq_histogram *histogram, zq_error *err);

#endif
