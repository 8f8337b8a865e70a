/* SPDX-License-Identifier: Apache-2.0 */
/* Short ways to write small graphs down in tests. Everything asserts, so nothing returns a status. */
#ifndef ZQ_TESTS_BUILD_H
#define ZQ_TESTS_BUILD_H

#include "base/random.h"
#include "graph/op.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DIMS(...) ((const int64_t[]){__VA_ARGS__})
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define SHAPE(...) (zq_shape_of((int)COUNT_OF(DIMS(__VA_ARGS__)), DIMS(__VA_ARGS__)))
#define INTS(...) COUNT_OF(DIMS(__VA_ARGS__)), DIMS(__VA_ARGS__)
#define VALUES(...) (int)COUNT_OF(((const int[]){__VA_ARGS__})), ((const int[]){__VA_ARGS__})

static inline int build_input(zq_graph *graph, const char *name, zq_shape shape) {
    const int value = zq_graph_add_value(graph, name, ZQ_F32, &shape);
    assert_true(value >= 0 && zq_graph_add_input(graph, value));
    return value;
}

/* lo + (hi - lo) * uniform */
static inline int build_random(zq_graph *graph, const char *name, zq_shape shape, uint64_t seed, double lo,
                               double hi) {
    zq_tensor *tensor = zq_tensor_new(ZQ_F32, &shape);
    assert_non_null(tensor);
    for (int64_t i = 0; i < zq_shape_count(&shape); i++)
        ((zq_real *)tensor->data)[i] =
            (zq_real)(lo + (hi - lo) * zq_random_uniform(zq_random_seed(seed, name), (uint64_t)i));
    const int value = zq_graph_add_constant(graph, name, tensor);
    assert_true(value >= 0);
    return value;
}

static inline int build_i64(zq_graph *graph, const char *name, size_t n, const int64_t *values) {
    const int value = zq_graph_add_constant(graph, name, zq_tensor_new_i64((int64_t)n, values));
    assert_true(value >= 0);
    return value;
}

static inline int build_scalar_i64(zq_graph *graph, const char *name, int64_t number) {
    const int value = zq_graph_add_constant(graph, name, zq_tensor_new_i64(-1, &number));
    assert_true(value >= 0);
    return value;
}

/* A node named "<output>_node" with one output, which is returned. Attributes: set them on build_last(). */
static inline int build_node(zq_graph *graph, const char *op, const char *output, int n_inputs,
                             const int *inputs) {
    char name[128];
    const int value = zq_graph_add_value(graph, output, ZQ_F32, NULL);
    assert_true(value >= 0 && strlen(output) < 100 && zq_op_find(op) != NULL);
    strcpy(name, output);
    strcat(name, "_node");
    assert_true(zq_graph_add_node(graph, zq_op_find(op), name, n_inputs, inputs, 1, &value) >= 0);
    return value;
}

static inline zq_node *build_last(zq_graph *graph) {
    return &graph->nodes[graph->n_nodes - 1];
}

static inline void build_output(zq_graph *graph, int value) {
    assert_true(zq_graph_add_output(graph, value));
}

/* Parses all nodes: the graph is complete. */
static inline void build_done(zq_graph *graph) {
    zq_error err = {0};
    for (int n = 0; n < graph->n_nodes; n++)
        if (zq_node_parse(&graph->nodes[n], &err) != ZQ_OK)
            fail_msg("%s", err.text);
    if (zq_graph_sort(graph, &err) != ZQ_OK)
        fail_msg("%s", err.text);
}

/* Number of nodes of that operator. */
static inline int build_count(const zq_graph *graph, const char *op) {
    int n_found = 0;
    for (int n = 0; n < graph->n_nodes; n++)
        n_found += graph->nodes[n].op != NULL && strcmp(graph->nodes[n].op->name, op) == 0;
    return n_found;
}

#endif
