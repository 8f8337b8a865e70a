/* SPDX-License-Identifier: Apache-2.0 */
#include "passes/walk.h"

#include "base/memory.h"
#include "passes/match.h"

static zq_status allocate(zq_walk *walk, zq_error *err) {
    const zq_graph *graph = walk->graph;
    int most_in = 0, most_out = 0;
    for (int n = 0; n < graph->n_nodes; n++) {
        most_in = graph->nodes[n].n_inputs > most_in ? graph->nodes[n].n_inputs : most_in;
        most_out = graph->nodes[n].n_outputs > most_out ? graph->nodes[n].n_outputs : most_out;
    }
    walk->values = zq_alloc((size_t)graph->n_values, sizeof *walk->values);
    walk->computed = zq_alloc((size_t)graph->n_values, sizeof *walk->computed);
    walk->in = zq_alloc((size_t)most_in, sizeof *walk->in);
    walk->out = zq_alloc((size_t)most_out, sizeof *walk->out);
    if (walk->values == NULL || walk->computed == NULL || walk->in == NULL || walk->out == NULL)
        return zq_fail_memory(err);
    return ZQ_OK;
}

zq_status zq_walk_start(zq_walk *walk, const zq_graph *graph, const zq_shape *input_shapes, zq_error *err) {
    *walk = (zq_walk){.graph = graph, .n_values = graph->n_values};
    ZQ_TRY(allocate(walk, err));
    for (int v = 0; v < graph->n_values; v++)
        if (graph->values[v].constant != NULL)
            walk->values[v] = *graph->values[v].constant;
    for (int i = 0; i < graph->n_inputs; i++) {
        char text[ZQ_SHAPE_TEXT];
        const zq_value *value = &graph->values[graph->inputs[i]];
        if (zq_shape_count(&input_shapes[i]) < 0)
            return zq_fail(err, ZQ_ERR_UNSUPPORTED, "input '%s' can't have the shape %s", value->name,
                           zq_shape_text(&input_shapes[i], text));
        walk->values[graph->inputs[i]] = (zq_tensor){.dtype = value->dtype, .shape = input_shapes[i]};
    }
    return ZQ_OK;
}

void zq_walk_clear(zq_walk *walk) {
    for (int v = 0; walk->computed != NULL && v < walk->n_values; v++)
        zq_tensor_drop(walk->computed[v]);
    zq_free(walk->values);
    zq_free(walk->computed);
    zq_free(walk->in);
    zq_free(walk->out);
    *walk = (zq_walk){0};
}

/* Points the walk's in and out at the headers of a node's values. */
static zq_io node_io(zq_walk *walk, int n) {
    const zq_node *node = &walk->graph->nodes[n];
    for (int i = 0; i < node->n_inputs; i++)
        walk->in[i] = node->inputs[i] >= 0 ? &walk->values[node->inputs[i]] : NULL;
    for (int o = 0; o < node->n_outputs; o++)
        walk->out[o] = node->outputs[o] >= 0 ? &walk->values[node->outputs[o]] : NULL;
    return (zq_io){
        .node = node, .n_in = node->n_inputs, .n_out = node->n_outputs, .in = walk->in, .out = walk->out};
}

/* Inputs are known, outputs aren't yet. */
static zq_status check_order(const zq_walk *walk, const zq_node *node, zq_error *err) {
    char text[ZQ_NODE_TEXT];
    for (int o = 0; o < node->n_outputs; o++)
        if (node->outputs[o] >= 0 && walk->values[node->outputs[o]].dtype != ZQ_NONE)
            return zq_fail(err, ZQ_ERR_FORMAT, "%s writes '%s', which has been written or is a constant",
                           zq_node_text(node, text), walk->graph->values[node->outputs[o]].name);
    for (int i = 0; i < node->n_inputs; i++)
        if (node->inputs[i] >= 0 && walk->values[node->inputs[i]].dtype == ZQ_NONE)
            return zq_fail(err, ZQ_ERR_FORMAT, "%s reads '%s' before any node has written it",
                           zq_node_text(node, text), walk->graph->values[node->inputs[i]].name);
    return ZQ_OK;
}

zq_status zq_walk_infer(zq_walk *walk, int n, zq_error *err) {
    const zq_node *node = &walk->graph->nodes[n];
    char text[ZQ_NODE_TEXT], shape_text[ZQ_SHAPE_TEXT];
    if (!zq_match_writes(node))
        return ZQ_OK;
    ZQ_TRY(check_order(walk, node, err));
    const zq_io io = node_io(walk, n);
    ZQ_TRY(node->op->infer(&io, err));
    for (int o = 0; o < node->n_outputs; o++) {
        if (walk->out[o] == NULL)
            continue;
        walk->out[o]->data = NULL;
        if (walk->out[o]->dtype == ZQ_NONE || zq_shape_count(&walk->out[o]->shape) < 0)
            return zq_fail(err, ZQ_ERR_FORMAT, "%s: its output can't have the shape %s",
                           zq_node_text(node, text), zq_shape_text(&walk->out[o]->shape, shape_text));
    }
    return ZQ_OK;
}

/* Hands the results (taken in every case) to the walk's values where they are wanted. */
static void keep_results(zq_walk *walk, const zq_node *node, zq_tensor **results, bool wanted) {
    for (int o = 0; o < node->n_outputs; o++) {
        const int value = node->outputs[o];
        if (!wanted || value < 0) {
            zq_tensor_drop(results[o]);
            continue;
        }
        zq_tensor_drop(walk->computed[value]);
        walk->computed[value] = results[o];
        walk->values[value] = *results[o];
    }
}

zq_status zq_walk_evaluate(zq_walk *walk, int n, zq_error *err) {
    const zq_node *node = &walk->graph->nodes[n];
    zq_io io = node_io(walk, n);
    zq_tensor **results = zq_alloc((size_t)node->n_outputs, sizeof *results);
    if (results == NULL)
        return zq_fail_memory(err);
    zq_status status = ZQ_OK;
    for (int o = 0; o < node->n_outputs && status == ZQ_OK; o++) {
        if (walk->out[o] == NULL)
            continue;
        results[o] = zq_tensor_new(walk->out[o]->dtype, &walk->out[o]->shape);
        if (results[o] == NULL)
            status = zq_fail_memory(err);
    }
    io.out = results;
    if (status == ZQ_OK)
        status = node->op->forward(&io, err);
    keep_results(walk, node, results, status == ZQ_OK);
    zq_free(results);
    return status;
}
