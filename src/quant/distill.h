/* SPDX-License-Identifier: Apache-2.0 */
/* Images distilled from BatchNormalization statistics (ZeroQ, Alg. 1 and eq. 3). */
#ifndef ZQ_QUANT_DISTILL_H
#define ZQ_QUANT_DISTILL_H

#include "graph/graph.h"
#include "quant/match.h"

/* The interval of valid normalised pixels, per input channel. */
typedef struct zq_box {
    int64_t n_channels;
    float *lo, *hi;    /* [n_channels], owned */
    float *mean, *std; /* [n_channels], owned: what a natural image is expected to have */
    bool estimated;    /* from the first layers' statistics; false: from --input-max/mean/std */
} zq_box;

/* From x = (p - mean) / std, p in 0..input_max (input_max > 0). */
zq_status zq_box_from_norm(const zq_options *options, int64_t n_channels, zq_box *box_out, zq_error *err);

/* From the BatchNormalization statistics behind the first convolution (or in front of it) and the
 * second-order statistics of natural images; N(0,1) with +-2.5 where there are none. */
zq_status zq_box_estimate(const zq_graph *graph, zq_box *box_out, zq_error *err);
zq_status zq_box_new(int64_t n_channels, zq_box *box_out, zq_error *err); /* all 0 */
void zq_box_clear(zq_box *box);

typedef struct zq_images {
    zq_shape shape;     /* [n_images, C, H, W] (plain) */
    float *data;        /* owned */
    const char *source; /* static: the recipe's name, or "photos" */
    int n_steps;        /* done */
    bool half;          /* they were made in bfloat16 */
    double *loss;       /* [n_steps], owned; in the recipe's own units */
    double residual;    /* at the end: mean over layers and channels of ((m - mu)/sigma)^2 + (s/sigma - 1)^2,
                           comparable across recipes (64 real images: 0.02 to 0.05) */
    int n_matches;
    zq_match *matches; /* [n_matches], owned: the same by value with statistics */
} zq_images;

/* called with (step, n_steps); non-zero cancels */
typedef int (*zq_step_callback)(void *user, int step, int n_steps);

typedef struct zq_distill_options {
    zq_recipe recipe;
    int n_images, n_steps; /* 0: the recipe's own */
    uint64_t seed;
    bool half;                 /* zq_plan_options.half */
    zq_step_callback callback; /* NULL: none */
    void *user;
} zq_distill_options;

/* Needs a simplified graph with one image input. ZQ_ERR_STATISTICS when no value carries stats and the recipe
 * isn't ZQ_DISTILL_NOISE. */
zq_status zq_distill(zq_graph *graph, const zq_box *box, const zq_distill_options *options,
                     zq_images *images_out, zq_error *err);
void zq_images_clear(zq_images *images);

/* Steps that ZQ_DISTILL_FAST takes unless told: large images have enough positions for every statistic, and
 * are as good after 4 steps as after 8; small ones take 10. */
int zq_distill_steps(const zq_graph *graph);

/* How many images are matched at a time; *n_images_out: of how many in all. */
int64_t zq_distill_group(const zq_graph *graph, const zq_distill_options *options, int64_t *n_images_out);

#endif
