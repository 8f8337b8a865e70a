/* SPDX-License-Identifier: Apache-2.0 */
/* Which values share a scale. */
#include "base/memory.h"
#include "quant/rewrite.h"
#include "tiny_net.h"

#include <stdio.h>

enum { C = 4, MOST_VALUES = 32 };
static const uint64_t seed = 3;

static int conv(zq_graph *graph, const char *name, int x) {
    char weight[16];
    snprintf(weight, sizeof weight, "%s_w", name);
    const int64_t n_in = graph->values[x].shape.dims[1];
    const int w = tiny_random(graph, seed, weight, zq_shape_of(4, (const int64_t[]){C, n_in, 3, 3}), 0.1);
    const int y = tiny_node(graph, "Conv", name, 2, (const int[]){x, w}, 1);
    graph->values[y].shape = zq_shape_of(4, (const int64_t[]){1, C, 8, 8});
    return y;
}

static int concat(zq_graph *graph, const char *name, int a, int b) {
    const int y = zq_graph_add_value(graph, name, ZQ_F32, &(zq_shape){0});
    const int n = zq_graph_add_node(graph, zq_op_find("Concat"), name, 2, (const int[]){a, b}, 1, &y);
    zq_node_set_int(&graph->nodes[n], "axis", 1);
    assert_int_equal(zq_node_parse(&graph->nodes[n], NULL), ZQ_OK);
    graph->values[y].shape = zq_shape_of(
        4, (const int64_t[]){1, graph->values[a].shape.dims[1] + graph->values[b].shape.dims[1], 8, 8});
    return y;
}

/* x -> a; a -> b, rectified; a -> c; inner of b and c, outer of a and inner, and a convolution of it. */
static zq_graph *build(zq_activation *activations, float low) {
    zq_graph *graph = zq_graph_new();
    const zq_shape image = zq_shape_of(4, (const int64_t[]){-1, 3, 8, 8});
    const int x = zq_graph_add_value(graph, "x", ZQ_F32, &image);
    zq_graph_add_input(graph, x);
    const int a = conv(graph, "a", x);
    const int b = tiny_node(graph, "Relu", "b", 1, (const int[]){conv(graph, "b_conv", a)}, 0);
    graph->values[b].shape = graph->values[a].shape;
    const int inner = concat(graph, "inner", b, conv(graph, "c", a));
    zq_graph_add_output(graph, conv(graph, "last", concat(graph, "outer", a, inner)));
    assert_true(graph->n_values <= MOST_VALUES);
    for (int v = 0; v < graph->n_values; v++) /* each of another scale */
        activations[v] = zq_activation_from_range(low * (float)v, (float)(v + 1), 8);
    assert_int_equal(zq_place(graph, zq_form_of(ZQ_RUNTIME_ONNXRUNTIME), activations, NULL, NULL, NULL),
                     ZQ_OK);
    return graph;
}

static zq_activation of(zq_graph *graph, const zq_activation *activations, const char *name) {
    const zq_activation found = activations[zq_graph_find_value(graph, name)];
    assert_true(found.used);
    return found;
}

static bool same(zq_graph *graph, const zq_activation *activations, const char *a, const char *b) {
    const zq_activation x = of(graph, activations, a), y = of(graph, activations, b);
    return x.scale == y.scale && x.zero_point == y.zero_point;
}

/* What others read keeps its own. */
static void test_concat_gives_its_scale(void **state) {
    (void)state;
    zq_activation activations[MOST_VALUES];
    zq_graph *graph = build(activations, 0);
    assert_true(same(graph, activations, "b", "outer"));
    assert_true(same(graph, activations, "c", "outer"));
    assert_true(same(graph, activations, "inner", "outer"));
    assert_false(same(graph, activations, "a", "outer"));
    assert_false(same(graph, activations, "last", "outer"));
    zq_graph_drop(graph);
}

/* A grid that goes below zero can't stand for a Relu. */
static void test_relu_keeps_its_own(void **state) {
    (void)state;
    zq_activation activations[MOST_VALUES];
    zq_graph *graph = build(activations, -1);
    assert_false(same(graph, activations, "b", "outer"));
    assert_true(same(graph, activations, "c", "outer"));
    zq_graph_drop(graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_concat_gives_its_scale),
        cmocka_unit_test(test_relu_keeps_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
