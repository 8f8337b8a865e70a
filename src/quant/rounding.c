/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/rounding.h"

#include "base/memory.h"
#include "engine/plan.h"
#include "quant/round_layer.h"

#include <string.h>

typedef struct session {
    zq_rounder rounder;
    zq_rounding *result;
    const int *layer_of;
    int *n_seen;         /* [n_layers] nodes that have run */
    zq_moments *moments; /* [n_layers] what one layer needs until its last node has run */
    zq_step_callback callback;
    void *user;
    int done;
} session;

/* ---- what both passes need */

zq_status zq_rounding_start(const zq_layers *layers, int n_widths, const int *widths, zq_rounding *out,
                            zq_error *err) {
    *out = (zq_rounding){.n_layers = layers->n, .n_widths = n_widths};
    memcpy(out->widths, widths, (size_t)n_widths * sizeof *widths);
    out->weights = zq_alloc((size_t)layers->n * (size_t)n_widths, sizeof *out->weights);
    out->loss = zq_alloc((size_t)layers->n * (size_t)n_widths, sizeof *out->loss);
    out->scarce = zq_alloc((size_t)layers->n, sizeof *out->scarce);
    return out->weights == NULL || out->loss == NULL || out->scarce == NULL ? zq_fail_memory(err) : ZQ_OK;
}

/* What the widest values of one run may take. */
static const double run_bytes = 7e8;

int64_t zq_rounding_images(const zq_graph *graph, int64_t n_images) {
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

/* Of the layer that takes the most. */
static size_t layer_bytes(const zq_graph *graph, const zq_layer *layer) {
    const size_t k = (size_t)layer->per_channel, n = (size_t)layer->n_channels;
    const size_t groups = (size_t)zq_moments_groups(graph, layer);
    const size_t gram = groups * k * k, patches = (2 * k + n) * 1024; /* and then, instead, the factor */
    return (gram + (gram > patches ? gram : patches) + 5 * n * k) * sizeof(float);
}

size_t zq_rounding_bytes(const zq_graph *graph, const zq_layers *layers, int n_widths, bool settled) {
    const size_t own =
        settled ? 3 * zq_layers_largest(layers) * sizeof(float) : 0; /* residuals, weights twice */
    size_t most = 0;
    for (int i = 0; i < layers->n; i++) {
        const size_t bytes = layer_bytes(graph, &layers->items[i]);
        most = bytes > most ? bytes : most;
    }
    return most + own + (size_t)n_widths * zq_layers_weights(layers);
}

/* ---- one pass through the calibration network */

static zq_status visit(void *user, zq_plan *plan, int node, zq_error *err) {
    session *s = user;
    const int i = s->layer_of[node];
    if (i < 0)
        return ZQ_OK;
    const zq_layer *layer = &s->rounder.layers->items[i];
    const int64_t n = zq_plan_positions(plan, node);
    s->result->scarce[i] =
        n < layer->per_channel || n <= zq_plan_shape(plan, s->rounder.graph->inputs[0])->dims[0];
    if (!layer->affine)
        ZQ_TRY(zq_moments_add(&s->moments[i], plan, s->rounder.graph, layer, node, NULL, err));
    if (++s->n_seen[i] < layer->n_nodes)
        return ZQ_OK;
    ZQ_TRY(zq_round_layer(&s->rounder, i, &s->moments[i], s->result->n_widths, s->result->widths,
                          s->result->weights + i * s->result->n_widths,
                          s->result->loss + i * s->result->n_widths, err));
    s->done++;
    if (s->callback != NULL && s->callback(s->user, s->done, s->result->n_layers) != 0)
        return zq_fail(err, ZQ_ERR_CANCELLED, "cancelled after rounding %d of %d layers", s->done,
                       s->result->n_layers);
    return ZQ_OK;
}

static zq_status run(session *s, const zq_images *images, zq_error *err) {
    zq_plan_options options = {.n_images = zq_rounding_images(s->rounder.graph, images->shape.dims[0])};
    const zq_plan_room room = {
        .spare = zq_rounding_bytes(s->rounder.graph, s->rounder.layers, s->result->n_widths, false)};
    const zq_plan_visitor visitor = {.before = visit, .user = s};
    zq_plan *plan;
    ZQ_TRY(zq_plan_fit(s->rounder.standard->graph, &options, &room, &plan, err));
    zq_plan_set_input(plan, 0, images->data);
    const zq_status status = zq_plan_forward_visited(plan, &visitor, err);
    zq_plan_drop(plan);
    return status;
}

zq_status zq_rounding_new(const zq_rounder *rounder, const zq_images *images, int n_widths, const int *widths,
                          zq_step_callback callback, void *user, zq_rounding *out, zq_error *err) {
    const zq_layers *layers = rounder->layers;
    int *layer_of = zq_layers_of_nodes(layers, rounder->graph->n_nodes);
    session s = {
        .rounder = *rounder, .result = out, .layer_of = layer_of, .callback = callback, .user = user};
    zq_status status = zq_rounding_start(layers, n_widths, widths, out, err);
    s.n_seen = zq_alloc((size_t)layers->n, sizeof *s.n_seen);
    s.moments = zq_alloc((size_t)layers->n, sizeof *s.moments);
    if (layer_of == NULL || s.n_seen == NULL || s.moments == NULL)
        status = zq_fail_memory(err);
    if (status == ZQ_OK)
        status = run(&s, images, err);
    for (int i = 0; s.moments != NULL && i < layers->n; i++)
        zq_moments_clear(&s.moments[i]);
    zq_free(s.moments);
    zq_free(s.n_seen);
    zq_free(layer_of);
    if (status != ZQ_OK)
        zq_rounding_clear(out);
    return status;
}

void zq_rounding_clear(zq_rounding *rounding) {
    for (int i = 0; rounding->weights != NULL && i < rounding->n_layers * rounding->n_widths; i++)
        zq_weights_clear(&rounding->weights[i]);
    zq_free(rounding->weights);
    zq_free(rounding->loss);
    zq_free(rounding->scarce);
    *rounding = (zq_rounding){0};
}

zq_weights *zq_rounding_at(const zq_rounding *rounding, int layer, int bits) {
    for (int k = 0; k < rounding->n_widths; k++)
        if (rounding->widths[k] == bits)
            return &rounding->weights[layer * rounding->n_widths + k];
    return NULL;
}
