/* SPDX-License-Identifier: Apache-2.0 */
/* What is done to a graph between reading and running: shapes, constants, BatchNormalization. */
#ifndef ZQ_PASSES_PASSES_H
#define ZQ_PASSES_PASSES_H

#include "graph/graph.h"

/* Shapes of all values for given shapes of the graph inputs (no -1 in them).
 * input_shapes: [n_inputs]; shapes: [n_values], written; dtypes of the graph's values are set too. Doesn't
 * evaluate anything: constants are those that the graph holds (run zq_fold_constants first). */
zq_status zq_infer(zq_graph *graph, const zq_shape *input_shapes, zq_shape *shapes, zq_error *err);

/* zq_infer for n_images images at the size that the graph declares (dimension 0 of every input is set to
 * n_images where the batch is free). A graph with a fixed batch is refused for any other n_images. */
zq_status zq_infer_batch(zq_graph *graph, int64_t n_images, zq_shape *shapes, zq_error *err);

/* Evaluates every node whose inputs are constants, Shape included, and replaces it by a constant. With a free
 * batch it does so for two batch sizes and compares: what differs depends on the batch; a Reshape target made
 * of it gets 0 or -1 in that place, Resize sizes become scales, anything else that reads it is refused with a
 * sentence. A network that works for one image only (or is refused, while input_shapes asks for one) loses
 * its free batch. Sets the shape of every value (batch 1); graph inputs keep -1 for a free batch.
 * input_shapes: "NAME=1,3,224,224;..." fixes free dimensions (a leading 1 where the file's batch is free
 * keeps it free); NULL: none. A free dimension other than the batch that nothing fixes is refused with the
 * option that fixes it. */
zq_status zq_fold_constants(zq_graph *graph, const char *input_shapes, zq_error *err);

/* After zq_fold_constants: frees a fixed batch where the network would compute other numbers of images just
 * as well, image by image; graph->fixed_batch remembers what the file declares. Otherwise nothing changes. */
zq_status zq_free_batch(zq_graph *graph, zq_error *err);

/* What zq_simplify found and did. */
typedef struct zq_simplify_counts {
    int bn_total;    /* BatchNormalization nodes in the file */
    int bn_folded;   /* folded into the Conv, Gemm or MatMul before them */
    int bn_affine;   /* others: now a depthwise 1x1 convolution (or Mul and Add) */
    int bn_absorbed; /* of these, folded into the convolution behind them because that is exact */
    int n_estimated; /* values whose statistics are estimates, which zq_simplify makes none of */
} zq_simplify_counts;

/* After zq_fold_constants: removes Identity, Dropout and dead nodes; folds BatchNormalization behind a
 * weighted node (the node's output then carries stats: mean beta, std |gamma|); turns any other
 * BatchNormalization on a 3-D to 5-D value into a depthwise 1x1 Conv (on others: Mul and Add), exact, whose
 * input carries stats (mean mu, std sqrt(var + epsilon)), or folds it into the following convolution where
 * that is exact (single consumer, and no zero padding or no shift). Brings MatMul with a constant and a
 * following Add of a constant vector together as Gemm where the input is 2-D, and Conv followed by a
 * per-channel constant Mul/Add/Sub/Div into the Conv. Values keep their names where they live on. Refuses NaN
 * or infinite weights and negative variances. */
zq_status zq_simplify(zq_graph *graph, zq_simplify_counts *counts_out, zq_error *err);

/* After zq_simplify: brings the channels of what a depthwise Conv reads to one range, as far as
 * BatchNormalization says what their ranges are (cross-layer equalisation).
 *
 * A channel may be multiplied by any s > 0 in the row of weights that makes it and divided by s in all
 * weights that read it, through whatever is homogeneous in between: Relu, LeakyRelu, PRelu, Clip from 0 on,
 * MaxPool, AveragePool. All that read it must be Conv nodes with weights of their own. A depthwise Conv has a
 * weight scale for each channel, as the Conv that makes it has, so no weight of theirs is rounded otherwise
 * than before; but the value between them has one scale for all channels. A dense Conv that reads it, too,
 * pays with its weights, far less than what the depthwise one gains: it adds up the errors of all channels,
 * which the largest ones dominate. The network computes the same as before, to float accuracy; weights,
 * biases and stats change, values, nodes and shapes stay. */
zq_status zq_equalize(zq_graph *graph, zq_error *err);

/* After zq_equalize: rescales channels likewise where no depthwise Conv reads them and a rectifier, or one
 * that leaks, lies in front of all that do, for weights and activations of so many bits, 2 to 8
 * (zq_balance_find). */
zq_status zq_balance(zq_graph *graph, double weight_bits, double activation_bits, zq_error *err);

#endif
