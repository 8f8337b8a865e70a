/* SPDX-License-Identifier: Apache-2.0 */
/* Sensitivity of a layer at a width: eq. 2 of the paper, Omega_i(k) = 1/N sum_j KL(M(x_j) || M(theta_i at k
 * bits; x_j)). */
#ifndef ZQ_QUANT_SENSITIVITY_H
#define ZQ_QUANT_SENSITIVITY_H

#include "quant/distill.h"
#include "quant/layers.h"
#include "quant/quantizer.h"
#include "quant/superposed.h"

/* How two outputs of a network are compared. */
typedef enum zq_output_rule {
    ZQ_OUTPUT_SOFTMAX,     /* logits: KL between their softmax over the last axis (channel axis for 4-D) */
    ZQ_OUTPUT_PROBABILITY, /* already a softmax: KL between them */
    ZQ_OUTPUT_SQUARED,     /* anything else: |z - z'|^2 / |z - mean z|^2 */
} zq_output_rule;

/* The rule for output number output of the graph, from what produces it and from its shape. */
zq_output_rule zq_output_rule_of(const zq_graph *graph, int output);
const char *zq_output_rule_name(zq_output_rule rule);

/* Whether an output is about many places of an image, such as cells or anchors, rather than about all of it.
 */
bool zq_output_has_places(const zq_graph *graph, int output);
bool zq_some_output_has_places(const zq_graph *graph);

/* Distance for each image, averaged over outputs. reference, other: [n_outputs] plain outputs of n_images
 * images; distance: [n_images], written. agreement (NULL is allowed): [n_images], 1 where the top-1 agrees
 * (first output). */
void zq_output_distance(const zq_graph *graph, int64_t n_images, const float *const *reference,
                        const float *const *other, double *distance, double *agreement);

/* The gradient of the mean distance of n_images images with respect to output number output of the other
 * network: reference, other, d_other plain. */
void zq_output_gradient(const zq_graph *graph, int output, int64_t n_images, const float *reference,
                        const float *other, float *d_other);

/* A gradient at an output: for a small change dz of that output, half of the mean of (probe' dz)^2 over all
 * ZQ_N_PROBES probes is about the distance, as zq_output_distance has it. reference, probe: plain, of
 * n_images images; first: number of the first of them among all, so that nothing depends on batches. */
enum { ZQ_N_PROBES = 8 }; /* a power of 2 */
void zq_output_probe(const zq_graph *graph, int output, int64_t n_images, const float *reference, int number,
                     int64_t first, float *probe);

enum { ZQ_MAX_WIDTHS = 8 };

typedef struct zq_sensitivity {
    int n_layers, n_widths;
    int widths[ZQ_MAX_WIDTHS]; /* bits, increasing */
    double *omega;             /* [n_layers, n_widths], owned */
    zq_sensitivity_method method;
    zq_superposed superposed; /* what each layer does to the scores of the images that were run; owned */
} zq_sensitivity;

/* The network's layers with the weights of the rounding (quant/rounding.h), one at a time at each of its
 * widths. method: by eq. 2 as it stands; sampled: as it stands up to 4 bits, on as many of the images as it
 * takes to tell layers apart; to second order (quant/fisher.h), where the network has a gradient. images:
 * best none that the rounding was fitted to. */
typedef struct zq_rounding zq_rounding;
zq_status zq_sensitivity_measure(zq_graph *graph, const zq_layers *layers, const zq_images *images,
                                 const zq_rounding *rounding, zq_sensitivity_method method,
                                 zq_step_callback callback, void *user, zq_sensitivity *out, zq_error *err);
void zq_sensitivity_clear(zq_sensitivity *sensitivity);

#endif
