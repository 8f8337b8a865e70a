/* SPDX-License-Identifier: Apache-2.0 */
#include "passes/affine.h"

#include "base/memory.h"
#include "graph/op.h"
#include "passes/match.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

enum { WEIGHT = 1, BIAS = 2 };

zq_status zq_affine_new(int64_t n, zq_affine *affine_out, zq_error *err) {
    *affine_out = (zq_affine){.n = n};
    affine_out->scale = zq_alloc((size_t)n, sizeof(double));
    affine_out->shift = zq_alloc((size_t)n, sizeof(double));
    if (affine_out->scale == NULL || affine_out->shift == NULL) {
        zq_affine_clear(affine_out);
        return zq_fail_memory(err);
    }
    for (int64_t c = 0; c < n; c++)
        affine_out->scale[c] = 1;
    return ZQ_OK;
}

void zq_affine_clear(zq_affine *affine) {
    zq_free(affine->scale);
    zq_free(affine->shift);
    *affine = (zq_affine){0};
}

zq_status zq_uses_count(const zq_graph *graph, zq_uses *uses_out, zq_error *err) {
    *uses_out = (zq_uses){.n = graph->n_values, .counts = zq_alloc((size_t)graph->n_values, sizeof(int))};
    if (uses_out->counts == NULL)
        return zq_fail_memory(err);
    for (int n = 0; n < graph->n_nodes; n++)
        for (int i = 0; i < graph->nodes[n].n_inputs; i++)
            if (graph->nodes[n].inputs[i] >= 0)
                uses_out->counts[graph->nodes[n].inputs[i]]++;
    for (int o = 0; o < graph->n_outputs; o++)
        uses_out->counts[graph->outputs[o]]++;
    return ZQ_OK;
}

void zq_uses_clear(zq_uses *uses) {
    zq_free(uses->counts);
    *uses = (zq_uses){0};
}

bool zq_uses_single(const zq_uses *uses, int value) {
    return value >= uses->n || uses->counts[value] == 1;
}

/* ---- what can be changed */

static bool is_transposed(const zq_node *node) {
    const zq_attr *attr = zq_node_attr(node, "transB");
    return attr != NULL && attr->i != 0;
}

/* A bias for n channels: [n], or for Gemm anything that broadcasts along the rows. */
static bool good_bias(const zq_tensor *bias, int64_t n) {
    const int rank = bias->shape.rank;
    if (rank > 2 || (rank == 2 && bias->shape.dims[0] != 1))
        return false;
    return rank == 0 || bias->shape.dims[rank - 1] == n || bias->shape.dims[rank - 1] == 1;
}

int64_t zq_affine_channels(const zq_graph *graph, int n) {
    const zq_node *node = &graph->nodes[n];
    const zq_tensor *weight = node->op != NULL ? zq_match_float(graph, zq_match_input(node, WEIGHT)) : NULL;
    const int bias = node->op != NULL ? zq_match_input(node, BIAS) : -1;
    int64_t channels = 0;
    if (weight == NULL || zq_shape_count(&weight->shape) <= 0)
        return 0;
    if (zq_match_op(node, "Conv") && weight->shape.rank >= 3)
        channels = weight->shape.dims[0];
    else if (zq_match_op(node, "Gemm") && weight->shape.rank == 2)
        channels = weight->shape.dims[is_transposed(node) ? 0 : 1];
    else if (zq_match_op(node, "MatMul") && weight->shape.rank == 2 &&
             graph->values[node->inputs[0]].shape.rank == 2)
        channels = weight->shape.dims[1];
    if (bias >= 0 &&
        (zq_match_float(graph, bias) == NULL || !good_bias(graph->values[bias].constant, channels)))
        return 0;
    return channels;
}

/* ---- what is known */

zq_status zq_affine_stats(const zq_graph *graph, int n, zq_stats **stats_out, zq_error *err) {
    const zq_node *node = &graph->nodes[n];
    const int64_t n_channels = zq_match_op(node, "Conv") ? zq_affine_channels(graph, n) : 0;
    const zq_stats *from = n_channels > 0 ? graph->values[node->inputs[0]].stats : NULL;
    *stats_out = NULL;
    if (from == NULL || from->n_channels != n_channels ||
        zq_shape_count(&graph->values[node->inputs[WEIGHT]].constant->shape) != n_channels)
        return ZQ_OK;
    const zq_real *w = graph->values[node->inputs[WEIGHT]].constant->data;
    const int bias = zq_match_input(node, BIAS);
    const zq_tensor *b = bias >= 0 ? graph->values[bias].constant : NULL;
    zq_stats *const stats = *stats_out = zq_stats_new(n_channels);
    for (int64_t c = 0; stats != NULL && c < n_channels; c++) {
        const double shift = b == NULL ? 0 : zq_tensor_item(b, zq_shape_count(&b->shape) == 1 ? 0 : c);
        stats->mean[c] = (float)(from->mean[c] * (double)w[c] + shift);
        stats->std[c] = (float)(from->std[c] * fabs((double)w[c]));
    }
    return stats == NULL ? zq_fail_memory(err) : ZQ_OK;
}

/* ---- changing it */

static bool set_input(zq_node *node, int input, int value) {
    if (input >= node->n_inputs) {
        int *grown = zq_alloc((size_t)input + 1, sizeof *grown);
        if (grown == NULL)
            return false;
        for (int i = 0; i <= input; i++)
            grown[i] = zq_match_input(node, i);
        zq_free(node->inputs);
        node->inputs = grown;
        node->n_inputs = input + 1;
    }
    node->inputs[input] = value;
    return true;
}

/* The node reads another constant (taken in every case) from now on. */
static zq_status set_constant(zq_graph *graph, zq_uses *uses, int n, int input, const char *name,
                              zq_tensor *tensor, zq_error *err) {
    const int old = zq_match_input(&graph->nodes[n], input);
    const int value = zq_graph_add_constant(graph, name, tensor);
    if (value < 0 || !set_input(&graph->nodes[n], input, value))
        return zq_fail_memory(err);
    if (old >= 0 && old < uses->n)
        uses->counts[old]--;
    return ZQ_OK;
}

/* The node's weight for writing. */
static zq_status own_weight(zq_graph *graph, zq_uses *uses, int n, zq_tensor **weight_out, zq_error *err) {
    const int value = graph->nodes[n].inputs[WEIGHT];
    if (!zq_uses_single(uses, value))
        ZQ_TRY(set_constant(graph, uses, n, WEIGHT, graph->values[value].name,
                            zq_tensor_copy(graph->values[value].constant), err));
    *weight_out = zq_value_own_constant(&graph->values[graph->nodes[n].inputs[WEIGHT]]);
    return *weight_out != NULL ? ZQ_OK : zq_fail_memory(err);
}

/* The node's bias for writing, of shape [n_channels]; a new one is 0. beta scales the old one. */
static zq_status own_bias(zq_graph *graph, zq_uses *uses, int n, int64_t n_channels, double beta,
                          zq_tensor **bias_out, zq_error *err) {
    const int old = zq_match_input(&graph->nodes[n], BIAS);
    const zq_tensor *from = old >= 0 ? graph->values[old].constant : NULL;
    const zq_shape shape = zq_shape_of(1, &n_channels);
    if (from == NULL || !zq_uses_single(uses, old) || !zq_shape_equal(&from->shape, &shape)) {
        char name[ZQ_NODE_TEXT];
        snprintf(name, sizeof name, "%.200s%s",
                 graph->values[old >= 0 ? old : graph->nodes[n].inputs[WEIGHT]].name,
                 old >= 0 ? "" : "_bias");
        zq_tensor *bias = zq_tensor_new(ZQ_F32, &shape);
        const int64_t n_from = from != NULL ? zq_shape_count(&from->shape) : 0;
        for (int64_t c = 0; bias != NULL && n_from > 0 && c < n_channels; c++)
            ((zq_real *)bias->data)[c] = (zq_real)zq_tensor_item(from, n_from > 1 ? c : 0);
        ZQ_TRY(set_constant(graph, uses, n, BIAS, name, bias, err));
    }
    *bias_out = zq_value_own_constant(&graph->values[graph->nodes[n].inputs[BIAS]]);
    if (*bias_out == NULL)
        return zq_fail_memory(err);
    for (int64_t c = 0; beta != 1 && c < n_channels; c++)
        ((zq_real *)(*bias_out)->data)[c] = (zq_real)(beta * zq_tensor_item(*bias_out, c));
    return ZQ_OK;
}

static zq_status check_finite(const zq_graph *graph, int n, const zq_tensor *tensor, zq_error *err) {
    char text[ZQ_NODE_TEXT];
    const int64_t count = zq_shape_count(&tensor->shape);
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(((const zq_real *)tensor->data)[i]))
            return zq_fail(err, ZQ_ERR_FORMAT,
                           "%s: its weights overflow when the scale behind or before it is folded into them "
                           "(element %" PRId64 ")",
                           zq_node_text(&graph->nodes[n], text), i);
    return ZQ_OK;
}

static zq_status become_gemm(zq_graph *graph, int n, zq_error *err) {
    zq_node *node = &graph->nodes[n];
    node->op = zq_op_find("Gemm");
    while (node->n_attrs > 0)
        zq_node_remove_attr(node, node->attrs[0].name);
    return zq_node_parse(node, err);
}

/* Gemm's beta, which is 1 afterwards. */
static zq_status take_beta(zq_node *node, double *beta_out, zq_error *err) {
    float beta = 1;
    if (zq_match_op(node, "Gemm"))
        ZQ_TRY(zq_node_float(node, "beta", 1, &beta, err));
    *beta_out = beta;
    if (beta == 1)
        return ZQ_OK;
    zq_node_remove_attr(node, "beta");
    return zq_node_parse(node, err);
}

zq_status zq_affine_fold_output(zq_graph *graph, zq_uses *uses, int n, const zq_affine *affine,
                                zq_error *err) {
    zq_tensor *weight, *bias;
    double beta;
    if (zq_match_op(&graph->nodes[n], "MatMul"))
        ZQ_TRY(become_gemm(graph, n, err));
    ZQ_TRY(take_beta(&graph->nodes[n], &beta, err));
    ZQ_TRY(own_weight(graph, uses, n, &weight, err));
    ZQ_TRY(own_bias(graph, uses, n, affine->n, beta, &bias, err));
    const bool last = zq_match_op(&graph->nodes[n], "Gemm") && !is_transposed(&graph->nodes[n]);
    const int64_t count = zq_shape_count(&weight->shape), n_inner = last ? 1 : count / affine->n;
    zq_real *w = weight->data, *b = bias->data;
    for (int64_t i = 0; i < count; i++)
        w[i] = (zq_real)(w[i] * affine->scale[i / n_inner % affine->n]);
    for (int64_t c = 0; c < affine->n; c++)
        b[c] = (zq_real)(b[c] * affine->scale[c] + affine->shift[c]);
    ZQ_TRY(check_finite(graph, n, weight, err));
    return check_finite(graph, n, bias, err);
}

zq_status zq_affine_fold_input(zq_graph *graph, zq_uses *uses, int n, const zq_affine *affine,
                               zq_error *err) {
    zq_tensor *weight, *bias;
    ZQ_TRY(own_weight(graph, uses, n, &weight, err));
    const int64_t n_out = weight->shape.dims[0], n_in = weight->shape.dims[1], n_groups = affine->n / n_in;
    ZQ_TRY(own_bias(graph, uses, n, n_out, 1, &bias, err));
    const int64_t n_taps = zq_shape_count(&weight->shape) / n_out / n_in;
    zq_real *w = weight->data, *b = bias->data;
    for (int64_t m = 0; m < n_out; m++) {
        const int64_t first = m / (n_out / n_groups) * n_in; /* input channel of the group */
        double shift = b[m];
        for (int64_t t = 0; t < n_in * n_taps; t++, w++) {
            shift += affine->shift[first + t / n_taps] * *w;
            *w = (zq_real)(affine->scale[first + t / n_taps] * *w);
        }
        b[m] = (zq_real)shift;
    }
    ZQ_TRY(check_finite(graph, n, weight, err));
    return check_finite(graph, n, bias, err);
}

void zq_affine_take_output(zq_graph *graph, int weighted, int reader) {
    const int value = graph->nodes[reader].outputs[0], old = graph->nodes[weighted].outputs[0];
    zq_graph_remove_node(graph, reader);
    graph->nodes[weighted].outputs[0] = value;
    graph->values[value].producer = weighted;
    graph->values[old].producer = -1;
}
