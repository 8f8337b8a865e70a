/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"
#include "passes/affine.h"
#include "passes/fold_bn.h"
#include "passes/fold_channel.h"
#include "passes/head.h"
#include "passes/match.h"
#include "passes/passes.h"
#include "passes/walk.h"

#include <inttypes.h>
#include <math.h>

/* ---- nodes that do nothing */

/* Which value stands for each, while copies are removed. Chains are at most three long. */
static int resolve(const int *alias, int value) {
    while (value >= 0 && alias[value] != value)
        value = alias[value];
    return value;
}

static bool is_copy(const zq_node *node, const zq_uses *uses) {
    if (zq_match_op(node, "Identity"))
        return true;
    const bool masked = node->n_outputs > 1 && node->outputs[1] >= 0 && uses->counts[node->outputs[1]] > 0;
    return zq_match_op(node, "Dropout") && !masked;
}

/* A graph output that is a copy keeps its name: the node before writes it directly. False where that can't
 * be, since the source must keep its own name (or no node writes it). */
static bool write_directly(zq_graph *graph, int src, int dst) {
    const int producer = graph->values[src].producer;
    if (producer < 0 || zq_graph_is_output(graph, src))
        return false;
    zq_node *node = &graph->nodes[producer];
    for (int o = 0; o < node->n_outputs; o++)
        if (node->outputs[o] == src)
            node->outputs[o] = dst;
    graph->values[dst].producer = producer;
    graph->values[src].producer = -1;
    return true;
}

static void remove_copy(zq_graph *graph, int n, int *alias) {
    const int src = resolve(alias, graph->nodes[n].inputs[0]), dst = graph->nodes[n].outputs[0];
    if (dst >= 0 && zq_graph_is_output(graph, dst)) {
        if (!write_directly(graph, src, dst))
            return;
        alias[src] = dst;
    } else if (dst >= 0)
        alias[dst] = src;
    zq_graph_remove_node(graph, n);
}

static zq_status remove_copies(zq_graph *graph, zq_error *err) {
    zq_uses uses;
    ZQ_TRY(zq_uses_count(graph, &uses, err));
    int *alias = zq_alloc((size_t)graph->n_values, sizeof *alias);
    if (alias == NULL) {
        zq_uses_clear(&uses);
        return zq_fail_memory(err);
    }
    for (int v = 0; v < graph->n_values; v++)
        alias[v] = v;
    for (int n = 0; n < graph->n_nodes; n++)
        if (is_copy(&graph->nodes[n], &uses))
            remove_copy(graph, n, alias);
    for (int n = 0; n < graph->n_nodes; n++)
        for (int i = 0; i < graph->nodes[n].n_inputs; i++)
            graph->nodes[n].inputs[i] = resolve(alias, graph->nodes[n].inputs[i]);
    zq_free(alias);
    zq_uses_clear(&uses);
    return ZQ_OK;
}

/* ---- damaged weights */

static zq_status check_constant(const zq_graph *graph, const zq_node *node, int value, zq_error *err) {
    const zq_tensor *constant = graph->values[value].constant;
    const int64_t count = zq_shape_count(&constant->shape);
    const zq_real *data = constant->data;
    char text[ZQ_NODE_TEXT];
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(data[i]))
            return zq_fail(err, ZQ_ERR_FORMAT,
                           "tensor '%s' of %s holds %g at index %" PRId64
                           ", expected a finite number: the file is damaged or the training diverged",
                           graph->values[value].name, zq_node_text(node, text), (double)data[i], i);
    return ZQ_OK;
}

static bool has_weights(const zq_node *node) {
    return (node->op->traits & ZQ_OP_WEIGHTED) != 0 || zq_match_op(node, "BatchNormalization") ||
           zq_match_op(node, "PRelu");
}

static zq_status check_weights(const zq_graph *graph, zq_error *err) {
    bool *checked = zq_alloc((size_t)graph->n_values, sizeof *checked);
    if (checked == NULL)
        return zq_fail_memory(err);
    zq_status status = ZQ_OK;
    for (int n = 0; n < graph->n_nodes && status == ZQ_OK; n++) {
        const zq_node *node = &graph->nodes[n];
        for (int i = 0; i < node->n_inputs && has_weights(node) && status == ZQ_OK; i++) {
            const int value = node->inputs[i];
            if (zq_match_float(graph, value) == NULL || checked[value])
                continue;
            checked[value] = true;
            status = check_constant(graph, node, value, err);
        }
    }
    zq_free(checked);
    return status;
}

/* ---- everything */

static zq_status fold_affine_maps(zq_graph *graph, zq_simplify_counts *counts, zq_error *err) {
    zq_uses uses;
    ZQ_TRY(zq_uses_count(graph, &uses, err));
    zq_bn_folding folding = {.graph = graph, .uses = &uses, .counts = counts};
    zq_status status = ZQ_OK;
    const int n_nodes = graph->n_nodes; /* others are appended */
    for (int n = 0; n < n_nodes && status == ZQ_OK; n++)
        status = zq_match_op(&graph->nodes[n], "BatchNormalization") ? zq_bn_fold(&folding, n, err)
                                                                     : zq_channel_fold(graph, &uses, n, err);
    if (status == ZQ_OK)
        status = zq_bn_absorb(&folding, err);
    zq_free(folding.affine);
    zq_uses_clear(&uses);
    return status;
}

zq_status zq_simplify(zq_graph *graph, zq_simplify_counts *counts_out, zq_error *err) {
    *counts_out = (zq_simplify_counts){0};
    for (int n = 0; n < graph->n_nodes; n++)
        counts_out->bn_total += zq_match_op(&graph->nodes[n], "BatchNormalization");
    ZQ_TRY(remove_copies(graph, err));
    ZQ_TRY(zq_graph_clean(graph, err));
    ZQ_TRY(check_weights(graph, err));
    ZQ_TRY(fold_affine_maps(graph, counts_out, err));
    ZQ_TRY(zq_graph_sort(graph, err));
    ZQ_TRY(zq_graph_clean(graph, err));
    ZQ_TRY(zq_walk_settle(graph, err));
    bool changed;
    ZQ_TRY(zq_head_rewrite(graph, &changed, err));
    return changed ? zq_walk_settle(graph, err) : ZQ_OK;
}
