/* SPDX-License-Identifier: Apache-2.0 */
/* Where QuantizeLinear/DequantizeLinear pairs go: behind every node that has an integer kernel and in front
 * of every weighted node; one scale across nodes that only move elements. Or, as TensorRT wants it, in front
 * of weighted nodes alone, and on the shortcut of an Add, whose other operand stays float inside a kernel. */
#include "base/memory.h"
#include "graph/op.h"
#include "quant/rewrite.h"

#include <math.h>
#include <string.h>

/* What is known about each node and value while placing. */
typedef struct zq_placing {
    const zq_graph *graph;
    const zq_form *form;
    zq_activation *activations; /* [n_values] */
    bool *feeds_weighted;       /* [n_nodes]: some weighted node lies downstream, or it is one */
    bool *integer;              /* [n_nodes]: will run on integers */
    bool *absorbed; /* [n_values]: lives between a node and its Relu or Clip, so it is never quantized */
    int *scale_of;  /* [n_values]: the value whose scale this one takes; itself: its own */
} zq_placing;

static bool is_op(const zq_node *node, const char *name) {
    return strcmp(node->op->name, name) == 0;
}

static bool is_runtime_float(const zq_graph *graph, int value) {
    return value >= 0 && graph->values[value].constant == NULL && graph->values[value].dtype == ZQ_F32;
}

static bool is_weighted(const zq_graph *graph, const zq_node *node) {
    return !node->keeps_float && (node->op->traits & ZQ_OP_WEIGHTED) != 0 && node->n_inputs > 1 &&
           node->inputs[1] >= 0 && graph->values[node->inputs[1]].constant != NULL;
}

static bool reads_constant_operand(const zq_graph *graph, const zq_node *node) {
    for (int i = 0; i < node->n_inputs; i++)
        if (node->inputs[i] >= 0 && graph->values[node->inputs[i]].constant != NULL)
            return true;
    return false;
}

/* A Pad that writes something else than zeros brings in a value that the scale of its input may not hold. */
static bool keeps_scale(const zq_graph *graph, const zq_node *node) {
    if ((node->op->traits & ZQ_OP_SAME_SCALE) == 0)
        return false;
    if (!is_op(node, "Pad") || node->n_inputs < 3 || node->inputs[2] < 0)
        return true;
    const zq_tensor *fill = graph->values[node->inputs[2]].constant;
    return fill != NULL && zq_shape_count(&fill->shape) == 1 && zq_tensor_item(fill, 0) == 0;
}

/* Nodes behind the last weighted one stay float: they cost next to nothing, and the scores keep their
 * precision. */
static void find_upstream(zq_placing *placing, bool *wanted /* [n_values] */) {
    const zq_graph *graph = placing->graph;
    for (int n = graph->n_nodes - 1; n >= 0; n--) {
        const zq_node *node = &graph->nodes[n];
        bool needed = is_weighted(graph, node);
        for (int o = 0; o < node->n_outputs; o++)
            needed = needed || (node->outputs[o] >= 0 && wanted[node->outputs[o]]);
        placing->feeds_weighted[n] = needed;
        for (int i = 0; needed && i < node->n_inputs; i++)
            if (node->inputs[i] >= 0)
                wanted[node->inputs[i]] = true;
    }
}

/* An activation function behind a layer that stays float goes with it. */
static bool is_excluded(const zq_graph *graph, const zq_node *node) {
    const int producer =
        node->n_inputs > 0 && node->inputs[0] >= 0 ? graph->values[node->inputs[0]].producer : -1;
    return node->keeps_float ||
           ((node->op->traits & ZQ_OP_UNARY) != 0 && producer >= 0 && graph->nodes[producer].keeps_float);
}

static bool has_kernel(const zq_form *form, const zq_node *node) {
    return (node->op->traits & ZQ_OP_INTEGER) != 0 &&
           (!form->inputs_only || is_op(node, "Add") || (node->op->traits & ZQ_OP_SAME_SCALE) != 0);
}

static void find_integer_nodes(zq_placing *placing) {
    const zq_graph *graph = placing->graph;
    for (int n = 0; n < graph->n_nodes; n++) {
        const zq_node *node = &graph->nodes[n];
        const bool arithmetic = (node->op->traits & ZQ_OP_BROADCAST) != 0;
        if (is_excluded(graph, node))
            continue;
        if (is_weighted(graph, node))
            placing->integer[n] = true;
        else if (placing->feeds_weighted[n] && has_kernel(placing->form, node))
            placing->integer[n] = node->inputs[0] >= 0 && is_runtime_float(graph, node->inputs[0]) &&
                                  !(arithmetic && reads_constant_operand(graph, node));
    }
}

/* The Relu or Clip that alone reads the output of an integer node becomes the saturation of its
 * QuantizeLinear. */
static void absorb_activation(zq_placing *placing, int n) {
    const zq_graph *graph = placing->graph;
    const zq_node *node = &graph->nodes[n];
    const bool rectifier = is_op(node, "Relu") || is_op(node, "Clip");
    const int src = rectifier ? node->inputs[0] : -1;
    const int producer = src >= 0 ? graph->values[src].producer : -1;
    if (producer < 0 || !placing->integer[producer] || keeps_scale(graph, &graph->nodes[producer]) ||
        zq_graph_is_output(graph, src) || zq_graph_consumers(graph, src, NULL) != 1)
        return;
    placing->absorbed[src] = true;
    placing->integer[n] = true;
}

/* A Gemm or MatMul at the end of the network gives float scores directly. */
static bool may_end_in_float(const zq_placing *placing, int n) {
    const zq_graph *graph = placing->graph;
    const zq_node *node = &graph->nodes[n];
    if (!is_op(node, "Gemm") && !is_op(node, "MatMul"))
        return false;
    int *consumers = NULL;
    const int n_consumers = zq_graph_consumers(graph, node->outputs[0], &consumers);
    bool quantized_reader = n_consumers < 0;
    for (int c = 0; c < n_consumers; c++)
        quantized_reader = quantized_reader || placing->integer[consumers[c]];
    zq_free(consumers);
    return !quantized_reader;
}

/* Whether a value is what a weighted node gives to the Add that alone reads it: both are one kernel. */
static bool ends_in_add(const zq_placing *placing, int value) {
    const zq_graph *graph = placing->graph;
    const int producer = graph->values[value].producer;
    return producer >= 0 && placing->integer[producer] && is_weighted(graph, &graph->nodes[producer]) &&
           zq_graph_consumers(graph, value, NULL) == 1 && !zq_graph_is_output(graph, value);
}

static void mark_inputs(zq_placing *placing, int n, bool *quantized) {
    const zq_graph *graph = placing->graph;
    const zq_node *node = &graph->nodes[n];
    const int a = node->inputs[0], b = node->n_inputs > 1 ? node->inputs[1] : -1;
    if (is_weighted(graph, node))
        quantized[a] = is_runtime_float(graph, a);
    else if (is_op(node, "Add")) {
        const bool keeps_a = ends_in_add(placing, a);
        quantized[a] = quantized[a] || !keeps_a;
        quantized[b] = quantized[b] || keeps_a || !ends_in_add(placing, b);
    }
}

static void mark_quantized_values(zq_placing *placing, bool *quantized) {
    const zq_graph *graph = placing->graph;
    if (placing->form->inputs_only) {
        for (int n = 0; n < graph->n_nodes; n++)
            if (placing->integer[n])
                mark_inputs(placing, n, quantized);
        return;
    }
    for (int n = 0; n < graph->n_nodes; n++) {
        const zq_node *node = &graph->nodes[n];
        if (!placing->integer[n])
            continue;
        for (int i = 0; i < node->n_inputs; i++)
            if (is_runtime_float(graph, node->inputs[i]))
                quantized[node->inputs[i]] = true;
        for (int o = 0; o < node->n_outputs; o++)
            if (is_runtime_float(graph, node->outputs[o]) && !may_end_in_float(placing, n))
                quantized[node->outputs[o]] = true;
    }
    for (int v = 0; v < graph->n_values; v++)
        quantized[v] = quantized[v] && !placing->absorbed[v];
}

static void share_scales(zq_placing *placing, const bool *quantized) {
    const zq_graph *graph = placing->graph;
    for (int v = 0; v < graph->n_values; v++)
        placing->scale_of[v] = v;
    for (int n = 0; n < graph->n_nodes; n++) {
        const zq_node *node = &graph->nodes[n];
        if (!placing->integer[n] || !keeps_scale(graph, node) || !quantized[node->inputs[0]])
            continue;
        for (int o = 0; o < node->n_outputs; o++)
            if (node->outputs[o] >= 0)
                placing->scale_of[node->outputs[o]] = placing->scale_of[node->inputs[0]];
    }
}

/* Whether a value may be rounded to the grid of another: one that stands for the value's rectifier too. */
static bool fits_grid(const zq_placing *placing, int value, int other) {
    const zq_graph *graph = placing->graph;
    const int producer = graph->values[value].producer;
    const int src =
        producer >= 0 && graph->nodes[producer].n_inputs > 0 ? graph->nodes[producer].inputs[0] : -1;
    if (src < 0 || !placing->absorbed[src])
        return true;
    return is_op(&graph->nodes[producer], "Relu") && placing->activations[other].zero_point == 0;
}

/* What a Concat alone reads is rounded to its grid at once, in place of twice. Concats of Concats come last
 * first. */
static void share_with_concat(zq_placing *placing, const bool *quantized) {
    const zq_graph *graph = placing->graph;
    for (int n = graph->n_nodes - 1; n >= 0; n--) {
        const zq_node *node = &graph->nodes[n];
        if (!placing->integer[n] || !is_op(node, "Concat") || !quantized[node->outputs[0]])
            continue;
        const int scale_of = placing->scale_of[node->outputs[0]];
        for (int i = 0; i < node->n_inputs; i++) {
            const int v = node->inputs[i];
            if (quantized[v] && placing->scale_of[v] == v && zq_graph_consumers(graph, v, NULL) == 1 &&
                graph->values[v].producer >= 0 && !zq_graph_is_output(graph, v) &&
                fits_grid(placing, v, scale_of))
                placing->scale_of[v] = scale_of;
        }
    }
}

/* Saturation can only stand for a Clip when the quantized range lies inside the Clip's bounds. */
static void clip_range(const zq_placing *placing, int n) {
    const zq_graph *graph = placing->graph;
    const zq_node *node = &graph->nodes[n];
    if (!is_op(node, "Clip") || !placing->absorbed[node->inputs[0]])
        return;
    zq_activation *activation = &placing->activations[node->outputs[0]];
    const int levels_below = activation->zero_point,
              levels_above = activation->q_max - activation->zero_point;
    for (int bound = 1; bound <= 2 && bound < node->n_inputs; bound++) {
        const zq_tensor *tensor =
            node->inputs[bound] < 0 ? NULL : graph->values[node->inputs[bound]].constant;
        const int levels = bound == 1 ? levels_below : levels_above;
        const float limit = tensor == NULL ? INFINITY : fabsf((float)zq_tensor_item(tensor, 0));
        while (levels > 0 && limit > 0 && activation->scale * (float)levels > limit)
            activation->scale = fminf(nextafterf(activation->scale, 0.0F), limit / (float)levels);
    }
}

static zq_status apply(zq_placing *placing, const bool *quantized, zq_error *err) {
    const zq_graph *graph = placing->graph;
    for (int v = 0; v < graph->n_values; v++)
        if (quantized[v] && !placing->activations[placing->scale_of[v]].used)
            return zq_fail(err, ZQ_ERR_INTERNAL, "the range of '%s' was not measured", graph->values[v].name);
    for (int n = 0; n < graph->n_nodes; n++)
        clip_range(placing, n);
    for (int v = 0; v < graph->n_values; v++)
        if (quantized[v])
            placing->activations[v] = placing->activations[placing->scale_of[v]];
    for (int v = 0; v < graph->n_values; v++)
        placing->activations[v].used = quantized[v];
    return ZQ_OK;
}

const char *zq_placement_text(zq_placement placement) {
    switch (placement) {
    case ZQ_PLACED_INTEGER:
        return "integer";
    case ZQ_PLACED_TAIL:
        return "float: behind the last weighted layer";
    case ZQ_PLACED_NO_KERNEL:
        return "float: the runtime has no integer kernel for this operator";
    case ZQ_PLACED_OPERAND:
        return "float: one operand is a float constant";
    case ZQ_PLACED_EXCLUDED:
        return "float: excluded";
    }
    return "";
}

static zq_placement placement_of(const zq_placing *placing, int n) {
    if (placing->integer[n])
        return ZQ_PLACED_INTEGER;
    if (is_excluded(placing->graph, &placing->graph->nodes[n]))
        return ZQ_PLACED_EXCLUDED;
    if (!placing->feeds_weighted[n])
        return ZQ_PLACED_TAIL;
    return has_kernel(placing->form, &placing->graph->nodes[n]) ? ZQ_PLACED_OPERAND : ZQ_PLACED_NO_KERNEL;
}

zq_status zq_place(zq_graph *graph, const zq_form *form, zq_activation *activations, zq_placement *nodes_out,
                   int *scale_of_out, zq_error *err) {
    const size_t n_nodes = (size_t)graph->n_nodes, n_values = (size_t)graph->n_values;
    zq_placing placing = {.graph = graph, .form = form, .activations = activations};
    placing.feeds_weighted = zq_alloc(n_nodes, sizeof(bool));
    placing.integer = zq_alloc(n_nodes, sizeof(bool));
    placing.absorbed = zq_alloc(n_values, sizeof(bool));
    placing.scale_of = zq_alloc(n_values, sizeof(int));
    bool *wanted = zq_alloc(n_values, sizeof *wanted), *quantized = zq_alloc(n_values, sizeof *quantized);
    zq_status status = ZQ_OK;
    if (placing.feeds_weighted == NULL || placing.integer == NULL || placing.absorbed == NULL ||
        placing.scale_of == NULL || wanted == NULL || quantized == NULL) {
        status = zq_fail_memory(err);
    } else {
        find_upstream(&placing, wanted);
        find_integer_nodes(&placing);
        for (int n = 0; n < graph->n_nodes; n++)
            absorb_activation(&placing, n);
        mark_quantized_values(&placing, quantized);
        share_scales(&placing, quantized);
        share_with_concat(&placing, quantized);
        for (int n = 0; nodes_out != NULL && n < graph->n_nodes; n++)
            nodes_out[n] = placement_of(&placing, n);
        if (scale_of_out != NULL)
            memcpy(scale_of_out, placing.scale_of, n_values * sizeof *scale_of_out);
        status = apply(&placing, quantized, err);
    }
    zq_free(placing.feeds_weighted);
    zq_free(placing.integer);
    zq_free(placing.absorbed);
    zq_free(placing.scale_of);
    zq_free(wanted);
    zq_free(quantized);
    return status;
}
