/* SPDX-License-Identifier: Apache-2.0 */
/* Factors for channels between convolutions, so that the weights that read them round best. All weights of a
 * row share one scale, which the largest sets: a channel that every row reads with small weights leaves the
 * grid unused. It's made smaller and its weights larger; that costs it precision in the activations, which
 * matters as little as its weights are small. */
#ifndef ZQ_PASSES_BALANCE_H
#define ZQ_PASSES_BALANCE_H

#include "graph/graph.h"

/* What is known of the channels, and the nodes that read them, all Convs. */
typedef struct zq_balance_channels {
    int64_t n_channels;
    const double *moment; /* [n_channels] mean square */
    const double *reach;  /* [n_channels] the largest absolute value that is expected */
    const int *readers;   /* [n_readers] nodes */
    int n_readers;
    double weight_bits;
    double activation_bits; /* of a grid from 0 to reach */
} zq_balance_channels;

/* The factors, 1/2 to 2 and 1 in the geometric mean, but for those at the bounds, that make the expected
 * squared error of all outputs, each as a share of its variance, least: that of weights, of which each
 * row has a scale, and of activations, which have one for all channels. factor: [n_channels] */
zq_status zq_balance_find(const zq_graph *graph, const zq_balance_channels *channels, float *factor,
                          zq_error *err);

#endif
