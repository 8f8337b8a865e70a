/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/standard.h"

#include "base/memory.h"
#include "engine/plan.h"
#include "passes/affine.h"
#include "quant/rewrite.h"

#include <math.h>
#include <string.h>

/* What the widest values of one run may take. */
static const double run_bytes = 1e9;

/* Beyond that the images say nothing about a channel, and its noise would be blown up. */
static const double most_factor = 4;

/* Maps of all layers while they are found. */
typedef struct search {
    const zq_layers *layers;
    zq_graph *graph; /* the copy */
    int *layer_of;   /* [n_nodes] a layer whose output has known statistics; -1: another node */
    zq_affine *maps; /* [n_layers]; scale NULL: none */
    float *mean, *variance, *scale, *shift; /* of channels; room for the most */
} search;

/* ---- what is known */

/* What is known of the input of an affine layer is known of its output. */
static zq_status derive_stats(zq_graph *graph, int node, zq_error *err) {
    zq_value *output = &graph->values[graph->nodes[node].outputs[0]];
    zq_stats *stats = NULL;
    if (output->stats == NULL)
        ZQ_TRY(zq_affine_stats(graph, node, &stats, err));
    if (stats != NULL)
        zq_value_set_stats(output, stats);
    return ZQ_OK;
}

/* A weight that several nodes share can't follow each of them. */
static zq_status find_known(search *s, zq_error *err) {
    for (int n = 0; n < s->graph->n_nodes; n++)
        s->layer_of[n] = -1;
    for (int i = 0; i < s->layers->n; i++) {
        const zq_layer *layer = &s->layers->items[i];
        const int node = layer->nodes[0];
        if (layer->n_nodes != 1 || zq_affine_channels(s->graph, node) != layer->n_channels)
            continue;
        ZQ_TRY(derive_stats(s->graph, node, err));
        const zq_stats *stats = s->graph->values[s->graph->nodes[node].outputs[0]].stats;
        if (stats != NULL && stats->n_channels == layer->n_channels)
            s->layer_of[node] = i;
    }
    return ZQ_OK;
}

/* ---- one pass */

static void find_map(const search *s, const zq_stats *stats, zq_affine *map) {
    for (int64_t c = 0; c < map->n; c++) {
        const double std = sqrt(fmax(0, s->variance[c]));
        const double wanted = std > 0 ? stats->std[c] / std : most_factor;
        map->scale[c] = fmin(fmax(wanted, 1 / most_factor), most_factor);
        map->shift[c] = stats->mean[c] - map->scale[c] * s->mean[c];
        s->scale[c] = (float)map->scale[c];
        s->shift[c] = (float)map->shift[c];
    }
}

/* The value is mapped before anything reads it, so that later layers see mapped inputs. */
static zq_status visit(void *user, zq_plan *plan, int node, zq_error *err) {
    search *s = user;
    const int i = s->layer_of[node], value = s->graph->nodes[node].outputs[0];
    if (i < 0)
        return ZQ_OK;
    zq_plan_statistics(plan, value, s->mean, s->variance);
    for (int64_t c = 0; c < s->layers->items[i].n_channels; c++)
        if (!isfinite(s->mean[c]) || !isfinite(s->variance[c]))
            return ZQ_OK; /* fused away, or it overflows: the calibration says so */
    ZQ_TRY(zq_affine_new(s->layers->items[i].n_channels, &s->maps[i], err));
    find_map(s, s->graph->values[value].stats, &s->maps[i]);
    zq_plan_map_channels(plan, value, 0, s->scale, s->shift);
    return ZQ_OK;
}

/* As many images as fit, of a fixed batch all. */
static int64_t choose_images(const zq_graph *graph, int64_t n_images) {
    double most = 1;
    if (!graph->free_batch)
        return zq_graph_images(graph);
    for (int v = 0; v < graph->n_values; v++) {
        const int64_t count = zq_shape_count(&graph->values[v].shape);
        if (graph->values[v].constant == NULL && (double)count > most)
            most = (double)count;
    }
    const double fit = run_bytes / (3 * sizeof(float) * most);
    return fit < 1 ? 1 : fit < (double)n_images ? (int64_t)fit : n_images;
}

static zq_status run(search *s, const zq_images *images, zq_error *err) {
    zq_plan_options options = {.n_images = choose_images(s->graph, images->shape.dims[0]),
                               .statistics = true};
    const zq_plan_room room = {0};
    const zq_plan_visitor visitor = {.after = visit, .user = s};
    zq_plan *plan;
    ZQ_TRY(zq_plan_fit(s->graph, &options, &room, &plan, err));
    zq_plan_set_input(plan, 0, images->data);
    const zq_status status = zq_plan_forward_visited(plan, &visitor, err);
    zq_plan_drop(plan);
    return status;
}

/* ---- the network */

static zq_status fold_maps(search *s, zq_standard *out, zq_error *err) {
    zq_uses uses;
    ZQ_TRY(zq_uses_count(s->graph, &uses, err));
    zq_status status = ZQ_OK;
    for (int i = 0; status == ZQ_OK && i < s->layers->n; i++) {
        const zq_affine *map = &s->maps[i];
        if (map->scale == NULL)
            continue;
        status = zq_affine_fold_output(s->graph, &uses, s->layers->items[i].nodes[0], map, err);
        out->factor[i] = zq_alloc_raw((size_t)map->n, sizeof *out->factor[i]);
        if (out->factor[i] == NULL)
            status = zq_fail_memory(err);
        for (int64_t c = 0; status == ZQ_OK && c < map->n; c++)
            out->factor[i][c] = (float)map->scale[c];
    }
    zq_uses_clear(&uses);
    return status;
}

static zq_status make_room(search *s, zq_error *err) {
    size_t most = 1;
    for (int i = 0; i < s->layers->n; i++)
        most = (size_t)s->layers->items[i].n_channels > most ? (size_t)s->layers->items[i].n_channels : most;
    s->layer_of = zq_alloc_raw((size_t)s->graph->n_nodes, sizeof *s->layer_of);
    s->maps = zq_alloc((size_t)s->layers->n, sizeof *s->maps);
    s->mean = zq_alloc_raw(4 * most, sizeof *s->mean);
    if (s->layer_of == NULL || s->maps == NULL || s->mean == NULL)
        return zq_fail_memory(err);
    s->variance = s->mean + most;
    s->scale = s->variance + most;
    s->shift = s->scale + most;
    return ZQ_OK;
}

zq_status zq_standard_new(zq_graph *graph, const zq_layers *layers, const zq_images *images, zq_standard *out,
                          zq_error *err) {
    *out = (zq_standard){.n_layers = layers->n};
    out->graph = zq_graph_copy(graph);
    out->factor = zq_alloc((size_t)layers->n, sizeof *out->factor);
    search s = {.layers = layers, .graph = out->graph};
    zq_status status = out->graph == NULL || out->factor == NULL ? zq_fail_memory(err) : make_room(&s, err);
    if (status == ZQ_OK)
        status = find_known(&s, err);
    if (status == ZQ_OK)
        status = run(&s, images, err);
    if (status == ZQ_OK)
        status = fold_maps(&s, out, err);
    for (int i = 0; s.maps != NULL && i < layers->n; i++)
        zq_affine_clear(&s.maps[i]);
    zq_free(s.maps);
    zq_free(s.layer_of);
    zq_free(s.mean);
    if (status != ZQ_OK)
        zq_standard_clear(out);
    return status;
}

void zq_standard_clear(zq_standard *standard) {
    for (int i = 0; standard->factor != NULL && i < standard->n_layers; i++)
        zq_free(standard->factor[i]);
    zq_free(standard->factor);
    zq_graph_drop(standard->graph);
    *standard = (zq_standard){0};
}

/* ---- and back */

static float factor_of(const zq_standard *standard, int layer, int64_t channel) {
    return standard->factor[layer] != NULL ? standard->factor[layer][channel] : 1;
}

zq_status zq_standard_scale_floor(const zq_standard *standard, const zq_graph *graph, const zq_layers *layers,
                                  int layer, const zq_activation *activations, float *scale, zq_error *err) {
    const int64_t n = layers->items[layer].n_channels;
    float *own = zq_alloc_raw((size_t)n, sizeof *own);
    if (own == NULL)
        return zq_fail_memory(err);
    zq_bias_scale_floor(standard->graph, &layers->items[layer], activations, scale);
    zq_bias_scale_floor(graph, &layers->items[layer], activations, own);
    for (int64_t c = 0; c < n; c++)
        scale[c] = fmaxf(scale[c], own[c] * factor_of(standard, layer, c));
    zq_free(own);
    return ZQ_OK;
}

zq_status zq_standard_undo_weights(const zq_standard *standard, int layer, const zq_weights *weights,
                                   zq_weights *out, zq_error *err) {
    ZQ_TRY(zq_weights_copy(weights, out, err));
    for (int64_t c = 0; c < weights->n_channels; c++)
        out->scale[c] /= factor_of(standard, layer, c);
    return ZQ_OK;
}

/* One node's bias is moved as the calibration network's was. */
static void undo_bias(const zq_standard *standard, int layer, int node, const zq_graph *corrected,
                      zq_graph *graph) {
    const int bias = graph->nodes[node].n_inputs > 2 ? graph->nodes[node].inputs[2] : -1;
    const zq_tensor *before =
        bias < 0 ? NULL : standard->graph->values[standard->graph->nodes[node].inputs[2]].constant;
    if (before == NULL || graph->values[bias].constant == NULL)
        return;
    const zq_tensor *after = corrected->values[corrected->nodes[node].inputs[2]].constant;
    zq_real *own = graph->values[bias].constant->data;
    const int64_t n = zq_shape_count(&graph->values[bias].constant->shape),
                  n_before = zq_shape_count(&before->shape);
    for (int64_t c = 0; c < n; c++) {
        const double moved = zq_tensor_item(after, c) - zq_tensor_item(before, n_before == 1 ? 0 : c);
        own[c] = (zq_real)(own[c] + moved / factor_of(standard, layer, c));
    }
}

zq_status zq_standard_undo_biases(const zq_standard *standard, const zq_graph *graph, const zq_layers *layers,
                                  const zq_graph *corrected, zq_graph **graph_out, zq_error *err) {
    zq_graph *copy = zq_graph_copy(graph);
    zq_status status = copy == NULL ? zq_fail_memory(err) : zq_layers_own_biases(copy, layers, err);
    if (status != ZQ_OK) {
        zq_graph_drop(copy);
        return status;
    }
    for (int i = 0; i < layers->n; i++)
        for (int k = 0; k < layers->items[i].n_nodes; k++)
            undo_bias(standard, i, layers->items[i].nodes[k], corrected, copy);
    *graph_out = copy;
    return ZQ_OK;
}
