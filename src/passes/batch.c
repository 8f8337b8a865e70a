/* SPDX-License-Identifier: Apache-2.0 */
/* A batch that an exporter has fixed. Statistics want many images at a time, and most networks with a fixed
 * batch hold it in nothing but their input, the targets of Reshape and the sizes of Resize.
 *
 * A copy of the network is walked at twice the batch, which shows where the images of each value lie: along
 * the one axis that is twice as long, its major part where other elements lie there too, as in the
 * [N * C / 2, 2, H * W] of a channel shuffle. No node may mix elements along that axis. */
#include "base/memory.h"
#include "passes/match.h"
#include "passes/passes.h"
#include "passes/walk.h"

#include <string.h>

enum { NO_AXIS = -1, MIXED = -2 };

static const zq_tensor *constant_input(const zq_graph *graph, const zq_node *node, int input) {
    const int value = zq_match_input(node, input);
    return value >= 0 ? graph->values[value].constant : NULL;
}

/* ---- what doesn't depend on where the images lie */

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

/* A target of its own, which can be changed during the walk. */
static zq_status own_target(zq_graph *graph, zq_node *node, zq_error *err) {
    const zq_tensor *target = constant_input(graph, node, 1);
    const int64_t rank = graph->values[node->outputs[0]].shape.rank;
    int64_t dims[ZQ_MAX_RANK];
    if (target == NULL || rank < 1 || zq_shape_count(&graph->values[node->outputs[0]].shape) < 1)
        return ZQ_OK;
    for (int64_t d = 0; d < rank; d++)
        dims[d] = zq_tensor_item_i64(target, d);
    const int value =
        zq_graph_add_constant(graph, graph->values[node->inputs[1]].name, zq_tensor_new_i64(rank, dims));
    if (value < 0)
        return zq_fail_memory(err);
    node->inputs[1] = value;
    zq_node_remove_attr(node, "allowzero"); /* a size of 0 has been ruled out, and 0 shall mean "copy" */
    return zq_node_parse(node, err);
}

static zq_status prepare(zq_graph *graph, zq_error *err) {
    for (int n = 0; n < graph->n_nodes; n++) {
        zq_node *node = &graph->nodes[n];
        if (zq_match_input(node, 0) < 0 || !zq_match_writes(node))
            continue;
        if (zq_match_op(node, "Reshape"))
            ZQ_TRY(own_target(graph, node, err));
        else if (zq_match_op(node, "Resize"))
            ZQ_TRY(free_sizes(graph, node, err));
    }
    return ZQ_OK;
}

/* ---- where the images lie */

/* The axis of a value along which its images lie. NO_AXIS: the same value for all; MIXED: none that serves.
 */
static int axis_of(const zq_walk *walk, int value) {
    const zq_shape *one = &walk->graph->values[value].shape, *two = &walk->values[value].shape;
    int axis = NO_AXIS;
    if (one->rank != two->rank)
        return MIXED;
    for (int d = 0; d < one->rank; d++) {
        if (one->dims[d] == two->dims[d])
            continue;
        if (axis != NO_AXIS || two->dims[d] != 2 * one->dims[d])
            return MIXED;
        axis = d;
    }
    return axis;
}

static int64_t count_before(const zq_shape *shape, int axis) {
    int64_t count = 1;
    for (int d = 0; d < axis; d++)
        count *= shape->dims[d];
    return count;
}

/* The target of a Reshape whose images lie along an axis, for any number of images: they go where as many
 * elements lie in front of them as before. */
static zq_status free_target(zq_graph *graph, const zq_node *node, int axis, zq_error *err) {
    const zq_shape *src = &graph->values[node->inputs[0]].shape;
    const zq_shape *dst = &graph->values[node->outputs[0]].shape;
    zq_value *value = &graph->values[node->inputs[1]];
    const int64_t *from = value->constant == NULL ? NULL : value->constant->data;
    const int64_t before = count_before(src, axis);
    int to = 0;
    while (to < dst->rank && count_before(dst, to) != before)
        to++;
    if (from == NULL || to == dst->rank || from[to] == -1 || (from[to] == 0 && to == axis))
        return ZQ_OK;
    zq_tensor *tensor = zq_value_own_constant(value);
    if (tensor == NULL)
        return zq_fail_memory(err);
    int64_t *target = tensor->data;
    if (to == axis && dst->dims[to] == src->dims[axis]) { /* a -1 of the file's own stays */
        target[to] = 0;
        return ZQ_OK;
    }
    for (int d = 0; d < dst->rank; d++)
        target[d] = d == to ? -1 : dst->dims[d];
    return ZQ_OK;
}

static bool has_only_positive(const zq_tensor *steps) {
    bool positive = true;
    for (int64_t i = 0; steps != NULL && i < zq_shape_count(&steps->shape); i++)
        positive = positive && zq_tensor_item_i64(steps, i) > 0;
    return positive;
}

/* Whether the node treats the images of an input one by one; that its output is twice as long is checked,
 * too. */
static bool separates(const zq_graph *graph, const zq_node *node, int input, int axis) {
    static const char *const anywhere[] = {"Transpose", "Reshape",   "Concat",   "Split",   "Slice",
                                           "Gather",    "Squeeze",   "Pad",      "Softmax", "Cast",
                                           "Expand",    "Unsqueeze", "Identity", "Dropout", NULL};
    const int rank = graph->values[node->inputs[input]].shape.rank;
    const zq_attr *along = zq_node_attr(node, "axis");
    const int64_t at = along == NULL ? NO_AXIS : along->i < 0 ? along->i + rank : along->i;
    if (zq_match_op(node, "Flatten"))
        return axis == 0 || at == axis;
    if (at == axis || (zq_match_op(node, "Slice") && !has_only_positive(constant_input(graph, node, 4))) ||
        (zq_match_op(node, "Gather") && input > 0))
        return false;
    if (axis == 0 || (node->op->traits & (ZQ_OP_UNARY | ZQ_OP_BROADCAST)) != 0)
        return true;
    for (int i = 0; anywhere[i] != NULL; i++)
        if (zq_match_op(node, anywhere[i]))
            return true;
    return false;
}

/* *separate_out becomes false at a node that mixes images. */
static zq_status walk_node(zq_walk *walk, zq_graph *graph, int n, bool *separate_out, zq_error *err) {
    const zq_node *node = &graph->nodes[n];
    bool batched = false;
    if (!zq_match_writes(node))
        return ZQ_OK;
    for (int i = 0; i < node->n_inputs; i++) {
        const int axis = node->inputs[i] < 0 ? NO_AXIS : axis_of(walk, node->inputs[i]);
        if (axis == NO_AXIS)
            continue;
        batched = true;
        if (i == 0 && zq_match_op(node, "Reshape"))
            ZQ_TRY(free_target(graph, node, axis, err));
        *separate_out = *separate_out && separates(graph, node, i, axis);
    }
    ZQ_TRY(zq_walk_infer(walk, n, err));
    for (int o = 0; o < node->n_outputs; o++)
        if (batched && node->outputs[o] >= 0)
            *separate_out = *separate_out && axis_of(walk, node->outputs[o]) >= 0;
    return ZQ_OK;
}

/* Frees the targets of the copy; *separate_out: no node mixes images, and outputs hold them along axis 0. */
static zq_status walk_copy(zq_graph *copy, int64_t batch, bool *separate_out, zq_error *err) {
    zq_shape doubled = copy->values[copy->inputs[0]].shape;
    doubled.dims[0] = 2 * batch;
    zq_walk walk;
    zq_status status = zq_walk_start(&walk, copy, &doubled, err);
    *separate_out = true;
    for (int n = 0; n < copy->n_nodes && status == ZQ_OK && *separate_out; n++)
        status = walk_node(&walk, copy, n, separate_out, err);
    for (int o = 0; o < copy->n_outputs && status == ZQ_OK && *separate_out; o++)
        *separate_out = axis_of(&walk, copy->outputs[o]) == 0;
    zq_walk_clear(&walk);
    return status;
}

/* *freed_out stays false where the network can't take any number of images. */
static zq_status free_copy(zq_graph *copy, int64_t batch, bool *freed_out, zq_error *err) {
    ZQ_TRY(prepare(copy, err));
    ZQ_TRY(walk_copy(copy, batch, freed_out, err));
    if (!*freed_out)
        return ZQ_OK;
    copy->values[copy->inputs[0]].shape.dims[0] = -1;
    copy->fixed_batch = batch;
    ZQ_TRY(zq_fold_constants(copy, NULL, err));
    *freed_out = copy->free_batch;
    return ZQ_OK;
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
