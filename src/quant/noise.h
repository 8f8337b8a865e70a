/* SPDX-License-Identifier: Apache-2.0 */
/* Random images, in units in which a pixel has mean 0 and standard deviation 1. */
#ifndef ZQ_QUANT_NOISE_H
#define ZQ_QUANT_NOISE_H

#include "graph/tensor.h"

/* Independent N(0, 1). shape: [N, C, H, W]; x: plain. */
void zq_noise_white(uint64_t seed, const zq_shape *shape, float *x);

/* Adds noise with the second-order statistics of photos: channels correlated by 0.9 and a variance that grows
 * by the square root of 2 from each octave (detail of 1, 2, 4 ... pixels) to the next. The n_octaves finest
 * octaves (0: all that fit into the image) have the given variance together. shape: [N, C, H, W]; x: plain.
 */
zq_status zq_noise_add_photo(uint64_t seed, const zq_shape *shape, int n_octaves, double variance, float *x,
                             zq_error *err);

#endif
