/* SPDX-License-Identifier: Apache-2.0 */
#include "passes/fold_bn.h"

#include "base/memory.h"
#include "ops/window.h"
#include "passes/match.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* y = gamma (x - mu) / sqrt(var + epsilon) + beta */
typedef struct batch_norm {
    int64_t n_channels;
    const zq_tensor *gamma, *beta, *mu, *var; /* [n_channels], borrowed */
    float epsilon;
} batch_norm;

static zq_status read_channels(const zq_graph *graph, const zq_node *node, int input, int64_t n,
                               const zq_tensor **out, zq_error *err) {
    static const char *const names[] = {"X", "scale", "B", "mean", "var"};
    char text[ZQ_NODE_TEXT], shape_text[ZQ_SHAPE_TEXT];
    *out = zq_match_float(graph, zq_match_input(node, input));
    if (*out == NULL)
        return zq_fail(
            err, ZQ_ERR_UNSUPPORTED,
            "%s: its %s is computed while the network runs; only constants can be folded, so export the "
            "model in evaluation mode",
            zq_node_text(node, text), names[input]);
    if (zq_shape_count(&(*out)->shape) != n)
        return zq_fail(err, ZQ_ERR_FORMAT, "%s: its %s has shape %s, expected [%" PRId64 "]",
                       zq_node_text(node, text), names[input], zq_shape_text(&(*out)->shape, shape_text), n);
    return ZQ_OK;
}

static zq_status read_batch_norm(const zq_graph *graph, const zq_node *node, batch_norm *bn, zq_error *err) {
    char text[ZQ_NODE_TEXT];
    const zq_shape *shape = &graph->values[node->inputs[0]].shape;
    if (shape->rank < 2)
        return zq_fail(err, ZQ_ERR_FORMAT, "%s: its input has %d dimensions, expected at least 2",
                       zq_node_text(node, text), shape->rank);
    bn->n_channels = shape->dims[1];
    ZQ_TRY(read_channels(graph, node, 1, bn->n_channels, &bn->gamma, err));
    ZQ_TRY(read_channels(graph, node, 2, bn->n_channels, &bn->beta, err));
    ZQ_TRY(read_channels(graph, node, 3, bn->n_channels, &bn->mu, err));
    ZQ_TRY(read_channels(graph, node, 4, bn->n_channels, &bn->var, err));
    ZQ_TRY(zq_node_float(node, "epsilon", 1e-5f, &bn->epsilon, err));
    for (int64_t c = 0; c < bn->n_channels; c++) {
        const double var = zq_tensor_item(bn->var, c);
        if (!(var + bn->epsilon > 0) || !isfinite(var + bn->epsilon))
            return zq_fail(err, ZQ_ERR_FORMAT,
                           "%s: the variance of channel %" PRId64 " plus epsilon is %g, expected more than 0",
                           zq_node_text(node, text), c, var + bn->epsilon);
    }
    return ZQ_OK;
}

static double deviation(const batch_norm *bn, int64_t c) {
    return sqrt(zq_tensor_item(bn->var, c) + (double)bn->epsilon);
}

static zq_status to_affine(const batch_norm *bn, zq_affine *affine_out, zq_error *err) {
    ZQ_TRY(zq_affine_new(bn->n_channels, affine_out, err));
    for (int64_t c = 0; c < bn->n_channels; c++) {
        affine_out->scale[c] = zq_tensor_item(bn->gamma, c) / deviation(bn, c);
        affine_out->shift[c] = zq_tensor_item(bn->beta, c) - zq_tensor_item(bn->mu, c) * affine_out->scale[c];
    }
    return ZQ_OK;
}

/* ---- stats */

/* On the training data BatchNormalization's output has mean beta and deviation |gamma|. */
static zq_stats *output_stats(const batch_norm *bn) {
    zq_stats *stats = zq_stats_new(bn->n_channels);
    for (int64_t c = 0; stats != NULL && c < bn->n_channels; c++) {
        stats->mean[c] = (float)zq_tensor_item(bn->beta, c);
        stats->std[c] = (float)fabs(zq_tensor_item(bn->gamma, c));
    }
    return stats;
}

/* Its input had mean mu; epsilon counts as part of the variance, as it does in the normalisation. */
static zq_stats *input_stats(const batch_norm *bn) {
    zq_stats *stats = zq_stats_new(bn->n_channels);
    for (int64_t c = 0; stats != NULL && c < bn->n_channels; c++) {
        stats->mean[c] = (float)zq_tensor_item(bn->mu, c);
        stats->std[c] = (float)deviation(bn, c);
    }
    return stats;
}

/* ---- one node */

static zq_status fold_behind(zq_bn_folding *folding, int n, int weighted, const batch_norm *bn,
                             const zq_affine *affine, zq_error *err) {
    zq_graph *graph = folding->graph;
    zq_stats *stats = output_stats(bn);
    if (stats == NULL)
        return zq_fail_memory(err);
    zq_value_set_stats(&graph->values[graph->nodes[n].outputs[0]], stats);
    ZQ_TRY(zq_affine_fold_output(graph, folding->uses, weighted, affine, err));
    zq_affine_take_output(graph, weighted, n);
    folding->counts->bn_folded++;
    return ZQ_OK;
}

/* A name for what a node becomes. */
static char *new_name(const zq_graph *graph, const zq_node *node, const char *suffix,
                      char buffer[ZQ_NODE_TEXT]) {
    const char *base = node->name[0] != '\0' ? node->name : graph->values[node->outputs[0]].name;
    snprintf(buffer, ZQ_NODE_TEXT, "%.200s%s", base, suffix);
    return buffer;
}

/* values [n] as a constant of that shape; -1 when out of memory. */
static int add_channels(zq_graph *graph, const char *name, const zq_shape *shape, const double *values) {
    zq_tensor *tensor = zq_tensor_new(ZQ_F32, shape);
    const int64_t n = zq_shape_count(shape);
    for (int64_t c = 0; tensor != NULL && c < n; c++)
        ((zq_real *)tensor->data)[c] = (zq_real)values[c];
    return zq_graph_add_constant(graph, name, tensor);
}

static zq_status make_depthwise(zq_bn_folding *folding, int n, const zq_affine *affine, zq_error *err) {
    zq_graph *graph = folding->graph;
    const int src = graph->nodes[n].inputs[0], dst = graph->nodes[n].outputs[0];
    const int rank = graph->values[src].shape.rank;
    const zq_shape bias_shape = zq_shape_of(1, &affine->n);
    zq_shape weight_shape = {.rank = rank, .dims = {affine->n}};
    for (int d = 1; d < rank; d++)
        weight_shape.dims[d] = 1;
    char name[ZQ_NODE_TEXT];
    const int weight =
        add_channels(graph, new_name(graph, &graph->nodes[n], "_weight", name), &weight_shape, affine->scale);
    const int bias =
        add_channels(graph, new_name(graph, &graph->nodes[n], "_bias", name), &bias_shape, affine->shift);
    if (weight < 0 || bias < 0 ||
        !zq_grow(&folding->affine, &folding->capacity, (size_t)folding->n_affine + 1, sizeof(int)))
        return zq_fail_memory(err);
    const int made = zq_graph_add_node(graph, zq_op_find("Conv"), new_name(graph, &graph->nodes[n], "", name),
                                       3, (int[]){src, weight, bias}, 1, &dst);
    if (made < 0 || !zq_node_set_int(&graph->nodes[made], "group", affine->n) ||
        !zq_node_set_ints(&graph->nodes[made], "kernel_shape", (size_t)rank - 2, &weight_shape.dims[2]))
        return zq_fail_memory(err);
    zq_graph_remove_node(graph, n);
    folding->affine[folding->n_affine++] = made;
    return zq_node_parse(&graph->nodes[made], err);
}

/* y = x * scale + shift for values that no convolution takes. */
static zq_status make_elementwise(zq_graph *graph, int n, const zq_affine *affine, zq_error *err) {
    const int src = graph->nodes[n].inputs[0], dst = graph->nodes[n].outputs[0];
    zq_shape shape = {.rank = graph->values[src].shape.rank - 1, .dims = {affine->n}};
    for (int d = 1; d < shape.rank; d++)
        shape.dims[d] = 1;
    char name[ZQ_NODE_TEXT];
    const int scale =
        add_channels(graph, new_name(graph, &graph->nodes[n], "_scale", name), &shape, affine->scale);
    const int shift =
        add_channels(graph, new_name(graph, &graph->nodes[n], "_shift", name), &shape, affine->shift);
    const int scaled = zq_graph_add_value(graph, new_name(graph, &graph->nodes[n], "_scaled", name), ZQ_F32,
                                          &graph->values[dst].shape);
    if (scale < 0 || shift < 0 || scaled < 0)
        return zq_fail_memory(err);
    const int mul =
        zq_graph_add_node(graph, zq_op_find("Mul"), new_name(graph, &graph->nodes[n], "_mul", name), 2,
                          (int[]){src, scale}, 1, &scaled);
    const int add =
        zq_graph_add_node(graph, zq_op_find("Add"), new_name(graph, &graph->nodes[n], "_add", name), 2,
                          (int[]){scaled, shift}, 1, &dst);
    if (mul < 0 || add < 0)
        return zq_fail_memory(err);
    zq_graph_remove_node(graph, n);
    ZQ_TRY(zq_node_parse(&graph->nodes[mul], err));
    return zq_node_parse(&graph->nodes[add], err);
}

static zq_status fold_elsewhere(zq_bn_folding *folding, int n, const batch_norm *bn, const zq_affine *affine,
                                zq_error *err) {
    zq_value *src = &folding->graph->values[folding->graph->nodes[n].inputs[0]];
    if (src->stats == NULL) {
        zq_stats *stats = input_stats(bn);
        if (stats == NULL)
            return zq_fail_memory(err);
        zq_value_set_stats(src, stats);
    }
    folding->counts->bn_affine++;
    if (src->shape.rank >= 3 && src->shape.rank <= 2 + ZQ_WINDOW_SPATIAL)
        return make_depthwise(folding, n, affine, err);
    return make_elementwise(folding->graph, n, affine, err);
}

zq_status zq_bn_fold(zq_bn_folding *folding, int n, zq_error *err) {
    const zq_graph *graph = folding->graph;
    const int src = graph->nodes[n].inputs[0], before = graph->values[src].producer;
    batch_norm bn;
    zq_affine affine;
    ZQ_TRY(read_batch_norm(graph, &graph->nodes[n], &bn, err));
    ZQ_TRY(to_affine(&bn, &affine, err));
    const bool behind = before >= 0 && zq_uses_single(folding->uses, src) &&
                        zq_affine_channels(graph, before) == bn.n_channels;
    const zq_status status = behind ? fold_behind(folding, n, before, &bn, &affine, err)
                                    : fold_elsewhere(folding, n, &bn, &affine, err);
    zq_affine_clear(&affine);
    return status;
}

/* ---- into the next convolution */

/* The map that a depthwise 1x1 convolution is. */
static zq_status read_depthwise(const zq_graph *graph, const zq_node *node, zq_affine *affine_out,
                                bool *shifts_out, zq_error *err) {
    const zq_tensor *weight = graph->values[node->inputs[1]].constant,
                    *bias = graph->values[node->inputs[2]].constant;
    ZQ_TRY(zq_affine_new(weight->shape.dims[0], affine_out, err));
    *shifts_out = false;
    for (int64_t c = 0; c < affine_out->n; c++) {
        affine_out->scale[c] = zq_tensor_item(weight, c);
        affine_out->shift[c] = zq_tensor_item(bias, c);
        *shifts_out = *shifts_out || affine_out->shift[c] != 0;
    }
    return ZQ_OK;
}

/* Padding is 0 behind the map, so a shift can't pass it. */
static bool pads(const zq_graph *graph, const zq_node *conv) {
    zq_geometry geometry;
    if (zq_window_resolve(conv, &graph->values[conv->inputs[0]].shape, &graph->values[conv->inputs[1]].shape,
                          &geometry, NULL) != ZQ_OK)
        return true;
    for (int k = 0; k < geometry.n_spatial; k++)
        if (geometry.pad_lo[k] != 0 || geometry.pad_hi[k] != 0)
            return true;
    return false;
}

static zq_status absorb(zq_bn_folding *folding, int n, int conv, zq_error *err) {
    zq_graph *graph = folding->graph;
    zq_affine affine;
    bool shifts;
    ZQ_TRY(read_depthwise(graph, &graph->nodes[n], &affine, &shifts, err));
    zq_status status = ZQ_OK;
    if (!shifts || !pads(graph, &graph->nodes[conv])) {
        status = zq_affine_fold_input(graph, folding->uses, conv, &affine, err);
        graph->nodes[conv].inputs[0] = graph->nodes[n].inputs[0];
        zq_graph_remove_node(graph, n);
        folding->counts->bn_absorbed++;
    }
    zq_affine_clear(&affine);
    return status;
}

zq_status zq_bn_absorb(zq_bn_folding *folding, zq_error *err) {
    zq_graph *graph = folding->graph;
    int *reader = zq_alloc((size_t)graph->n_values, sizeof *reader); /* a Conv that reads the value, plus 1 */
    if (reader == NULL)
        return zq_fail_memory(err);
    for (int n = 0; n < graph->n_nodes; n++)
        if (zq_match_op(&graph->nodes[n], "Conv") && zq_affine_channels(graph, n) > 0)
            reader[graph->nodes[n].inputs[0]] = n + 1;
    zq_status status = ZQ_OK;
    for (int a = 0; a < folding->n_affine && status == ZQ_OK; a++) {
        const int dst = graph->nodes[folding->affine[a]].outputs[0];
        if (reader[dst] > 0 && zq_uses_single(folding->uses, dst))
            status = absorb(folding, folding->affine[a], reader[dst] - 1, err);
    }
    zq_free(reader);
    return status;
}
