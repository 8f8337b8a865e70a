/* SPDX-License-Identifier: Apache-2.0 */
/* A candidate: the network with a width for every layer, ready to be judged or written. */
#ifndef ZQ_QUANT_CANDIDATE_H
#define ZQ_QUANT_CANDIDATE_H

#include "quant/distill.h"
#include "quant/layers.h"
#include "quant/quantizer.h"

/* How far outputs are from those of the FP32 network, over images. */
typedef struct zq_damage {
    double kl, kl_spread; /* mean and standard deviation of the distance (quant/sensitivity.h) */
    double agreement;     /* share of images with the same top-1, 0..1 */
    double snr_db;        /* 10 log10(|z|^2 / |z - z'|^2), all outputs together */
} zq_damage;

typedef struct zq_candidate {
    const char *name;      /* static: "uniform" or "pareto" */
    int *bits;             /* [n_layers], owned */
    zq_weight_range range; /* of the weights */
    bool corrected;        /* biases: see quant/correct.h */
    zq_weights *weights;   /* [n_layers], owned */
    zq_graph *graph;       /* with Q/DQ, as it is written; owned */
    zq_graph *simulated;   /* the same with its constants folded, as it is run; owned */
    uint64_t bytes;        /* of its file */
    zq_damage damage;      /* on the images that choose; 0 before zq_candidate_judge */
} zq_candidate;

/* Quantizes and rewrites. spec: scheme and range; its bits are ignored. Free with zq_candidate_clear. */
zq_status zq_candidate_build(const char *name, const zq_graph *graph, const zq_layers *layers,
                             const zq_activation *activations, const int *bits, const zq_weight_spec *spec,
                             zq_candidate *out, zq_error *err);
void zq_candidate_clear(zq_candidate *candidate, int n_layers);

/* Runs a graph on images in pieces; outputs_out: [n_outputs] plain arrays, each owned, in an owned array. */
zq_status zq_outputs_run(zq_graph *graph, const zq_images *images, float ***outputs_out, zq_error *err);
void zq_outputs_drop(float **outputs, int n_outputs);

/* Distance between the simulated candidate and the FP32 outputs of the same images. */
zq_status zq_damage_measure(zq_graph *fp32, float *const *reference, zq_graph *quantized,
                            const zq_images *images, zq_damage *out, zq_error *err);

#endif
