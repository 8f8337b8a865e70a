/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"
#include "quant/align.h"
#include "support/build.h"
#include "support/evaluate.h"

#include <math.h>
#include <stdio.h>

enum { C = 16, CONV, RELU, POOL, AFFINE, DEPTHWISE };
static const uint64_t seed = 3;
static const float scale = 0.05F;

static int conv(zq_graph *graph, const char *name, int x, zq_shape shape, int64_t group, int64_t pad) {
    char text[64];
    snprintf(text, sizeof text, "%s_w", name);
    const int w = build_random(graph, text, shape, seed, -0.5, 0.5);
    snprintf(text, sizeof text, "%s_b", name);
    const int b = build_random(graph, text, SHAPE(shape.dims[0]), seed, -1, 1);
    const int y = build_node(graph, "Conv", name, VALUES(x, w, b));
    zq_node_set_int(build_last(graph), "group", group);
    zq_node_set_ints(build_last(graph), "pads", INTS(pad, pad, pad, pad));
    return y;
}

/* A convolution, the operator, a MaxPool or none, a per-channel affine, and a depthwise convolution with two
 * outputs for each channel; another reader of the affine or none. */
static zq_graph *net(const char *op, bool pools, bool adds, zq_layers *layers_out) {
    zq_error err;
    zq_graph *graph = zq_graph_new();
    int x = conv(graph, "first", build_input(graph, "x", SHAPE(-1, 3, 8, 8)), SHAPE(C, 3, 3, 3), 1, 1);
    x = build_node(graph, op, "active", VALUES(x));
    if (pools) {
        x = build_node(graph, "MaxPool", "largest", VALUES(x));
        zq_node_set_ints(build_last(graph), "kernel_shape", INTS(2, 2));
    }
    const int affine = conv(graph, "affine", x, SHAPE(C, 1, 1, 1), C, 0);
    int last = conv(graph, "last", affine, SHAPE(2 * C, 1, 3, 3), C, 1);
    build_output(graph, last);
    if (adds)
        build_output(graph, build_node(graph, "Add", "sum", VALUES(affine, affine)));
    build_done(graph);
    assert_int_equal(zq_layers_find(graph, layers_out, &err), ZQ_OK);
    assert_int_equal(layers_out->n, 3);
    return graph;
}

static zq_weights *quantize(const zq_graph *graph, const zq_layers *layers) {
    static const zq_weight_spec spec = {.bits = 8, .range = ZQ_WEIGHT_MINMAX};
    zq_weights *weights = zq_alloc((size_t)layers->n, sizeof *weights);
    for (int i = 0; i < layers->n; i++) {
        const zq_layer *layer = &layers->items[i];
        float *w = zq_alloc((size_t)(layer->n_channels * layer->per_channel), sizeof *w);
        zq_layer_load(graph, layer, w);
        assert_int_equal(
            zq_weights_quantize(&spec, layer->n_channels, layer->per_channel, w, NULL, &weights[i], NULL),
            ZQ_OK);
        zq_free(w);
    }
    return weights;
}

/* The graph with what the integers of the weights mean. */
static zq_graph *with_weights(const zq_graph *graph, const zq_layers *layers, const zq_weights *weights) {
    zq_graph *copy = zq_graph_copy(graph);
    for (int i = 0; i < layers->n; i++) {
        const zq_layer *layer = &layers->items[i];
        float *w = zq_alloc((size_t)(layer->n_channels * layer->per_channel), sizeof *w);
        zq_weights_dequantize(&weights[i], w);
        zq_layer_store(graph, layer, w, zq_value_own_constant(&copy->values[layer->weight])->data);
        zq_free(w);
    }
    return copy;
}

static void drop(zq_graph *graph, zq_layers *layers, zq_weights *weights) {
    for (int i = 0; i < layers->n; i++)
        zq_weights_clear(&weights[i]);
    zq_free(weights);
    zq_layers_clear(layers);
    zq_graph_drop(graph);
}

/* How many channels have been rescaled: their biases lie on the grid then, the outputs are the same, and so
 * are the integers. */
static int aligned(const char *op, bool pools, bool adds) {
    zq_error err;
    zq_layers layers;
    zq_alignment alignment;
    zq_graph *graph = net(op, pools, adds, &layers);
    zq_weights *weights = quantize(graph, &layers), *before = quantize(graph, &layers);
    zq_graph *expected = with_weights(graph, &layers, weights);
    zq_activation *activations = zq_alloc((size_t)graph->n_values, sizeof *activations);
    for (int v = 0; v < graph->n_values; v++)
        activations[v] = (zq_activation){.used = true, .scale = scale, .zero_point = 100, .q_max = 255};
    assert_int_equal(zq_layers_own_biases(graph, &layers, &err), ZQ_OK);
    const float *bias = graph->values[graph->nodes[layers.items[1].nodes[0]].inputs[2]].constant->data;
    float old[C];
    memcpy(old, bias, sizeof old);
    assert_int_equal(zq_align(graph, &layers, activations, weights, &alignment, &err), ZQ_OK);
    bias = graph->values[graph->nodes[layers.items[1].nodes[0]].inputs[2]].constant->data;
    int n = 0;
    for (int c = 0; c < C; c++) {
        const float factor = bias[c] / old[c];
        n += factor != 1;
        assert_true(fabsf(factor - 1) < 0.301F);
        if (factor != 1)
            assert_true(fabsf(bias[c] / scale - nearbyintf(bias[c] / scale)) < 1e-3F);
        for (int o = 2 * c; o < 2 * c + 2 && n > 0; o++)
            assert_float_equal(alignment.read[2][o], factor, 1e-5);
    }
    for (int i = 0; i < layers.n; i++)
        assert_memory_equal(weights[i].q, before[i].q,
                            (size_t)(weights[i].n_channels * weights[i].per_channel));
    zq_graph *found = with_weights(graph, &layers, weights);
    if (!adds)
        assert_same_outputs(expected, found, 2, seed, 1e-5);
    zq_graph_drop(found);
    zq_graph_drop(expected);
    zq_alignment_clear(&alignment);
    zq_free(activations);
    for (int i = 0; i < layers.n; i++)
        zq_weights_clear(&before[i]);
    zq_free(before);
    drop(graph, &layers, weights);
    return n;
}

static void what_a_closed_relu_gives_comes_to_lie_on_the_grid(void **state) {
    (void)state;
    assert_true(aligned("Relu", false, false) > C / 2);
    assert_true(aligned("Relu", true, false) > C / 2);
}

static void other_affines_stay(void **state) {
    (void)state;
    assert_int_equal(aligned("Sigmoid", false, false), 0); /* never closed */
    assert_int_equal(aligned("Relu", false, true), 0);     /* something else reads it, too */
}

/* A bias that would need more than 32 bits. */
static void biases_keep_their_room(void **state) {
    (void)state;
    zq_error err;
    zq_layers layers;
    zq_alignment alignment;
    zq_graph *graph = net("Relu", false, false, &layers);
    zq_weights *weights = quantize(graph, &layers);
    zq_activation *activations = zq_alloc((size_t)graph->n_values, sizeof *activations);
    for (int v = 0; v < graph->n_values; v++)
        activations[v] = (zq_activation){.used = true, .scale = scale, .zero_point = 100, .q_max = 255};
    assert_int_equal(zq_layers_own_biases(graph, &layers, &err), ZQ_OK);
    for (int o = 0; o < 2 * C; o++)
        weights[2].scale[o] = 1e-12F;
    assert_int_equal(zq_align(graph, &layers, activations, weights, &alignment, &err), ZQ_OK);
    for (int o = 0; o < 2 * C; o++)
        assert_true(weights[2].scale[o] == 1e-12F);
    zq_alignment_clear(&alignment);
    zq_free(activations);
    drop(graph, &layers, weights);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_closed_relu_gives_comes_to_lie_on_the_grid),
        cmocka_unit_test(other_affines_stay),
        cmocka_unit_test(biases_keep_their_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
