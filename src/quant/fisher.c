/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/fisher.h"

#include "base/memory.h"
#include "engine/plan.h"

#include <string.h>

/* Bytes of activations and responses in a run. */
static const double memory_limit_bytes = 5e8;

/* A node with weights. */
typedef struct source {
    int node, layer;
    size_t n;                       /* elements of its output, all images of a run */
    float *response[ZQ_MAX_WIDTHS]; /* [n] for each width, in the plan's order; owned */
} source;

typedef struct session {
    zq_graph *graph;
    const zq_layers *layers;
    const zq_images *images;
    int n_widths;
    const zq_weights *weights;
    zq_plan *plan; /* owned, like all below */
    int64_t micro; /* images in a run */
    int n_sources;
    source *sources;
    double *slope;        /* [n_layers, n_widths, micro] v' dz of each image, for the probe at hand */
    float *channel_first; /* room for the largest layer */
    float *w;             /* the same, in the constant's layout */
    float **reference;    /* [n_outputs] */
    float **probe;        /* [n_outputs] */
    zq_plan_seed *seeds;  /* [n_outputs] */
    zq_step_callback callback;
    void *user;
    int done, total;
} session;

/* ---- memory */

static double value_bytes(const session *s) {
    double bytes = 0;
    for (int v = 0; v < s->graph->n_values; v++)
        if (s->graph->values[v].constant == NULL)
            bytes += (double)zq_shape_count(&s->graph->values[v].shape) * sizeof(float);
    return bytes;
}

/* Of one image: about half of the values are outputs of weighted nodes. */
static double response_bytes(const session *s) {
    return 0.5 * value_bytes(s) * s->n_widths;
}

static void choose_micro(session *s) {
    const int64_t n_images = s->images->shape.dims[0];
    s->micro = s->graph->free_batch ? n_images : s->graph->values[s->graph->inputs[0]].shape.dims[0];
    const double bytes = value_bytes(s) + response_bytes(s);
    while (s->graph->free_batch && s->micro > 1 &&
           (n_images % s->micro != 0 || bytes * (double)s->micro > memory_limit_bytes))
        s->micro--;
}

/* Layers that are exact anyway are left out. */
static zq_status find_sources(session *s, zq_error *err) {
    int n = 0;
    for (int i = 0; i < s->layers->n; i++)
        n += s->layers->items[i].affine ? 0 : s->layers->items[i].n_nodes;
    s->sources = zq_alloc((size_t)n, sizeof *s->sources);
    if (s->sources == NULL)
        return zq_fail_memory(err);
    for (int i = 0; i < s->layers->n; i++)
        for (int k = 0; k < s->layers->items[i].n_nodes && !s->layers->items[i].affine; k++) {
            source *source = &s->sources[s->n_sources++];
            source->node = s->layers->items[i].nodes[k];
            source->layer = i;
            source->n =
                (size_t)zq_shape_count(zq_plan_shape(s->plan, s->graph->nodes[source->node].outputs[0]));
            for (int width = 0; width < s->n_widths; width++)
                if ((source->response[width] = zq_alloc_raw(source->n, sizeof(float))) == NULL)
                    return zq_fail_memory(err);
        }
    return ZQ_OK;
}

static zq_status make_room(session *s, zq_error *err) {
    const size_t n_outputs = (size_t)s->graph->n_outputs;
    int64_t largest = 1;
    for (int i = 0; i < s->layers->n; i++) {
        const int64_t n = s->layers->items[i].n_channels * s->layers->items[i].per_channel;
        largest = n > largest ? n : largest;
    }
    s->slope = zq_alloc((size_t)s->layers->n * (size_t)s->n_widths, (size_t)s->micro * sizeof *s->slope);
    s->channel_first = zq_alloc_raw((size_t)largest, sizeof(float));
    s->w = zq_alloc_raw((size_t)largest, sizeof(float));
    s->reference = zq_alloc(n_outputs, sizeof *s->reference);
    s->probe = zq_alloc(n_outputs, sizeof *s->probe);
    s->seeds = zq_alloc(n_outputs, sizeof *s->seeds);
    bool ok = s->slope != NULL && s->channel_first != NULL && s->w != NULL && s->reference != NULL &&
              s->probe != NULL && s->seeds != NULL;
    for (size_t o = 0; o < n_outputs && ok; o++) {
        const size_t n = (size_t)zq_shape_count(zq_plan_shape(s->plan, s->graph->outputs[o]));
        s->reference[o] = zq_alloc_raw(n, sizeof(float));
        s->probe[o] = zq_alloc_raw(n, sizeof(float));
        ok = s->reference[o] != NULL && s->probe[o] != NULL;
    }
    return ok ? find_sources(s, err) : zq_fail_memory(err);
}

static void session_clear(session *s) {
    for (int i = 0; i < s->n_sources; i++)
        for (int k = 0; k < s->n_widths; k++)
            zq_free(s->sources[i].response[k]);
    for (int o = 0; o < s->graph->n_outputs; o++) {
        if (s->reference != NULL)
            zq_free(s->reference[o]);
        if (s->probe != NULL)
            zq_free(s->probe[o]);
    }
    zq_free(s->sources);
    zq_free(s->reference);
    zq_free(s->probe);
    zq_free(s->seeds);
    zq_free(s->slope);
    zq_free(s->channel_first);
    zq_free(s->w);
    zq_plan_drop(s->plan);
}

/* ---- measuring */

static zq_status report(session *s, zq_error *err) {
    s->done++;
    if (s->callback != NULL && s->callback(s->user, s->done, s->total) != 0)
        return zq_fail(err, ZQ_ERR_CANCELLED, "cancelled after %d of %d steps of the sensitivities", s->done,
                       s->total);
    return ZQ_OK;
}

/* What every layer's output changes by, at every width. */
static zq_status respond(session *s, zq_error *err) {
    for (int i = 0; i < s->n_sources; i++) {
        const source *source = &s->sources[i];
        for (int k = 0; k < s->n_widths; k++) {
            zq_weights_dequantize(&s->weights[source->layer * s->n_widths + k], s->channel_first);
            zq_layer_store(s->graph, &s->layers->items[source->layer], s->channel_first, s->w);
            ZQ_TRY(zq_plan_response(s->plan, source->node, s->w, source->response[k], err));
        }
        ZQ_TRY(report(s, err));
    }
    return ZQ_OK;
}

/* In pieces that floats sum without loss that matters. */
static double inner_product(size_t n, const float *a, const float *b) {
    enum { PIECE = 1024 };
    double sum = 0;
    for (size_t at = 0; at < n; at += PIECE) {
        const size_t length = n - at < PIECE ? n - at : PIECE;
        float part = 0;
#pragma omp simd reduction(+ : part)
        for (size_t i = 0; i < length; i++)
            part += a[at + i] * b[at + i];
        sum += (double)part;
    }
    return sum;
}

static zq_status take_gradient(void *user, zq_plan *plan, int node, int value, size_t n, float *gradient,
                               zq_error *err) {
    session *s = user;
    const source *found = NULL;
    for (int i = 0; i < s->n_sources && found == NULL; i++)
        if (s->sources[i].node == node)
            found = &s->sources[i];
    (void)plan, (void)value, (void)err;
    if (found == NULL || found->n != n)
        return ZQ_OK;
    const size_t image = n / (size_t)s->micro;
    double *const slope = s->slope + (int64_t)found->layer * s->n_widths * s->micro;
#pragma omp parallel for schedule(static)
    for (int64_t item = 0; item < s->n_widths * s->micro; item++) {
        const size_t from = (size_t)(item % s->micro) * image;
        slope[item] += inner_product(image, gradient + from, found->response[item / s->micro] + from);
    }
    return ZQ_OK;
}

/* One probe of each image in the plan, the first of which is number first. */
static zq_status probe(session *s, int64_t first, int number, double *omega, zq_error *err) {
    const size_t n_slopes = (size_t)(s->layers->n * s->n_widths);
    int n_seeds = 0;
    for (int o = 0; o < s->graph->n_outputs; o++) {
        const int value = s->graph->outputs[o];
        if (s->graph->values[value].constant != NULL)
            continue;
        zq_output_probe(s->graph, o, s->micro, s->reference[o], number, first, s->probe[o]);
        s->seeds[n_seeds++] = (zq_plan_seed){.value = value, .dense = s->probe[o]};
    }
    memset(s->slope, 0, n_slopes * (size_t)s->micro * sizeof *s->slope);
    ZQ_TRY(zq_plan_backward_hooked(s->plan, n_seeds, s->seeds, take_gradient, s, NULL, err));
    for (size_t i = 0; i < n_slopes; i++)
        for (int64_t image = 0; image < s->micro; image++) {
            const double slope = s->slope[i * (size_t)s->micro + (size_t)image];
            omega[i] += 0.5 * slope * slope / (double)(ZQ_N_PROBES * s->images->shape.dims[0]);
        }
    return report(s, err);
}

static zq_status measure_batch(session *s, int64_t first, double *omega, zq_error *err) {
    const int64_t image = zq_shape_count(&s->images->shape) / s->images->shape.dims[0];
    zq_plan_set_input(s->plan, 0, s->images->data + first * image);
    ZQ_TRY(zq_plan_forward(s->plan, err));
    for (int o = 0; o < s->graph->n_outputs; o++)
        zq_plan_read(s->plan, s->graph->outputs[o], s->reference[o]);
    ZQ_TRY(respond(s, err));
    for (int number = 0; number < ZQ_N_PROBES; number++)
        ZQ_TRY(probe(s, first, number, omega, err));
    return ZQ_OK;
}

zq_status zq_fisher_measure(zq_graph *graph, const zq_layers *layers, const zq_images *images, int n_widths,
                            const zq_weights *weights, zq_step_callback callback, void *user, double *omega,
                            zq_error *err) {
    session s = {.graph = graph,
                 .layers = layers,
                 .images = images,
                 .n_widths = n_widths,
                 .weights = weights,
                 .callback = callback,
                 .user = user};
    memset(omega, 0, (size_t)(layers->n * n_widths) * sizeof *omega);
    choose_micro(&s);
    zq_plan_options options = {.n_images = s.micro, .gradient = true, .keep_values = true, .separate = true};
    const zq_plan_room room = {.divides = images->shape.dims[0], .per_image = (size_t)response_bytes(&s)};
    zq_status status = zq_plan_fit(graph, &options, &room, &s.plan, err);
    s.micro = options.n_images;
    if (status == ZQ_OK)
        status = make_room(&s, err);
    const int64_t n_batches = images->shape.dims[0] / s.micro;
    s.total = (int)n_batches * (s.n_sources + ZQ_N_PROBES);
    for (int64_t b = 0; b < n_batches && status == ZQ_OK; b++)
        status = measure_batch(&s, b * s.micro, omega, err);
    session_clear(&s);
    return status;
}
