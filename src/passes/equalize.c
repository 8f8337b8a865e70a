/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"
#include "passes/affine.h"
#include "passes/match.h"
#include "passes/passes.h"

#include <math.h>

/* Beyond the mean, in deviations: the largest value that a channel is expected to have. */
static const float reach = 4;

/* Of ranges, relative to the largest: dead channels aren't blown up. */
static const float least_ratio = 1.0F / 256;

/* A depthwise Conv, and the Conv that makes what it reads. */
typedef struct pair {
    int maker, reader;
    int known;      /* the value in between whose statistics are known: the one nearest to the reader */
    bool rectified; /* behind it */
} pair;

static bool is_rectifier(const zq_graph *graph, const zq_node *node) {
    const zq_tensor *low = zq_match_float(graph, zq_match_input(node, 1));
    return zq_match_op(node, "Relu") || (zq_match_op(node, "Clip") && low != NULL &&
                                         zq_tensor_item(low, 0) == 0 && zq_match_input(node, 2) < 0);
}

/* f(s x) = s f(x) for s > 0, channel by channel. */
static bool is_homogeneous(const zq_graph *graph, const zq_node *node) {
    if (is_rectifier(graph, node) || zq_match_op(node, "LeakyRelu"))
        return true;
    if (zq_match_op(node, "MaxPool") || zq_match_op(node, "AveragePool"))
        return node->n_outputs == 1 || node->outputs[1] < 0;
    return zq_match_op(node, "PRelu") && zq_match_float(graph, node->inputs[1]) != NULL;
}

/* A Conv whose weights nobody else reads, so that they can be changed in place. */
static bool is_own(const zq_graph *graph, const zq_uses *uses, int n) {
    const zq_node *node = &graph->nodes[n];
    const int64_t n_out = zq_match_op(node, "Conv") ? zq_affine_channels(graph, n) : 0;
    const int bias = zq_match_input(node, 2);
    return n_out > 0 && zq_uses_single(uses, node->inputs[1]) &&
           (bias < 0 ||
            (zq_uses_single(uses, bias) && zq_shape_count(&graph->values[bias].constant->shape) == n_out));
}

static bool is_depthwise(const zq_graph *graph, const zq_uses *uses, int n) {
    const zq_node *node = &graph->nodes[n];
    const zq_shape *shape = &graph->values[node->inputs[0]].shape;
    return is_own(graph, uses, n) && graph->values[node->inputs[1]].constant->shape.dims[1] == 1 &&
           shape->rank > 1 && shape->dims[1] > 1;
}

/* Whether there is a maker, and known statistics. */
static bool find_pair(const zq_graph *graph, const zq_uses *uses, int reader, pair *out) {
    *out = (pair){.reader = reader, .known = -1};
    for (int value = graph->nodes[reader].inputs[0];; value = graph->nodes[out->maker].inputs[0]) {
        out->maker = graph->values[value].producer;
        if (out->maker < 0 || !zq_uses_single(uses, value))
            return false;
        if (out->known < 0 && graph->values[value].stats != NULL)
            out->known = value;
        if (!is_homogeneous(graph, &graph->nodes[out->maker]))
            return out->known >= 0 && is_own(graph, uses, out->maker);
        out->rectified = out->rectified || (out->known < 0 && is_rectifier(graph, &graph->nodes[out->maker]));
    }
}

/* ---- factors */

/* The largest absolute value that training promises of a channel, at least its deviation: a channel that is
 * nearly always below zero has rare values that matter. */
static float range_of(const pair *p, const zq_stats *stats, int64_t c) {
    const float high = stats->mean[c] + reach * stats->std[c], low = reach * stats->std[c] - stats->mean[c];
    return fmaxf(p->rectified || high > low ? high : low, stats->std[c]);
}

/* The channel of the largest range keeps it, the others get it. Of what is known only behind a Relu, tails
 * are long and ranges uncertain: there the others go half the way. factor: [n_channels] */
static void find_factors(const zq_graph *graph, const pair *p, float *factor) {
    const zq_stats *stats = graph->values[p->known].stats;
    const bool is_certain = graph->values[p->known].producer == p->maker;
    float largest = 0;
    for (int64_t c = 0; c < stats->n_channels; c++) {
        factor[c] = range_of(p, stats, c);
        largest = fmaxf(largest, factor[c]);
    }
    for (int64_t c = 0; c < stats->n_channels; c++) {
        const float ratio = largest > 0 ? largest / fmaxf(factor[c], least_ratio * largest) : 1;
        factor[c] = is_certain ? ratio : sqrtf(ratio);
    }
}

/* ---- rescaling */

/* Each of n_channels equal runs of elements gets its factor, or the inverse of it. */
static bool scale_constant(zq_value *value, int64_t n_channels, const float *factor, bool inverse) {
    zq_tensor *tensor = zq_value_own_constant(value);
    if (tensor == NULL)
        return false;
    const int64_t per_channel = zq_shape_count(&tensor->shape) / n_channels;
    zq_real *x = tensor->data;
    for (int64_t i = 0; i < n_channels * per_channel; i++)
        x[i] = inverse ? x[i] / (zq_real)factor[i / per_channel] : x[i] * (zq_real)factor[i / per_channel];
    return true;
}

static zq_status rescale(zq_graph *graph, const pair *p, const float *factor, zq_error *err) {
    const zq_node *maker = &graph->nodes[p->maker], *reader = &graph->nodes[p->reader];
    const int64_t n_channels = graph->values[p->known].stats->n_channels;
    const int bias = zq_match_input(maker, 2);
    if (!scale_constant(&graph->values[maker->inputs[1]], n_channels, factor, false) ||
        (bias >= 0 && !scale_constant(&graph->values[bias], n_channels, factor, false)) ||
        !scale_constant(&graph->values[reader->inputs[1]], n_channels, factor, true))
        return zq_fail_memory(err);
    int value = reader->inputs[0];
    for (int n = -1; n != p->maker; value = graph->nodes[n].inputs[0]) {
        zq_stats *stats = graph->values[value].stats;
        for (int64_t c = 0; stats != NULL && c < n_channels; c++) {
            stats->mean[c] *= factor[c];
            stats->std[c] *= factor[c];
        }
        n = graph->values[value].producer;
    }
    return ZQ_OK;
}

static zq_status equalize(zq_graph *graph, const pair *p, zq_error *err) {
    float *factor = zq_alloc((size_t)graph->values[p->known].stats->n_channels, sizeof *factor);
    if (factor == NULL)
        return zq_fail_memory(err);
    find_factors(graph, p, factor);
    const zq_status status = rescale(graph, p, factor, err);
    zq_free(factor);
    return status;
}

zq_status zq_equalize(zq_graph *graph, zq_error *err) {
    zq_uses uses;
    pair p;
    ZQ_TRY(zq_uses_count(graph, &uses, err));
    zq_status status = ZQ_OK;
    for (int n = 0; status == ZQ_OK && n < graph->n_nodes; n++)
        if (is_depthwise(graph, &uses, n) && find_pair(graph, &uses, n, &p))
            status = equalize(graph, &p, err);
    zq_uses_clear(&uses);
    return status;
}
