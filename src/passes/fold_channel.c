/* SPDX-License-Identifier: Apache-2.0 */
#include "passes/fold_channel.h"

#include "passes/match.h"

#include <math.h>

/* A constant that broadcasts along everything but the channels (axis 1) of dst, without making it larger. */
static bool is_per_channel(const zq_shape *constant, const zq_shape *dst) {
    if (constant->rank > dst->rank || dst->rank < 2)
        return false;
    for (int d = 0; d < constant->rank; d++) {
        const int axis = dst->rank - constant->rank + d;
        if (constant->dims[d] != 1 && !(axis == 1 && constant->dims[d] == dst->dims[1]))
            return false;
    }
    return true;
}

/* The map that `x op k` (swapped: `k op x`) is. False where it isn't an affine one. */
static bool to_affine(const zq_node *node, const zq_tensor *constant, bool swapped, zq_affine *affine) {
    const int64_t n_constants = zq_shape_count(&constant->shape);
    for (int64_t c = 0; c < affine->n; c++) {
        const double k = zq_tensor_item(constant, n_constants > 1 ? c : 0);
        if (zq_match_op(node, "Mul"))
            affine->scale[c] = k;
        else if (zq_match_op(node, "Div") && !swapped)
            affine->scale[c] = 1 / k;
        else if (zq_match_op(node, "Add"))
            affine->shift[c] = k;
        else if (zq_match_op(node, "Sub")) {
            affine->scale[c] = swapped ? -1 : 1;
            affine->shift[c] = swapped ? k : -k;
        } else
            return false;
        if (!isfinite(affine->scale[c]) || !isfinite(affine->shift[c]))
            return false;
    }
    return true;
}

/* What is known of src holds, mapped, for dst. */
static void move_stats(zq_value *src, zq_value *dst, const zq_affine *affine) {
    zq_stats *stats = src->stats;
    if (stats == NULL)
        return;
    for (int64_t c = 0; c < stats->n_channels; c++) {
        stats->mean[c] = (float)(stats->mean[c] * affine->scale[c] + affine->shift[c]);
        stats->std[c] = (float)(stats->std[c] * fabs(affine->scale[c]));
    }
    src->stats = NULL;
    zq_value_set_stats(dst, stats);
}

static zq_status fold(zq_graph *graph, zq_uses *uses, int n, int before, const zq_affine *affine,
                      zq_error *err) {
    const int src = graph->nodes[before].outputs[0], dst = graph->nodes[n].outputs[0];
    ZQ_TRY(zq_affine_fold_output(graph, uses, before, affine, err));
    move_stats(&graph->values[src], &graph->values[dst], affine);
    zq_affine_take_output(graph, before, n);
    return ZQ_OK;
}

zq_status zq_channel_fold(zq_graph *graph, zq_uses *uses, int n, zq_error *err) {
    const zq_node *node = &graph->nodes[n];
    if (node->op == NULL || !(node->op->traits & ZQ_OP_BROADCAST) || node->n_inputs != 2)
        return ZQ_OK;
    const bool swapped = zq_match_float(graph, node->inputs[0]) != NULL;
    const zq_tensor *constant = zq_match_float(graph, node->inputs[swapped ? 0 : 1]);
    const int src = node->inputs[swapped ? 1 : 0], before = graph->values[src].producer;
    if (constant == NULL || before < 0 || !zq_uses_single(uses, src))
        return ZQ_OK;
    const zq_shape *shape = &graph->values[src].shape;
    const int64_t n_channels = zq_affine_channels(graph, before);
    if (n_channels == 0 || shape->rank < 2 || shape->dims[1] != n_channels ||
        !is_per_channel(&constant->shape, shape))
        return ZQ_OK;
    zq_affine affine;
    ZQ_TRY(zq_affine_new(n_channels, &affine, err));
    const zq_status status =
        to_affine(node, constant, swapped, &affine) ? fold(graph, uses, n, before, &affine, err) : ZQ_OK;
    zq_affine_clear(&affine);
    return status;
}
