/* SPDX-License-Identifier: Apache-2.0 */
/* The quantized network as a graph with QuantizeLinear/DequantizeLinear, in the form that a runtime fuses to
 * integer kernels. */
#ifndef ZQ_QUANT_REWRITE_H
#define ZQ_QUANT_REWRITE_H

#include "quant/form.h"
#include "quant/layers.h"
#include "quant/quantizer.h"

/* Why a node runs on integers or stays float. */
typedef enum zq_placement {
    ZQ_PLACED_INTEGER,   /* runs on integers */
    ZQ_PLACED_TAIL,      /* float: nothing weighted lies behind it */
    ZQ_PLACED_NO_KERNEL, /* float: the runtime has no integer kernel for it */
    ZQ_PLACED_OPERAND,   /* float: one operand is a float constant */
    ZQ_PLACED_EXCLUDED,  /* float: the user wants it so */
} zq_placement;

const char *zq_placement_text(zq_placement placement); /* a few words for people */

/* Decides which values of a simplified graph get Q/DQ and which share a scale (across MaxPool, Reshape,
 * Transpose ..., and with a Concat that alone reads a value), on top of calibrated ranges: activations
 * [n_values], in: ranges of all values; out: used is true only where a Q/DQ pair goes, groups of one scale
 * are made equal. Values between a convolution and its Relu/Clip, values on the float tail behind the last
 * weighted layer, and shape paths get none. nodes_out: [n_nodes], written; scale_of_out: [n_values], written:
 * the value whose scale each takes, itself where it has its own or none. Both may be NULL. */
zq_status zq_place(zq_graph *graph, const zq_form *form, zq_activation *activations, zq_placement *nodes_out,
                   int *scale_of_out, zq_error *err);

/* Least weight scale of each output channel of a layer so that its int32 bias and accumulator can't overflow.
 * scale: [n_channels]. */
void zq_bias_scale_floor(const zq_graph *graph, const zq_layer *layer, const zq_activation *activations,
                         float *scale);

/* The value that stands for a layer's weights in the rewritten graph: what DequantizeLinear makes of the
 * integers. Returns buffer. */
enum { ZQ_WEIGHT_NAME = 32 };
char *zq_rewrite_weight_name(const zq_layer *layer, char buffer[ZQ_WEIGHT_NAME]);

/* Node n, which stays float, is changed so that ONNX Runtime leaves it float. [float_node.c] */
zq_status zq_float_node_protect(zq_graph *graph, int n, zq_error *err);

/* A new graph (owned by the caller) with Q/DQ. weights: [layers->n]. Names of values and nodes of the
 * original stay. */
zq_status zq_rewrite(const zq_graph *graph, const zq_form *form, const zq_layers *layers,
                     const zq_activation *activations, const zq_weights *weights, zq_graph **graph_out,
                     zq_error *err);

#endif
