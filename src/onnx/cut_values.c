/* SPDX-License-Identifier: Apache-2.0 */
/* What the nodes that are left take from the graph that was read. */
#include "base/memory.h"
#include "graph/op.h"
#include "onnx/cut.h"

#include <stdio.h>
#include <string.h>

typedef struct taker {
    const zq_cut *cut;
    zq_graph *graph;
    zq_status status;
    zq_error *err;
} taker;

/* The value of that name where the graph computes it; -1 otherwise. */
static int find_computed(const taker *take, const char *name) {
    const int value = zq_graph_find_value(take->graph, name);
    return value < 0 || take->graph->values[value].producer < 0 || zq_cut_copies_value(take->cut, name)
               ? -1
               : value;
}

static void take_value(void *user, const char *name) {
    taker *take = user;
    const int value = find_computed(take, name);
    if (value >= 0 && !zq_graph_is_output(take->graph, value) && !zq_graph_add_output(take->graph, value))
        take->status = zq_fail_memory(take->err);
}

static bool is_shielded(const zq_graph *graph, int value) {
    const zq_node *node = &graph->nodes[graph->values[value].producer];
    return strcmp(node->op->name, "Clip") == 0 && node->n_inputs == 1;
}

/* The value's node gives another one, which the graph's nodes read; a Clip without bounds copies it. */
static zq_status shield(zq_graph *graph, int value, zq_error *err) {
    const int producer = graph->values[value].producer;
    const zq_shape shape = graph->values[value].shape; /* values may move */
    const int inner = zq_graph_add_value(graph, graph->values[value].name, ZQ_NONE, &shape);
    if (inner < 0)
        return zq_fail_memory(err);
    for (int n = 0; n < graph->n_nodes; n++)
        for (int i = 0; i < graph->nodes[n].n_inputs; i++)
            if (graph->nodes[n].inputs[i] == value)
                graph->nodes[n].inputs[i] = inner;
    for (int o = 0; o < graph->nodes[producer].n_outputs; o++)
        if (graph->nodes[producer].outputs[o] == value)
            graph->nodes[producer].outputs[o] = inner;
    graph->values[inner].producer = producer;
    const int n = zq_graph_add_node(graph, zq_op_find("Clip"), "", 1, &inner, 1, &value);
    return n < 0 ? zq_fail_memory(err) : zq_node_parse(&graph->nodes[n], err);
}

/* ONNX Runtime (1.24) breaks down over a DequantizeLinear with nothing but moved elements between it and a
 * value that a subgraph reads from outside. */
static void take_value_inside(void *user, const char *name) {
    taker *take = user;
    const int value = find_computed(take, name);
    if (value >= 0 && take->status == ZQ_OK && !is_shielded(take->graph, value))
        take->status = shield(take->graph, value, take->err);
}

zq_status zq_cut_take_values(const zq_cut *cut, zq_graph *graph, zq_error *err) {
    taker take = {.cut = cut, .graph = graph, .err = err};
    for (size_t n = 0; n < cut->proto->n_node && take.status == ZQ_OK; n++)
        if (cut->left[n] || cut->pulled[n]) {
            zq_names_read_inside(cut->proto->node[n], take_value_inside, &take);
            zq_names_read(cut->proto->node[n], take_value, &take);
        }
    return take.status;
}
