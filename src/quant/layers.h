/* SPDX-License-Identifier: Apache-2.0 */
/* The weighted layers of a simplified graph: what gets a width. */
#ifndef ZQ_QUANT_LAYERS_H
#define ZQ_QUANT_LAYERS_H

#include "graph/graph.h"

/* One weight tensor and the nodes that use it (more than one where a weight is shared). */
typedef struct zq_layer {
    const char
        *name; /* of the first node, or of its output where the node has none; borrowed from the graph */
    int n_nodes;
    int *nodes; /* graph node indices, increasing; owned */
    int weight; /* value index of the constant */
    int axis; /* of the weight's output channel: 0 for Conv and Gemm with transB, 1 for Gemm without, last for
                 MatMul */
    int64_t n_channels, per_channel;
    double macs;    /* of one image, all nodes together */
    bool affine;    /* a depthwise 1x1 convolution: exact with 8 bits, which it keeps */
    bool depthwise; /* an output reads one channel of the input */
    int kept;       /* the width that it has to have; 0: any */
    int input_bits; /* of the activations that it reads, the widest; 0: not decided yet */
} zq_layer;

typedef struct zq_layers {
    int n;
    zq_layer *items;                  /* [n] in order of the first node */
    double float_weights, float_macs; /* of layers that were taken out */
} zq_layers;

zq_status zq_layers_find(zq_graph *graph, zq_layers *layers_out, zq_error *err);
void zq_layers_clear(zq_layers *layers);

/* Takes out layers whose nodes keep float weights (zq_node.keeps_float). */
void zq_layers_drop_float(const zq_graph *graph, zq_layers *layers);

/* The layer of each node, -1: none: [n_nodes], to be freed. NULL: out of memory. */
int *zq_layers_of_nodes(const zq_layers *layers, int n_nodes);

/* Weights of a layer with the output channel first, [n_channels, per_channel], and back to the layout of the
 * constant. */
void zq_layer_load(const zq_graph *graph, const zq_layer *layer, float *w_out);
void zq_layer_store(const zq_graph *graph, const zq_layer *layer, const float *w, float *constant_out);

/* Multiply-accumulates of a node at the size that the graph declares, for zq_graph_images images; 0 where the
 * operator counts none. */
zq_status zq_layer_node_macs(const zq_graph *graph, const zq_node *node, double *macs_out, zq_error *err);

/* Weights of the largest layer, at least 1; and of all. */
size_t zq_layers_largest(const zq_layers *layers);
size_t zq_layers_weights(const zq_layers *layers);

/* Every node of a layer that has a bias gets its own for writing, one for each channel. */
zq_status zq_layers_own_biases(zq_graph *graph, const zq_layers *layers, zq_error *err);

#endif
