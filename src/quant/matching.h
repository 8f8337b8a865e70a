/* SPDX-License-Identifier: Apache-2.0 */
/* How far the statistics of a batch of images are from those that BatchNormalization stored (ZeroQ, eq. 3),
 * and the gradient of that to the images.
 *
 * The network is the folded one, so that a target is a value z behind a convolution of which training says:
 * mean mu = beta and deviation sigma = |gamma| in each channel. With m and s the mean and deviation of z over
 * the whole batch, M elements a channel, the loss is a weighted sum of (m - mu)^2 + (s - sigma)^2, and since
 *     dm / dz = 1 / M    and    ds / dz = (z - m) / (M s)
 * its gradient enters each target as c1 + c2 (z - m), which the engine adds in its backward pass. */
#ifndef ZQ_QUANT_MATCHING_H
#define ZQ_QUANT_MATCHING_H

#include "engine/plan.h"
#include "quant/labels.h"
#include "quant/match.h"

typedef struct zq_target {
    int value;
    int64_t n_channels;
    const float *mu, *sigma; /* [C], borrowed from the graph */
    float *unit;             /* [C] what errors are measured in, owned */
    double weight;           /* of a channel's squared errors in the loss */
    double *sum, *square;    /* [C] of m and of s^2 + m^2 over batches, owned */
    float *m, *s, *c1, *c2;  /* [C], owned */
} zq_target;

typedef struct zq_matching {
    int n_targets;       /* 0: the graph holds no statistics */
    zq_target *targets;  /* [n_targets], owned */
    zq_plan_seed *seeds; /* [n_targets + 1], the last one that of labels; owned */
    zq_labels *labels;   /* borrowed; NULL: images have none */
} zq_matching;

typedef enum zq_matching_loss {
    ZQ_MATCH_RELATIVE, /* mean over layers of the mean over channels of ((m - mu)/sigma)^2 + (s/sigma - 1)^2;
                          sigma has a floor of 5 % of the layer's root mean square, so that dead channels
                          don't dominate */
    ZQ_MATCH_ABSOLUTE, /* eq. 3: sum over layers and channels of (m - mu)^2 + (s - sigma)^2, in the units of
                          the folded network */
} zq_matching_loss;

/* Finds the values with statistics. Free with zq_matching_clear. */
zq_status zq_matching_init(const zq_graph *graph, zq_matching *matching_out, zq_error *err);
void zq_matching_clear(zq_matching *matching);

/* Loss over n_images images, a multiple of plan_images, that of the plan; the statistics are always those of
 * all images. pixels, d_pixels: plain, [n_images, C, H, W]; d_pixels NULL: no gradient. With several batches
 * each runs twice, since its gradient depends on the statistics of all. The plan needs gradient (a plan
 * without may fuse the values with statistics away). Labels join the gradient, not the loss. */
zq_status zq_matching_evaluate(zq_matching *matching, zq_plan *plan, int64_t plan_images,
                               zq_matching_loss loss, int64_t n_images, int64_t image_size,
                               const float *pixels, float *d_pixels, double *loss_out, zq_error *err);

/* What the last evaluation with ZQ_MATCH_RELATIVE found for a target. */
zq_status zq_matching_describe(const zq_target *target, zq_match *match_out, zq_error *err);

#endif
