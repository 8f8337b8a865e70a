/* SPDX-License-Identifier: Apache-2.0 */
/* Model files byte by byte, for tests: protobuf written by hand, so that nothing of the reader or the writer
 * checks itself. Field numbers are those of onnx.proto. */
#ifndef TESTS_ONNX_WIRE_H
#define TESTS_ONNX_WIRE_H

#include "onnx/onnx.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { MESSAGE_BYTES = 16384 };

typedef struct message {
    size_t n;
    unsigned char bytes[MESSAGE_BYTES];
} message;

static inline void put_raw(message *to, const void *bytes, size_t n) {
    assert_true(n <= MESSAGE_BYTES - to->n);
    if (n > 0)
        memcpy(to->bytes + to->n, bytes, n);
    to->n += n;
}

static inline void put_varint(message *to, uint64_t value) {
    do {
        const unsigned char byte = (unsigned char)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
        put_raw(to, &byte, 1);
        value >>= 7;
    } while (value > 0);
}

static inline void put_int(message *to, int field, int64_t value) {
    put_varint(to, (uint64_t)field << 3);
    put_varint(to, (uint64_t)value);
}

static inline void put_float(message *to, int field, float value) {
    put_varint(to, (uint64_t)field << 3 | 5);
    put_raw(to, &value, sizeof value);
}

static inline void put_double(message *to, int field, double value) {
    put_varint(to, (uint64_t)field << 3 | 1);
    put_raw(to, &value, sizeof value);
}

static inline void put_bytes(message *to, int field, const void *bytes, size_t n) {
    put_varint(to, (uint64_t)field << 3 | 2);
    put_varint(to, n);
    put_raw(to, bytes, n);
}

static inline void put_text(message *to, int field, const char *text) {
    put_bytes(to, field, text, strlen(text));
}

static inline void put_message(message *to, int field, const message *part) {
    put_bytes(to, field, part->bytes, part->n);
}

/* ---- attributes (fields of a NodeProto) */

static inline void attr_int(message *node, const char *name, int64_t value) {
    message attr = {0};
    put_text(&attr, 1, name);
    put_int(&attr, 3, value);
    put_int(&attr, 20, 2);
    put_message(node, 5, &attr);
}

static inline void attr_float(message *node, const char *name, float value) {
    message attr = {0};
    put_text(&attr, 1, name);
    put_float(&attr, 2, value);
    put_int(&attr, 20, 1);
    put_message(node, 5, &attr);
}

static inline void attr_text(message *node, const char *name, const char *value) {
    message attr = {0};
    put_text(&attr, 1, name);
    put_text(&attr, 4, value);
    put_int(&attr, 20, 3);
    put_message(node, 5, &attr);
}

static inline void attr_ints(message *node, const char *name, int n, const int64_t *values) {
    message attr = {0};
    put_text(&attr, 1, name);
    for (int i = 0; i < n; i++)
        put_int(&attr, 8, values[i]);
    put_int(&attr, 20, 7);
    put_message(node, 5, &attr);
}

static inline void attr_floats(message *node, const char *name, int n, const float *values) {
    message attr = {0};
    put_text(&attr, 1, name);
    for (int i = 0; i < n; i++)
        put_float(&attr, 7, values[i]);
    put_int(&attr, 20, 6);
    put_message(node, 5, &attr);
}

/* ---- parts of a GraphProto */

/* names: "a,b,,c"; an empty one is an omitted input. */
static inline void put_names(message *node, int field, const char *names) {
    while (names[0] != '\0') {
        const size_t n = strcspn(names, ",");
        put_bytes(node, field, names, n);
        names += n + (names[n] == ',');
    }
}

static inline void add_node(message *graph, const char *op, const char *inputs, const char *outputs,
                            const message *attrs) {
    message node = {0};
    put_names(&node, 1, inputs);
    put_names(&node, 2, outputs);
    put_text(&node, 4, op);
    if (attrs != NULL)
        put_raw(&node, attrs->bytes, attrs->n);
    put_message(graph, 1, &node);
}

/* The head of a TensorProto: dims, type and name. */
static inline message tensor_head(const char *name, int data_type, int rank, const int64_t *dims) {
    message tensor = {0};
    for (int d = 0; d < rank; d++)
        put_int(&tensor, 1, dims[d]);
    put_int(&tensor, 2, data_type);
    put_text(&tensor, 8, name);
    return tensor;
}

static inline void add_tensor(message *graph, const char *name, int data_type, int rank, const int64_t *dims,
                              const void *raw, size_t n_raw) {
    message tensor = tensor_head(name, data_type, rank, dims);
    put_bytes(&tensor, 9, raw, n_raw);
    put_message(graph, 5, &tensor);
}

static inline void add_ints(message *graph, const char *name, int64_t n, const int64_t *values) {
    add_tensor(graph, name, 7, 1, &n, values, (size_t)n * sizeof *values);
}

static inline void add_floats(message *graph, const char *name, int64_t n, const float *values) {
    add_tensor(graph, name, 1, 1, &n, values, (size_t)n * sizeof *values);
}

/* A ValueInfoProto as field 11 (input) or 12 (output); rank < 0: no shape; dims < 0: free. */
static inline void add_value_info(message *graph, int field, const char *name, int elem_type, int rank,
                                  const int64_t *dims) {
    message info = {0}, type = {0}, tensor = {0}, shape = {0};
    for (int d = 0; d < rank; d++) {
        message dim = {0};
        if (dims[d] >= 0)
            put_int(&dim, 1, dims[d]);
        else
            put_text(&dim, 2, "free");
        put_message(&shape, 1, &dim);
    }
    put_int(&tensor, 1, elem_type);
    if (rank >= 0)
        put_message(&tensor, 2, &shape);
    put_message(&type, 1, &tensor);
    put_text(&info, 1, name);
    put_message(&info, 2, &type);
    put_message(graph, field, &info);
}

/* x [N,4,6,6] in, y [N,?,?,?] out. */
static inline void add_interface(message *graph) {
    const int64_t in[] = {-1, 4, 6, 6}, out[] = {-1, -1, -1, -1};
    add_value_info(graph, 11, "x", 1, 4, in);
    add_value_info(graph, 12, "y", 1, 4, out);
}

/* ---- models */

static inline message model_of(const message *graph, int64_t opset) {
    message model = {0}, import = {0};
    put_int(&import, 2, opset);
    put_int(&model, 1, 8);
    put_message(&model, 8, &import);
    put_message(&model, 7, graph);
    return model;
}

static inline zq_status read_message(const message *model, zq_graph **graph_out, zq_error *err) {
    *graph_out = NULL;
    return zq_onnx_read_bytes(model->bytes, model->n, NULL, "test.onnx", graph_out, NULL, err);
}

/* The graph of a model that must be read. */
static inline zq_graph *read_good(const message *graph, int64_t opset) {
    const message model = model_of(graph, opset);
    zq_graph *read;
    zq_error err = {0};
    if (read_message(&model, &read, &err) != ZQ_OK)
        fail_msg("%s", err.text);
    return read;
}

/* A model that must be refused with that status and a sentence that holds word. */
static inline void refuse_model(const message *model, zq_status expected, const char *word) {
    zq_graph *read;
    zq_error err = {0};
    const zq_status status = read_message(model, &read, &err);
    if (status != expected || strstr(err.text, word) == NULL || strncmp(err.text, "test.onnx: ", 11) != 0)
        fail_msg("status %d, \"%s\"; expected status %d and '%s'", status, err.text, expected, word);
    assert_null(read);
}

static inline void refuse(const message *graph, int64_t opset, zq_status expected, const char *word) {
    const message model = model_of(graph, opset);
    refuse_model(&model, expected, word);
}

#endif
