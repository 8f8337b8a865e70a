/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/layers.h"

#include "base/memory.h"
#include "graph/op.h"

#include <string.h>

enum { AFFINE_BITS = 8 };

static bool is_op(const zq_node *node, const char *name) {
    return strcmp(node->op->name, name) == 0;
}

/* The value that holds the node's weight; -1: the node has no constant float weight. */
static int weight_of(const zq_graph *graph, const zq_node *node) {
    if (node->op == NULL || (node->op->traits & ZQ_OP_WEIGHTED) == 0 || node->n_inputs < 2)
        return -1;
    const int value = node->inputs[1];
    if (value < 0 || graph->values[value].constant == NULL)
        return -1;
    const zq_tensor *weight = graph->values[value].constant;
    return weight->dtype == ZQ_F32 && weight->data != NULL && zq_shape_count(&weight->shape) > 0 ? value : -1;
}

/* Which axis of the weight is the output channel; -1 where an operator has no such axis. */
static zq_status find_axis(const zq_node *node, const zq_shape *weight, int *axis_out, zq_error *err) {
    *axis_out = -1;
    if (is_op(node, "Conv") && weight->rank >= 3)
        *axis_out = 0;
    else if (is_op(node, "MatMul") && weight->rank == 2)
        *axis_out = 1;
    else if (is_op(node, "Gemm") && weight->rank == 2) {
        int64_t transposed;
        ZQ_TRY(zq_node_int(node, "transB", 0, &transposed, err));
        *axis_out = transposed != 0 ? 0 : 1;
    }
    return ZQ_OK;
}

/* A factor for each channel is a depthwise convolution with one weight a channel. */
static zq_status find_kind(const zq_node *node, const zq_shape *weight, zq_layer *layer, zq_error *err) {
    if (!is_op(node, "Conv"))
        return ZQ_OK;
    int64_t group;
    ZQ_TRY(zq_node_int(node, "group", 1, &group, err));
    layer->depthwise = group == weight->dims[0] && weight->dims[1] == 1;
    layer->affine = layer->depthwise && zq_shape_count(weight) == weight->dims[0];
    return ZQ_OK;
}

/* A value's tensor as operators see it when only shapes are known. The graph's inputs may have a free batch:
 * one image. */
static zq_tensor shape_only(const zq_value *value) {
    zq_tensor tensor = {.dtype = value->dtype, .shape = value->shape};
    if (value->constant != NULL)
        return *value->constant;
    if (tensor.shape.rank > 0 && tensor.shape.dims[0] < 0)
        tensor.shape.dims[0] = 1;
    return tensor;
}

zq_status zq_layer_node_macs(const zq_graph *graph, const zq_node *node, double *macs_out, zq_error *err) {
    *macs_out = 0;
    if (node->op->macs == NULL)
        return ZQ_OK;
    const size_t n_in = (size_t)node->n_inputs, n = n_in + (size_t)node->n_outputs;
    zq_status status = ZQ_OK;
    zq_tensor *tensors = zq_alloc(n, sizeof *tensors);
    zq_tensor **pointers = zq_alloc(n, sizeof *pointers);
    if (tensors == NULL || pointers == NULL) {
        status = zq_fail_memory(err);
        goto done;
    }
    for (size_t i = 0; i < n; i++) {
        const int value = i < n_in ? node->inputs[i] : node->outputs[i - n_in];
        if (value < 0)
            continue;
        tensors[i] = shape_only(&graph->values[value]);
        pointers[i] = &tensors[i];
    }
    const zq_io io = {.node = node,
                      .n_in = node->n_inputs,
                      .n_out = node->n_outputs,
                      .in = (const zq_tensor *const *)pointers,
                      .out = pointers + n_in};
    *macs_out = node->op->macs(&io);
done:
    zq_free(tensors);
    zq_free(pointers);
    return status;
}

static zq_status layer_new(const zq_graph *graph, const zq_node *node, int weight, int axis, zq_layer *layer,
                           zq_error *err) {
    const zq_shape *shape = &graph->values[weight].constant->shape;
    const bool named = node->name != NULL && node->name[0] != '\0';
    *layer = (zq_layer){.name = named || node->n_outputs < 1 || node->outputs[0] < 0
                                    ? node->name
                                    : graph->values[node->outputs[0]].name,
                        .weight = weight,
                        .axis = axis,
                        .n_channels = shape->dims[axis],
                        .per_channel = zq_shape_count(shape) / shape->dims[axis]};
    ZQ_TRY(find_kind(node, shape, layer, err));
    layer->kept = layer->affine ? AFFINE_BITS : 0;
    return ZQ_OK;
}

static zq_status layer_add_node(const zq_graph *graph, int node, zq_layer *layer, zq_error *err) {
    double macs;
    ZQ_TRY(zq_layer_node_macs(graph, &graph->nodes[node], &macs, err));
    int *nodes = zq_alloc((size_t)layer->n_nodes + 1, sizeof *nodes);
    if (nodes == NULL)
        return zq_fail_memory(err);
    if (layer->n_nodes > 0)
        memcpy(nodes, layer->nodes, (size_t)layer->n_nodes * sizeof *nodes);
    nodes[layer->n_nodes++] = node;
    zq_free(layer->nodes);
    layer->nodes = nodes;
    layer->macs += macs / (double)zq_graph_images(graph);
    return ZQ_OK;
}

/* layer_of: [n_values], the layer of each weight value, -1: none yet. */
static zq_status find_into(zq_graph *graph, int *layer_of, zq_layers *out, zq_error *err) {
    size_t capacity = 0;
    for (int n = 0; n < graph->n_nodes; n++) {
        const zq_node *node = &graph->nodes[n];
        const int weight = weight_of(graph, node);
        if (weight < 0)
            continue;
        int axis;
        ZQ_TRY(find_axis(node, &graph->values[weight].constant->shape, &axis, err));
        if (axis < 0)
            continue;
        if (layer_of[weight] < 0) {
            if (!zq_grow(&out->items, &capacity, (size_t)out->n + 1, sizeof *out->items))
                return zq_fail_memory(err);
            layer_of[weight] = out->n++;
            ZQ_TRY(layer_new(graph, node, weight, axis, &out->items[layer_of[weight]], err));
        }
        zq_layer *layer = &out->items[layer_of[weight]];
        /* Read along another axis, the scales of its channels would not be those of this node's outputs: the
         * node keeps the float weight. */
        if (layer->axis == axis)
            ZQ_TRY(layer_add_node(graph, n, layer, err));
    }
    return ZQ_OK;
}

zq_status zq_layers_find(zq_graph *graph, zq_layers *layers_out, zq_error *err) {
    *layers_out = (zq_layers){0};
    int *layer_of = zq_alloc_raw((size_t)graph->n_values, sizeof *layer_of);
    if (layer_of == NULL)
        return zq_fail_memory(err);
    for (int v = 0; v < graph->n_values; v++)
        layer_of[v] = -1;
    const zq_status status = find_into(graph, layer_of, layers_out, err);
    zq_free(layer_of);
    if (status != ZQ_OK)
        zq_layers_clear(layers_out);
    return status;
}

void zq_layers_clear(zq_layers *layers) {
    for (int i = 0; i < layers->n; i++)
        zq_free(layers->items[i].nodes);
    zq_free(layers->items);
    *layers = (zq_layers){0};
}

void zq_layers_drop_float(const zq_graph *graph, zq_layers *layers) {
    int n = 0;
    for (int i = 0; i < layers->n; i++) {
        const zq_layer *layer = &layers->items[i];
        if (graph->nodes[layer->nodes[0]].keeps_float) {
            layers->float_weights += (double)layer->n_channels * (double)layer->per_channel;
            layers->float_macs += layer->macs;
            zq_free(layer->nodes);
        } else
            layers->items[n++] = *layer;
    }
    layers->n = n;
}

/* The constant as [n_outer, n_channels, n_inner]. */
typedef struct split {
    int64_t n_outer, n_channels, n_inner;
} split;

static split split_of(const zq_graph *graph, const zq_layer *layer) {
    const zq_shape *shape = &graph->values[layer->weight].constant->shape;
    split s = {1, layer->n_channels, 1};
    for (int d = 0; d < shape->rank; d++) {
        if (d < layer->axis)
            s.n_outer *= shape->dims[d];
        else if (d > layer->axis)
            s.n_inner *= shape->dims[d];
    }
    return s;
}

int *zq_layers_of_nodes(const zq_layers *layers, int n_nodes) {
    int *layer_of = zq_alloc_raw((size_t)n_nodes, sizeof *layer_of);
    for (int n = 0; layer_of != NULL && n < n_nodes; n++)
        layer_of[n] = -1;
    for (int i = 0; layer_of != NULL && i < layers->n; i++)
        for (int k = 0; k < layers->items[i].n_nodes; k++)
            layer_of[layers->items[i].nodes[k]] = i;
    return layer_of;
}

void zq_layer_load(const zq_graph *graph, const zq_layer *layer, float *w_out) {
    const zq_real *constant = graph->values[layer->weight].constant->data;
    const split s = split_of(graph, layer);
    for (int64_t c = 0; c < s.n_channels; c++)
        for (int64_t o = 0; o < s.n_outer; o++)
            for (int64_t i = 0; i < s.n_inner; i++)
                w_out[(c * s.n_outer + o) * s.n_inner + i] =
                    (float)constant[(o * s.n_channels + c) * s.n_inner + i];
}

void zq_layer_store(const zq_graph *graph, const zq_layer *layer, const float *w, float *constant_out) {
    const split s = split_of(graph, layer);
    for (int64_t c = 0; c < s.n_channels; c++)
        for (int64_t o = 0; o < s.n_outer; o++)
            for (int64_t i = 0; i < s.n_inner; i++)
                constant_out[(o * s.n_channels + c) * s.n_inner + i] = w[(c * s.n_outer + o) * s.n_inner + i];
}

size_t zq_layers_largest(const zq_layers *layers) {
    size_t most = 1;
    for (int i = 0; i < layers->n; i++) {
        const size_t n = (size_t)(layers->items[i].n_channels * layers->items[i].per_channel);
        most = n > most ? n : most;
    }
    return most;
}

size_t zq_layers_weights(const zq_layers *layers) {
    size_t n = 0;
    for (int i = 0; i < layers->n; i++)
        n += (size_t)(layers->items[i].n_channels * layers->items[i].per_channel);
    return n;
}

/* A bias that nodes or graphs share, or that is one number for all channels, becomes one for each node and
 * channel. */
static zq_status own_bias(zq_graph *graph, int n, int64_t n_channels, zq_error *err) {
    const int bias = graph->nodes[n].n_inputs > 2 ? graph->nodes[n].inputs[2] : -1;
    const zq_tensor *old = bias < 0 ? NULL : graph->values[bias].constant;
    const zq_shape shape = zq_shape_of(1, &n_channels);
    if (old == NULL)
        return ZQ_OK;
    if (zq_shape_equal(&old->shape, &shape) && zq_graph_consumers(graph, bias, NULL) == 1 &&
        !zq_graph_is_output(graph, bias))
        return zq_value_own_constant(&graph->values[bias]) != NULL ? ZQ_OK : zq_fail_memory(err);
    zq_tensor *own = zq_tensor_new(ZQ_F32, &shape);
    const int64_t n_old = zq_shape_count(&old->shape);
    for (int64_t o = 0; own != NULL && o < n_channels; o++)
        ((zq_real *)own->data)[o] = (zq_real)zq_tensor_item(old, n_old == 1 ? 0 : o);
    const int value = zq_graph_add_constant(graph, graph->values[bias].name, own);
    if (value < 0)
        return zq_fail_memory(err);
    graph->nodes[n].inputs[2] = value;
    return ZQ_OK;
}

zq_status zq_layers_own_biases(zq_graph *graph, const zq_layers *layers, zq_error *err) {
    for (int i = 0; i < layers->n; i++)
        for (int k = 0; k < layers->items[i].n_nodes; k++)
            ZQ_TRY(own_bias(graph, layers->items[i].nodes[k], layers->items[i].n_channels, err));
    return ZQ_OK;
}
