/* SPDX-License-Identifier: Apache-2.0 */
/* What statistics don't say of photos: that most of them show something. Each image gets a label at random,
 * and the cross-entropy of it joins the loss while images are distilled. Without it the network is nearly
 * undecided about all of them, and neither the damage that they predict nor the widths that they choose hold
 * on photos. Known from DeepInversion (Yin et al., CVPR 2020). */
#ifndef ZQ_QUANT_LABELS_H
#define ZQ_QUANT_LABELS_H

#include "engine/plan.h"

typedef struct zq_labels {
    int value;        /* the output that holds classes; -1: the network has none */
    bool probability; /* it's behind a softmax */
    int64_t n_classes;
    uint64_t seed;
    int64_t first;     /* number of the first of the images that are evaluated, among all */
    float *gradient;   /* of a batch, owned */
    size_t n_gradient; /* elements there's room for */
} zq_labels;

/* A network has classes where its only output is one vector of them for each image. */
void zq_labels_init(const zq_graph *graph, uint64_t seed, zq_labels *labels_out);
void zq_labels_clear(zq_labels *labels);

/* Gradient of the weighted cross-entropy, in the mean over n_images images, for the batch that the plan ran
 * last; first: number of its first image among those evaluated. */
zq_status zq_labels_seed(zq_labels *labels, zq_plan *plan, int64_t n_images, int64_t first,
                         zq_plan_seed *seed_out, zq_error *err);

#endif
