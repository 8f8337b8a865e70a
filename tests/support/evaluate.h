/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a graph with the operators' plain forward, node by node: the definition that everything else is
 * compared with. */
#ifndef ZQ_TESTS_EVALUATE_H
#define ZQ_TESTS_EVALUATE_H

#include "base/memory.h"
#include "base/random.h"
#include "graph/op.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct evaluation {
    int n;
    zq_tensor **values; /* [n] by value index; NULL: never computed */
} evaluation;

static inline void evaluation_clear(evaluation *done) {
    for (int v = 0; v < done->n; v++)
        zq_tensor_drop(done->values[v]);
    free(done->values);
    *done = (evaluation){0};
}

/* A graph input for n_images images: normal numbers that depend on the seed and the input's name only. */
static inline zq_tensor *evaluate_input(const zq_value *input, int64_t n_images, uint64_t seed) {
    zq_shape shape = input->shape;
    if (shape.rank > 0 && shape.dims[0] < 0)
        shape.dims[0] = n_images;
    zq_tensor *tensor = zq_tensor_new(input->dtype, &shape);
    assert_non_null(tensor);
    assert_int_equal(input->dtype, ZQ_F32);
    for (int64_t i = 0; i < zq_shape_count(&shape); i++)
        ((zq_real *)tensor->data)[i] =
            (zq_real)zq_random_normal(zq_random_seed(seed, input->name), (uint64_t)i);
    return tensor;
}

static inline zq_status evaluate_node(const zq_node *node, evaluation *done, zq_error *err) {
    const zq_tensor **in = calloc((size_t)node->n_inputs + 1, sizeof *in);
    zq_tensor **out = calloc((size_t)node->n_outputs + 1, sizeof *out);
    zq_tensor *headers = calloc((size_t)node->n_outputs + 1, sizeof *headers);
    for (int i = 0; i < node->n_inputs; i++)
        in[i] = node->inputs[i] >= 0 ? done->values[node->inputs[i]] : NULL;
    for (int o = 0; o < node->n_outputs; o++)
        out[o] = node->outputs[o] >= 0 ? &headers[o] : NULL;
    const zq_io io = {.node = node, .n_in = node->n_inputs, .n_out = node->n_outputs, .in = in, .out = out};
    zq_status status = node->op->infer(&io, err);
    for (int o = 0; o < node->n_outputs && status == ZQ_OK; o++)
        if (out[o] != NULL)
            out[o] = done->values[node->outputs[o]] = zq_tensor_new(headers[o].dtype, &headers[o].shape);
    if (status == ZQ_OK)
        status = node->op->forward(&io, err);
    free(in);
    free(out);
    free(headers);
    return status;
}

/* The graph must be sorted and parsed. *done is to be cleared by the caller. */
static inline zq_status evaluate(const zq_graph *graph, int64_t n_images, uint64_t seed, evaluation *done,
                                 zq_error *err) {
    *done = (evaluation){.n = graph->n_values,
                         .values = calloc((size_t)graph->n_values + 1, sizeof(zq_tensor *))};
    for (int v = 0; v < graph->n_values; v++)
        if (graph->values[v].constant != NULL)
            done->values[v] = zq_tensor_copy(graph->values[v].constant);
    for (int i = 0; i < graph->n_inputs; i++)
        done->values[graph->inputs[i]] = evaluate_input(&graph->values[graph->inputs[i]], n_images, seed);
    zq_status status = ZQ_OK;
    for (int n = 0; n < graph->n_nodes && status == ZQ_OK; n++)
        status = evaluate_node(&graph->nodes[n], done, err);
    return status;
}

/* All outputs of both graphs, which must have the same names and shapes, agree within tolerance (relative to
 * the largest element, at least 1). */
static inline void assert_same_outputs(zq_graph *a, zq_graph *b, int64_t n_images, uint64_t seed,
                                       double tolerance) {
    zq_error err = {0};
    evaluation done_a = {0}, done_b = {0};
    if (evaluate(a, n_images, seed, &done_a, &err) != ZQ_OK ||
        evaluate(b, n_images, seed, &done_b, &err) != ZQ_OK)
        fail_msg("%s", err.text);
    assert_int_equal(a->n_outputs, b->n_outputs);
    for (int o = 0; o < a->n_outputs; o++) {
        const char *name = a->values[a->outputs[o]].name;
        const zq_tensor *x = done_a.values[a->outputs[o]], *y = done_b.values[b->outputs[o]];
        assert_string_equal(name, b->values[b->outputs[o]].name);
        assert_true(x->dtype == y->dtype && zq_shape_equal(&x->shape, &y->shape));
        double largest = 1, difference = 0;
        for (int64_t i = 0; i < zq_shape_count(&x->shape); i++) {
            largest = fmax(largest, fabs(zq_tensor_item(x, i)));
            const double d = fabs(zq_tensor_item(x, i) - zq_tensor_item(y, i));
            difference = d > difference || isnan(d) ? d : difference;
        }
        if (!(difference <= tolerance * largest))
            fail_msg("output '%s' differs by %g of %g (seed %llu)", name, difference, largest,
                     (unsigned long long)seed);
    }
    evaluation_clear(&done_a);
    evaluation_clear(&done_b);
}

#endif
