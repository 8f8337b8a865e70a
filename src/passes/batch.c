/* SPDX-License-Identifier: Apache-2.0 */
/* A batch that an exporter has fixed. Statistics want many images at a time, and most networks with a fixed
 * batch hold it in nothing but their input, the targets of Reshape and the sizes of Resize. */
#include "base/memory.h"
#include "passes/match.h"
#include "passes/passes.h"

#include <string.h>

static const zq_tensor *constant_input(const zq_graph *graph, const zq_node *node, int input) {
    const int value = zq_match_input(node, input);
    return value >= 0 ? graph->values[value].constant : NULL;
}

/* Both the node's data and its output have the batch as their first dimension. */
static bool keeps_batch(const zq_graph *graph, const zq_node *node, int64_t batch) {
    if (zq_match_input(node, 0) < 0 || node->n_outputs < 1 || node->outputs[0] < 0)
        return false;
    const zq_shape *src = &graph->values[node->inputs[0]].shape;
    const zq_shape *dst = &graph->values[node->outputs[0]].shape;
    return src->rank > 0 && dst->rank > 0 && src->dims[0] == batch && dst->dims[0] == batch;
}

/* The batch in front of a Reshape's target becomes 0, "as in the input". */
static zq_status free_target(zq_graph *graph, zq_node *node, int64_t batch, zq_error *err) {
    const zq_tensor *target = constant_input(graph, node, 1);
    int64_t dims[ZQ_MAX_RANK];
    const int64_t rank = target == NULL ? 0 : zq_shape_count(&target->shape);
    if (rank < 1 || rank > ZQ_MAX_RANK || zq_tensor_item_i64(target, 0) != batch)
        return ZQ_OK;
    for (int64_t d = 0; d < rank; d++) {
        dims[d] = d == 0 ? 0 : zq_tensor_item_i64(target, d);
        if (d > 0 && dims[d] == 0 && zq_node_attr(node, "allowzero") != NULL)
            return ZQ_OK;
    }
    const int value =
        zq_graph_add_constant(graph, graph->values[node->inputs[1]].name, zq_tensor_new_i64(rank, dims));
    if (value < 0)
        return zq_fail_memory(err);
    node->inputs[1] = value;
    zq_node_remove_attr(node, "allowzero");
    return zq_node_parse(node, err);
}

/* The sizes of a Resize become scales, where these give back the sizes. */
static zq_status free_sizes(zq_graph *graph, zq_node *node, zq_error *err) {
    const zq_shape *src = &graph->values[node->inputs[0]].shape;
    const zq_shape *dst = &graph->values[node->outputs[0]].shape;
    float scales[ZQ_MAX_RANK];
    if (constant_input(graph, node, 3) == NULL)
        return ZQ_OK;
    for (int d = 0; d < src->rank; d++) {
        scales[d] = (float)dst->dims[d] / (float)src->dims[d];
        if ((int64_t)(scales[d] * (float)src->dims[d]) != dst->dims[d])
            return ZQ_OK;
    }
    const int value = zq_graph_add_constant(graph, graph->values[node->inputs[3]].name,
                                            zq_tensor_new_f32(src->rank, scales));
    if (value < 0)
        return zq_fail_memory(err);
    node->inputs[2] = value;
    node->inputs[3] = -1;
    return zq_node_parse(node, err);
}

/* Each output is twice as long for two images as for one. */
static zq_status holds_images(zq_graph *graph, bool *held_out, zq_error *err) {
    zq_shape *two = zq_alloc((size_t)graph->n_values, sizeof *two);
    zq_status status = two == NULL ? zq_fail_memory(err) : zq_infer_batch(graph, 2, 0, 0, two, err);
    for (int o = 0; status == ZQ_OK && o < graph->n_outputs; o++) {
        const int value = graph->outputs[o];
        const zq_shape *one = &graph->values[value].shape;
        *held_out = *held_out && one->rank > 0 && two[value].dims[0] == 2 * one->dims[0];
    }
    zq_free(two);
    return status;
}

/* *freed_out stays false where the network can't take any number of images. */
static zq_status free_copy(zq_graph *copy, int64_t batch, bool *freed_out, zq_error *err) {
    for (int n = 0; n < copy->n_nodes; n++) {
        zq_node *node = &copy->nodes[n];
        if (!keeps_batch(copy, node, batch))
            continue;
        if (zq_match_op(node, "Reshape"))
            ZQ_TRY(free_target(copy, node, batch, err));
        else if (zq_match_op(node, "Resize"))
            ZQ_TRY(free_sizes(copy, node, err));
    }
    copy->values[copy->inputs[0]].shape.dims[0] = -1;
    copy->fixed_batch = batch;
    ZQ_TRY(zq_fold_constants(copy, NULL, err));
    *freed_out = copy->free_batch;
    return copy->free_batch ? holds_images(copy, freed_out, err) : ZQ_OK;
}

zq_status zq_free_batch(zq_graph *graph, zq_error *err) {
    const zq_shape *input = graph->n_inputs == 1 ? &graph->values[graph->inputs[0]].shape : NULL;
    if (graph->free_batch || input == NULL || input->rank < 2)
        return ZQ_OK;
    zq_error refused = {0}; /* a network that can't be freed stays as it is */
    bool freed = false;
    zq_graph *copy = zq_graph_copy(graph);
    if (copy == NULL)
        return zq_fail_memory(err);
    const zq_status status = free_copy(copy, input->dims[0], &freed, &refused);
    if (status == ZQ_OK && freed) {
        const zq_graph fixed = *graph;
        *graph = *copy;
        *copy = fixed;
    }
    zq_graph_drop(copy);
    return status == ZQ_ERR_MEMORY ? zq_fail_memory(err) : ZQ_OK;
}
