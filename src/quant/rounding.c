/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/rounding.h"

#include "base/memory.h"
#include "base/random.h"
#include "engine/dense.h"
#include "engine/plan.h"
#include "graph/op.h"
#include "quant/feedback.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    LEAST_POSITIONS = 4096, /* at which the inputs of a layer are taken ... */
    PER_WEIGHT = 4,         /* ... and as many for each weight of a channel, where there are as many */
    AT_ONCE = 1024,         /* of them in memory at a time */
};
static const double run_bytes = 1e9; /* that the widest values of one run may take */

/* What one layer needs until its last node has run. */
typedef struct moments {
    int n_seen; /* nodes that have run */
    int64_t groups;
    float *gram; /* [groups, k, k], owned; NULL: none yet, or none to be had */
} moments;

typedef struct session {
    const zq_standard *standard;
    const zq_graph *graph;
    const zq_layers *layers;
    const zq_activation *activations;
    const zq_weight_spec *spec;
    zq_rounding *result;
    int *layer_of;    /* [n_nodes], -1: none */
    moments *moments; /* [n_layers] */
    double damping;
    zq_step_callback callback;
    void *user;
    int done;
} session;

/* ---- second moments of inputs */

static int64_t groups_of(const zq_graph *graph, const zq_layer *layer) {
    int64_t groups = 1;
    const zq_node *node = &graph->nodes[layer->nodes[0]];
    if (strcmp(node->op->name, "Conv") == 0 && zq_node_int(node, "group", 1, &groups, NULL) != ZQ_OK)
        return 1;
    return groups;
}

/* Positions spread over all of them, one at random in each of n equal parts. */
static int64_t *choose_positions(int64_t total, int64_t n, uint64_t seed) {
    int64_t *positions = zq_alloc_raw((size_t)n, sizeof *positions);
    for (int64_t i = 0; positions != NULL && i < n; i++) {
        const int64_t first = total / n * i + total % n * i / n;
        const int64_t next = total / n * (i + 1) + total % n * (i + 1) / n;
        positions[i] = first + (int64_t)(zq_random_uniform(seed, (uint64_t)i) * (double)(next - first));
    }
    return positions;
}

static zq_status add_group(const zq_plan *plan, int node, int64_t group, int64_t k, int64_t n,
                           const int64_t *positions, float *gram, zq_error *err) {
    float *x = zq_alloc_raw((size_t)(k * (n < AT_ONCE ? n : AT_ONCE)), sizeof *x);
    zq_status status = x == NULL ? zq_fail_memory(err) : ZQ_OK;
    for (int64_t first = 0; status == ZQ_OK && first < n; first += AT_ONCE) {
        const int64_t part = n - first < AT_ONCE ? n - first : AT_ONCE;
        status = zq_plan_patches(plan, node, group, part, positions + first, x, err);
        if (status == ZQ_OK)
            status = zq_dense_add_gram(k, part, x, gram + group * k * k, err);
    }
    zq_free(x);
    return status;
}

static zq_status add_moments(session *s, const zq_plan *plan, int node, int i, zq_error *err) {
    const zq_layer *layer = &s->layers->items[i];
    const int64_t k = layer->per_channel, total = zq_plan_positions(plan, node);
    moments *m = &s->moments[i];
    int64_t n = k * PER_WEIGHT > LEAST_POSITIONS ? k * PER_WEIGHT : LEAST_POSITIONS;
    n = n < total ? n : total;
    if (n == 0)
        return ZQ_OK;
    m->groups = groups_of(s->graph, layer);
    if (m->gram == NULL)
        m->gram = zq_alloc((size_t)(m->groups * k * k), sizeof *m->gram);
    int64_t *positions = choose_positions(total, n, (uint64_t)node);
    zq_status status = m->gram == NULL || positions == NULL ? zq_fail_memory(err) : ZQ_OK;
#pragma omp parallel for schedule(dynamic, 1) if (m->groups > 1)
    for (int64_t g = 0; g < m->groups; g++) {
        zq_error own = {0};
        if (status != ZQ_OK)
            continue;
        const zq_status done = add_group(plan, node, g, k, n, positions, m->gram, &own);
        if (done != ZQ_OK) {
#pragma omp critical(zq_rounding)
            {
                status = done;
                *err = own;
            }
        }
    }
    zq_free(positions);
    return status;
}

/* ---- rounding */

/* One range tried for a width of a layer: channels that it serves better than the best so far are taken over.
 */
static void keep_better(int64_t n_channels, const zq_weights *tried, const double *loss, zq_weights *best,
                        double *best_loss) {
    for (int64_t c = 0; c < n_channels; c++) {
        if (!(loss[c] < best_loss[c]))
            continue;
        best_loss[c] = loss[c];
        best->scale[c] = tried->scale[c];
        best->zero_point[c] = tried->zero_point[c];
        memcpy(best->q + c * best->per_channel, tried->q + c * best->per_channel, (size_t)best->per_channel);
    }
}

static zq_status round_groups(const zq_feedback *feedback, int64_t groups, const float *w,
                              zq_weights *weights, double *loss, zq_error *err) {
    const int64_t n = weights->n_channels / groups;
    zq_status status = ZQ_OK;
#pragma omp parallel for schedule(dynamic, 1) if (groups > 1)
    for (int64_t g = 0; g < groups; g++) {
        zq_error own = {0};
        const zq_status done = zq_feedback_round(&feedback[g], g * n, n, w + g * n * weights->per_channel,
                                                 weights, loss + g * n, &own);
        if (done != ZQ_OK) {
#pragma omp critical(zq_rounding)
            {
                status = done;
                *err = own;
            }
        }
    }
    return status;
}

/* ranges: the ones to be tried; feedback NULL: to nearest with the first. */
static zq_status round_width(const zq_weight_spec *spec, int n_ranges, const zq_weight_range *ranges,
                             const float *floor, const zq_feedback *feedback, int64_t groups, const float *w,
                             zq_weights *out, zq_error *err) {
    const int64_t n = out->n_channels, k = out->per_channel;
    double *loss = zq_alloc_raw((size_t)(2 * n), sizeof *loss), *best = loss + n;
    zq_status status = loss == NULL ? zq_fail_memory(err) : ZQ_OK;
    for (int r = 0; status == ZQ_OK && r < (feedback != NULL ? n_ranges : 1); r++) {
        zq_weight_spec own = *spec;
        zq_weights tried = {0};
        own.range = ranges[r];
        status = zq_weights_quantize(&own, n, k, w, floor, &tried, err);
        if (status == ZQ_OK && feedback != NULL)
            status = round_groups(feedback, groups, w, &tried, loss, err);
        if (r == 0) {
            *out = tried;
            memcpy(best, loss, (size_t)n * sizeof *best);
            continue;
        }
        if (status == ZQ_OK)
            keep_better(n, &tried, loss, out, best);
        zq_weights_clear(&tried);
    }
    zq_free(loss);
    return status;
}

static zq_status factor(moments *m, int64_t k, double damping, zq_feedback *feedback, zq_error *err) {
    zq_status status = ZQ_OK;
#pragma omp parallel for schedule(dynamic, 1) if (m->groups > 1)
    for (int64_t g = 0; g < m->groups; g++) {
        zq_error own = {0};
        const zq_status done = zq_feedback_new(k, m->gram + g * k * k, damping, &feedback[g], &own);
        if (done != ZQ_OK) {
#pragma omp critical(zq_rounding)
            {
                status = done;
                *err = own;
            }
        }
    }
    return status;
}

static zq_status round_layer(session *s, int i, zq_error *err) {
    static const zq_weight_range tried[] = {ZQ_WEIGHT_MSE, ZQ_WEIGHT_MINMAX};
    const zq_layer *layer = &s->layers->items[i];
    const int64_t n = layer->n_channels, k = layer->per_channel;
    moments *m = &s->moments[i];
    const bool own_range = s->spec->range != ZQ_WEIGHT_MSE && s->spec->range != ZQ_WEIGHT_MINMAX;
    float *w = zq_alloc_raw((size_t)(n * k), sizeof *w), *floor = zq_alloc_raw((size_t)n, sizeof *floor);
    zq_feedback *feedback = m->gram == NULL ? NULL : zq_alloc((size_t)m->groups, sizeof *feedback);
    zq_status status =
        w == NULL || floor == NULL || (m->gram != NULL && feedback == NULL) ? zq_fail_memory(err) : ZQ_OK;
    if (status == ZQ_OK)
        status = zq_standard_scale_floor(s->standard, s->graph, s->layers, i, s->activations, floor, err);
    if (status == ZQ_OK)
        zq_layer_load(s->standard->graph, layer, w);
    if (status == ZQ_OK && feedback != NULL)
        status = factor(m, k, s->damping, feedback, err);
    for (int width = 0; status == ZQ_OK && width < s->result->n_widths; width++) {
        zq_weights *out = &s->result->weights[i * s->result->n_widths + width];
        zq_weight_spec spec = *s->spec;
        spec.bits = s->result->widths[width];
        *out = (zq_weights){.n_channels = n, .per_channel = k};
        status = round_width(&spec, own_range || spec.asymmetric ? 1 : 2,
                             own_range || spec.asymmetric ? &spec.range : tried, floor,
                             spec.bits < 8 ? feedback : NULL, m->groups, w, out, err);
    }
    for (int64_t g = 0; feedback != NULL && g < m->groups; g++)
        zq_feedback_clear(&feedback[g]);
    zq_free(feedback);
    zq_free(w);
    zq_free(floor);
    zq_free(m->gram);
    m->gram = NULL;
    return status;
}

/* ---- one pass through the calibration network */

static zq_status visit(void *user, zq_plan *plan, int node, zq_error *err) {
    session *s = user;
    const int i = s->layer_of[node];
    if (i < 0)
        return ZQ_OK;
    if (!s->layers->items[i].affine)
        ZQ_TRY(add_moments(s, plan, node, i, err));
    if (++s->moments[i].n_seen < s->layers->items[i].n_nodes)
        return ZQ_OK;
    ZQ_TRY(round_layer(s, i, err));
    s->done++;
    if (s->callback != NULL && s->callback(s->user, s->done, s->layers->n) != 0)
        return zq_fail(err, ZQ_ERR_CANCELLED, "cancelled after rounding %d of %d layers", s->done,
                       s->layers->n);
    return ZQ_OK;
}

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

static zq_status run(session *s, const zq_images *images, zq_error *err) {
    const zq_plan_options options = {.n_images = choose_images(s->graph, images->shape.dims[0]),
                                     .height = images->shape.dims[2],
                                     .width = images->shape.dims[3]};
    const zq_plan_visitor visitor = {.before = visit, .user = s};
    zq_plan *plan;
    ZQ_TRY(zq_plan_new(s->standard->graph, &options, &plan, err));
    zq_plan_set_input(plan, 0, images->data);
    const zq_status status = zq_plan_forward_visited(plan, &visitor, err);
    zq_plan_drop(plan);
    return status;
}

zq_status zq_rounding_new(const zq_standard *standard, const zq_graph *graph, const zq_layers *layers,
                          const zq_activation *activations, const zq_images *images,
                          const zq_weight_spec *spec, int n_widths, const int *widths,
                          zq_step_callback callback, void *user, zq_rounding *out, zq_error *err) {
    *out = (zq_rounding){.n_layers = layers->n, .n_widths = n_widths};
    memcpy(out->widths, widths, (size_t)n_widths * sizeof *widths);
    session s = {.standard = standard,
                 .graph = graph,
                 .layers = layers,
                 .activations = activations,
                 .spec = spec,
                 .result = out,
                 .damping = 0.03,
                 .callback = callback,
                 .user = user};
    out->weights = zq_alloc((size_t)layers->n * (size_t)n_widths, sizeof *out->weights);
    s.layer_of = zq_alloc_raw((size_t)graph->n_nodes, sizeof *s.layer_of);
    s.moments = zq_alloc((size_t)layers->n, sizeof *s.moments);
    zq_status status =
        out->weights == NULL || s.layer_of == NULL || s.moments == NULL ? zq_fail_memory(err) : ZQ_OK;
    for (int n = 0; status == ZQ_OK && n < graph->n_nodes; n++)
        s.layer_of[n] = -1;
    for (int i = 0; status == ZQ_OK && i < layers->n; i++)
        for (int k = 0; k < layers->items[i].n_nodes; k++)
            s.layer_of[layers->items[i].nodes[k]] = i;
    if (status == ZQ_OK)
        status = run(&s, images, err);
    for (int i = 0; s.moments != NULL && i < layers->n; i++)
        zq_free(s.moments[i].gram);
    zq_free(s.moments);
    zq_free(s.layer_of);
    if (status != ZQ_OK)
        zq_rounding_clear(out);
    return status;
}

void zq_rounding_clear(zq_rounding *rounding) {
    for (int i = 0; rounding->weights != NULL && i < rounding->n_layers * rounding->n_widths; i++)
        zq_weights_clear(&rounding->weights[i]);
    zq_free(rounding->weights);
    *rounding = (zq_rounding){0};
}

const zq_weights *zq_rounding_at(const zq_rounding *rounding, int layer, int bits) {
    for (int k = 0; k < rounding->n_widths; k++)
        if (rounding->widths[k] == bits)
            return &rounding->weights[layer * rounding->n_widths + k];
    return NULL;
}
