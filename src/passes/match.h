/* SPDX-License-Identifier: Apache-2.0 */
/* Small questions about nodes. */
#ifndef ZQ_PASSES_MATCH_H
#define ZQ_PASSES_MATCH_H

#include "graph/op.h"

#include <string.h>

/* False for a removed node. */
static inline bool zq_match_op(const zq_node *node, const char *name) {
    return node->op != NULL && strcmp(node->op->name, name) == 0;
}

/* Value index of an input; -1: omitted. */
static inline int zq_match_input(const zq_node *node, int input) {
    return input < node->n_inputs ? node->inputs[input] : -1;
}

/* Whether anybody may want an output of the node. */
static inline bool zq_match_writes(const zq_node *node) {
    for (int o = 0; o < node->n_outputs; o++)
        if (node->outputs[o] >= 0)
            return true;
    return false;
}

/* The float constant that a value is, or NULL. value may be -1. */
static inline const zq_tensor *zq_match_float(const zq_graph *graph, int value) {
    const zq_tensor *constant = value >= 0 ? graph->values[value].constant : NULL;
    return constant != NULL && constant->dtype == ZQ_F32 ? constant : NULL;
}

#endif
