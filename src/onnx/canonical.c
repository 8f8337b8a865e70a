/* SPDX-License-Identifier: Apache-2.0 */
#include "onnx/canonical.h"

#include "base/memory.h"
#include "graph/op.h"
#include "onnx/rank.h"
#include "onnx/tensor_proto.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The node being changed. Its address changes when nodes are appended, so it's looked up by index. */
typedef struct site {
    zq_graph *graph;
    int index;
    const char *op_type;
    int opset;
    zq_error *err;
} site;

static zq_node *node_of(const site *at) {
    return &at->graph->nodes[at->index];
}

static zq_status refuse(const site *at, zq_status status, const char *what) {
    return zq_fail(at->err, status, "%s node '%.200s' (opset %d) %s", at->op_type, node_of(at)->name,
                   at->opset, what);
}

/* ---- inputs and attributes */

static int input_of(const site *at, int slot) {
    const zq_node *node = node_of(at);
    return slot < node->n_inputs ? node->inputs[slot] : -1;
}

/* NULL: omitted, or computed at run time. */
static const zq_tensor *constant_input(const site *at, int slot) {
    const int value = input_of(at, slot);
    return value < 0 ? NULL : at->graph->values[value].constant;
}

static zq_status set_input(const site *at, int slot, int value) {
    zq_node *node = node_of(at);
    if (slot >= node->n_inputs) {
        int *inputs = zq_alloc((size_t)slot + 1, sizeof *inputs);
        if (inputs == NULL)
            return zq_fail_memory(at->err);
        for (int i = 0; i <= slot; i++)
            inputs[i] = i < node->n_inputs ? node->inputs[i] : -1;
        zq_free(node->inputs);
        node->inputs = inputs;
        node->n_inputs = slot + 1;
    }
    node->inputs[slot] = value;
    return ZQ_OK;
}

static void trim_inputs(const site *at, int most) {
    zq_node *node = node_of(at);
    if (node->n_inputs > most)
        node->n_inputs = most;
    while (node->n_inputs > 0 && node->inputs[node->n_inputs - 1] < 0)
        node->n_inputs--;
}

/* A new value named after the node's output. Takes tensor (NULL: the value isn't a constant). */
static int add_named(const site *at, const char *suffix, zq_tensor *tensor) {
    const int output = node_of(at)->outputs[0];
    const char *stem = output >= 0 ? at->graph->values[output].name : node_of(at)->name;
    const size_t n = strlen(stem) + strlen(suffix) + 2;
    char *name = zq_alloc_raw(n, 1);
    int value = -1;
    if (name == NULL) {
        zq_tensor_drop(tensor);
        return -1;
    }
    snprintf(name, n, "%s_%s", stem, suffix);
    value = tensor != NULL ? zq_graph_add_constant(at->graph, name, tensor)
                           : zq_graph_add_value(at->graph, name, ZQ_NONE, NULL);
    zq_free(name);
    return value;
}

/* A constant as input slot of the node. Takes tensor (NULL counts as out of memory). */
static zq_status add_input(const site *at, int slot, const char *name, zq_tensor *tensor) {
    const int value = tensor == NULL ? -1 : add_named(at, name, tensor);
    return value < 0 ? zq_fail_memory(at->err) : set_input(at, slot, value);
}

/* An attribute that a later opset made an input. Nothing happens without it. */
static zq_status attr_to_input(const site *at, const char *name, int slot) {
    const zq_attr *attr = zq_node_attr(node_of(at), name);
    zq_tensor *tensor = NULL;
    if (attr == NULL)
        return ZQ_OK;
    if (input_of(at, slot) >= 0)
        return refuse(at, ZQ_ERR_FORMAT, "has an attribute and an input for the same thing");
    if (attr->kind == ZQ_ATTR_INTS)
        tensor = zq_tensor_new_i64((int64_t)attr->n, attr->ints);
    else if (attr->kind == ZQ_ATTR_FLOATS)
        tensor = zq_tensor_new_f32((int64_t)attr->n, attr->floats);
    else if (attr->kind == ZQ_ATTR_FLOAT)
        tensor = zq_tensor_new_f32(-1, &attr->f);
    else
        return zq_fail(at->err, ZQ_ERR_FORMAT, "%s node '%.200s': attribute '%s' has the wrong type",
                       at->op_type, node_of(at)->name, name);
    ZQ_TRY(add_input(at, slot, name, tensor));
    zq_node_remove_attr(node_of(at), name);
    return ZQ_OK;
}

/* An attribute of which only one value is supported; it is removed, since it's the default. */
static zq_status expect_int(const site *at, const char *name, int64_t expected, const char *otherwise) {
    int64_t value;
    ZQ_TRY(zq_node_int(node_of(at), name, expected, &value, at->err));
    if (value != expected)
        return refuse(at, ZQ_ERR_UNSUPPORTED, otherwise);
    zq_node_remove_attr(node_of(at), name);
    return ZQ_OK;
}

static bool only_reshapes(const zq_node *node) {
    static const char *const reshapers[] = {"Identity", "Reshape", "Squeeze", "Unsqueeze"};
    for (size_t k = 0; k < sizeof reshapers / sizeof reshapers[0]; k++)
        if (strcmp(node->op->name, reshapers[k]) == 0)
            return node->n_inputs > 0;
    return false;
}

/* The same for a list, looking through what only changes its shape: constants aren't folded yet. */
static const zq_tensor *constant_list(const site *at, int slot) {
    const zq_graph *graph = at->graph;
    int value = input_of(at, slot);
    for (int hops = 0; value >= 0 && hops < graph->n_nodes; hops++) { /* a damaged file may hold a circle */
        const int producer = graph->values[value].producer;
        if (producer < 0 || !only_reshapes(&graph->nodes[producer]))
            break;
        value = graph->nodes[producer].inputs[0];
    }
    return value < 0 ? NULL : graph->values[value].constant;
}

/* A constant list of at most ZQ_MAX_RANK integers in input slot. */
static zq_status read_list(const site *at, int slot, int64_t *values, int *n_out) {
    const zq_tensor *list = constant_list(at, slot);
    if (list == NULL)
        return refuse(at, ZQ_ERR_UNSUPPORTED,
                      "takes its axes from a computed value; zeroq wants them constant");
    const int64_t n = zq_shape_count(&list->shape);
    if ((list->dtype != ZQ_I64 && list->dtype != ZQ_I32) || n > ZQ_MAX_RANK)
        return refuse(at, ZQ_ERR_FORMAT, "has axes that are no short list of integers");
    for (int64_t i = 0; i < n; i++)
        values[i] = zq_tensor_item_i64(list, i);
    *n_out = (int)n;
    return ZQ_OK;
}

/* Axes of a value of that rank, each once, negative ones counted from the end. */
static zq_status check_axes(const site *at, int rank, int n, int64_t *axes) {
    bool seen[ZQ_MAX_RANK] = {0};
    for (int i = 0; i < n; i++) {
        axes[i] += axes[i] < 0 ? rank : 0;
        if (axes[i] < 0 || axes[i] >= rank || seen[axes[i]])
            return refuse(at, ZQ_ERR_FORMAT, "has an axis out of range or twice");
        seen[axes[i]] = true;
    }
    return ZQ_OK;
}

static zq_status known_rank(const site *at, int *rank_out) {
    const int value = input_of(at, 0);
    *rank_out = value < 0 ? 0 : at->graph->values[value].shape.rank;
    if (*rank_out == 0)
        return refuse(at, ZQ_ERR_UNSUPPORTED,
                      "has an axes input, but the rank of its data isn't known: export with opset 13");
    return ZQ_OK;
}

/* ---- one function an operator */

static zq_status clip(const site *at) {
    if (at->opset >= 11)
        return ZQ_OK;
    ZQ_TRY(attr_to_input(at, "min", 1));
    return attr_to_input(at, "max", 2);
}

static zq_status dropout(const site *at) {
    const zq_tensor *training = constant_input(at, 2);
    if (input_of(at, 2) >= 0 &&
        (training == NULL || zq_shape_count(&training->shape) != 1 || zq_tensor_item_i64(training, 0) != 0))
        return refuse(at, ZQ_ERR_UNSUPPORTED, "is in training mode: call model.eval() before exporting");
    zq_node_remove_attr(node_of(at), "ratio");
    zq_node_remove_attr(node_of(at), "seed");
    trim_inputs(at, 1);
    return ZQ_OK;
}

/* Opset 18: pads of some axes only. */
static zq_status spread_pads(const site *at) {
    int64_t axes[ZQ_MAX_RANK], pads[2 * ZQ_MAX_RANK] = {0};
    int n, rank;
    ZQ_TRY(read_list(at, 3, axes, &n));
    ZQ_TRY(known_rank(at, &rank));
    ZQ_TRY(check_axes(at, rank, n, axes));
    const zq_tensor *given = constant_input(at, 1);
    if (given == NULL || given->dtype != ZQ_I64 || zq_shape_count(&given->shape) != 2 * n)
        return refuse(at, ZQ_ERR_UNSUPPORTED, "has axes, but no constant pads of twice their number");
    for (int i = 0; i < n; i++) {
        pads[axes[i]] = zq_tensor_item_i64(given, i);
        pads[rank + axes[i]] = zq_tensor_item_i64(given, n + i);
    }
    ZQ_TRY(add_input(at, 1, "pads", zq_tensor_new_i64(2 * rank, pads)));
    trim_inputs(at, 3);
    return ZQ_OK;
}

static zq_status pad(const site *at) {
    if (at->opset >= 11)
        return input_of(at, 3) >= 0 ? spread_pads(at) : ZQ_OK;
    ZQ_TRY(attr_to_input(at, "pads", 1));
    return attr_to_input(at, "value", 2);
}

static zq_status slice(const site *at) {
    if (at->opset >= 10)
        return ZQ_OK;
    ZQ_TRY(attr_to_input(at, "starts", 1));
    ZQ_TRY(attr_to_input(at, "ends", 2));
    return attr_to_input(at, "axes", 3);
}

static zq_status squeeze(const site *at) {
    return at->opset >= 13 ? ZQ_OK : attr_to_input(at, "axes", 1);
}

/* Opset 18's num_outputs stays where there are no sizes: the last part may be smaller there, which opset 13
 * can't say. */
static zq_status split(const site *at) {
    if (at->opset < 13)
        return attr_to_input(at, "split", 1);
    const zq_node *node = node_of(at);
    int64_t n_outputs;
    ZQ_TRY(zq_node_int(node, "num_outputs", node->n_outputs, &n_outputs, at->err));
    if (n_outputs != node->n_outputs)
        return refuse(at, ZQ_ERR_FORMAT, "has another number of outputs than its num_outputs says");
    if (input_of(at, 1) >= 0)
        zq_node_remove_attr(node_of(at), "num_outputs");
    return ZQ_OK;
}

static zq_status reduce_mean(const site *at) {
    if (at->opset < 18)
        return ZQ_OK;
    int64_t axes[ZQ_MAX_RANK], noop;
    int n = 0;
    if (input_of(at, 1) >= 0)
        ZQ_TRY(read_list(at, 1, axes, &n));
    ZQ_TRY(zq_node_int(node_of(at), "noop_with_empty_axes", 0, &noop, at->err));
    zq_node_remove_attr(node_of(at), "noop_with_empty_axes");
    trim_inputs(at, 1);
    if (n > 0 && !zq_node_set_ints(node_of(at), "axes", (size_t)n, axes))
        return zq_fail_memory(at->err);
    if (n == 0 && noop != 0) {
        zq_node_remove_attr(node_of(at), "keepdims");
        node_of(at)->op = zq_op_find("Identity");
    }
    return ZQ_OK;
}

static zq_status append(const site *at, const char *op, int n_inputs, const int *inputs, int output) {
    const int added = output < 0 || (n_inputs > 1 && inputs[1] < 0)
                          ? -1
                          : zq_graph_add_node(at->graph, zq_op_find(op), at->graph->values[output].name,
                                              n_inputs, inputs, 1, &output);
    return added < 0 ? zq_fail_memory(at->err) : ZQ_OK;
}

/* Before opset 13, Softmax took everything from axis on as one row: Flatten, Softmax, Reshape back. */
static zq_status softmax(const site *at) {
    int64_t axis;
    ZQ_TRY(zq_node_int(node_of(at), "axis", at->opset < 13 ? 1 : -1, &axis, at->err));
    const int source = input_of(at, 0), result = node_of(at)->outputs[0];
    if (source < 0 || result < 0)
        return ZQ_OK; /* refused when the node is parsed */
    const int rank = at->graph->values[source].shape.rank;
    const bool same = at->opset >= 13 || axis == -1 || (rank > 0 && axis == rank - 1);
    if (!zq_node_set_int(node_of(at), "axis", same ? axis : -1))
        return zq_fail_memory(at->err);
    if (same)
        return ZQ_OK;
    const int rows = add_named(at, "rows", NULL), shape = add_named(at, "shape", NULL);
    const int soft = add_named(at, "softmax", NULL);
    const int back[2] = {soft, shape};
    ZQ_TRY(append(at, "Flatten", 1, &source, rows));
    if (!zq_node_set_int(&at->graph->nodes[at->graph->n_nodes - 1], "axis", axis))
        return zq_fail_memory(at->err);
    ZQ_TRY(append(at, "Shape", 1, &source, shape));
    ZQ_TRY(append(at, "Reshape", 2, back, soft < 0 ? -1 : result));
    node_of(at)->inputs[0] = rows;
    node_of(at)->outputs[0] = soft;
    at->graph->values[soft].producer = at->index;
    return ZQ_OK;
}

static zq_status batch_normalization(const site *at) {
    zq_node *node = node_of(at);
    ZQ_TRY(expect_int(at, "training_mode", 0,
                      "is in training mode: call model.eval() before exporting, and keep "
                      "TrainingMode.PRESERVE"));
    ZQ_TRY(expect_int(at, "spatial", 1,
                      "normalises each pixel on its own (spatial = 0), which zeroq does not "
                      "support"));
    zq_node_remove_attr(node, "momentum");
    zq_node_remove_attr(node, "is_test");
    for (int o = 1; o < node->n_outputs; o++) /* what training would have written */
        if (node->outputs[o] >= 0)
            at->graph->values[node->outputs[o]].producer = -1;
    node->n_outputs = node->n_outputs > 1 ? 1 : node->n_outputs;
    return ZQ_OK;
}

static zq_status set_string(const site *at, const char *name, const char *value) {
    return zq_node_set_string(node_of(at), name, value) ? ZQ_OK : zq_fail_memory(at->err);
}

/* Upsample (7 to 9) and Resize (10): X and scales, each output pixel at floor(x / scale). */
static zq_status old_resize(const site *at) {
    ZQ_TRY(attr_to_input(at, "scales", 1));
    const int scales = input_of(at, 1);
    if (node_of(at)->n_inputs > 2)
        return refuse(at, ZQ_ERR_FORMAT, "has more than two inputs");
    ZQ_TRY(set_input(at, 2, scales));
    node_of(at)->inputs[1] = -1;
    ZQ_TRY(set_string(at, "coordinate_transformation_mode", "asymmetric"));
    return set_string(at, "nearest_mode", "floor");
}

/* Constant sizes in the order of their axes, which are sorted. */
static zq_status sort_sizes(const site *at, int n, int64_t *axes) {
    const zq_tensor *given = constant_input(at, 3);
    int64_t of_axis[ZQ_MAX_RANK] = {0}, sizes[ZQ_MAX_RANK];
    if (given == NULL || given->dtype != ZQ_I64 || zq_shape_count(&given->shape) != n)
        return ZQ_OK;
    bool used[ZQ_MAX_RANK] = {0};
    for (int i = 0; i < n; i++) {
        of_axis[axes[i]] = zq_tensor_item_i64(given, i);
        used[axes[i]] = true;
    }
    for (int a = 0, i = 0; a < ZQ_MAX_RANK; a++)
        if (used[a]) {
            sizes[i] = of_axis[a];
            axes[i++] = a;
        }
    return add_input(at, 3, "sizes", zq_tensor_new_i64(n, sizes));
}

/* Opset 18: scales or sizes of some axes only. */
static zq_status spread_resize(const site *at) {
    int64_t axes[ZQ_MAX_RANK];
    float scales[ZQ_MAX_RANK];
    int n, rank;
    ZQ_TRY(zq_node_ints(node_of(at), "axes", ZQ_MAX_RANK, axes, &n, at->err));
    if (n == 0)
        return ZQ_OK;
    ZQ_TRY(known_rank(at, &rank));
    ZQ_TRY(check_axes(at, rank, n, axes));
    zq_node_remove_attr(node_of(at), "axes");
    bool all = n == rank;
    for (int i = 0; i < n; i++)
        all = all && axes[i] == i;
    if (all)
        return ZQ_OK;
    const zq_tensor *given = constant_input(at, 2);
    if (given != NULL && given->dtype == ZQ_F32 && zq_shape_count(&given->shape) == n) {
        for (int d = 0; d < rank; d++)
            scales[d] = 1;
        for (int i = 0; i < n; i++)
            scales[axes[i]] = ((const float *)given->data)[i];
        return add_input(at, 2, "scales", zq_tensor_new_f32(rank, scales));
    }
    ZQ_TRY(sort_sizes(at, n, axes));
    /* the other axes keep their sizes, which are known at run time only */
    for (int i = 0; i < n; i++)
        if (axes[i] != rank - n + i || input_of(at, 3) < 0)
            return refuse(at, ZQ_ERR_UNSUPPORTED,
                          "resizes axes that are neither all nor the last ones: export with opset 13");
    const int shape = add_named(at, "shape", NULL), kept = add_named(at, "kept", NULL);
    const int sizes = add_named(at, "sizes", NULL);
    const int64_t zero = 0, end = rank - n;
    const int cut[3] = {shape, add_named(at, "start", zq_tensor_new_i64(1, &zero)),
                        add_named(at, "end", zq_tensor_new_i64(1, &end))};
    const int source = input_of(at, 0), joined[2] = {kept, input_of(at, 3)};
    if (cut[1] < 0 || cut[2] < 0)
        return zq_fail_memory(at->err);
    ZQ_TRY(append(at, "Shape", 1, &source, shape));
    ZQ_TRY(append(at, "Slice", 3, cut, kept));
    ZQ_TRY(append(at, "Concat", 2, joined, sizes));
    if (!zq_node_set_int(&at->graph->nodes[at->graph->n_nodes - 1], "axis", 0))
        return zq_fail_memory(at->err);
    return set_input(at, 3, sizes);
}

static zq_status resize(const site *at) {
    if (at->opset < 11)
        return old_resize(at);
    const char *policy;
    ZQ_TRY(expect_int(at, "antialias", 0,
                      "smooths before it shrinks (antialias = 1), which zeroq does not "
                      "support"));
    ZQ_TRY(zq_node_string(node_of(at), "keep_aspect_ratio_policy", "stretch", &policy, at->err));
    if (strcmp(policy, "stretch") != 0)
        return refuse(at, ZQ_ERR_UNSUPPORTED,
                      "keeps the aspect ratio (keep_aspect_ratio_policy), which zeroq "
                      "does not support");
    zq_node_remove_attr(node_of(at), "keep_aspect_ratio_policy");
    for (int slot = 1; slot <= 3; slot++) { /* opset 11 wrote an empty tensor for none */
        const zq_tensor *tensor = constant_input(at, slot);
        if (tensor != NULL && zq_shape_count(&tensor->shape) == 0)
            node_of(at)->inputs[slot] = -1;
    }
    trim_inputs(at, 4);
    return spread_resize(at);
}

/* Opset 14: allowzero matters only for a target that holds a 0. */
static zq_status reshape(const site *at) {
    int64_t allow;
    ZQ_TRY(zq_node_int(node_of(at), "allowzero", 0, &allow, at->err));
    const zq_tensor *target = constant_input(at, 1);
    for (int64_t i = 0; allow != 0 && target != NULL && i < zq_shape_count(&target->shape); i++)
        if (zq_tensor_item_i64(target, i) == 0)
            return refuse(at, ZQ_ERR_UNSUPPORTED, "makes an empty tensor (allowzero = 1)");
    if (allow == 0 || target != NULL)
        zq_node_remove_attr(node_of(at), "allowzero");
    return ZQ_OK;
}

/* Opset 15: a part of the shape. */
static zq_status shape(const site *at) {
    int64_t start, end;
    const int result = node_of(at)->outputs[0];
    ZQ_TRY(zq_node_int(node_of(at), "start", 0, &start, at->err));
    ZQ_TRY(zq_node_int(node_of(at), "end", INT64_MAX, &end, at->err));
    zq_node_remove_attr(node_of(at), "start");
    zq_node_remove_attr(node_of(at), "end");
    if ((start == 0 && end == INT64_MAX) || result < 0)
        return ZQ_OK;
    const int whole = add_named(at, "whole", NULL);
    const int inputs[3] = {whole, add_named(at, "start", zq_tensor_new_i64(1, &start)),
                           add_named(at, "end", zq_tensor_new_i64(1, &end))};
    if (whole < 0 || inputs[2] < 0)
        return zq_fail_memory(at->err);
    ZQ_TRY(append(at, "Slice", 3, inputs, result));
    node_of(at)->outputs[0] = whole;
    at->graph->values[whole].producer = at->index;
    return ZQ_OK;
}

static zq_status cast(const site *at) {
    zq_node_remove_attr(node_of(at), "saturate"); /* for 8-bit floats only */
    zq_node_remove_attr(node_of(at), "round_mode");
    return ZQ_OK;
}

/* Element type of a value that isn't inferred yet: that of what most operators take first. */
static zq_dtype dtype_of(const zq_graph *graph, int value) {
    for (int n = 0; value >= 0 && n <= graph->n_nodes; n++) {
        const int producer = graph->values[value].producer;
        if (producer < 0)
            return graph->values[value].dtype;
        const zq_node *node = &graph->nodes[producer];
        const zq_attr *to = zq_node_attr(node, "to");
        if (strcmp(node->op->name, "Shape") == 0)
            return ZQ_I64;
        if (strcmp(node->op->name, "Cast") == 0)
            return to != NULL && to->i > 0 && to->i < INT32_MAX ? zq_data_type_exact((int)to->i) : ZQ_NONE;
        value = node->n_inputs > 0 ? node->inputs[0] : -1;
    }
    return ZQ_NONE;
}

/* A Cast to the type of its second input. */
static zq_status cast_like(const site *at) {
    const int type = zq_data_type_of(dtype_of(at->graph, input_of(at, 1)));
    if (type == 0)
        return refuse(at, ZQ_ERR_UNSUPPORTED, "takes the type of a value whose type isn't known");
    trim_inputs(at, 1);
    if (!zq_node_set_int(node_of(at), "to", type))
        return zq_fail_memory(at->err);
    return cast(at);
}

static zq_status dequantize_linear(const site *at) {
    ZQ_TRY(expect_int(at, "block_size", 0, "has a scale for each block, which zeroq does not support"));
    int64_t type;
    ZQ_TRY(zq_node_int(node_of(at), "output_dtype", 0, &type, at->err));
    if (type != 0 && type != ZQ_DATA_FLOAT)
        return refuse(at, ZQ_ERR_UNSUPPORTED, "doesn't give 32-bit floats");
    zq_node_remove_attr(node_of(at), "output_dtype");
    return ZQ_OK;
}

static zq_status quantize_linear(const site *at) {
    ZQ_TRY(expect_int(at, "block_size", 0, "has a scale for each block, which zeroq does not support"));
    int64_t type;
    ZQ_TRY(zq_node_int(node_of(at), "output_dtype", 0, &type, at->err));
    zq_node_remove_attr(node_of(at), "output_dtype");
    zq_node_remove_attr(node_of(at), "saturate"); /* for 8-bit floats only */
    zq_node_remove_attr(node_of(at), "precision");
    if (type == 0 || input_of(at, 2) >= 0)
        return ZQ_OK;
    /* the type of a zero point says it in opset 13 */
    const zq_tensor *scale = constant_input(at, 1);
    const zq_dtype dtype = type < INT32_MAX && type > 0 ? zq_data_type_exact((int)type) : ZQ_NONE;
    if (scale == NULL || dtype == ZQ_NONE)
        return refuse(at, ZQ_ERR_UNSUPPORTED, "has an output_dtype that zeroq does not support");
    return add_input(at, 2, "zero_point", zq_tensor_new(dtype, &scale->shape));
}

/* ---- the table */

static const struct {
    const char *op_type;
    zq_status (*change)(const site *at);
} changes[] = {
    {"BatchNormalization", batch_normalization},
    {"Cast", cast},
    {"CastLike", cast_like},
    {"Clip", clip},
    {"DequantizeLinear", dequantize_linear},
    {"Dropout", dropout},
    {"Pad", pad},
    {"QuantizeLinear", quantize_linear},
    {"ReduceMean", reduce_mean},
    {"Reshape", reshape},
    {"Resize", resize},
    {"Shape", shape},
    {"Slice", slice},
    {"Softmax", softmax},
    {"Split", split},
    {"Squeeze", squeeze},
    {"Unsqueeze", squeeze},
    {"Upsample", old_resize},
};

const zq_op *zq_canonical_op(const char *op_type) {
    static const char *const others[][2] = {{"Upsample", "Resize"}, {"CastLike", "Cast"}};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (strcmp(op_type, others[i][0]) == 0)
            return zq_op_find(others[i][1]);
    return zq_op_find(op_type);
}

zq_status zq_canonical_node(zq_graph *graph, const char *op_type, int opset, zq_error *err) {
    const site at = {graph, graph->n_nodes - 1, op_type, opset, err};
    if (node_of(&at)->n_outputs == 0)
        return refuse(&at, ZQ_ERR_FORMAT, "has no output");
    for (size_t c = 0; c < sizeof changes / sizeof changes[0]; c++)
        if (strcmp(changes[c].op_type, op_type) == 0)
            ZQ_TRY(changes[c].change(&at));
    for (int n = at.index; n < graph->n_nodes; n++)
        zq_rank_note(graph, n);
    return ZQ_OK;
}
