/* SPDX-License-Identifier: Apache-2.0 */
/* Topological order. */
#include "graph/graph.h"

#include "base/memory.h"

/* Value v can be read: it is a constant, a graph input, or its producer is placed already. */
static void mark_sources(const zq_graph *graph, bool *ready) {
    for (int v = 0; v < graph->n_values; v++)
        ready[v] = graph->values[v].constant != NULL;
    for (int i = 0; i < graph->n_inputs; i++)
        ready[graph->inputs[i]] = true;
}

static int first_missing(const zq_node *node, const bool *ready) {
    for (int i = 0; i < node->n_inputs; i++)
        if (node->inputs[i] >= 0 && !ready[node->inputs[i]])
            return node->inputs[i];
    return -1;
}

static zq_status explain_disorder(const zq_graph *graph, const bool *placed, const bool *ready,
                                  zq_error *err) {
    char text[ZQ_NODE_TEXT];
    for (int pass = 0; pass < 2; pass++)
        for (int n = 0; n < graph->n_nodes; n++) {
            const int missing = placed[n] ? -1 : first_missing(&graph->nodes[n], ready);
            if (missing < 0)
                continue;
            if (graph->values[missing].producer < 0)
                return zq_fail(err, ZQ_ERR_FORMAT,
                               "%s reads '%s', which no node, input or initializer provides",
                               zq_node_text(&graph->nodes[n], text), graph->values[missing].name);
            if (pass == 1)
                return zq_fail(err, ZQ_ERR_FORMAT,
                               "%s reads '%s', which depends on that node's own output: a cycle",
                               zq_node_text(&graph->nodes[n], text), graph->values[missing].name);
        }
    return zq_fail(err, ZQ_ERR_INTERNAL, "the graph can't be sorted");
}

/* Kahn's algorithm on counts of missing inputs would need consumer lists; instead nodes are visited depth
 * first from each node in the old order, with a stack of our own (graphs from strangers may be deep). */
static int sort_from(const zq_graph *graph, int start, bool *placed, bool *open, bool *ready, int *stack,
                     int *order, int n_order) {
    int depth = 0;
    stack[depth++] = start;
    open[start] = true;
    while (depth > 0) {
        const int n = stack[depth - 1];
        const zq_node *node = &graph->nodes[n];
        const int missing = first_missing(node, ready);
        if (missing >= 0) {
            const int producer = graph->values[missing].producer;
            if (producer < 0 || open[producer] || placed[producer])
                return -1;
            open[producer] = true;
            stack[depth++] = producer;
            continue;
        }
        for (int o = 0; o < node->n_outputs; o++)
            if (node->outputs[o] >= 0)
                ready[node->outputs[o]] = true;
        placed[n] = true;
        open[n] = false;
        order[n_order++] = n;
        depth--;
    }
    return n_order;
}

static zq_status apply_order(zq_graph *graph, const int *order, zq_error *err) {
    zq_node *sorted = zq_alloc(graph->nodes_capacity, sizeof *sorted);
    if (sorted == NULL)
        return zq_fail_memory(err);
    for (int n = 0; n < graph->n_nodes; n++) {
        sorted[n] = graph->nodes[order[n]];
        for (int o = 0; o < sorted[n].n_outputs; o++)
            if (sorted[n].outputs[o] >= 0)
                graph->values[sorted[n].outputs[o]].producer = n;
    }
    zq_free(graph->nodes);
    graph->nodes = sorted;
    return ZQ_OK;
}

zq_status zq_graph_sort(zq_graph *graph, zq_error *err) {
    const size_t n_nodes = (size_t)graph->n_nodes;
    bool *placed = zq_alloc(n_nodes, sizeof *placed), *open = zq_alloc(n_nodes, sizeof *open);
    bool *ready = zq_alloc((size_t)graph->n_values, sizeof *ready);
    int *stack = zq_alloc(n_nodes + 1, sizeof *stack), *order = zq_alloc(n_nodes, sizeof *order);
    zq_status status = ZQ_OK;
    if (placed == NULL || open == NULL || ready == NULL || stack == NULL || order == NULL) {
        status = zq_fail_memory(err);
        goto done;
    }
    mark_sources(graph, ready);
    int n_order = 0;
    for (int n = 0; n < graph->n_nodes && n_order >= 0; n++)
        if (!placed[n])
            n_order = sort_from(graph, n, placed, open, ready, stack, order, n_order);
    status = n_order < 0 ? explain_disorder(graph, placed, ready, err) : apply_order(graph, order, err);
done:
    zq_free(placed);
    zq_free(open);
    zq_free(ready);
    zq_free(stack);
    zq_free(order);
    return status;
}
