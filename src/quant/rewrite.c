/* SPDX-License-Identifier: Apache-2.0 */
/* The quantized network: Q/DQ around activations, integer constants for weights and biases, in the forms that
 * runtimes fuse to integer kernels (docs/onnx-forms.md). */
#include "quant/rewrite.h"

#include "base/memory.h"
#include "graph/op.h"
#include "quant/blocks.h"
#include "quant/storage.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Half of int32: the other half is left to the sum of products. */
static const double bias_limit = 1073741824.0;

void zq_bias_scale_floor(const zq_graph *graph, const zq_layer *layer, const zq_activation *activations,
                         float *scale) {
    for (int64_t c = 0; c < layer->n_channels; c++)
        scale[c] = 0;
    for (int k = 0; k < layer->n_nodes; k++) {
        const zq_node *node = &graph->nodes[layer->nodes[k]];
        const int bias = node->n_inputs > 2 ? node->inputs[2] : -1;
        const zq_tensor *tensor = bias < 0 ? NULL : graph->values[bias].constant;
        const double input_scale = activations[node->inputs[0]].scale;
        if (tensor == NULL || !(input_scale > 0))
            continue;
        const int64_t n_bias = zq_shape_count(&tensor->shape);
        for (int64_t c = 0; c < layer->n_channels; c++) {
            const double b = fabs(zq_tensor_item(tensor, n_bias == 1 ? 0 : c));
            scale[c] = fmaxf(scale[c], (float)(b / (input_scale * bias_limit)));
        }
    }
}

/* ---- shared constants: a float32 scale "s3f12ab34" by its bits (equal scales are one constant), bytes
 * "z128", and so on. Initializers keep the names that they had in FP32. */

static int shared_bytes(zq_graph *graph, zq_dtype dtype, int64_t n /* -1: scalar */, int fill) {
    char name[64];
    const zq_shape shape = n < 0 ? zq_shape_of(0, NULL) : zq_shape_of(1, &n);
    zq_tensor *tensor = zq_tensor_new(dtype, &shape);
    if (tensor != NULL)
        memset(tensor->data, fill, (size_t)(n < 0 ? 1 : n));
    snprintf(name, sizeof name, n < 0 ? "z%d" : "z%dx%" PRId64, fill, n);
    return zq_block_share(graph, name, tensor);
}

static int shared_scale(zq_graph *graph, float scale) {
    char name[32];
    uint32_t bits;
    memcpy(&bits, &scale, sizeof bits);
    snprintf(name, sizeof name, "s%08" PRIx32, bits);
    return zq_block_share(graph, name, zq_tensor_new_f32(-1, &scale));
}

/* ---- activations */

/* Whether the integer Clip behind a quantized value does what the Clip in front of it does: its range lies
 * within the bounds, as zq_place sees to. ONNX Runtime takes a float Clip into QuantizeLinear only where all
 * 256 levels lie within them. */
static bool replaces_clip(const zq_graph *graph, int n, const zq_activation *activations) {
    const zq_node *node = &graph->nodes[n];
    if (strcmp(node->op->name, "Clip") != 0 || activations[node->inputs[0]].used)
        return false;
    for (int bound = 1; bound < node->n_inputs; bound++) {
        const zq_tensor *limit = node->inputs[bound] < 0 ? NULL : graph->values[node->inputs[bound]].constant;
        const double value = limit == NULL ? 0 : zq_tensor_item(limit, 0);
        if ((node->inputs[bound] >= 0 && limit == NULL) || (bound == 1 ? value > 0 : value < 0))
            return false;
    }
    return true;
}

/* Readers of the value read what DequantizeLinear gives, under the value's own name. */
static zq_status quantize_value(zq_graph *graph, int value, const zq_graph *original,
                                const zq_activation *activations, zq_error *err) {
    const zq_activation *activation = &activations[value];
    const bool is_narrow = activation->q_max < 255;
    const zq_shape shape = graph->values[value].shape;
    const int producer = graph->values[value].producer;
    int src = value, dst = value;
    if (producer < 0) { /* a graph input keeps its name for itself */
        dst = zq_block_value(graph, "d", value, ZQ_F32, &shape);
        if (dst < 0)
            return zq_fail_memory(err);
        zq_graph_replace_uses(graph, value, dst);
    } else {
        src = zq_block_value(graph, "f", value, ZQ_F32, &shape);
        if (src < 0)
            return zq_fail_memory(err);
        zq_node *node = &graph->nodes[producer];
        for (int o = 0; o < node->n_outputs; o++)
            if (node->outputs[o] == value)
                node->outputs[o] = src;
        graph->values[src].producer = producer;
        if (is_narrow && replaces_clip(original, producer, activations))
            src = node->inputs[0];
    }
    const int scale = shared_scale(graph, activation->scale);
    const zq_dtype dtype = activation->is_signed ? ZQ_I8 : ZQ_U8;
    const int zero_point =
        shared_bytes(graph, dtype, -1, activation->zero_point - (activation->is_signed ? 128 : 0));
    const int quantized = zq_block_value(graph, "q", value, dtype, &shape);
    int limited = quantized;
    ZQ_TRY(
        zq_block_node(graph, "QuantizeLinear", 3, (int[]){src, scale, zero_point}, quantized, NULL, 0, err));
    if (is_narrow) { /* QCDQ: an integer Clip keeps fewer levels in the same container */
        limited = zq_block_value(graph, "c", value, ZQ_U8, &shape);
        const int inputs[] = {quantized, shared_bytes(graph, ZQ_U8, -1, 0),
                              shared_bytes(graph, ZQ_U8, -1, activation->q_max)};
        ZQ_TRY(zq_block_node(graph, "Clip", 3, inputs, limited, NULL, 0, err));
    }
    return zq_block_node(graph, "DequantizeLinear", 3, (int[]){limited, scale, zero_point}, dst, NULL, 0,
                         err);
}

/* ---- weights and biases */

/* Of weights that aren't narrower than 8 bits. */
static zq_dtype byte_dtype(const zq_form *form) {
    return form->signed_weights ? ZQ_I8 : ZQ_U8;
}

/* For ONNX Runtime eight bits are stored unsigned around 128: where a processor has AVX2 but no VNNI, it adds
 * pairs of products of signed weights with saturation at 16 bits, and those of unsigned ones exactly. Weights
 * of fewer bits can't saturate. */
static int stored_shift(zq_dtype dtype) {
    return dtype == ZQ_U8 ? 128 : 0;
}

/* The quantized integers in the layout of the float constant. */
static zq_tensor *integer_weight(const zq_graph *graph, const zq_layer *layer, const zq_weights *weights,
                                 zq_dtype dtype) {
    const zq_tensor *constant = graph->values[layer->weight].constant;
    const size_t count = (size_t)zq_shape_count(&constant->shape);
    const int shift = stored_shift(dtype);
    zq_tensor *tensor = zq_tensor_new(dtype, &constant->shape);
    float *ordered = zq_alloc_raw(count, sizeof *ordered), *stored = zq_alloc_raw(count, sizeof *stored);
    if (tensor == NULL || ordered == NULL || stored == NULL) {
        zq_tensor_drop(tensor);
        tensor = NULL;
    } else {
        for (size_t i = 0; i < count; i++)
            ordered[i] = weights->q[i];
        zq_layer_store(graph, layer, ordered, stored);
        for (size_t i = 0; i < count; i++)
            ((uint8_t *)tensor->data)[i] = (uint8_t)((int)stored[i] + shift);
    }
    zq_free(ordered);
    zq_free(stored);
    return tensor;
}

static int weight_zero_points(zq_graph *graph, int weight, const zq_weights *weights, zq_dtype dtype) {
    const int64_t n = weights->n_channels;
    const int shift = stored_shift(dtype);
    bool symmetric = true;
    for (int64_t c = 0; c < n; c++)
        symmetric = symmetric && weights->zero_point[c] == 0;
    if (symmetric)
        return shared_bytes(graph, dtype, n, shift);
    char name[32];
    const zq_shape shape = zq_shape_of(1, &n);
    zq_tensor *tensor = zq_tensor_new(dtype, &shape);
    for (int64_t c = 0; tensor != NULL && c < n; c++)
        ((uint8_t *)tensor->data)[c] = (uint8_t)(weights->zero_point[c] + shift);
    snprintf(name, sizeof name, "z%d", weight);
    return zq_graph_add_constant(graph, name, tensor);
}

char *zq_rewrite_weight_name(const zq_layer *layer, char buffer[ZQ_WEIGHT_NAME]) {
    snprintf(buffer, ZQ_WEIGHT_NAME, "w%d", layer->weight);
    return buffer;
}

/* The constant, or another one if more than n_readers nodes want the floats, becomes integers. Takes integers
 * in every case; returns the value that holds them, -1 when out of memory. */
static int store_integers(zq_graph *graph, int constant, int n_readers, zq_tensor *integers) {
    zq_value *value = &graph->values[constant];
    if (zq_graph_is_output(graph, constant) || zq_graph_consumers(graph, constant, NULL) > n_readers)
        return zq_graph_add_constant(graph, value->name, integers);
    if (integers == NULL)
        return -1;
    zq_tensor_drop(value->constant);
    value->constant = integers;
    value->dtype = integers->dtype;
    value->shape = integers->shape;
    return constant;
}

/* Integers of less than 8 bits become what is stored, and nodes that runtimes fold at load: the rest is fused
 * as for 8 bits. Takes integers in every case. */
static zq_status store_narrow(zq_graph *graph, const zq_layer *layer, int bits, const zq_shape *shape,
                              zq_tensor *integers, int *dst_out, zq_error *err) {
    zq_tensor *upper, *lower;
    const bool is_split = integers != NULL && zq_storage_split(integers, bits, &upper, &lower);
    zq_tensor_drop(integers);
    if (!is_split)
        return zq_fail_memory(err);
    char name[32];
    snprintf(name, sizeof name, "l%d", layer->weight);
    const int stored = store_integers(graph, layer->weight, layer->n_nodes, upper);
    const int rest = lower == NULL ? -1 : zq_graph_add_constant(graph, name, lower);
    if (lower != NULL && rest < 0)
        return zq_fail_memory(err);
    return zq_storage_join(graph, bits, shape, layer->weight, stored, rest, dst_out, err);
}

/* The weight becomes integers; *dst_out: what DequantizeLinear makes of them, *scale_out: the scales. */
static zq_status quantize_weight(zq_graph *graph, const zq_form *form, const zq_layer *layer,
                                 const zq_weights *weights, int *dst_out, int *scale_out, zq_error *err) {
    char name[ZQ_WEIGHT_NAME];
    const int weight = layer->weight;
    const zq_shape shape = graph->values[weight].shape;
    const bool narrow = zq_storage_of(weights->bits, zq_shape_count(&shape)).upper_bits < 8;
    const zq_dtype dtype = narrow ? ZQ_I8 : byte_dtype(form);
    zq_tensor *integers = integer_weight(graph, layer, weights, dtype);
    int source;
    if (narrow)
        ZQ_TRY(store_narrow(graph, layer, weights->bits, &shape, integers, &source, err));
    else
        source = store_integers(graph, weight, layer->n_nodes, integers);
    snprintf(name, sizeof name, "v%d", weight);
    *scale_out = zq_graph_add_constant(graph, name, zq_tensor_new_f32(weights->n_channels, weights->scale));
    const int zero_point = weight_zero_points(graph, weight, weights, dtype);
    *dst_out = zq_graph_add_value(graph, zq_rewrite_weight_name(layer, name), ZQ_F32, &shape);
    return zq_block_node(graph, "DequantizeLinear", 3, (int[]){source, *scale_out, zero_point}, *dst_out,
                         "axis", layer->axis, err);
}

static zq_tensor *integer_bias(const zq_tensor *bias, const zq_weights *weights, float input_scale) {
    const int64_t n_channels = weights->n_channels, n_bias = zq_shape_count(&bias->shape);
    const zq_shape shape = zq_shape_of(1, &n_channels);
    zq_tensor *integers = zq_tensor_new(ZQ_I32, &shape);
    for (int64_t c = 0; integers != NULL && c < n_channels; c++) {
        const double steps = zq_tensor_item(bias, n_bias == 1 ? 0 : c) / (input_scale * weights->scale[c]);
        ((int32_t *)integers->data)[c] = (int32_t)fmax(-2147483647.0, fmin(2147483647.0, nearbyint(steps)));
    }
    return integers;
}

/* The scales of a bias are those of the input times those of the weights: written as a Mul of the two, which
 * runtimes fold at load, they take no room in the file. A bias that several nodes share becomes one for each,
 * since its scales differ. */
static zq_status quantize_bias(zq_graph *graph, int n, const zq_weights *weights, int weight_scale,
                               float input_scale, zq_error *err) {
    const int bias = graph->nodes[n].n_inputs > 2 ? graph->nodes[n].inputs[2] : -1;
    if (bias < 0 || graph->values[bias].constant == NULL)
        return ZQ_OK;
    const zq_shape shape = zq_shape_of(1, &weights->n_channels);
    const int integers =
        store_integers(graph, bias, 1, integer_bias(graph->values[bias].constant, weights, input_scale));
    const int scale = zq_block_value(graph, "t", n, ZQ_F32, &shape),
              dst = zq_block_value(graph, "b", n, ZQ_F32, &shape);
    if (dst < 0)
        return zq_fail_memory(err);
    ZQ_TRY(zq_block_node(graph, "Mul", 2, (int[]){shared_scale(graph, input_scale), weight_scale}, scale,
                         NULL, 0, err));
    graph->nodes[n].inputs[2] = dst;
    return zq_block_node(graph, "DequantizeLinear", 2, (int[]){integers, scale}, dst, "axis", 0, err);
}

/* Exporters write the same target shape again for every Reshape; one constant serves all. */
static void merge_shapes(zq_graph *graph) {
    enum { LONGEST = 8 };
    for (int v = 0; v < graph->n_values; v++) {
        const zq_tensor *constant = graph->values[v].constant;
        for (int w = 0; constant != NULL && constant->dtype == ZQ_I64 &&
                        zq_shape_count(&constant->shape) <= LONGEST && w < v;
             w++)
            if (graph->values[w].constant != NULL && zq_tensor_equal(graph->values[w].constant, constant)) {
                zq_graph_replace_uses(graph, v, w);
                break;
            }
    }
}

/* What ONNX takes for granted needs no room. */
static void drop_default_attributes(zq_node *node) {
    static const struct {
        const char *name;
        int64_t fallback;
    } defaults[] = {{"dilations", 1}, {"strides", 1}, {"pads", 0}, {"group", 1}};
    for (size_t d = 0; d < sizeof defaults / sizeof defaults[0]; d++) {
        const zq_attr *attr = zq_node_attr(node, defaults[d].name);
        bool is_default = attr != NULL && (attr->kind == ZQ_ATTR_INTS || attr->i == defaults[d].fallback);
        for (size_t k = 0; is_default && attr->kind == ZQ_ATTR_INTS && k < attr->n; k++)
            is_default = attr->ints[k] == defaults[d].fallback;
        if (is_default)
            zq_node_remove_attr(node, defaults[d].name);
    }
    zq_node_remove_attr(node, "kernel_shape"); /* the weight tells */
}

static zq_status quantize_layer(zq_graph *graph, const zq_form *form, const zq_layer *layer,
                                const zq_weights *weights, const zq_activation *activations,
                                const zq_graph *original, zq_error *err) {
    int dst = -1, scale = -1;
    ZQ_TRY(quantize_weight(graph, form, layer, weights, &dst, &scale, err));
    for (int k = 0; k < layer->n_nodes; k++) {
        const int n = layer->nodes[k], src = original->nodes[n].inputs[0];
        if (!activations[src].used)
            return zq_fail(err, ZQ_ERR_INTERNAL, "the input of layer '%s' is not quantized", layer->name);
        graph->nodes[n].inputs[1] = dst;
        if (!form->float_bias)
            ZQ_TRY(quantize_bias(graph, n, weights, scale, activations[src].scale, err));
        if (strcmp(graph->nodes[n].op->name, "Conv") == 0) {
            drop_default_attributes(&graph->nodes[n]);
            ZQ_TRY(zq_node_parse(&graph->nodes[n], err));
        }
    }
    return ZQ_OK;
}

zq_status zq_rewrite(const zq_graph *graph, const zq_form *form, const zq_layers *layers,
                     const zq_activation *activations, const zq_weights *weights, zq_graph **graph_out,
                     zq_error *err) {
    zq_graph *copy = zq_graph_copy(graph);
    if (copy == NULL)
        return zq_fail_memory(err);
    zq_status status = ZQ_OK;
    for (int i = 0; status == ZQ_OK && i < layers->n; i++)
        status = quantize_layer(copy, form, &layers->items[i], &weights[i], activations, graph, err);
    for (int n = 0; status == ZQ_OK && form->shields_float && n < graph->n_nodes; n++)
        if (graph->nodes[n].keeps_float && activations[graph->nodes[n].inputs[0]].used)
            status = zq_float_node_protect(copy, n, err);
    for (int v = 0; status == ZQ_OK && v < graph->n_values; v++)
        if (graph->values[v].constant == NULL && activations[v].used)
            status = quantize_value(copy, v, graph, activations, err);
    if (status == ZQ_OK)
        merge_shapes(copy);
    if (status == ZQ_OK)
        status = zq_graph_sort(copy, err);
    if (status == ZQ_OK)
        status = zq_graph_clean(copy, err);
    if (status != ZQ_OK) {
        zq_graph_drop(copy);
        return status;
    }
    *graph_out = copy;
    return ZQ_OK;
}
