/* SPDX-License-Identifier: Apache-2.0 */
/* One operator on small tensors, for the tests of this folder:
 *
 *     one_op op = op_of("Slice");
 *     add_f32(&op, SHAPE(2, 3), (float[]){1, 2, 3, 4, 5, 6});
 *     add_i64(&op, 2, (int64_t[]){0, 1});
 *     ...
 *     run(&op);
 *     expect_f32(&op, 0, SHAPE(1, 3), (float[]){1, 2, 3});
 *     op_drop(&op);
 */
#ifndef ZQ_TESTS_ONE_OP_H
#define ZQ_TESTS_ONE_OP_H

#include "base/memory.h"
#include "graph/op.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 8 };

typedef struct one_op {
    zq_node node;
    int inputs[MOST], outputs[MOST];
    int n_in, n_out;        /* n_out: 1 unless changed before run */
    zq_tensor *in[MOST];    /* NULL: omitted */
    bool at_run_time[MOST]; /* infer doesn't see the data of this input */
    bool unwanted[MOST];    /* this output is omitted */
    zq_tensor *out[MOST], *d_out[MOST], *d_in[MOST];
    zq_error err;
} one_op;

#define SHAPE(...)                                                                                           \
    zq_shape_of((int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})
#define SCALAR ((zq_shape){0})

static inline one_op op_of(const char *name) {
    one_op op = {.n_out = 1};
    op.node.op = zq_op_find(name);
    assert_non_null(op.node.op);
    op.node.name = "n";
    return op;
}

static inline void op_drop(one_op *op) {
    while (op->node.n_attrs > 0)
        zq_node_remove_attr(&op->node, op->node.attrs[0].name);
    zq_free(op->node.attrs);
    zq_free(op->node.params);
    for (int k = 0; k < MOST; k++) {
        zq_tensor_drop(op->in[k]);
        zq_tensor_drop(op->out[k]);
        zq_tensor_drop(op->d_in[k]);
        zq_tensor_drop(op->d_out[k]);
    }
}

/* ---- inputs */

static inline zq_tensor *f32_of(zq_shape shape, const float *values) {
    zq_tensor *tensor = zq_tensor_new(ZQ_F32, &shape);
    assert_non_null(tensor);
    for (int64_t i = 0; i < zq_shape_count(&shape); i++)
        ((zq_real *)tensor->data)[i] = values[i];
    return tensor;
}

static inline void add_f32(one_op *op, zq_shape shape, const float *values) {
    op->in[op->n_in++] = f32_of(shape, values);
}

static inline void add_int(one_op *op, zq_dtype dtype, zq_shape shape, const int64_t *values) {
    zq_tensor *tensor = zq_tensor_new(dtype, &shape);
    assert_non_null(tensor);
    for (int64_t i = 0; i < zq_shape_count(&shape); i++)
        if (dtype == ZQ_I64)
            ((int64_t *)tensor->data)[i] = values[i];
        else if (dtype == ZQ_I32)
            ((int32_t *)tensor->data)[i] = (int32_t)values[i];
        else
            ((uint8_t *)tensor->data)[i] = (uint8_t)values[i];
    op->in[op->n_in++] = tensor;
}

/* A vector of n numbers, n < 0: a scalar. */
static inline void add_i64(one_op *op, int64_t n, const int64_t *values) {
    add_int(op, ZQ_I64, n < 0 ? SCALAR : SHAPE(n), values);
}

static inline void add_none(one_op *op) {
    op->in[op->n_in++] = NULL;
}

/* A tensor that has a shape only. */
static inline void add_shape(one_op *op, zq_dtype dtype, zq_shape shape) {
    zq_tensor *tensor = zq_alloc(1, sizeof *tensor);
    assert_non_null(tensor);
    tensor->dtype = dtype;
    tensor->shape = shape;
    op->in[op->n_in++] = tensor;
}

/* ---- running */

static inline zq_io io_of(one_op *op) {
    return (zq_io){.node = &op->node,
                   .n_in = op->n_in,
                   .n_out = op->n_out,
                   .in = (const zq_tensor *const *)op->in,
                   .out = op->out,
                   .d_out = (const zq_tensor *const *)op->d_out,
                   .d_in = op->d_in};
}

/* Parses and infers: out[] has shapes then, without data. */
static inline zq_status infer(one_op *op) {
    for (int k = 0; k < op->n_in; k++)
        op->inputs[k] = op->in[k] != NULL ? k : -1;
    op->node.inputs = op->inputs;
    op->node.outputs = op->outputs;
    op->node.n_inputs = op->n_in;
    op->node.n_outputs = op->n_out;
    ZQ_TRY(zq_node_parse(&op->node, &op->err));
    for (int k = 0; k < op->n_out; k++)
        if (!op->unwanted[k] && op->out[k] == NULL)
            op->out[k] = zq_alloc(1, sizeof(zq_tensor));
    zq_tensor seen[MOST];
    const zq_tensor *in[MOST] = {NULL};
    for (int k = 0; k < op->n_in; k++)
        if (op->in[k] != NULL) {
            seen[k] = *op->in[k];
            seen[k].data = op->at_run_time[k] ? NULL : seen[k].data;
            in[k] = &seen[k];
        }
    zq_io io = io_of(op);
    io.in = in;
    return op->node.op->infer(&io, &op->err);
}

static inline void run(one_op *op) {
    op->err.text[0] = '\0';
    if (infer(op) != ZQ_OK)
        fail_msg("%s", op->err.text);
    for (int k = 0; k < op->n_out; k++)
        if (op->out[k] != NULL) {
            zq_tensor *whole = zq_tensor_new(op->out[k]->dtype, &op->out[k]->shape);
            assert_non_null(whole);
            zq_free(op->out[k]);
            op->out[k] = whole;
        }
    const zq_io io = io_of(op);
    if (op->node.op->forward(&io, &op->err) != ZQ_OK)
        fail_msg("%s", op->err.text);
}

/* After run: the gradients of inputs 0 .. n - 1 for the gradient d_y of output 0 (NULL: none comes). What was
 * in d_in before is not to matter, so it is filled with 99. */
static inline void run_backward(one_op *op, int n, const float *d_y) {
    if (d_y != NULL && op->d_out[0] == NULL)
        op->d_out[0] = f32_of(op->out[0]->shape, d_y);
    for (int k = 0; k < n; k++) {
        op->d_in[k] = zq_tensor_new(ZQ_F32, &op->in[k]->shape);
        for (int64_t i = 0; i < zq_shape_count(&op->in[k]->shape); i++)
            ((zq_real *)op->d_in[k]->data)[i] = 99;
    }
    const zq_io io = io_of(op);
    assert_int_equal(op->node.op->backward(&io, &op->err), ZQ_OK);
}

/* ---- expectations */

static inline void expect_shape(const zq_tensor *tensor, zq_dtype dtype, zq_shape shape) {
    char found[ZQ_SHAPE_TEXT], expected[ZQ_SHAPE_TEXT];
    assert_string_equal(zq_dtype_name(tensor->dtype), zq_dtype_name(dtype));
    assert_string_equal(zq_shape_text(&tensor->shape, found), zq_shape_text(&shape, expected));
}

static inline void expect_values(const zq_tensor *tensor, const float *values) {
    for (int64_t i = 0; i < zq_shape_count(&tensor->shape); i++) {
        const double found = zq_tensor_item(tensor, i), expected = (double)values[i];
        if (!(fabs(found - expected) <= 2e-6 * (1 + fabs(expected)) || found == expected ||
              (isnan(found) && isnan(expected))))
            fail_msg("element %d is %.9g, expected %.9g", (int)i, found, expected);
    }
}

static inline void expect_f32(const one_op *op, int o, zq_shape shape, const float *values) {
    expect_shape(op->out[o], ZQ_F32, shape);
    expect_values(op->out[o], values);
}

static inline void expect_int(const one_op *op, int o, zq_dtype dtype, zq_shape shape,
                              const int64_t *values) {
    expect_shape(op->out[o], dtype, shape);
    for (int64_t i = 0; i < zq_shape_count(&shape); i++)
        assert_int_equal(zq_tensor_item_i64(op->out[o], i), values[i]);
}

static inline void expect_gradient(const one_op *op, int i, const float *values) {
    expect_values(op->d_in[i], values);
}

/* infer refuses with that status and a sentence that names the node and holds text; the operator is dropped.
 */
static inline void expect_refused(one_op *op, zq_status status, const char *text) {
    char node[ZQ_NODE_TEXT];
    assert_int_equal(infer(op), status);
    if (strstr(op->err.text, text) == NULL || strstr(op->err.text, zq_node_text(&op->node, node)) == NULL)
        fail_msg("\"%s\" doesn't say \"%s\" of %s", op->err.text, text, node);
    op_drop(op);
}

/* The same for forward, after a successful infer. */
static inline void expect_forward_refused(one_op *op, zq_status status, const char *text) {
    assert_int_equal(infer(op), ZQ_OK);
    for (int k = 0; k < op->n_out; k++) {
        zq_tensor *whole = zq_tensor_new(op->out[k]->dtype, &op->out[k]->shape);
        zq_free(op->out[k]);
        op->out[k] = whole;
    }
    const zq_io io = io_of(op);
    assert_int_equal(op->node.op->forward(&io, &op->err), status);
    if (strstr(op->err.text, text) == NULL)
        fail_msg("\"%s\" doesn't say \"%s\"", op->err.text, text);
    op_drop(op);
}

#endif
