/* SPDX-License-Identifier: Apache-2.0 */
/* Rounding in the quantized network (asymmetric calibration: GPTAQ, Li et al., 2025, arXiv:2504.02692). One
 * plan runs every image twice: the first half through the FP32 network, the second through the quantized one
 * as far as it is known, so that no layer's inputs have to be kept. */
#include "base/memory.h"
#include "engine/plan.h"
#include "quant/rounding.h"

#include <string.h>

typedef struct session {
    const zq_rounder *rounder;
    const zq_rounding *from;
    const int *bits;
    zq_rounding *result;
    int *layer_of;          /* [n_nodes], owned like all below */
    bool *known;            /* [n_layers] */
    float *w, *stored;      /* room for the largest layer */
    float *mean, *variance; /* [images of the plan, channels]; room for the most channels */
    float *scale, *shift;   /* the same for [channels] */
    const float *varied[2];
    zq_plan_override override;
} session;

static bool has_bias(const zq_graph *graph, int node) {
    return graph->nodes[node].n_inputs > 2 && graph->nodes[node].inputs[2] >= 0;
}

static zq_status find_weights(session *s, const zq_plan *plan, int i, int node, zq_error *err) {
    const zq_layer *layer = &s->rounder->layers->items[i];
    zq_weights *out = zq_rounding_at(s->result, i, s->bits[i]);
    zq_moments moments = {0};
    double loss;
    s->known[i] = true;
    if (layer->affine || layer->n_nodes > 1)
        return zq_weights_copy(zq_rounding_at(s->from, i, s->bits[i]), out, err);
    zq_layer_load(s->rounder->standard->graph, layer, s->w);
    zq_status status = zq_moments_add(&moments, plan, s->rounder->graph, layer, node, s->w, err);
    if (status == ZQ_OK)
        status = zq_round_layer(s->rounder, i, &moments, 1, &s->bits[i], out, &loss, err);
    zq_moments_clear(&moments);
    return status;
}

static zq_status before(void *user, zq_plan *plan, int node, zq_error *err) {
    session *s = user;
    const int i = s->layer_of[node];
    if (i < 0)
        return ZQ_OK;
    const zq_layer *layer = &s->rounder->layers->items[i];
    zq_graph *graph = s->rounder->standard->graph;
    if (!s->known[i])
        ZQ_TRY(find_weights(s, plan, i, node, err));
    zq_weights_dequantize(zq_rounding_at(s->result, i, s->bits[i]), s->w);
    zq_layer_store(graph, layer, s->w, s->stored);
    s->varied[0] = graph->values[layer->weight].constant->data;
    s->varied[1] = s->stored;
    s->override = (zq_plan_override){.node = node, .n_variants = 2, .weights = s->varied};
    return zq_plan_vary(plan, &s->override, err);
}

/* The second half of the images gets the channel means of the first, as correcting the bias will give it. */
static void correct_means(session *s, zq_plan *plan, int value) {
    const zq_shape *shape = zq_plan_shape(plan, value);
    const int64_t n_channels = shape->dims[1], half = shape->dims[0] / 2;
    zq_plan_image_statistics(plan, value, s->mean, s->variance);
    for (int64_t c = 0; c < n_channels; c++) {
        double sum = 0;
        for (int64_t image = 0; image < half; image++)
            sum += (double)s->mean[image * n_channels + c] - s->mean[(half + image) * n_channels + c];
        s->shift[c] = (float)(sum / (double)half);
        s->scale[c] = 1;
    }
    zq_plan_map_channels(plan, value, half, s->scale, s->shift);
}

static zq_status after(void *user, zq_plan *plan, int node, zq_error *err) {
    session *s = user;
    const zq_graph *graph = s->rounder->standard->graph;
    (void)err;
    if (s->layer_of[node] >= 0 && has_bias(graph, node))
        correct_means(s, plan, graph->nodes[node].outputs[0]);
    for (int o = 0; o < graph->nodes[node].n_outputs; o++) {
        const int value = zq_plan_find(plan, graph->nodes[node].outputs[o]);
        if (value < 0 || !s->rounder->activations[value].used)
            continue;
        size_t n;
        float *const x = zq_plan_poke(plan, value, &n);
        zq_activation_apply(&s->rounder->activations[value], n / 2, x + n / 2, x + n / 2);
    }
    return ZQ_OK;
}

/* ---- the pass */

static zq_status make_room(session *s, int64_t n_images, zq_error *err) {
    const zq_layers *layers = s->rounder->layers;
    int64_t n_weights = 1, n_channels = 1;
    for (int i = 0; i < layers->n; i++) {
        const zq_layer *layer = &layers->items[i];
        const int64_t n = layer->n_channels * layer->per_channel;
        n_weights = n > n_weights ? n : n_weights;
        n_channels = layer->n_channels > n_channels ? layer->n_channels : n_channels;
    }
    s->layer_of = zq_layers_of_nodes(layers, s->rounder->graph->n_nodes);
    s->known = zq_alloc((size_t)layers->n, sizeof *s->known);
    s->w = zq_alloc_raw((size_t)n_weights, 2 * sizeof *s->w);
    s->mean = zq_alloc_raw((size_t)n_channels, (size_t)(2 * n_images + 2) * sizeof *s->mean);
    if (s->layer_of == NULL || s->known == NULL || s->w == NULL || s->mean == NULL)
        return zq_fail_memory(err);
    s->stored = s->w + n_weights;
    s->variance = s->mean + n_images * n_channels;
    s->scale = s->variance + n_images * n_channels;
    s->shift = s->scale + n_channels;
    return ZQ_OK;
}

/* The images twice, quantized the second time. */
static zq_status set_input(const session *s, zq_plan *plan, const zq_images *images, int64_t half,
                           zq_error *err) {
    const int input = s->rounder->graph->inputs[0];
    const size_t n = (size_t)(half * (zq_shape_count(&images->shape) / images->shape.dims[0]));
    float *both = zq_alloc_raw(2 * n, sizeof *both);
    if (both == NULL)
        return zq_fail_memory(err);
    memcpy(both, images->data, n * sizeof *both);
    memcpy(both + n, images->data, n * sizeof *both);
    if (s->rounder->activations[input].used)
        zq_activation_apply(&s->rounder->activations[input], n, both + n, both + n);
    zq_plan_set_input(plan, 0, both);
    zq_free(both);
    return ZQ_OK;
}

static zq_status run(session *s, const zq_images *images, zq_error *err) {
    const int64_t most = zq_rounding_images(s->rounder->graph, 2 * images->shape.dims[0]) / 2;
    zq_plan_options options = {
        .n_images = most < 1 ? 1 : most, .separate = true, .statistics = true, .varied = true};
    const int64_t image = zq_shape_count(&images->shape) / images->shape.dims[0];
    const zq_plan_room room = {.copies = 2,
                               .spare = zq_rounding_bytes(s->rounder->graph, s->rounder->layers, 1, true),
                               .per_image = (size_t)image * sizeof(float)};
    const zq_plan_visitor visitor = {.before = before, .after = after, .user = s};
    zq_plan *plan;
    ZQ_TRY(zq_plan_fit(s->rounder->standard->graph, &options, &room, &plan, err));
    zq_status status = make_room(s, 2 * options.n_images, err);
    if (status == ZQ_OK)
        status = set_input(s, plan, images, options.n_images, err);
    if (status == ZQ_OK)
        status = zq_plan_forward_visited(plan, &visitor, err);
    zq_plan_drop(plan);
    return status;
}

zq_status zq_rounding_settle(const zq_rounder *rounder, const zq_images *images, const zq_rounding *from,
                             const int *bits, zq_rounding *out, zq_error *err) {
    session s = {.rounder = rounder, .from = from, .bits = bits, .result = out};
    zq_status status = zq_rounding_start(rounder->layers, from->n_widths, from->widths, out, err);
    if (status == ZQ_OK)
        status = run(&s, images, err);
    zq_free(s.layer_of);
    zq_free(s.known);
    zq_free(s.w);
    zq_free(s.mean);
    if (status != ZQ_OK)
        zq_rounding_clear(out);
    return status;
}
