/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/estimate.h"

#include "base/memory.h"
#include "base/random.h"
#include "engine/plan.h"
#include "graph/op.h"
#include "passes/affine.h"
#include "quant/leaves.h"
#include "quant/noise.h"

#include <math.h>
#include <string.h>

enum { N_IMAGES = 32, AT_A_TIME = 8 };

static const double smallest_leaf = 1.0 / 64; /* of the larger side */

/* Measured on networks whose statistics are known: the logarithm of the true deviation over that on random
 * images is about log_first in the first layer and log_last in the last, and in between a straight line. */
static const double log_first = -0.375, log_last = 0.385;

static const double grain = 0.06; /* of the pixels' range: photos aren't smooth between their edges */

typedef struct estimate {
    zq_graph *graph;
    bool *wanted;           /* [n_nodes] its output gets statistics */
    double **sums;          /* [n_nodes], [2, channels]: sum of means, and of mean squares, over portions */
    float *mean, *variance; /* room for the channels of any value */
    int n_portions, n_wanted;
} estimate;

/* Nodes that a weighted node lies behind: the last layers have no BatchNormalization. */
static zq_status find_inner(const zq_graph *graph, bool *inner /* [n_nodes] */, zq_error *err) {
    bool *read = zq_alloc((size_t)graph->n_values, sizeof *read);
    if (read == NULL)
        return zq_fail_memory(err);
    for (int n = graph->n_nodes - 1; n >= 0; n--) {
        const zq_node *node = &graph->nodes[n];
        bool leads = false;
        for (int o = 0; o < node->n_outputs; o++)
            leads = leads || (node->outputs[o] >= 0 && read[node->outputs[o]]);
        inner[n] = leads;
        leads = leads || zq_affine_channels(graph, n) > 0;
        for (int i = 0; leads && i < node->n_inputs; i++)
            if (node->inputs[i] >= 0)
                read[node->inputs[i]] = true;
    }
    zq_free(read);
    return ZQ_OK;
}

/* Values with statistics are never fused away, so they get some before they are known. */
static zq_status prepare(estimate *e, zq_error *err) {
    zq_graph *graph = e->graph;
    int64_t most = 1;
    ZQ_TRY(find_inner(graph, e->wanted, err));
    for (int n = 0; n < graph->n_nodes; n++) {
        const int64_t n_channels = zq_affine_channels(graph, n);
        e->wanted[n] = e->wanted[n] && n_channels > 0 && strcmp(graph->nodes[n].op->name, "Conv") == 0;
        if (!e->wanted[n])
            continue;
        zq_stats *stats = zq_stats_new(n_channels);
        e->sums[n] = zq_alloc((size_t)n_channels, 2 * sizeof **e->sums);
        if (stats == NULL || e->sums[n] == NULL) {
            zq_stats_drop(stats);
            return zq_fail_memory(err);
        }
        zq_value_set_stats(&graph->values[graph->nodes[n].outputs[0]], stats);
        most = n_channels > most ? n_channels : most;
        e->n_wanted++;
    }
    e->mean = zq_alloc_raw((size_t)most, sizeof *e->mean);
    e->variance = zq_alloc_raw((size_t)most, sizeof *e->variance);
    return e->mean == NULL || e->variance == NULL ? zq_fail_memory(err) : ZQ_OK;
}

static zq_status add_node(void *user, zq_plan *plan, int node, zq_error *err) {
    estimate *e = user;
    (void)err;
    if (!e->wanted[node])
        return ZQ_OK;
    const int value = e->graph->nodes[node].outputs[0];
    const int64_t n = e->graph->values[value].stats->n_channels;
    zq_plan_statistics(plan, value, e->mean, e->variance);
    for (int64_t c = 0; c < n; c++) {
        const double mean = e->mean[c];
        e->sums[node][c] += mean;
        e->sums[node][n + c] += e->variance[c] + mean * mean;
    }
    return ZQ_OK;
}

/* 0..1 becomes the pixels of the box. */
static zq_status draw_images(uint64_t seed, const zq_box *box, const zq_shape *shape, float *x,
                             zq_error *err) {
    const int64_t per_plane = shape->dims[2] * shape->dims[3];
    zq_leaves_draw(seed, shape, smallest_leaf, x);
    ZQ_TRY(zq_noise_add_photo(seed, shape, 0, grain * grain, x, err));
    for (int64_t plane = 0; plane < shape->dims[0] * shape->dims[1]; plane++) {
        const int64_t c = plane % shape->dims[1];
        for (int64_t i = plane * per_plane; i < (plane + 1) * per_plane; i++)
            x[i] = box->lo[c] + (box->hi[c] - box->lo[c]) * fminf(fmaxf(x[i], 0), 1);
    }
    return ZQ_OK;
}

static zq_status run(estimate *e, const zq_box *box, uint64_t seed, zq_error *err) {
    const int64_t n_images = e->graph->free_batch ? AT_A_TIME : zq_graph_images(e->graph);
    const zq_plan_options options = {.n_images = n_images, .statistics = true};
    const zq_plan_visitor visitor = {.after = add_node, .user = e};
    zq_shape shape = e->graph->values[e->graph->inputs[0]].shape;
    zq_plan *plan;
    shape.dims[0] = n_images;
    float *x = zq_alloc_raw((size_t)zq_shape_count(&shape), sizeof *x);
    zq_status status = x == NULL ? zq_fail_memory(err) : zq_plan_new(e->graph, &options, &plan, err);
    if (status != ZQ_OK) {
        zq_free(x);
        return status;
    }
    for (int64_t i = 0; status == ZQ_OK && i < N_IMAGES; i += n_images) {
        status =
            draw_images(zq_random_bits(zq_random_seed(seed, "estimate"), (uint64_t)i), box, &shape, x, err);
        zq_plan_set_input(plan, 0, x);
        if (status == ZQ_OK)
            status = zq_plan_forward_visited(plan, &visitor, err);
        e->n_portions++;
    }
    zq_plan_drop(plan);
    zq_free(x);
    return status;
}

static zq_status finish_node(const estimate *e, int node, double factor, zq_error *err) {
    const zq_value *value = &e->graph->values[e->graph->nodes[node].outputs[0]];
    zq_stats *stats = value->stats;
    const double *mean = e->sums[node], *square = mean + stats->n_channels;
    for (int64_t c = 0; c < stats->n_channels; c++) {
        const double m = mean[c] / e->n_portions, v = square[c] / e->n_portions - m * m;
        if (!isfinite(m) || !isfinite(v))
            return zq_fail(err, ZQ_ERR_STATISTICS,
                           "%s: channel %lld of '%s' overflows on random images, so its statistics can't be "
                           "estimated; say how pixels are normalised with --input-max, --input-mean and "
                           "--input-std",
                           e->graph->file == NULL ? "the model" : e->graph->file, (long long)c, value->name);
        stats->mean[c] = (float)m;
        stats->std[c] = (float)(factor * sqrt(fmax(v, 0)));
    }
    return ZQ_OK;
}

static zq_status finish(const estimate *e, zq_error *err) {
    int k = 0;
    for (int n = 0; n < e->graph->n_nodes; n++) {
        if (!e->wanted[n])
            continue;
        const double depth = e->n_wanted > 1 ? (double)k / (e->n_wanted - 1) : 0.5;
        ZQ_TRY(finish_node(e, n, exp(log_first + (log_last - log_first) * depth), err));
        k++;
    }
    return ZQ_OK;
}

static bool has_stats(const zq_graph *graph) {
    for (int v = 0; v < graph->n_values; v++)
        if (graph->values[v].stats != NULL)
            return true;
    return false;
}

zq_status zq_estimate_stats(zq_graph *graph, const zq_box *box, uint64_t seed, int *n_out, zq_error *err) {
    estimate e = {.graph = graph};
    *n_out = 0;
    if (has_stats(graph))
        return ZQ_OK;
    e.wanted = zq_alloc((size_t)graph->n_nodes, sizeof *e.wanted);
    e.sums = zq_alloc((size_t)graph->n_nodes, sizeof *e.sums);
    zq_status status = e.wanted == NULL || e.sums == NULL ? zq_fail_memory(err) : prepare(&e, err);
    if (status == ZQ_OK && e.n_wanted > 0)
        status = run(&e, box, seed, err);
    if (status == ZQ_OK)
        status = finish(&e, err);
    for (int n = 0; e.sums != NULL && n < graph->n_nodes; n++)
        zq_free(e.sums[n]);
    zq_free(e.sums);
    zq_free(e.wanted);
    zq_free(e.mean);
    zq_free(e.variance);
    *n_out = e.n_wanted;
    return status;
}
