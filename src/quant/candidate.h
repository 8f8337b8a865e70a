/* SPDX-License-Identifier: Apache-2.0 */
/* A candidate: the network with a width for every layer, ready to be judged or written. */
#ifndef ZQ_QUANT_CANDIDATE_H
#define ZQ_QUANT_CANDIDATE_H

#include "quant/agreement.h"
#include "quant/align.h"
#include "quant/distill.h"
#include "quant/form.h"
#include "quant/layers.h"
#include "quant/quantizer.h"
#include "quant/rounding.h"
#include "quant/standard.h"

/* How far outputs are from those of the FP32 network, over images. */
typedef struct zq_damage {
    double kl, kl_spread; /* mean and standard deviation of the distance (quant/sensitivity.h) */
    double agreement, agreement_spread; /* share of images with the same top-1, 0..1 ... */
    bool expected;                      /* ... of photos, see quant/agreement.h; false: counted */
    double snr_db;                      /* 10 log10(|z|^2 / |z - z'|^2), all outputs and images together */
    double snr_db_spread;               /* standard deviation of that of single images */
} zq_damage;

typedef struct zq_candidate {
    const char *name;                 /* static: "uniform" or "pareto" */
    int *bits;                        /* [n_layers], owned */
    const zq_rounding *rounding;      /* borrowed; NULL: weights are rounded to nearest ... */
    zq_weight_range range;            /* ... with this range */
    const zq_activation *activations; /* [n_values], borrowed */
    zq_graph *corrected;  /* the calibration network with other biases (quant/correct.h), owned; NULL: its
                             own */
    zq_weights *weights;  /* [n_layers], of the calibration network, owned; NULL: forgotten */
    zq_graph *simulated;  /* the calibration network, quantized alike, as it is run; owned; NULL: not yet */
    zq_alignment aligned; /* of that; owned */
    uint64_t bytes;       /* of its file */
    zq_damage damage;     /* on the images that choose; 0 before zq_candidate_judge */
} zq_candidate;

/* What candidates are made of. */
typedef struct zq_candidate_source {
    const zq_graph *graph; /* simplified */
    const zq_standard *standard;
    const zq_layers *layers;
    const zq_activation *activations; /* [n_values] */
    const zq_rounding *rounding;      /* NULL: weights are rounded to nearest, by spec ... */
    zq_weight_spec spec;              /* ... whose bits are ignored */
    const zq_form *form;
} zq_candidate_source;

/* Quantizes the weights. bits: [n_layers]; corrected: taken in every case, NULL: none. Free with
 * zq_candidate_clear. */
zq_status zq_candidate_build(const char *name, const zq_candidate_source *source, const int *bits,
                             zq_graph *corrected, zq_candidate *out, zq_error *err);
void zq_candidate_clear(zq_candidate *candidate, int n_layers);

/* The network with Q/DQ as it is written, owned by the caller; and as it is run, which the candidate owns. */
zq_status zq_candidate_rewrite(const zq_candidate *candidate, const zq_candidate_source *source,
                               zq_graph **graph_out, zq_error *err);
zq_status zq_candidate_simulate(zq_candidate *candidate, const zq_candidate_source *source, zq_error *err);

/* Forgets what takes room; widths and damage stay. */
void zq_candidate_forget(zq_candidate *candidate, int n_layers);

/* Runs a graph on images in pieces; outputs_out: [n_outputs] plain arrays, each owned, in an owned array. */
zq_status zq_outputs_run(zq_graph *graph, const zq_images *images, float ***outputs_out, zq_error *err);
void zq_outputs_drop(float **outputs, int n_outputs);

/* Distance between the simulated candidate and the FP32 outputs of the same images. certainty: of images of
 * which these are some, from number first on; NULL: agreement is counted. */
zq_status zq_damage_measure(zq_graph *fp32, float *const *reference, zq_graph *quantized,
                            const zq_images *images, const zq_certainty *certainty, int64_t first,
                            zq_damage *out, zq_error *err);

#endif
