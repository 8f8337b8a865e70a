/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/prior.h"

#include "base/memory.h"
#include "graph/op.h"

#include <math.h>
#include <string.h>

enum { N_QUANTILES = 4096 }; /* a channel; the outermost lie 5.9 deviations from the mean */

/* Quantiles of the Laplace distribution with mean 0 and deviation 1, scaled to a channel. */
static void draw_channel(float mean, float std, zq_real *x /* [N_QUANTILES] */) {
    for (int k = 0; k < N_QUANTILES / 2; k++) {
        const zq_real tail = (zq_real)(std * -log((2 * k + 1) / (double)N_QUANTILES) / sqrt(2.0));
        x[k] = mean - tail;
        x[N_QUANTILES - 1 - k] = mean + tail;
    }
}

/* What an elementwise node makes of the samples, by its plain definition. */
static zq_status apply_node(const zq_graph *graph, const zq_node *node, zq_tensor *samples, zq_error *err) {
    const zq_tensor *in[8] = {samples};
    for (int i = 1; i < node->n_inputs && i < 8; i++)
        in[i] = node->inputs[i] < 0 ? NULL : graph->values[node->inputs[i]].constant;
    zq_tensor *result = zq_tensor_new(ZQ_F32, &samples->shape);
    if (result == NULL)
        return zq_fail_memory(err);
    const zq_io io = {.node = node, .n_in = node->n_inputs, .n_out = 1, .in = in, .out = &result};
    const zq_status status = node->op->forward(&io, err);
    void *computed = result->data;
    result->data = samples->data;
    samples->data = computed;
    zq_tensor_drop(result);
    return status;
}

/* A value that was never negative can't be: it stands behind a Relu, a Sigmoid ... */
static void rectify(zq_real *x /* [N_QUANTILES] */) {
    for (int k = 0; k < N_QUANTILES; k++)
        x[k] = x[k] > 0 ? x[k] : 0;
}

static bool is_elementwise(const zq_node *node) {
    return (node->op->traits & ZQ_OP_UNARY) != 0 && node->n_inputs <= 8 && node->op->forward != NULL;
}

static zq_status add_channels(const zq_graph *graph, const zq_stats *stats, const zq_node *node,
                              zq_tensor *samples, zq_histogram *histogram, zq_error *err) {
    zq_histogram *prior = zq_alloc(1, sizeof *prior);
    zq_status status = prior == NULL ? zq_fail_memory(err) : ZQ_OK;
    if (status == ZQ_OK)
        zq_histogram_init(prior);
    for (int64_t c = 0; status == ZQ_OK && c < stats->n_channels; c++) {
        draw_channel(stats->mean[c], stats->std[c], samples->data);
        if (node != NULL)
            status = apply_node(graph, node, samples, err);
        if (status == ZQ_OK && histogram->lo >= 0)
            rectify(samples->data);
        if (status == ZQ_OK)
            zq_histogram_add(prior, N_QUANTILES, samples->data);
    }
    if (status == ZQ_OK)
        zq_histogram_merge(histogram, prior, histogram->n / fmax(prior->n, 1));
    zq_free(prior);
    return status;
}

/* Features pooled over a whole image are the exception among the values that BatchNormalization says nothing
 * of: real images hold one object all over where distilled ones hold a bit of everything. */
static double share_of_doubled(const zq_graph *graph, int value) {
    const int producer = graph->values[value].producer;
    return producer >= 0 && strcmp(graph->nodes[producer].op->name, "GlobalAveragePool") == 0 ? 0.25 : 0.02;
}

static zq_status add_doubled(zq_histogram *histogram, double share, zq_error *err) {
    zq_histogram *doubled = zq_memdup(histogram, sizeof *histogram);
    if (doubled == NULL)
        return zq_fail_memory(err);
    doubled->width *= 2;
    doubled->lo *= 2;
    doubled->hi *= 2;
    zq_histogram_merge(histogram, doubled, share);
    zq_free(doubled);
    return ZQ_OK;
}

zq_status zq_prior_add(const zq_graph *graph, int value, zq_histogram *histogram, zq_error *err) {
    const zq_stats *stats = graph->values[value].stats;
    const zq_node *node = NULL;
    if (stats == NULL && graph->values[value].producer >= 0) {
        node = &graph->nodes[graph->values[value].producer];
        if (is_elementwise(node) && node->inputs[0] >= 0)
            stats = graph->values[node->inputs[0]].stats;
    }
    if (stats == NULL)
        return add_doubled(histogram, share_of_doubled(graph, value), err);
    const zq_shape shape = zq_shape_of(1, (const int64_t[]){N_QUANTILES});
    zq_tensor *samples = zq_tensor_new(ZQ_F32, &shape);
    if (samples == NULL)
        return zq_fail_memory(err);
    const zq_status status = add_channels(graph, stats, node, samples, histogram, err);
    zq_tensor_drop(samples);
    return status;
}
