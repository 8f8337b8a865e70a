/* SPDX-License-Identifier: Apache-2.0 */
/* The weights of one layer, rounded so that its output suffers least on the inputs that it has. */
#ifndef ZQ_QUANT_ROUND_LAYER_H
#define ZQ_QUANT_ROUND_LAYER_H

#include "quant/moments.h"
#include "quant/standard.h"

/* What rounds all layers of a network; everything is borrowed. */
typedef struct zq_rounder {
    const zq_standard *standard;
    const zq_graph *graph; /* the network itself */
    const zq_layers *layers;
    const zq_activation *activations;
    const zq_weight_spec *spec; /* whose bits are ignored */
} zq_rounder;

/* With error feedback (quant/feedback.h), each channel with the scale that does least damage; to nearest where
 * there are no moments. moments: used up, cleared. bits: 2..8, increasing. out:
 * [n_bits], each to be cleared. loss_out: [n_bits] squared error of the outputs on the inputs that the
 * moments hold, summed; 0: no moments. */
zq_status zq_round_layer(const zq_rounder *rounder, int layer, zq_moments *moments, int n_bits,
                         const int *bits, zq_weights *out, double *loss_out, zq_error *err);

#endif
