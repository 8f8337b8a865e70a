/* SPDX-License-Identifier: Apache-2.0 */
/* Random images with edges and surfaces, as photos have them: "dead leaves". */
#ifndef ZQ_QUANT_LEAVES_H
#define ZQ_QUANT_LEAVES_H

#include "graph/tensor.h"

/* Ellipses and rectangles of many sizes that cover each other, each in one colour with a slope of brightness;
 * their radii have the density r^-3, which gives photos' statistics of edges at every scale (Lee, Mumford and
 * Huang, 2001). Channels are alike but for a small colour. smallest: radius as a share of the larger
 * side; the largest is half of it. shape: [N, C, H, W]; x: plain, 0..1. Image i depends on the seed and i
 * alone. */
void zq_leaves_draw(uint64_t seed, const zq_shape *shape, double smallest, float *x);

#endif
