/* SPDX-License-Identifier: Apache-2.0 */
/* BatchNormalization becomes weights. */
#ifndef ZQ_PASSES_FOLD_BN_H
#define ZQ_PASSES_FOLD_BN_H

#include "passes/affine.h"
#include "passes/passes.h"

typedef struct zq_bn_folding {
    zq_graph *graph;            /* borrowed */
    zq_uses *uses;              /* borrowed */
    zq_simplify_counts *counts; /* borrowed */
    int n_affine;
    size_t capacity;
    int *affine; /* [n_affine] depthwise convolutions made of BatchNormalization; owned: zq_free */
} zq_bn_folding;

/* Folds a BatchNormalization node into the weighted node before it, whose output then carries stats, or turns
 * it into a depthwise 1x1 convolution (Mul and Add where the value isn't 3-D to 5-D) with stats on its input.
 * New nodes are appended: sort afterwards. */
zq_status zq_bn_fold(zq_bn_folding *folding, int node, zq_error *err);

/* Afterwards: folds those depthwise convolutions into the convolution behind them where that is exact. */
zq_status zq_bn_absorb(zq_bn_folding *folding, zq_error *err);

#endif
