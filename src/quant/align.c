/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/align.h"

#include "base/memory.h"
#include "passes/match.h"

#include <math.h>

/* A channel whose factor would be further from 1 stays: it would clip, or use too little of the range. */
static const float most_change = 0.3F;

/* Biases are int32 in units of both scales. */
static const double most_bias = 1e9;

typedef struct session {
    zq_graph *graph;
    const zq_layers *layers;
    const zq_activation *activations;
    zq_weights *weights;
    zq_alignment *result;
    int *layer_of;                              /* [n_nodes] */
    float *factor;                              /* room for the most channels */
    int *readers, n_readers, *values, n_values; /* layers and values behind the affine */
} session;

static zq_real *bias_of(const session *s, const zq_layer *layer) {
    const int bias = zq_match_input(&s->graph->nodes[layer->nodes[0]], 2);
    const zq_tensor *constant = bias < 0 ? NULL : s->graph->values[bias].constant;
    return constant != NULL && zq_shape_count(&constant->shape) == layer->n_channels ? constant->data : NULL;
}

static bool is_rectifier(const zq_graph *graph, const zq_node *node) {
    const int low = zq_match_input(node, 1);
    return zq_match_op(node, "Relu") ||
           (zq_match_op(node, "Clip") && low >= 0 && graph->values[low].constant != NULL &&
            zq_tensor_item(graph->values[low].constant, 0) == 0);
}

/* Zero, and often. */
static bool is_rectified(const zq_graph *graph, int value) {
    int n = graph->values[value].producer;
    while (n >= 0 && zq_match_op(&graph->nodes[n], "MaxPool"))
        n = graph->values[graph->nodes[n].inputs[0]].producer;
    return n >= 0 && is_rectifier(graph, &graph->nodes[n]);
}

/* A Conv none of whose outputs reads more than one channel, and one node only. */
static bool is_depthwise(const session *s, int layer) {
    const zq_layer *l = &s->layers->items[layer];
    return l->n_nodes == 1 && zq_match_op(&s->graph->nodes[l->nodes[0]], "Conv") &&
           s->graph->values[l->weight].shape.dims[1] == 1;
}

/* The layers that read the value, through MaxPools on the same grid; false where anything else does. */
static zq_status find_readers(session *s, int value, bool *found_out, zq_error *err) {
    const float scale = s->activations[value].scale;
    s->n_readers = 0;
    s->n_values = 1;
    s->values[0] = value;
    *found_out = false;
    for (int i = 0; i < s->n_values; i++) {
        int *nodes = NULL;
        const int at = s->values[i];
        if (zq_graph_is_output(s->graph, at) ||
            (s->activations[at].used && s->activations[at].scale != scale))
            return ZQ_OK;
        const int n = zq_graph_consumers(s->graph, at, &nodes);
        if (n < 0)
            return zq_fail_memory(err);
        bool good = true;
        for (int k = 0; k < n && good; k++) {
            const zq_node *node = &s->graph->nodes[nodes[k]];
            const int layer = s->layer_of[nodes[k]];
            if (zq_match_op(node, "MaxPool") && node->n_outputs == 1)
                s->values[s->n_values++] = node->outputs[0];
            else if ((good = layer >= 0 && is_depthwise(s, layer) && node->inputs[0] == at))
                s->readers[s->n_readers++] = layer;
        }
        zq_free(nodes);
        if (!good)
            return ZQ_OK;
    }
    *found_out = s->n_readers > 0;
    return ZQ_OK;
}

static float factor_for(double bias, double scale) {
    const double levels = bias / scale, nearest = nearbyint(levels);
    const double factor = nearest != 0 ? nearest / levels : 1;
    return fabs(factor - 1) <= most_change ? (float)factor : 1;
}

/* Output channels of the reader that read channel c: from first on, n. */
static int64_t channels_of(const zq_layer *reader, int64_t n_channels) {
    return reader->n_channels / n_channels;
}

/* Whether the reader's biases stay integers of 32 bits. */
static bool has_room(const session *s, const zq_layer *reader, const zq_weights *weights, int64_t o,
                     double scale, float factor) {
    const zq_real *const bias = bias_of(s, reader);
    return bias == NULL || fabs((double)bias[o]) * factor <= most_bias * scale * weights->scale[o];
}

static void find_factors(session *s, const zq_layer *layer, const zq_real *bias, double scale) {
    for (int64_t c = 0; c < layer->n_channels; c++) {
        s->factor[c] = factor_for((double)bias[c], scale);
        for (int r = 0; r < s->n_readers; r++) {
            const zq_layer *reader = &s->layers->items[s->readers[r]];
            const int64_t n = channels_of(reader, layer->n_channels);
            for (int64_t o = c * n; o < (c + 1) * n; o++)
                if (!has_room(s, reader, &s->weights[s->readers[r]], o, scale, s->factor[c]))
                    s->factor[c] = 1;
        }
    }
}

static zq_status rescale(session *s, int i, zq_real *bias, zq_error *err) {
    const int64_t n_channels = s->layers->items[i].n_channels;
    for (int r = 0; r < s->n_readers; r++) {
        const int at = s->readers[r];
        const zq_layer *reader = &s->layers->items[at];
        const int64_t n = channels_of(reader, n_channels);
        s->result->read[at] = zq_alloc_raw((size_t)reader->n_channels, sizeof(float));
        if (s->result->read[at] == NULL)
            return zq_fail_memory(err);
        for (int64_t o = 0; o < reader->n_channels; o++) {
            s->result->read[at][o] = s->factor[o / n];
            s->weights[at].scale[o] /= s->factor[o / n];
        }
    }
    for (int64_t c = 0; c < n_channels; c++) {
        s->weights[i].scale[c] *= s->factor[c];
        bias[c] *= s->factor[c];
    }
    return ZQ_OK;
}

static zq_status align_layer(session *s, int i, zq_error *err) {
    const zq_layer *layer = &s->layers->items[i];
    const zq_node *node = &s->graph->nodes[layer->nodes[0]];
    zq_real *const bias = bias_of(s, layer);
    const int value = node->outputs[0];
    bool found;
    if (!layer->affine || layer->n_nodes != 1 || bias == NULL || !s->activations[value].used ||
        !is_rectified(s->graph, node->inputs[0]))
        return ZQ_OK;
    ZQ_TRY(find_readers(s, value, &found, err));
    if (!found)
        return ZQ_OK;
    find_factors(s, layer, bias, (double)s->activations[value].scale);
    return rescale(s, i, bias, err);
}

zq_status zq_align(zq_graph *graph, const zq_layers *layers, const zq_activation *activations,
                   zq_weights *weights, zq_alignment *out, zq_error *err) {
    session s = {
        .graph = graph, .layers = layers, .activations = activations, .weights = weights, .result = out};
    int64_t most = 1;
    for (int i = 0; i < layers->n; i++)
        most = layers->items[i].n_channels > most ? layers->items[i].n_channels : most;
    *out = (zq_alignment){.n_layers = layers->n, .read = zq_alloc((size_t)layers->n, sizeof *out->read)};
    s.layer_of = zq_layers_of_nodes(layers, graph->n_nodes);
    s.factor = zq_alloc_raw((size_t)most, sizeof *s.factor);
    s.readers = zq_alloc_raw((size_t)graph->n_nodes, sizeof *s.readers);
    s.values = zq_alloc_raw((size_t)graph->n_values, sizeof *s.values);
    zq_status status =
        out->read == NULL || s.layer_of == NULL || s.factor == NULL || s.readers == NULL || s.values == NULL
            ? zq_fail_memory(err)
            : ZQ_OK;
    for (int i = 0; status == ZQ_OK && i < layers->n; i++)
        status = align_layer(&s, i, err);
    zq_free(s.layer_of);
    zq_free(s.factor);
    zq_free(s.readers);
    zq_free(s.values);
    if (status != ZQ_OK)
        zq_alignment_clear(out);
    return status;
}

void zq_alignment_clear(zq_alignment *alignment) {
    for (int i = 0; alignment->read != NULL && i < alignment->n_layers; i++)
        zq_free(alignment->read[i]);
    zq_free(alignment->read);
    *alignment = (zq_alignment){0};
}
