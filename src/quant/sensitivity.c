/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/sensitivity.h"

#include "base/memory.h"
#include "engine/plan.h"
#include "quant/fisher.h"
#include "quant/rounding.h"
#include "quant/sampling.h"

#include <math.h>
#include <string.h>

/* Bytes of activations in one plan. */
static const double memory_limit_bytes = 1.2e9;

/* Sampled: from this width on damage is so small that it grows with the square of the weights' errors. What
 * lies between it and the narrowest one, 3 bits, follows from both. */
enum { MOST_MEASURED_BITS = 4 };

/* All that one measurement needs. The plan holds `variants` groups of `micro` images: the same images in
 * every group, so that one run measures as many widths of a layer. */
typedef struct session {
    zq_graph *graph;
    const zq_layers *layers;
    const zq_images *images;
    const zq_rounding *rounding;
    zq_sensitivity *result;
    bool sampled;
    int n_measured, measured[ZQ_MAX_WIDTHS]; /* which of the widths, increasing; the others follow */
    zq_plan *plan;                           /* owned, like all below */
    int64_t n_images;                        /* of them that are used, at most */
    int64_t micro, first;                    /* of a batch: how many, and its first one */
    int variants;
    double *halves[2];             /* [n_layers, n_widths] sums over every other batch */
    float *input;                  /* [variants * micro images] */
    float **reference, **output;   /* [n_outputs], each of variants * micro images */
    double *distance;              /* [micro] */
    float *channel_first;          /* room for the largest layer */
    float *weights[ZQ_MAX_WIDTHS]; /* the same, for each width, in the constant's layout */
    const float **group;           /* [n_outputs] into output */
    zq_step_callback callback;
    void *user;
    int done, total; /* layers times batches */
} session;

/* ---- memory */

static double bytes_of_image(const zq_graph *graph) {
    double bytes = 0;
    for (int v = 0; v < graph->n_values; v++) {
        const int64_t count = zq_shape_count(&graph->values[v].shape);
        if (graph->values[v].constant == NULL && count > 0)
            bytes += (double)count * sizeof(float);
    }
    return bytes;
}

/* A graph with a fixed batch takes one width at a time. */
static int64_t choose_micro(const session *s) {
    const double bytes = bytes_of_image(s->graph) * s->variants;
    int64_t micro = s->sampled && s->n_images > ZQ_SAMPLED_TOGETHER ? ZQ_SAMPLED_TOGETHER : s->n_images;
    if (!s->graph->free_batch)
        return zq_graph_images(s->graph);
    while (micro > 1 && (s->n_images % micro != 0 || bytes * (double)micro > memory_limit_bytes))
        micro--;
    return micro;
}

/* All widths in one run, or where there is no room for that one at a time. */
static zq_status make_plan(session *s, zq_error *err) {
    const int64_t n_given = s->images->shape.dims[0];
    const size_t image = (size_t)(zq_shape_count(&s->images->shape) / n_given) * sizeof(float);
    s->n_images = s->sampled ? zq_sample_images(s->graph, s->layers->n, n_given) : n_given;
    s->variants = s->graph->free_batch ? s->n_measured : 1;
    for (;; s->variants = 1) {
        zq_plan_options options = {.n_images = choose_micro(s), .keep_values = true};
        const zq_plan_room room = {.divides = s->n_images,
                                   .copies = s->variants,
                                   .spare = (3 + (size_t)s->n_measured) * zq_layers_largest(s->layers) *
                                            sizeof(float),
                                   .per_image = image};
        const zq_status status = zq_plan_fit(s->graph, &options, &room, &s->plan, err);
        const bool fits = status == ZQ_OK && zq_memory_left() >= room.spare;
        s->micro = options.n_images;
        if (s->variants == 1 || fits || (status != ZQ_OK && status != ZQ_ERR_MEMORY))
            return status;
        zq_plan_drop(s->plan);
        s->plan = NULL;
    }
}

static zq_status make_room(session *s, zq_error *err) {
    const size_t copies = (size_t)s->variants * (size_t)s->micro;
    const size_t image = (size_t)(zq_shape_count(&s->images->shape) / s->images->shape.dims[0]);
    const size_t largest = zq_layers_largest(s->layers);
    s->input = zq_alloc_raw(copies * image, sizeof(float));
    s->distance = zq_alloc((size_t)s->micro, sizeof(double));
    s->channel_first = zq_alloc_raw(largest, sizeof(float));
    s->reference = zq_alloc((size_t)s->graph->n_outputs, sizeof(float *));
    s->output = zq_alloc((size_t)s->graph->n_outputs, sizeof(float *));
    s->group = zq_alloc((size_t)s->graph->n_outputs, sizeof(float *));
    bool ok = s->group != NULL && s->input != NULL && s->distance != NULL && s->channel_first != NULL &&
              s->reference != NULL && s->output != NULL;
    for (int h = 0; h < 2 && ok; h++)
        ok = (s->halves[h] = zq_alloc((size_t)s->layers->n * (size_t)s->result->n_widths, sizeof(double))) !=
             NULL;
    for (int k = 0; k < s->n_measured && ok; k++)
        ok = (s->weights[k] = zq_alloc_raw(largest, sizeof(float))) != NULL;
    for (int o = 0; o < s->graph->n_outputs && ok; o++) {
        const size_t n = (size_t)zq_shape_count(zq_plan_shape(s->plan, s->graph->outputs[o]));
        s->reference[o] = zq_alloc_raw(n, sizeof(float));
        s->output[o] = zq_alloc_raw(n, sizeof(float));
        ok = s->reference[o] != NULL && s->output[o] != NULL;
    }
    return ok ? ZQ_OK : zq_fail_memory(err);
}

static void session_clear(session *s) {
    for (int o = 0; o < s->graph->n_outputs; o++) {
        if (s->reference != NULL)
            zq_free(s->reference[o]);
        if (s->output != NULL)
            zq_free(s->output[o]);
    }
    zq_free(s->group);
    zq_free(s->halves[0]);
    zq_free(s->halves[1]);
    for (int k = 0; k < ZQ_MAX_WIDTHS; k++)
        zq_free(s->weights[k]);
    zq_free(s->reference);
    zq_free(s->output);
    zq_free(s->input);
    zq_free(s->distance);
    zq_free(s->channel_first);
    zq_plan_drop(s->plan);
}

/* ---- measuring */

static void read_outputs(session *s, float **dst) {
    for (int o = 0; o < s->graph->n_outputs; o++)
        zq_plan_read(s->plan, s->graph->outputs[o], dst[o]);
}

static void load_weights(session *s, int layer) {
    for (int k = 0; k < s->n_measured; k++) {
        const int width = s->measured[k];
        zq_weights_dequantize(&s->rounding->weights[layer * s->result->n_widths + width], s->channel_first);
        zq_layer_store(s->graph, &s->layers->items[layer], s->channel_first, s->weights[k]);
    }
}

/* A layer at a width, in group number group of the output: adds the distances of the images to its sum. */
static void add_distance(session *s, int group, int layer, int width, double *sums) {
    for (int o = 0; o < s->graph->n_outputs; o++) {
        const int64_t n = zq_shape_count(zq_plan_shape(s->plan, s->graph->outputs[o])) / s->variants;
        s->group[o] = s->output[o] + group * n;
    }
    zq_output_distance(s->graph, s->micro, (const float *const *)s->reference, s->group, s->distance, NULL);
    for (int64_t i = 0; i < s->micro; i++)
        sums[width] += s->distance[i];
    zq_superposed_keep_layer(&s->result->superposed, layer, width, s->first, s->micro, s->group[0]);
}

/* One node: only what lies behind it runs, for `variants` widths at a time. */
static zq_status measure_node(session *s, int layer, int node, double *sums, zq_error *err) {
    for (int k = 0; k < s->n_measured; k += s->variants) {
        const zq_plan_override override = {
            .node = node, .n_variants = s->variants, .weights = (const float *const *)(s->weights + k)};
        ZQ_TRY(zq_plan_forward_override(s->plan, &override, err));
        read_outputs(s, s->output);
        for (int v = 0; v < s->variants; v++)
            add_distance(s, v, layer, s->measured[k + v], sums);
    }
    return ZQ_OK;
}

/* Several nodes share the weight: the whole network runs once for each width, and once more to be as before.
 */
static zq_status measure_shared(session *s, int i, double *sums, zq_error *err) {
    const zq_layer *layer = &s->layers->items[i];
    zq_status status = ZQ_OK;
    for (int k = 0; k <= s->n_measured; k++) {
        const float *weights = k < s->n_measured ? s->weights[k] : NULL;
        for (int n = 0; n < layer->n_nodes && status == ZQ_OK; n++)
            status = zq_plan_set_weights(s->plan, layer->nodes[n], weights, err);
        if (status == ZQ_OK)
            status = zq_plan_forward(s->plan, err);
        if (status != ZQ_OK)
            return status;
        if (weights != NULL) {
            read_outputs(s, s->output);
            add_distance(s, 0, i, s->measured[k], sums);
        }
    }
    return ZQ_OK;
}

static zq_status measure_layer(session *s, int i, double *half, zq_error *err) {
    const zq_layer *layer = &s->layers->items[i];
    double *const sums = half + (size_t)i * (size_t)s->result->n_widths;
    load_weights(s, i);
    ZQ_TRY(layer->n_nodes == 1 ? measure_node(s, i, layer->nodes[0], sums, err)
                               : measure_shared(s, i, sums, err));
    s->done++;
    if (s->callback != NULL && s->callback(s->user, s->done, s->total) != 0)
        return zq_fail(err, ZQ_ERR_CANCELLED, "cancelled after %d of %d sensitivities", s->done, s->total);
    return ZQ_OK;
}

/* All layers, from the last to the first: what an override disturbs is then behind the next one as well. */
static zq_status measure_batch(session *s, int64_t first, double *half, zq_error *err) {
    const int64_t image = zq_shape_count(&s->images->shape) / s->images->shape.dims[0];
    for (int v = 0; v < s->variants; v++)
        memcpy(s->input + v * s->micro * image, s->images->data + first * image,
               (size_t)(s->micro * image) * sizeof(float));
    zq_plan_set_input(s->plan, 0, s->input);
    ZQ_TRY(zq_plan_forward(s->plan, err));
    read_outputs(s, s->reference);
    s->first = first;
    zq_superposed_keep(&s->result->superposed, first, s->micro, s->reference[0]);
    for (int i = s->layers->n - 1; i >= 0; i--)
        ZQ_TRY(measure_layer(s, i, half, err));
    return ZQ_OK;
}

static double squared_error(const session *s, int i, int k, const float *w, float *rounded) {
    const zq_weights *weights = &s->rounding->weights[i * s->result->n_widths + k];
    double sum = 0;
    zq_weights_dequantize(weights, rounded);
    for (int64_t at = 0; at < weights->n_channels * weights->per_channel; at++)
        sum += ((double)w[at] - rounded[at]) * ((double)w[at] - rounded[at]);
    return sum;
}

/* How much less error width number k makes than number last: of the layer's outputs where that is known, else
 * of its weights. */
static double less(const session *s, int i, int k, int last) {
    const double *const loss = s->rounding->loss == NULL ? NULL : s->rounding->loss + i * s->result->n_widths;
    if (loss != NULL && loss[last] > 0)
        return loss[k] / loss[last];
    float *const w = s->weights[0];
    zq_layer_load(s->graph, &s->layers->items[i], w);
    const double error = squared_error(s, i, last, w, s->channel_first);
    return error > 0 ? squared_error(s, i, k, w, s->channel_first) / error : 0;
}

/* Between widths a < k < b, on the line through their errors and damages in logarithms; beyond the last one
 * (a == b), damage grows as the error does. */
static double interpolated(const session *s, int i, int a, int k, int b, const double *omega) {
    const double part = less(s, i, k, b), whole = a == b ? 0 : less(s, i, a, b);
    return whole > 1 && part > 0 && omega[a] > 0 && omega[b] > 0
               ? omega[b] * pow(omega[a] / omega[b], fmin(1, log(part) / log(whole)))
               : omega[b] * part;
}

/* Damage grows with the square of what scores are off by. */
static void derive(session *s, int i, int k, double *omega) {
    int above = 0;
    while (above < s->n_measured - 1 && s->measured[above] < k)
        above++;
    const int b = s->measured[above], a = b > k && above > 0 ? s->measured[above - 1] : b;
    omega[k] = interpolated(s, i, a, k, b, omega);
    zq_superposed_derive(&s->result->superposed, i, k, b,
                         omega[b] > 0 ? (float)sqrt(omega[k] / omega[b]) : 0);
}

static bool is_measured(const session *s, int k) {
    for (int m = 0; m < s->n_measured; m++)
        if (s->measured[m] == k)
            return true;
    return false;
}

/* Means of what was measured, and the widths that weren't. */
static void conclude(session *s, int64_t n_images) {
    const int n_widths = s->result->n_widths;
    for (int i = 0; i < s->layers->n; i++) {
        double *const omega = s->result->omega + i * n_widths;
        const double *const a = s->halves[0] + i * n_widths, *const b = s->halves[1] + i * n_widths;
        for (int k = 0; k < n_widths; k++)
            omega[k] = (a[k] + b[k]) / (double)n_images;
        for (int k = 0; k < n_widths; k++)
            if (!is_measured(s, k))
                derive(s, i, k, omega);
    }
}

/* ---- all ways */

/* All, or the least one and the first that isn't below MOST_MEASURED_BITS. */
static void choose_measured(session *s) {
    const int n_widths = s->result->n_widths, *const widths = s->result->widths;
    int most = 0;
    while (most + 1 < n_widths && widths[most] < MOST_MEASURED_BITS)
        most++;
    for (int k = 0; k < n_widths; k++)
        if (!s->sampled || k == 0 || k == most)
            s->measured[s->n_measured++] = k;
}

static zq_status measure_runs(session *s, zq_error *err) {
    const int n_widths = s->result->n_widths;
    choose_measured(s);
    zq_status status = make_plan(s, err);
    const int64_t n_batches = status == ZQ_OK ? s->n_images / s->micro : 0;
    s->total = (int)n_batches * s->layers->n;
    if (status == ZQ_OK)
        status = make_room(s, err);
    if (status == ZQ_OK)
        zq_superposed_init(s->graph, s->layers->n, n_widths, s->n_images, &s->result->superposed);
    int64_t b = 0;
    for (bool enough_seen = false; b < n_batches && status == ZQ_OK && !enough_seen; b++) {
        status = measure_batch(s, b * s->micro, s->halves[b % 2], err);
        enough_seen = s->sampled && b % 2 == 1 &&
                      zq_sample_agrees((size_t)s->layers->n * (size_t)n_widths, s->halves[0], s->halves[1]);
    }
    if (status == ZQ_OK)
        conclude(s, b * s->micro);
    session_clear(s);
    return status;
}

static bool are_finite(const zq_sensitivity *s) {
    for (int i = 0; i < s->n_layers * s->n_widths; i++)
        if (!isfinite(s->omega[i]))
            return false;
    return true;
}

zq_status zq_sensitivity_measure(zq_graph *graph, const zq_layers *layers, const zq_images *images,
                                 const zq_rounding *rounding, zq_sensitivity_method method,
                                 zq_step_callback callback, void *user, zq_sensitivity *out, zq_error *err) {
    const int n_widths = rounding->n_widths, *const widths = rounding->widths;
    *out = (zq_sensitivity){.n_layers = layers->n, .n_widths = n_widths};
    if (n_widths < 1 || n_widths > ZQ_MAX_WIDTHS || images->shape.rank < 1 || images->shape.dims[0] < 1)
        return zq_fail(err, ZQ_ERR_INTERNAL, "sensitivity of %d widths on %lld images", n_widths,
                       (long long)(images->shape.rank < 1 ? 0 : images->shape.dims[0]));
    memcpy(out->widths, widths, (size_t)n_widths * sizeof *widths);
    out->omega = zq_alloc((size_t)layers->n * (size_t)n_widths, sizeof(double));
    if (out->omega == NULL)
        return zq_fail_memory(err);
    out->method = method;
    zq_status status = ZQ_OK;
    if (method == ZQ_SENSITIVITY_FISHER) {
        status = zq_fisher_measure(graph, layers, images, n_widths, rounding->weights, callback, user,
                                   out->omega, err);
        /* an operator without a gradient, or one that is infinite somewhere */
        if (status == ZQ_ERR_UNSUPPORTED || (status == ZQ_OK && !are_finite(out)))
            out->method = ZQ_SENSITIVITY_EXACT;
    }
    if (out->method != ZQ_SENSITIVITY_FISHER) {
        session s = {.graph = graph,
                     .layers = layers,
                     .images = images,
                     .rounding = rounding,
                     .result = out,
                     .sampled = out->method == ZQ_SENSITIVITY_SAMPLED,
                     .callback = callback,
                     .user = user};
        status = measure_runs(&s, err);
    }
    /* 8 bits are exact for a per-channel scale */
    for (int i = 0; i < layers->n; i++)
        for (int k = 0; k < n_widths && layers->items[i].affine; k++)
            if (widths[k] == 8) {
                out->omega[i * n_widths + k] = 0;
                zq_superposed_derive(&out->superposed, i, k, k, 0);
            }
    if (status != ZQ_OK)
        zq_sensitivity_clear(out);
    return status;
}

void zq_sensitivity_clear(zq_sensitivity *sensitivity) {
    zq_free(sensitivity->omega);
    zq_superposed_clear(&sensitivity->superposed);
    memset(sensitivity, 0, sizeof *sensitivity);
}
