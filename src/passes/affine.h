/* SPDX-License-Identifier: Apache-2.0 */
/* Per-channel affine maps, y[c] = scale[c] * x[c] + shift[c], and how they disappear into the weighted nodes
 * before or behind them. Computed in double, rounded at the end. */
#ifndef ZQ_PASSES_AFFINE_H
#define ZQ_PASSES_AFFINE_H

#include "graph/graph.h"

typedef struct zq_affine {
    int64_t n;     /* channels */
    double *scale; /* [n], owned */
    double *shift; /* [n], owned */
} zq_affine;

zq_status zq_affine_new(int64_t n, zq_affine *affine_out, zq_error *err); /* scale 1, shift 0 */
void zq_affine_clear(zq_affine *affine);

/* How often each value is read, by nodes and as graph output; a value read twice by one node counts twice. */
typedef struct zq_uses {
    int n;       /* values counted; those added later have one reader */
    int *counts; /* [n], owned */
} zq_uses;

zq_status zq_uses_count(const zq_graph *graph, zq_uses *uses_out, zq_error *err);
void zq_uses_clear(zq_uses *uses);
bool zq_uses_single(const zq_uses *uses, int value);

/* Channels (axis 1) of the node's output when it is a Conv, a Gemm or a MatMul on a 2-D value whose weights,
 * and bias if any, are float constants of the usual shape; else 0. */
int64_t zq_affine_channels(const zq_graph *graph, int node);

/* Changes weights and bias so that the node, for which zq_affine_channels gives affine->n, computes the
 * affine map of its output. A MatMul becomes a Gemm. Constants that others read too are copied before. */
zq_status zq_affine_fold_output(zq_graph *graph, zq_uses *uses, int node, const zq_affine *affine,
                                zq_error *err);

/* The same for a Conv that is to compute on the affine map of its input ([affine->n] input channels); exact
 * only where the Conv pads nothing or all shifts are 0. */
zq_status zq_affine_fold_input(zq_graph *graph, zq_uses *uses, int node, const zq_affine *affine,
                               zq_error *err);

/* What is known of the output of a depthwise 1x1 Conv, since it is known of its input: owned by the caller; NULL:
 * nothing, or it is another node. */
zq_status zq_affine_stats(const zq_graph *graph, int node, zq_stats **stats_out, zq_error *err);

/* The weighted node writes what its only reader wrote, and the reader is removed. */
void zq_affine_take_output(zq_graph *graph, int weighted, int reader);

#endif
