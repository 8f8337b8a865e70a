/* SPDX-License-Identifier: Apache-2.0 */
/* Which weights become layers, and how their elements are ordered. */
#include "base/memory.h"
#include "graph/op.h"
#include "quant/layers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* A constant with the elements 0, 1, 2 ... */
static int add_weight(zq_graph *graph, const char *name, int rank, const int64_t *dims) {
    const zq_shape shape = zq_shape_of(rank, dims);
    zq_tensor *tensor = zq_tensor_new(ZQ_F32, &shape);
    assert_non_null(tensor);
    zq_real *data = tensor->data;
    for (int64_t i = 0; i < zq_shape_count(&shape); i++)
        data[i] = (zq_real)i;
    return zq_graph_add_constant(graph, name, tensor);
}

static int add_value(zq_graph *graph, const char *name, int rank, const int64_t *dims) {
    const zq_shape shape = zq_shape_of(rank, dims);
    return zq_graph_add_value(graph, name, ZQ_F32, &shape);
}

/* Appends op(in, weight) -> a new value of the given shape, and returns that. */
static int add_node(zq_graph *graph, const char *op, const char *name, int in, int weight, int rank,
                    const int64_t *dims) {
    const int out = add_value(graph, "out", rank, dims);
    const zq_op *found = zq_op_find(op);
    assert_non_null(found);
    assert_true(zq_graph_add_node(graph, found, name, 2, (const int[]){in, weight}, 1, &out) >= 0);
    return out;
}

static zq_node *last_node(zq_graph *graph) {
    return &graph->nodes[graph->n_nodes - 1];
}

static void parse_all(zq_graph *graph) {
    for (int n = 0; n < graph->n_nodes; n++)
        assert_int_equal(zq_node_parse(&graph->nodes[n], NULL), ZQ_OK);
}

/* conv1 and conv2 share a weight; then a 1x1 depthwise factor, a MatMul and two Gemm. */
static zq_graph *build(void) {
    zq_graph *g = zq_graph_new();
    assert_non_null(g);
    g->free_batch = true;
    const int x = add_value(g, "x", 4, (const int64_t[]){-1, 4, 5, 5});
    zq_graph_add_input(g, x);
    const int w = add_weight(g, "w", 4, (const int64_t[]){4, 4, 3, 3});
    const int factor = add_weight(g, "factor", 4, (const int64_t[]){4, 1, 1, 1});
    const int m = add_weight(g, "m", 2, (const int64_t[]){4, 6});
    const int t = add_weight(g, "t", 2, (const int64_t[]){3, 6});
    const int plain = add_weight(g, "plain", 2, (const int64_t[]){3, 2});
    const int stack = add_weight(g, "stack", 3, (const int64_t[]){1, 2, 2});

    int v = add_node(g, "Conv", "conv1", x, w, 4, (const int64_t[]){1, 4, 5, 5});
    zq_node_set_ints(last_node(g), "pads", 4, (const int64_t[]){1, 1, 1, 1});
    v = add_node(g, "Conv", "conv2", v, w, 4, (const int64_t[]){1, 4, 3, 3});
    v = add_node(g, "Conv", "", v, factor, 4, (const int64_t[]){1, 4, 3, 3});
    zq_node_set_int(last_node(g), "group", 4);
    v = add_value(g, "flat", 2, (const int64_t[]){1, 4}); /* as if pooled */
    v = add_node(g, "MatMul", "matmul", v, m, 2, (const int64_t[]){1, 6});
    v = add_node(g, "Gemm", "gemm_t", v, t, 2, (const int64_t[]){1, 3});
    zq_node_set_int(last_node(g), "transB", 1);
    v = add_node(g, "Gemm", "gemm", v, plain, 2, (const int64_t[]){1, 2});
    v = add_node(g, "MatMul", "stacked", v, stack, 3, (const int64_t[]){1, 1, 2});
    zq_graph_add_output(g, v);
    parse_all(g);
    return g;
}

static void test_find(void **state) {
    (void)state;
    zq_graph *g = build();
    zq_layers layers;
    assert_int_equal(zq_layers_find(g, &layers, NULL), ZQ_OK);
    assert_int_equal(layers.n, 5);
    const struct {
        const char *name;
        int n_nodes, axis;
        int64_t n_channels, per_channel;
        double macs;
        bool affine;
    } expected[] = {
        {"conv1", 2, 0, 4, 36, 25 * 144 + 9 * 144, false},
        {NULL, 1, 0, 4, 1, 36, true},
        {"matmul", 1, 1, 6, 4, 24, false},
        {"gemm_t", 1, 0, 3, 6, 18, false},
        {"gemm", 1, 1, 2, 3, 6, false},
    };
    for (int i = 0; i < layers.n; i++) {
        const zq_layer *layer = &layers.items[i];
        if (expected[i].name != NULL)
            assert_string_equal(layer->name, expected[i].name);
        assert_int_equal(layer->n_nodes, expected[i].n_nodes);
        assert_int_equal(layer->axis, expected[i].axis);
        assert_int_equal(layer->n_channels, expected[i].n_channels);
        assert_int_equal(layer->per_channel, expected[i].per_channel);
        assert_float_equal(layer->macs, expected[i].macs, 0);
        assert_int_equal(layer->affine, expected[i].affine);
        for (int k = 0; k < layer->n_nodes; k++)
            assert_int_equal(g->nodes[layer->nodes[k]].inputs[1], layer->weight);
    }
    assert_true(layers.items[0].nodes[0] == 0 && layers.items[0].nodes[1] == 1);
    /* without a name of its own a layer has that of its output */
    assert_string_equal(layers.items[1].name, g->values[g->nodes[2].outputs[0]].name);
    zq_layers_clear(&layers);
    zq_graph_drop(g);
}

static void test_load_store(void **state) {
    (void)state;
    zq_graph *g = build();
    zq_layers layers;
    assert_int_equal(zq_layers_find(g, &layers, NULL), ZQ_OK);
    for (int i = 0; i < layers.n; i++) {
        const zq_layer *layer = &layers.items[i];
        float w[144], back[144];
        const int64_t n = layer->n_channels * layer->per_channel;
        zq_layer_load(g, layer, w);
        for (int64_t c = 0; c < layer->n_channels; c++)
            for (int64_t k = 0; k < layer->per_channel; k++) {
                const int64_t at = layer->axis == 0 ? c * layer->per_channel + k : k * layer->n_channels + c;
                assert_true(w[c * layer->per_channel + k] == (float)at);
            }
        zq_layer_store(g, layer, w, back);
        for (int64_t k = 0; k < n; k++)
            assert_true(back[k] == (float)k);
    }
    zq_layers_clear(&layers);
    zq_graph_drop(g);
}

/* A fixed batch counts once for each image. */
static void test_fixed_batch(void **state) {
    (void)state;
    zq_graph *g = build();
    zq_layers one, three;
    assert_int_equal(zq_layers_find(g, &one, NULL), ZQ_OK);
    g->free_batch = false;
    for (int v = 0; v < g->n_values; v++)
        if (g->values[v].constant == NULL)
            g->values[v].shape.dims[0] = 3;
    assert_int_equal(zq_layers_find(g, &three, NULL), ZQ_OK);
    for (int i = 0; i < one.n; i++)
        assert_float_equal(one.items[i].macs, three.items[i].macs, 1e-9);
    zq_layers_clear(&one);
    zq_layers_clear(&three);
    zq_graph_drop(g);
}

/* The same matrix read along both axes: the second reader isn't part of the layer. */
static void test_two_axes(void **state) {
    (void)state;
    zq_graph *g = zq_graph_new();
    g->free_batch = true;
    const int x = add_value(g, "x", 2, (const int64_t[]){-1, 3});
    zq_graph_add_input(g, x);
    const int w = add_weight(g, "w", 2, (const int64_t[]){3, 3});
    int v = add_node(g, "Gemm", "first", x, w, 2, (const int64_t[]){1, 3});
    v = add_node(g, "Gemm", "second", v, w, 2, (const int64_t[]){1, 3});
    zq_node_set_int(last_node(g), "transB", 1);
    zq_graph_add_output(g, v);
    parse_all(g);
    zq_layers layers;
    assert_int_equal(zq_layers_find(g, &layers, NULL), ZQ_OK);
    assert_int_equal(layers.n, 1);
    assert_int_equal(layers.items[0].n_nodes, 1);
    assert_int_equal(layers.items[0].axis, 1);
    zq_layers_clear(&layers);
    zq_graph_drop(g);
}

/* One input channel spread to four is no factor for each channel. */
static void test_not_affine(void **state) {
    (void)state;
    zq_graph *g = zq_graph_new();
    g->free_batch = true;
    const int x = add_value(g, "x", 4, (const int64_t[]){-1, 1, 5, 5});
    zq_graph_add_input(g, x);
    const int w = add_weight(g, "w", 4, (const int64_t[]){4, 1, 1, 1});
    zq_graph_add_output(g, add_node(g, "Conv", "spread", x, w, 4, (const int64_t[]){1, 4, 5, 5}));
    parse_all(g);
    zq_layers layers;
    assert_int_equal(zq_layers_find(g, &layers, NULL), ZQ_OK);
    assert_int_equal(layers.n, 1);
    assert_false(layers.items[0].affine);
    zq_layers_clear(&layers);
    zq_graph_drop(g);
}

static void test_out_of_memory(void **state) {
    (void)state;
    zq_graph *g = build();
    long k = 1;
    for (;; k++) {
        zq_layers layers;
        zq_alloc_fail_at(k);
        const zq_status status = zq_layers_find(g, &layers, NULL);
        zq_alloc_fail_at(0);
        zq_layers_clear(&layers);
        if (status == ZQ_OK)
            break;
        assert_int_equal(status, ZQ_ERR_MEMORY);
        assert_int_equal(layers.n, 0);
    }
    assert_true(k > 10);
    zq_graph_drop(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),        cmocka_unit_test(test_load_store),
        cmocka_unit_test(test_fixed_batch), cmocka_unit_test(test_two_axes),
        cmocka_unit_test(test_not_affine),  cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
