/* SPDX-License-Identifier: Apache-2.0 */
#include "onnx/sequence.h"

#include "base/memory.h"
#include "graph/op.h"
#include "onnx/canonical.h"

#include <stdio.h>
#include <string.h>

static bool is(const Onnx__NodeProto *proto, const char *op_type) {
    return proto->op_type != NULL && strcmp(proto->op_type, op_type) == 0 &&
           (proto->domain == NULL || proto->domain[0] == '\0');
}

bool zq_sequence_is_split(const Onnx__GraphProto *file, const Onnx__NodeProto *proto) {
    if (!is(proto, "SplitToSequence") || proto->n_output != 1)
        return false;
    for (size_t o = 0; o < file->n_output; o++)
        if (file->output[o]->name != NULL && strcmp(file->output[o]->name, proto->output[0]) == 0)
            return false;
    return true;
}

bool zq_sequence_is_at(const Onnx__NodeProto *proto) {
    return is(proto, "SequenceAt");
}

static zq_status refuse(const Onnx__NodeProto *at, zq_error *err) {
    return zq_fail(err, ZQ_ERR_UNSUPPORTED,
                   "SequenceAt node '%.200s' doesn't take a constant part of a SplitToSequence with constant "
                   "sizes, which is the one use of sequences that zeroq supports",
                   at->name != NULL ? at->name : "");
}

static const Onnx__NodeProto *find_split(const Onnx__GraphProto *file, const char *sequence) {
    for (size_t n = 0; n < file->n_node; n++)
        if (zq_sequence_is_split(file, file->node[n]) && strcmp(file->node[n]->output[0], sequence) == 0)
            return file->node[n];
    return NULL;
}

static const zq_tensor *constant(zq_graph *graph, const char *name) {
    const int value = zq_graph_find_value(graph, name);
    const zq_tensor *tensor = value < 0 ? NULL : graph->values[value].constant;
    return tensor != NULL && (tensor->dtype == ZQ_I64 || tensor->dtype == ZQ_I32) ? tensor : NULL;
}

/* Where part number `part` begins and ends; false: that isn't known. */
static bool find_range(const zq_tensor *sizes, int64_t part, int64_t *start, int64_t *end) {
    const int64_t n = zq_shape_count(&sizes->shape);
    if (sizes->shape.rank == 0) { /* equal parts, as many as it takes */
        const int64_t size = zq_tensor_item_i64(sizes, 0);
        if (part < 0 || size < 1 || part > INT32_MAX || size > INT32_MAX)
            return false;
        *start = part * size;
        *end = *start + size;
        return true;
    }
    part += part < 0 ? n : 0;
    if (part < 0 || part >= n)
        return false;
    *start = *end = 0;
    for (int64_t i = 0; i <= part; i++) {
        const int64_t size = zq_tensor_item_i64(sizes, i);
        if (size < 0 || size > INT32_MAX)
            return false;
        *start = *end;
        *end += size;
    }
    return true;
}

static int64_t axis_of(const Onnx__NodeProto *split) {
    for (size_t a = 0; a < split->n_attribute; a++)
        if (split->attribute[a]->name != NULL && strcmp(split->attribute[a]->name, "axis") == 0)
            return split->attribute[a]->i;
    return 0;
}

static int add_list(zq_graph *graph, const char *stem, const char *suffix, int64_t number) {
    const size_t n = strlen(stem) + strlen(suffix) + 2;
    char *name = zq_alloc(n, 1);
    if (name == NULL)
        return -1;
    snprintf(name, n, "%s_%s", stem, suffix);
    const int value = zq_graph_add_constant(graph, name, zq_tensor_new_i64(1, &number));
    zq_free(name);
    return value;
}

zq_status zq_sequence_read_at(const Onnx__GraphProto *file, const Onnx__NodeProto *at, zq_graph *graph,
                              zq_error *err) {
    const bool whole = at->n_input == 2 && at->n_output == 1;
    const Onnx__NodeProto *split = whole ? find_split(file, at->input[0]) : NULL;
    const zq_tensor *part = whole ? constant(graph, at->input[1]) : NULL;
    const zq_tensor *sizes = split != NULL && split->n_input == 2 ? constant(graph, split->input[1]) : NULL;
    int64_t start, end;
    if (part == NULL || sizes == NULL || zq_shape_count(&part->shape) != 1 ||
        !find_range(sizes, zq_tensor_item_i64(part, 0), &start, &end))
        return refuse(at, err);
    const int source = zq_graph_find_value(graph, split->input[0]);
    const int output = zq_graph_find_value(graph, at->output[0]);
    if (source < 0 || output < 0)
        return refuse(at, err);
    const char *stem = at->output[0];
    const int inputs[] = {source, add_list(graph, stem, "starts", start), add_list(graph, stem, "ends", end),
                          add_list(graph, stem, "axes", axis_of(split))};
    for (int i = 1; i < 4; i++)
        if (inputs[i] < 0)
            return zq_fail_memory(err);
    if (zq_graph_add_node(graph, zq_op_find("Slice"), at->name != NULL ? at->name : "", 4, inputs, 1,
                          &output) < 0)
        return zq_fail_memory(err);
    return zq_canonical_node(graph, "Slice", 13, err);
}
