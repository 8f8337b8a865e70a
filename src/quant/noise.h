/* SPDX-License-Identifier: Apache-2.0 */
/* Random images, in units in which a pixel has mean 0 and standard deviation 1. */
#ifndef ZQ_QUANT_NOISE_H
#define ZQ_QUANT_NOISE_H

#include "graph/tensor.h"

/* Independent N(0, 1). shape: [N, C, H, W]; x: plain. */
void zq_noise_white(uint64_t seed, const zq_shape *shape, float *x);

/* Noise with the second-order statistics of photos: equal variance in every octave (a power spectrum of 1/f^2
 * in two dimensions) and channels correlated by 0.9. shape: [N, C, H, W]; x: plain. */
void zq_noise_photo(uint64_t seed, const zq_shape *shape, float *x);

#endif
