/* SPDX-License-Identifier: Apache-2.0 */
/* The quantized network: Q/DQ around activations, integer constants for weights and biases. The forms are
 * those that ONNX Runtime fuses to integer kernels (docs/onnx-forms.md). */
#include "quant/rewrite.h"

#include "base/memory.h"
#include "graph/op.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ONNX_INT8 = 3 };

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

/* ---- building blocks */

static int append_name(zq_graph *graph, int value, const char *suffix, zq_dtype dtype) {
    char name[512];
    snprintf(name, sizeof name, "%.480s%s", graph->values[value].name, suffix);
    return zq_graph_add_value(graph, name, dtype, &graph->values[value].shape);
}

static zq_status add_node(zq_graph *graph, const char *op, int n_inputs, const int *inputs, int output,
                          int64_t axis, zq_error *err) {
    for (int i = 0; i < n_inputs; i++)
        if (inputs[i] < 0)
            return zq_fail_memory(err);
    const int n =
        output < 0 ? -1 : zq_graph_add_node(graph, zq_op_find(op), "", n_inputs, inputs, 1, &output);
    if (n < 0 || (axis >= 0 && !zq_node_set_int(&graph->nodes[n], "axis", axis)))
        return zq_fail_memory(err);
    return zq_node_parse(&graph->nodes[n], err);
}

/* A constant that several nodes share by name. */
static int shared_constant(zq_graph *graph, const char *name, zq_dtype dtype, int64_t n /* -1: scalar */,
                           int64_t fill) {
    const int found = zq_graph_find_value(graph, name);
    if (found >= 0 && graph->values[found].constant != NULL)
        return found;
    const zq_shape shape = n < 0 ? zq_shape_of(0, NULL) : zq_shape_of(1, &n);
    zq_tensor *tensor = zq_tensor_new(dtype, &shape);
    if (tensor != NULL)
        memset(tensor->data, (int)fill, (size_t)(n < 0 ? 1 : n));
    return zq_graph_add_constant(graph, name, tensor);
}

/* ---- activations */

static zq_status quantize_value(zq_graph *graph, int value, const zq_activation *activation, zq_error *err) {
    char name[512];
    const int producer = graph->values[value].producer;
    int src = value, dst = value;
    if (producer < 0) { /* a graph input keeps its name; its readers read the dequantized one */
        dst = append_name(graph, value, "_dq", ZQ_F32);
        if (dst < 0)
            return zq_fail_memory(err);
        zq_graph_replace_uses(graph, value, dst);
    } else {
        src = append_name(graph, value, "_fp", ZQ_F32);
        if (src < 0)
            return zq_fail_memory(err);
        zq_node *node = &graph->nodes[producer];
        for (int o = 0; o < node->n_outputs; o++)
            if (node->outputs[o] == value)
                node->outputs[o] = src;
        graph->values[src].producer = producer;
    }
    const int quantized = append_name(graph, value, "_q", ZQ_U8);
    snprintf(name, sizeof name, "%.480s_s", graph->values[value].name);
    const int scale = zq_graph_add_constant(graph, name, zq_tensor_new_f32(-1, &activation->scale));
    snprintf(name, sizeof name, "zp_u8_%d", activation->zero_point);
    const int zero_point = shared_constant(graph, name, ZQ_U8, -1, activation->zero_point);
    int limited = quantized;
    if (activation->q_max < 255) { /* QCDQ: an integer Clip keeps fewer levels in the same container */
        limited = append_name(graph, value, "_qc", ZQ_U8);
        snprintf(name, sizeof name, "zp_u8_%d", activation->q_max);
        const int inputs[] = {quantized, shared_constant(graph, "zp_u8_0", ZQ_U8, -1, 0),
                              shared_constant(graph, name, ZQ_U8, -1, activation->q_max)};
        ZQ_TRY(add_node(graph, "Clip", 3, inputs, limited, -1, err));
    }
    ZQ_TRY(add_node(graph, "QuantizeLinear", 3, (int[]){src, scale, zero_point}, quantized, -1, err));
    return add_node(graph, "DequantizeLinear", 3, (int[]){limited, scale, zero_point}, dst, -1, err);
}

/* ---- weights and biases */

static zq_dtype container_dtype(int bits) {
    const int container = zq_container_bits(bits);
    return container == 2 ? ZQ_I2 : container == 4 ? ZQ_I4 : ZQ_I8;
}

/* The quantized integers in the layout of the float constant. */
static zq_tensor *integer_weight(const zq_graph *graph, const zq_layer *layer, const zq_weights *weights) {
    const zq_tensor *constant = graph->values[layer->weight].constant;
    const size_t count = (size_t)zq_shape_count(&constant->shape);
    zq_tensor *tensor = zq_tensor_new(container_dtype(weights->bits), &constant->shape);
    float *ordered = zq_alloc_raw(count, sizeof *ordered), *stored = zq_alloc_raw(count, sizeof *stored);
    if (tensor == NULL || ordered == NULL || stored == NULL) {
        zq_tensor_drop(tensor);
        tensor = NULL;
    } else {
        for (size_t i = 0; i < count; i++)
            ordered[i] = weights->q[i];
        zq_layer_store(graph, layer, ordered, stored);
        for (size_t i = 0; i < count; i++)
            ((int8_t *)tensor->data)[i] = (int8_t)stored[i];
    }
    zq_free(ordered);
    zq_free(stored);
    return tensor;
}

static int weight_zero_points(zq_graph *graph, int weight, const zq_weights *weights) {
    const int64_t n = weights->n_channels;
    bool symmetric = true;
    for (int64_t c = 0; c < n; c++)
        symmetric = symmetric && weights->zero_point[c] == 0;
    char name[512];
    if (symmetric) {
        snprintf(name, sizeof name, "zp_i8_x%" PRId64, n);
        return shared_constant(graph, name, ZQ_I8, n, 0);
    }
    const zq_shape shape = zq_shape_of(1, &n);
    zq_tensor *tensor = zq_tensor_new(ZQ_I8, &shape);
    for (int64_t c = 0; tensor != NULL && c < n; c++)
        ((int8_t *)tensor->data)[c] = (int8_t)weights->zero_point[c];
    snprintf(name, sizeof name, "%.480s_zp", graph->values[weight].name);
    return zq_graph_add_constant(graph, name, tensor);
}

/* The float constant's value becomes the output of DequantizeLinear, so that its readers and its name stay.
 */
static zq_status quantize_weight(zq_graph *graph, const zq_layer *layer, const zq_weights *weights,
                                 zq_error *err) {
    char name[512];
    const char *own_name = graph->values[layer->weight].name;
    snprintf(name, sizeof name, "%.480s_q", own_name);
    int quantized = zq_graph_add_constant(graph, name, integer_weight(graph, layer, weights));
    snprintf(name, sizeof name, "%.480s_s", graph->values[layer->weight].name);
    const int scale =
        zq_graph_add_constant(graph, name, zq_tensor_new_f32(weights->n_channels, weights->scale));
    const int zero_point = weight_zero_points(graph, layer->weight, weights);
    if (quantized < 0 || scale < 0 || zero_point < 0)
        return zq_fail_memory(err);
    if (graph->values[quantized].dtype !=
        ZQ_I8) { /* ONNX Runtime folds this Cast at load and then fuses as for 8 bits */
        const int widened = append_name(graph, layer->weight, "_i8", ZQ_I8);
        const int n =
            widened < 0 ? -1 : zq_graph_add_node(graph, zq_op_find("Cast"), "", 1, &quantized, 1, &widened);
        if (n < 0 || !zq_node_set_int(&graph->nodes[n], "to", ONNX_INT8))
            return zq_fail_memory(err);
        ZQ_TRY(zq_node_parse(&graph->nodes[n], err));
        quantized = widened;
    }
    zq_tensor_drop(graph->values[layer->weight].constant);
    graph->values[layer->weight].constant = NULL;
    return add_node(graph, "DequantizeLinear", 3, (int[]){quantized, scale, zero_point}, layer->weight,
                    layer->axis, err);
}

static zq_status quantize_bias(zq_graph *graph, int n, const zq_weights *weights, float input_scale,
                               zq_error *err) {
    const int bias = graph->nodes[n].n_inputs > 2 ? graph->nodes[n].inputs[2] : -1;
    if (bias < 0 || graph->values[bias].constant == NULL)
        return ZQ_OK;
    const zq_tensor *source = graph->values[bias].constant;
    const int64_t n_channels = weights->n_channels, n_bias = zq_shape_count(&source->shape);
    const zq_shape shape = zq_shape_of(1, &n_channels);
    zq_tensor *integers = zq_tensor_new(ZQ_I32, &shape), *scales = zq_tensor_new(ZQ_F32, &shape);
    for (int64_t c = 0; integers != NULL && scales != NULL && c < n_channels; c++) {
        const float scale = input_scale * weights->scale[c];
        const double b = zq_tensor_item(source, n_bias == 1 ? 0 : c);
        ((zq_real *)scales->data)[c] = scale;
        ((int32_t *)integers->data)[c] =
            (int32_t)fmax(-2147483647.0, fmin(2147483647.0, nearbyint(b / scale)));
    }
    char name[512];
    snprintf(name, sizeof name, "%.480s_q", graph->values[bias].name);
    const int quantized = zq_graph_add_constant(graph, name, integers);
    snprintf(name, sizeof name, "%.480s_s", graph->values[bias].name);
    const int scale = zq_graph_add_constant(graph, name, scales);
    /* a bias that several nodes share gets a scale for each of them */
    const int dst = append_name(graph, bias, "_dq", ZQ_F32);
    if (dst < 0)
        return zq_fail_memory(err);
    graph->nodes[n].inputs[2] = dst;
    return add_node(graph, "DequantizeLinear", 2, (int[]){quantized, scale}, dst, 0, err);
}

static zq_status quantize_layer(zq_graph *graph, const zq_layer *layer, const zq_weights *weights,
                                const zq_activation *activations, const zq_graph *original, zq_error *err) {
    for (int k = 0; k < layer->n_nodes; k++) {
        const int src = original->nodes[layer->nodes[k]].inputs[0];
        if (!activations[src].used)
            return zq_fail(err, ZQ_ERR_INTERNAL, "the input of layer '%s' is not quantized", layer->name);
        ZQ_TRY(quantize_bias(graph, layer->nodes[k], weights, activations[src].scale, err));
    }
    return quantize_weight(graph, layer, weights, err);
}

zq_status zq_rewrite(const zq_graph *graph, const zq_layers *layers, const zq_activation *activations,
                     const zq_weights *weights, zq_graph **graph_out, zq_error *err) {
    zq_graph *copy = zq_graph_copy(graph);
    if (copy == NULL)
        return zq_fail_memory(err);
    zq_status status = ZQ_OK;
    for (int i = 0; status == ZQ_OK && i < layers->n; i++)
        status = quantize_layer(copy, &layers->items[i], &weights[i], activations, graph, err);
    for (int v = 0; status == ZQ_OK && v < graph->n_values; v++)
        if (graph->values[v].constant == NULL && activations[v].used)
            status = quantize_value(copy, v, &activations[v], err);
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
