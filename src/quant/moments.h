/* SPDX-License-Identifier: Apache-2.0 */
/* Second moments of what the weights of a layer are multiplied with. */
#ifndef ZQ_QUANT_MOMENTS_H
#define ZQ_QUANT_MOMENTS_H

#include "engine/plan.h"
#include "quant/layers.h"

typedef struct zq_moments {
    int64_t groups, k, n_channels; /* k: weights of an output channel */
    float *gram;                   /* [groups, k, k] lower triangle of sum x x^T; owned; NULL: none yet */
    float *residual;               /* [n_channels, k] sum of (w y - w x) x^T; owned; NULL: not wanted */
} zq_moments;

/* Groups of a layer's convolution, 1 otherwise. */
int64_t zq_moments_groups(const zq_graph *graph, const zq_layer *layer);

/* Adds the inputs x of a node of the layer, at positions spread over all images of the plan. Called before
 * the node runs. w: NULL, or the layer's weights [n_channels, k]: then the plan holds two halves of as many
 * images, the first of which has the inputs y that x should be, and residual is summed too. */
zq_status zq_moments_add(zq_moments *moments, const zq_plan *plan, const zq_graph *graph,
                         const zq_layer *layer, int node, const float *w, zq_error *err);

/* Whether no sum has overflowed. */
bool zq_moments_are_finite(const zq_moments *moments);

void zq_moments_clear(zq_moments *moments);

#endif
