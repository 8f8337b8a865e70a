/* SPDX-License-Identifier: Apache-2.0 */
/* Rounded weights of every layer: sensitivities and candidates take them from here. */
#ifndef ZQ_QUANT_ROUNDING_H
#define ZQ_QUANT_ROUNDING_H

#include "quant/round_layer.h"
#include "quant/sensitivity.h"

struct zq_rounding {
    int n_layers, n_widths;
    int widths[ZQ_MAX_WIDTHS];
    zq_weights *weights; /* [n_layers, n_widths], owned */
    double *loss;        /* [n_layers, n_widths] of zq_round_layer; 0: unknown; owned */
    bool *scarce;        /* [n_layers] it was rounded on fewer inputs than a channel has weights, or on one of
                            each image, as a classifier behind pooling is: it fits these images; owned */
};

/* Every layer at every width, on the inputs that it has in the calibration network on these images
 * (quant/round_layer.h). Free with zq_rounding_clear. */
zq_status zq_rounding_new(const zq_rounder *rounder, const zq_images *images, int n_widths, const int *widths,
                          zq_step_callback callback, void *user, zq_rounding *out, zq_error *err);
void zq_rounding_clear(zq_rounding *rounding);

/* Every layer once more at the width that was chosen, bits [n_layers], on the inputs that it has in the
 * network quantized so far: it makes up in part for what the layers before it are off by. Other widths stay
 * empty. from: for exact layers and those whose weights several nodes share. The graph's batch has to be
 * free. Free with zq_rounding_clear. [settle.c] */
zq_status zq_rounding_settle(const zq_rounder *rounder, const zq_images *images, const zq_rounding *from,
                             const int *bits, zq_rounding *out, zq_error *err);

/* Those of a layer at a width; NULL: a width that wasn't asked for. */
zq_weights *zq_rounding_at(const zq_rounding *rounding, int layer, int bits);

/* Room for all weights, which are empty yet; how many images, up to n_images, one run may have. */
zq_status zq_rounding_start(const zq_layers *layers, int n_widths, const int *widths, zq_rounding *out,
                            zq_error *err);
int64_t zq_rounding_images(const zq_graph *graph, int64_t n_images);

/* What a rounding takes beside its plan: the weights at n_widths widths, and one layer at work. settled: what
 * zq_rounding_settle takes. */
size_t zq_rounding_bytes(const zq_graph *graph, const zq_layers *layers, int n_widths, bool settled);

#endif
