/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/wide.h"

#include "base/memory.h"
#include "graph/op.h"

#include <string.h>

enum { MOST_NODES = 16 }; /* on the way to an activation function: models come from strangers */

static bool is_constant(const zq_graph *graph, int value) {
    return value < 0 || graph->values[value].constant != NULL;
}

/* Element by element, and of one value alone. */
static bool is_function(const zq_graph *graph, const zq_node *node) {
    if ((node->op->traits & ZQ_OP_UNARY) != 0)
        return true;
    return (node->op->traits & ZQ_OP_BROADCAST) != 0 && node->n_inputs == 2 &&
           is_constant(graph, node->inputs[0]) != is_constant(graph, node->inputs[1]);
}

/* What a value is a function of, at the last: itself, where no function computes it. */
static int origin_of(const zq_graph *graph, int value) {
    for (int i = 0; i < MOST_NODES; i++) {
        const int producer = graph->values[value].producer;
        if (producer < 0 || !is_function(graph, &graph->nodes[producer]))
            break;
        const zq_node *node = &graph->nodes[producer];
        value = is_constant(graph, node->inputs[0]) ? node->inputs[1] : node->inputs[0];
    }
    return value;
}

static bool is_gated_by_itself(const zq_graph *graph, const zq_node *node) {
    return strcmp(node->op->name, "Mul") == 0 && !is_constant(graph, node->inputs[0]) &&
           !is_constant(graph, node->inputs[1]) &&
           origin_of(graph, node->inputs[0]) == origin_of(graph, node->inputs[1]);
}

static bool is_inside(const zq_graph *graph, int value, int n_nodes);

static bool stays_inside(const zq_graph *graph, const zq_node *node, int n_nodes) {
    if ((node->op->traits & ZQ_OP_SAME_SCALE) == 0)
        return is_function(graph, node) || is_gated_by_itself(graph, node);
    bool inside = n_nodes < MOST_NODES;
    for (int o = 0; o < node->n_outputs && inside; o++)
        inside = node->outputs[o] < 0 || is_inside(graph, node->outputs[o], n_nodes + 1);
    return inside;
}

static bool is_inside(const zq_graph *graph, int value, int n_nodes) {
    int *readers = NULL;
    const int n = zq_graph_is_output(graph, value) ? 0 : zq_graph_consumers(graph, value, &readers);
    bool inside = n > 0;
    for (int i = 0; i < n && inside; i++)
        inside = stays_inside(graph, &graph->nodes[readers[i]], n_nodes);
    zq_free(readers);
    return inside;
}

bool zq_is_wide(const zq_graph *graph, int value) {
    for (int i = 0; i < graph->n_inputs; i++)
        if (graph->inputs[i] == value)
            return true;
    return is_inside(graph, value, 0);
}
