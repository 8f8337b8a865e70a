/* SPDX-License-Identifier: Apache-2.0 */
/* Rounded weights of every layer at every width, made once: sensitivities and candidates take them from here.
 */
#ifndef ZQ_QUANT_ROUNDING_H
#define ZQ_QUANT_ROUNDING_H

#include "quant/sensitivity.h"
#include "quant/standard.h"

struct zq_rounding {
    int n_layers, n_widths;
    int widths[ZQ_MAX_WIDTHS];
    zq_weights *weights; /* [n_layers, n_widths], owned */
};

/* Below 8 bits with error feedback (quant/feedback.h) on the inputs that a layer has in the calibration
 * network on these images, each channel with the range that does least damage there; to nearest at 8 bits,
 * and where the inputs can't be had. graph: the network itself. spec: scheme and range; its bits are ignored.
 * Free with zq_rounding_clear. */
zq_status zq_rounding_new(const zq_standard *standard, const zq_graph *graph, const zq_layers *layers,
                          const zq_activation *activations, const zq_images *images,
                          const zq_weight_spec *spec, int n_widths, const int *widths,
                          zq_step_callback callback, void *user, zq_rounding *out, zq_error *err);
void zq_rounding_clear(zq_rounding *rounding);

/* Those of a layer at a width; NULL: a width that wasn't asked for. */
const zq_weights *zq_rounding_at(const zq_rounding *rounding, int layer, int bits);

#endif
