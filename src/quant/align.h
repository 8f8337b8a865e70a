/* SPDX-License-Identifier: Apache-2.0 */
/* Where a Relu in front of a per-channel affine (a BatchNormalization behind a Relu) is closed, which may be
 * nearly everywhere, a channel takes one value: the bias. What the grid rounds it by is the same at all those
 * places, so it doesn't average out in what reads it. Between the affine and a depthwise convolution a
 * channel may be rescaled: by as little as puts that value on the grid. Only scales and biases change, the
 * integers of the weights don't. */
#ifndef ZQ_QUANT_ALIGN_H
#define ZQ_QUANT_ALIGN_H

#include "quant/layers.h"
#include "quant/quantizer.h"

typedef struct zq_alignment {
    int n_layers;
    float **read; /* [n_layers] the factor of what each channel of a depthwise layer reads,
                     [layer's n_channels]; NULL: none; owned */
} zq_alignment;

/* Rescales: the biases of graph, which have to be its own (zq_layers_own_biases), and the scales of weights
 * [layers->n], which quantize its layers. activations: [n_values] as placed. Free with zq_alignment_clear. */
zq_status zq_align(zq_graph *graph, const zq_layers *layers, const zq_activation *activations,
                   zq_weights *weights, zq_alignment *out, zq_error *err);
void zq_alignment_clear(zq_alignment *alignment);

#endif
