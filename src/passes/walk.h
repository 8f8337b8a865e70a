/* SPDX-License-Identifier: Apache-2.0 */
/* A walk over a graph's nodes in order, at one size of the graph inputs: the shape of each value and, where a
 * node is evaluated, its elements. The graph itself isn't changed. */
#ifndef ZQ_PASSES_WALK_H
#define ZQ_PASSES_WALK_H

#include "graph/graph.h"

typedef struct zq_walk {
    const zq_graph *graph; /* borrowed */
    int n_values;          /* of the graph when the walk started */
    zq_tensor *values;     /* [n_values] dtype NONE: not reached yet; data: borrowed, NULL where unknown */
    zq_tensor **computed;  /* [n_values] owned; what zq_walk_evaluate made, NULL elsewhere */
    const zq_tensor **in;  /* room for the inputs and outputs of one node */
    zq_tensor **out;
} zq_walk;

/* input_shapes: [n_inputs], no -1 in them. The walk is to be cleared whatever is returned. */
zq_status zq_walk_start(zq_walk *walk, const zq_graph *graph, const zq_shape *input_shapes, zq_error *err);
void zq_walk_clear(zq_walk *walk);

/* Infers dtype and shape of a node's outputs; its inputs must have been reached. */
zq_status zq_walk_infer(zq_walk *walk, int node, zq_error *err);

/* Sets dtype and shape of every value of the graph for one image (or the batch it is fixed at); graph inputs
 * keep the shape that they declare. */
zq_status zq_walk_settle(zq_graph *graph, zq_error *err);

/* Computes the node's outputs, after zq_walk_infer. Inputs must have data, except that of Shape. */
zq_status zq_walk_evaluate(zq_walk *walk, int node, zq_error *err);

#endif
