/* SPDX-License-Identifier: Apache-2.0 */
/* The damage of a choice of widths from what each layer alone does to the scores: KL(softmax(z) || softmax(z
 * + sum over the layers of dz)). Sums of sensitivities know nothing of errors that cancel out, or of scores
 * that one layer spoils as much as two. The sum of dz is exact to first order, the softmax to all orders. */
#ifndef ZQ_QUANT_SUPERPOSED_H
#define ZQ_QUANT_SUPERPOSED_H

#include "graph/graph.h"

typedef struct zq_superposed {
    int n_layers, n_widths;
    int64_t n_scores, n_room; /* of an image; images that there is room for, 0: nothing is kept */
    int64_t n_images;         /* whose scores are complete */
    float *z;                 /* [n_room, n_scores] of the FP32 network; owned */
    float *dz;                /* [n_layers, n_widths, n_room, n_scores] what a layer at a width adds; owned */
} zq_superposed;

enum { ZQ_NOT_NARROWED = 255 }; /* a choice: the layer as it is */

/* Room for so many images. Networks that aren't plain classifiers (one output, logits, one place), and those
 * whose scores would take much of the memory, keep nothing. */
void zq_superposed_init(const zq_graph *graph, int n_layers, int n_widths, int64_t n_images,
                        zq_superposed *out);
void zq_superposed_clear(zq_superposed *superposed);

/* Scores of n images from number first on: the network's own; and with one layer narrowed. [n, n_scores] */
void zq_superposed_keep(zq_superposed *superposed, int64_t first, int64_t n, const float *z);
void zq_superposed_keep_layer(zq_superposed *superposed, int layer, int width, int64_t first, int64_t n,
                              const float *z);

/* A width that wasn't run: `share` of what another one adds. */
void zq_superposed_derive(zq_superposed *superposed, int layer, int width, int from, float share);

/* Predicted mean KL of n_points choices [n_points, n_layers] of widths by number; NaN where nothing is kept.
 */
zq_status zq_superposed_predict(const zq_superposed *superposed, int n_points, const uint8_t *choices,
                                double *kl_out, zq_error *err);

#endif
