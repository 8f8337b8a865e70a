/* SPDX-License-Identifier: Apache-2.0 */
/* What is learned of one layer: its weights before they are rounded, its scales and its biases. Weights are
 * (round(u) - zero point) scale, and gradients pass the rounding as if it weren't there (LSQ, Esser et al.,
 * ICLR 2020), which here gives d/du = scale d/dw and d/dscale = sum of (round(u) - zero point) d/dw. */
#ifndef ZQ_QUANT_LEARNED_H
#define ZQ_QUANT_LEARNED_H

#include "quant/adam.h"
#include "quant/quantizer.h"

typedef struct zq_learned {
    zq_weights *weights; /* as they are rounded; borrowed */
    const float *floor;  /* [n_channels] least scales; borrowed */
    float *bias;         /* [n_channels], borrowed; NULL: none, or none of its own */
    float *u;            /* [n_channels, k] in integers; owned, like all below */
    float *first;        /* [n_channels] scales at first */
    float *stretch;      /* [n_channels] logarithm of what they have been multiplied with */
    float *d_w, *d_bias; /* [n_channels, k], [n_channels] gradients, which the caller fills */
    float *d_stretch;    /* [n_channels] */
    float deviation;     /* of the layer's output: the unit in which biases move; the caller's */
    zq_adam adam_u, adam_stretch, adam_bias;
} zq_learned;

/* wanted: [n_channels, k] the weights before rounding: what was rounded to nearest anyway begins there, what
 * was rounded the other way just inside its integer. weights, floor, bias: borrowed. Drop with
 * zq_learned_clear.
 */
zq_status zq_learned_init(zq_weights *weights, const float *wanted, const float *floor, float *bias,
                          zq_learned *out, zq_error *err);
void zq_learned_clear(zq_learned *learned);

/* One step of Adam along d_w and d_bias (d_w is used up); rate: 1 at the first step of learning, falling to
 * 0. */
void zq_learned_step(zq_learned *learned, double rate);

#endif
