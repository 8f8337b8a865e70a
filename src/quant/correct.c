/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/correct.h"

#include "base/memory.h"
#include "engine/plan.h"
#include "graph/op.h"
#include "ops/window.h"
#include "quant/rewrite.h"

#include <math.h>
#include <string.h>

/* What the hook needs at a node of the quantized graph. */
typedef struct correction {
    zq_graph *graph, *quantized, *corrected;
    const zq_layers *layers;
    const zq_weights *weights;
    const zq_alignment *aligned; /* of the quantized graph; NULL: none */
    bool *weighted;              /* [graph->n_nodes] whether it is a node of a layer */
    float **mean;                /* [graph->n_nodes] of the input's channels in FP32; NULL: not seen */
    float *w;                    /* weights of the layer, output channel first; room for the largest */
    float *mean_q, *variance;    /* of input channels; room for the most */
    double *coverage;            /* of window cells; room for the most */
    int *n_seen;                 /* [layers->n] nodes of the layer that have run */
} correction;

static int layer_of_weight(const correction *c, const char *weight_name) {
    char name[ZQ_WEIGHT_NAME];
    for (int i = 0; i < c->layers->n; i++)
        if (strcmp(zq_rewrite_weight_name(&c->layers->items[i], name), weight_name) == 0)
            return i;
    return -1;
}

/* Share of output positions for which a cell of the window lies inside the input, by cell: at the border,
 * zeros come in. */
static int64_t find_coverage(const correction *c, const zq_node *node, int64_t n_cells) {
    zq_geometry g;
    for (int64_t k = 0; k < n_cells; k++)
        c->coverage[k] = 1;
    if (strcmp(node->op->name, "Conv") != 0 ||
        zq_window_resolve(node, &c->graph->values[node->inputs[0]].shape,
                          &c->graph->values[node->inputs[1]].shape, &g, NULL) != ZQ_OK)
        return 1;
    int64_t inner = n_cells;
    for (int s = 0; s < g.n_spatial; s++) {
        inner /= g.kernel[s];
        for (int64_t cell = 0; cell < n_cells; cell++) {
            const int64_t k = cell / inner % g.kernel[s];
            int64_t inside = 0;
            for (int64_t o = 0; o < g.out[s]; o++) {
                const int64_t i = o * g.stride[s] - g.pad_lo[s] + k * g.dilation[s];
                inside += i >= 0 && i < g.in[s];
            }
            c->coverage[cell] *= (double)inside / (double)g.out[s];
        }
    }
    return g.groups;
}

/* Scale and zero point of the DequantizeLinear that gives a value. */
static int find_integers(const zq_graph *quantized, int value, double *scale, double *zero_point) {
    const zq_node *node = &quantized->nodes[quantized->values[value].producer];
    *scale = zq_tensor_item(quantized->values[node->inputs[1]].constant, 0);
    *zero_point = zq_tensor_item(quantized->values[node->inputs[2]].constant, 0);
    return node->inputs[0];
}

/* Expected output of the quantized layer less that of the FP32 one, for output channel o. */
static double expected_error(const correction *c, const float *mean, const zq_weights *weights,
                             int64_t groups, int64_t n_cells, int64_t o) {
    const int64_t n_in = weights->per_channel / n_cells, first = o / (weights->n_channels / groups) * n_in;
    double error = 0;
    for (int64_t i = 0; i < n_in; i++)
        for (int64_t cell = 0; cell < n_cells; cell++) {
            const int64_t at = o * weights->per_channel + i * n_cells + cell;
            const double w_q = (double)(weights->q[at] - weights->zero_point[o]) * weights->scale[o];
            error += c->coverage[cell] * (w_q * c->mean_q[first + i] - (double)c->w[at] * mean[first + i]);
        }
    return error;
}

/* What output channel o of a layer reads, over what it would be without alignment. */
static double read_factor(const correction *c, int layer, int64_t o) {
    const float *const read = c->aligned == NULL || c->aligned->read == NULL ? NULL : c->aligned->read[layer];
    return read == NULL ? 1 : (double)read[o];
}

/* The integers of the bias count in units of that. Where the layer itself is aligned, they are the same. */
static double bias_unit(const correction *c, int layer, int64_t o, double source_scale) {
    return source_scale * (double)c->weights[layer].scale[o] / read_factor(c, layer, o);
}

static void store_bias(const correction *c, const zq_node *node, const float *bias, double source_scale,
                       int layer) {
    zq_tensor *constant = c->corrected->values[node->inputs[2]].constant;
    for (int64_t o = 0; o < c->weights[layer].n_channels; o++)
        ((zq_real *)constant->data)[o] = (zq_real)(bias[o] * bias_unit(c, layer, o, source_scale));
}

static int64_t input_channels(const correction *c, const zq_node *node) {
    const zq_shape *src = &c->graph->values[node->inputs[0]].shape;
    return src->dims[src->rank > 1 ? 1 : 0];
}

static zq_status take_mean(void *user, zq_plan *plan, int at, zq_error *err) {
    correction *c = user;
    const zq_node *node = &c->graph->nodes[at];
    if (!c->weighted[at])
        return ZQ_OK;
    c->mean[at] = zq_alloc_raw((size_t)input_channels(c, node), sizeof *c->mean[at]);
    if (c->mean[at] == NULL)
        return zq_fail_memory(err);
    zq_plan_statistics(plan, node->inputs[0], c->mean[at], c->variance);
    return ZQ_OK;
}

static void correct_node(void *user, zq_plan *plan, int quantized_node, float *bias) {
    correction *c = user;
    const zq_node *node_q = &c->quantized->nodes[quantized_node];
    const int i = layer_of_weight(c, c->quantized->values[node_q->inputs[1]].name);
    if (i < 0 || c->n_seen[i] >= c->layers->items[i].n_nodes)
        return;
    const zq_layer *layer = &c->layers->items[i];
    const int at = layer->nodes[c->n_seen[i]++];
    const zq_node *node = &c->corrected->nodes[at];
    const zq_weights *weights = &c->weights[i];
    const int64_t n_channels = input_channels(c, node);
    double scale, zero_point;
    if (c->mean[at] == NULL)
        return;
    const int integers = find_integers(c->quantized, node_q->inputs[0], &scale, &zero_point);
    zq_plan_statistics(plan, integers, c->mean_q, c->variance);
    for (int64_t k = 0; k < n_channels; k++)
        c->mean_q[k] = (float)(((double)c->mean_q[k] - zero_point) * scale /
                               read_factor(c, i, k * (weights->n_channels / n_channels)));
    zq_layer_load(c->graph, layer, c->w);
    const zq_shape *w_shape = &c->graph->values[layer->weight].shape;
    const int64_t n_cells = w_shape->rank > 2 ? weights->per_channel / w_shape->dims[1] : 1;
    const int64_t groups = find_coverage(c, node, n_cells);
    for (int64_t o = 0; o < weights->n_channels; o++)
        bias[o] -= (float)nearbyint(expected_error(c, c->mean[at], weights, groups, n_cells, o) /
                                    bias_unit(c, i, o, scale));
    store_bias(c, node, bias, scale, i);
}

static zq_status make_room(correction *c, zq_error *err) {
    size_t n_w = 1, n_channels = 1;
    for (int i = 0; i < c->layers->n; i++) {
        const zq_layer *layer = &c->layers->items[i];
        const size_t count = (size_t)(layer->n_channels * layer->per_channel);
        n_w = count > n_w ? count : n_w;
    }
    for (int v = 0; v < c->graph->n_values; v++)
        if (c->graph->values[v].constant == NULL && c->graph->values[v].shape.rank > 1 &&
            (size_t)c->graph->values[v].shape.dims[1] > n_channels)
            n_channels = (size_t)c->graph->values[v].shape.dims[1];
    c->w = zq_alloc_raw(n_w, sizeof *c->w);
    c->coverage = zq_alloc_raw(n_w, sizeof *c->coverage);
    c->mean = zq_alloc((size_t)c->graph->n_nodes, sizeof *c->mean);
    c->weighted = zq_alloc((size_t)c->graph->n_nodes, sizeof *c->weighted);
    c->mean_q = zq_alloc_raw(n_channels, sizeof *c->mean_q);
    c->variance = zq_alloc_raw(n_channels, sizeof *c->variance);
    c->n_seen = zq_alloc((size_t)c->layers->n, sizeof *c->n_seen);
    const bool made = c->w != NULL && c->coverage != NULL && c->mean != NULL && c->weighted != NULL &&
                      c->mean_q != NULL && c->variance != NULL && c->n_seen != NULL;
    if (!made)
        return zq_fail_memory(err);
    for (int i = 0; i < c->layers->n; i++)
        for (int k = 0; k < c->layers->items[i].n_nodes; k++)
            c->weighted[c->layers->items[i].nodes[k]] = true;
    return ZQ_OK;
}

/* One network after the other: what a layer's input means is all that is wanted of the first. */
static zq_status correct(correction *c, const zq_images *images, zq_error *err) {
    zq_plan_options options = {.n_images = images->shape.dims[0]};
    const zq_plan_room room = {0};
    const zq_plan_visitor visitor = {.before = take_mean, .user = c};
    zq_plan *plan = NULL;
    ZQ_TRY(make_room(c, err));
    ZQ_TRY(zq_layers_own_biases(c->corrected, c->layers, err));
    ZQ_TRY(zq_plan_fit(c->graph, &options, &room, &plan, err));
    zq_plan_set_input(plan, 0, images->data);
    zq_status status = zq_plan_forward_visited(plan, &visitor, err);
    zq_plan_drop(plan);
    if (status == ZQ_OK)
        status = zq_plan_fit(c->quantized, &options, &room, &plan, err);
    if (status != ZQ_OK)
        return status;
    zq_plan_set_input(plan, 0, images->data);
    status = zq_plan_forward_hooked(plan, correct_node, c, err);
    zq_plan_drop(plan);
    return status;
}

zq_status zq_correct_biases(zq_graph *graph, const zq_layers *layers, const zq_weights *weights,
                            zq_graph *quantized, const zq_alignment *aligned, const zq_images *images,
                            zq_graph **corrected_out, zq_error *err) {
    correction c = {
        .graph = graph, .quantized = quantized, .layers = layers, .weights = weights, .aligned = aligned};
    c.corrected = zq_graph_copy(graph);
    const zq_status status = c.corrected == NULL ? zq_fail_memory(err) : correct(&c, images, err);
    for (int n = 0; c.mean != NULL && n < graph->n_nodes; n++)
        zq_free(c.mean[n]);
    zq_free(c.mean);
    zq_free(c.weighted);
    zq_free(c.w);
    zq_free(c.coverage);
    zq_free(c.mean_q);
    zq_free(c.variance);
    zq_free(c.n_seen);
    if (status != ZQ_OK)
        zq_graph_drop(c.corrected);
    else
        *corrected_out = c.corrected;
    return status;
}
