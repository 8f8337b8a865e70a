/* SPDX-License-Identifier: Apache-2.0 */
/* The calibration network: the network itself, with the output channels of its layers rescaled so that on the
 * distilled images every value of which BatchNormalization promises a mean and deviation has just these.
 *
 * Distilled images never meet all statistics, and what leans on second moments and means (rounding with
 * feedback, bias correction, sensitivities) learns their faults. In the calibration network it sees the
 * values that real images have. Every output channel of a weight has its own scale, so both networks have the
 * same integer weights; nothing of the calibration network is in the file. */
#ifndef ZQ_QUANT_STANDARD_H
#define ZQ_QUANT_STANDARD_H

#include "quant/distill.h"
#include "quant/layers.h"
#include "quant/quantizer.h"

typedef struct zq_standard {
    int n_layers;
    zq_graph *graph; /* owned; its values and nodes have the indices of the network's */
    float **factor;  /* [n_layers][n_channels] what the layer's weights were multiplied with, 1/4..4; NULL: 1;
                        owned */
} zq_standard;

/* graph: simplified. Free with zq_standard_clear. */
zq_status zq_standard_new(zq_graph *graph, const zq_layers *layers, const zq_images *images, zq_standard *out,
                          zq_error *err);
void zq_standard_clear(zq_standard *standard);

/* Least scales of a layer's channels in the calibration network (zq_bias_scale_floor) with which both
 * networks have int32 biases. scale: [n_channels]. */
zq_status zq_standard_scale_floor(const zq_standard *standard, const zq_graph *graph, const zq_layers *layers,
                                  int layer, const zq_activation *activations, float *scale, zq_error *err);

/* The network's own weights for quantized ones of the calibration network: the same integers, with scales of
 * their own. out is owned by the caller. */
zq_status zq_standard_undo_weights(const zq_standard *standard, int layer, const zq_weights *weights,
                                   zq_weights *out, zq_error *err);

/* A copy of graph (owned by the caller) whose biases are moved as those of the calibration network were in
 * corrected (see quant/correct.h). */
zq_status zq_standard_undo_biases(const zq_standard *standard, const zq_graph *graph, const zq_layers *layers,
                                  const zq_graph *corrected, zq_graph **graph_out, zq_error *err);

#endif
