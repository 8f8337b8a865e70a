/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"
#include "engine/plan.h"
#include "quant/calibrate.h"
#include "quant/candidate.h"
#include "quant/correct.h"
#include "quant/rewrite.h"
#include "quant/standard.h"
#include "tiny_net.h"

enum { SIDE = 12, IMAGES = 8, IMAGE = 3 * SIDE * SIDE };
static float pixels[IMAGES * IMAGE];

static zq_images random_images(uint64_t seed) {
    for (int i = 0; i < IMAGES * IMAGE; i++)
        pixels[i] = (float)zq_random_normal(seed, (uint64_t)i);
    return (zq_images){.shape = zq_shape_of(4, (const int64_t[]){IMAGES, 3, SIDE, SIDE}), .data = pixels};
}

static zq_standard standardise(zq_graph *graph, const zq_layers *layers, const zq_images *images) {
    zq_standard standard;
    zq_error err;
    if (zq_standard_new(graph, layers, images, &standard, &err) != ZQ_OK)
        fail_msg("%s", err.text);
    return standard;
}

static void check_statistics(zq_graph *graph, const zq_graph *promised) {
    const zq_plan_options options = {.n_images = IMAGES, .statistics = true, .keep_values = true};
    zq_plan *plan;
    assert_int_equal(zq_plan_new(graph, &options, &plan, NULL), ZQ_OK);
    zq_plan_set_input(plan, 0, pixels);
    assert_int_equal(zq_plan_forward(plan, NULL), ZQ_OK);
    for (int v = 0; v < promised->n_values; v++) {
        const zq_stats *stats = promised->values[v].stats;
        float mean[16], variance[16];
        if (stats == NULL)
            continue;
        zq_plan_statistics(plan, v, mean, variance);
        for (int64_t c = 0; c < stats->n_channels; c++) {
            assert_true(fabs((double)mean[c] - stats->mean[c]) < 1e-3);
            if (!(fabs(sqrt(variance[c]) - stats->std[c]) < 1e-3))
                fail_msg("%s, channel %d: deviation %g, promised %g", promised->values[v].name, (int)c,
                         sqrt(variance[c]), (double)stats->std[c]);
        }
    }
    zq_plan_drop(plan);
}

/* The statistics of the tiny network are invented, far from those of the noise but within the factors
 * allowed. */
static void every_promise_is_kept(void **state) {
    (void)state;
    static const char *const activations[] = {"Relu", "Sigmoid"};
    for (int a = 0; a < 2; a++) {
        zq_graph *graph = tiny_net_with(activations[a], 3, SIDE, 0);
        const zq_images images = random_images(1);
        zq_layers layers;
        assert_int_equal(zq_layers_find(graph, &layers, NULL), ZQ_OK);
        zq_standard standard = standardise(graph, &layers, &images);
        check_statistics(standard.graph, graph);
        assert_non_null(standard.factor[0]);
        assert_null(standard.factor[2]); /* nothing is known of the classifier */
        zq_standard_clear(&standard);
        zq_layers_clear(&layers);
        zq_graph_drop(graph);
    }
}

/* Quantized in the calibration network, the network's own weights are as near as they would be by themselves.
 */
static void integers_serve_both_networks(void **state) {
    (void)state;
    zq_graph *graph = tiny_net(4, SIDE, 0);
    const zq_images images = random_images(2);
    zq_layers layers;
    zq_weights weights, own;
    assert_int_equal(zq_layers_find(graph, &layers, NULL), ZQ_OK);
    zq_standard standard = standardise(graph, &layers, &images);
    const zq_layer *layer = &layers.items[1];
    const int64_t n = layer->n_channels * layer->per_channel;
    float *w = malloc((size_t)n * sizeof *w), *rounded = malloc((size_t)n * sizeof *w);
    const zq_weight_spec spec = {.bits = 8, .range = ZQ_WEIGHT_MINMAX};
    zq_layer_load(standard.graph, layer, w);
    assert_int_equal(
        zq_weights_quantize(&spec, layer->n_channels, layer->per_channel, w, NULL, &weights, NULL), ZQ_OK);
    assert_int_equal(zq_standard_undo_weights(&standard, 1, &weights, &own, NULL), ZQ_OK);
    assert_memory_equal(weights.q, own.q, (size_t)n);
    zq_weights_dequantize(&own, rounded);
    zq_layer_load(graph, layer, w);
    for (int64_t i = 0; i < n; i++)
        assert_true(fabs((double)w[i] - rounded[i]) <= 0.501 * own.scale[i / layer->per_channel]);
    zq_weights_clear(&weights);
    zq_weights_clear(&own);
    zq_standard_clear(&standard);
    zq_layers_clear(&layers);
    zq_graph_drop(graph);
    free(w);
    free(rounded);
}

/* A bias that moves by d in the calibration network moves by d / factor in the network. */
static void corrections_are_brought_back(void **state) {
    (void)state;
    zq_graph *graph = tiny_net(5, SIDE, 0), *moved;
    const zq_images images = random_images(3);
    zq_layers layers;
    assert_int_equal(zq_layers_find(graph, &layers, NULL), ZQ_OK);
    zq_standard standard = standardise(graph, &layers, &images);
    zq_graph *corrected = zq_graph_copy(standard.graph);
    const int node = layers.items[0].nodes[0];
    float *bias = zq_value_own_constant(&corrected->values[corrected->nodes[node].inputs[2]])->data;
    bias[1] += 0.5F;
    assert_int_equal(zq_standard_undo_biases(&standard, graph, &layers, corrected, &moved, NULL), ZQ_OK);
    const float *before = graph->values[graph->nodes[node].inputs[2]].constant->data;
    const float *after = moved->values[moved->nodes[node].inputs[2]].constant->data;
    assert_true(fabs(after[0] - before[0]) < 1e-5);
    assert_true(fabs(after[1] - before[1] - 0.5 / standard.factor[0][1]) < 1e-4);
    zq_graph_drop(corrected);
    zq_graph_drop(moved);
    zq_standard_clear(&standard);
    zq_layers_clear(&layers);
    zq_graph_drop(graph);
}

static double output_error(zq_graph *graph, zq_graph *other) {
    double sum = 0;
    float y[2][IMAGES * 5];
    for (int k = 0; k < 2; k++) {
        const zq_plan_options options = {.n_images = IMAGES};
        zq_plan *plan;
        assert_int_equal(zq_plan_new(k == 0 ? graph : other, &options, &plan, NULL), ZQ_OK);
        zq_plan_set_input(plan, 0, pixels);
        assert_int_equal(zq_plan_forward(plan, NULL), ZQ_OK);
        zq_plan_read(plan, (k == 0 ? graph : other)->outputs[0], y[k]);
        zq_plan_drop(plan);
    }
    for (int i = 0; i < IMAGES * 5; i++)
        sum += pow((double)y[0][i] - y[1][i], 2);
    return sum;
}

/* All layers of a network, and one weight that two nodes share. */
static void rounding_is_better_than_nearest(void **state) {
    (void)state;
    static const int widths[] = {2, 4, 8};
    static const zq_weight_spec spec = {.range = ZQ_WEIGHT_MSE};
    zq_graph *graph = tiny_net(6, SIDE, 0);
    const zq_images images = random_images(4);
    zq_layers layers;
    zq_rounding rounding;
    zq_error err;
    assert_int_equal(zq_layers_find(graph, &layers, NULL), ZQ_OK);
    zq_standard standard = standardise(graph, &layers, &images);
    zq_activation *activations = zq_alloc((size_t)standard.graph->n_values, sizeof *activations);
    for (int v = 0; v < standard.graph->n_values; v++)
        activations[v] = zq_activation_from_range(0, 6, 8);
    const zq_rounder rounder = {&standard, graph, &layers, activations, &spec};
    if (zq_rounding_new(&rounder, &images, 3, widths, NULL, NULL, &rounding, &err) != ZQ_OK)
        fail_msg("%s", err.text);
    for (int k = 0; k < 2; k++) {
        zq_graph *fed = zq_graph_copy(standard.graph), *nearest = zq_graph_copy(standard.graph);
        for (int i = 0; i < layers.n; i++) {
            const zq_layer *layer = &layers.items[i];
            float w[8 * 8 * 9];
            zq_weights weights;
            zq_weight_spec own = spec;
            own.bits = widths[k];
            zq_layer_load(standard.graph, layer, w);
            assert_int_equal(
                zq_weights_quantize(&own, layer->n_channels, layer->per_channel, w, NULL, &weights, NULL),
                ZQ_OK);
            zq_weights_dequantize(&weights, w);
            zq_layer_store(graph, layer, w, zq_value_own_constant(&nearest->values[layer->weight])->data);
            zq_weights_dequantize(zq_rounding_at(&rounding, i, widths[k]), w);
            zq_layer_store(graph, layer, w, zq_value_own_constant(&fed->values[layer->weight])->data);
            zq_weights_clear(&weights);
        }
        const double by_feedback = output_error(standard.graph, fed),
                     to_nearest = output_error(standard.graph, nearest);
        print_message("%d bits: %g, to nearest %g\n", widths[k], by_feedback, to_nearest);
        assert_true(by_feedback < to_nearest);
        zq_graph_drop(fed);
        zq_graph_drop(nearest);
    }
    assert_null(zq_rounding_at(&rounding, 0, 3));
    for (int i = 0; i < layers.n; i++)
        assert_int_equal(rounding.scarce[i], i == 2); /* the classifier has one input of each image */
    zq_rounding_clear(&rounding);
    zq_free(activations);
    zq_standard_clear(&standard);
    zq_layers_clear(&layers);
    zq_graph_drop(graph);
}

/* With weights and activations of few bits, weights rounded in the quantized network do less damage than
 * those rounded in FP32. */
static void settled_weights_do_less_damage(void **state) {
    (void)state;
    static const int widths[] = {4, 8}, bits[] = {4, 4, 4};
    static const zq_weight_spec spec = {.range = ZQ_WEIGHT_MSE};
    double error[2] = {0, 0};
    for (uint64_t seed = 0; seed < 6; seed++) {
        zq_graph *graph = tiny_net(20 + seed, SIDE, 0);
        const zq_images images = random_images(30 + seed);
        zq_layers layers;
        zq_rounding rounding[2];
        assert_int_equal(zq_layers_find(graph, &layers, NULL), ZQ_OK);
        assert_int_equal(layers.n, 3);
        zq_standard standard = standardise(graph, &layers, &images);
        const size_t n_values = (size_t)standard.graph->n_values;
        zq_activation *activations = zq_alloc(n_values, sizeof *activations);
        assert_int_equal(zq_calibrate(standard.graph, &images, NULL,
                                      &(zq_activation_spec){ZQ_RANGE_MSE, 0, 4, false, false}, activations,
                                      NULL, NULL),
                         ZQ_OK);
        assert_int_equal(
            zq_place(standard.graph, zq_form_of(ZQ_RUNTIME_ONNXRUNTIME), activations, NULL, NULL, NULL),
            ZQ_OK);
        const zq_rounder rounder = {&standard, graph, &layers, activations, &spec};
        assert_int_equal(zq_rounding_new(&rounder, &images, 2, widths, NULL, NULL, &rounding[0], NULL),
                         ZQ_OK);
        assert_int_equal(zq_rounding_settle(&rounder, &images, &rounding[0], bits, &rounding[1], NULL),
                         ZQ_OK);
        for (int k = 0; k < 2; k++) {
            const zq_candidate_source source = {.graph = graph,
                                                .standard = &standard,
                                                .layers = &layers,
                                                .activations = activations,
                                                .rounding = &rounding[k],
                                                .spec = spec,
                                                .form = zq_form_of(ZQ_RUNTIME_ONNXRUNTIME)};
            zq_candidate candidate;
            zq_graph *corrected;
            assert_int_equal(zq_candidate_build("test", &source, bits, NULL, &candidate, NULL), ZQ_OK);
            assert_int_equal(zq_candidate_simulate(&candidate, &source, NULL), ZQ_OK);
            assert_int_equal(zq_correct_biases(standard.graph, &layers, candidate.weights,
                                               candidate.simulated, NULL, &images, &corrected, NULL),
                             ZQ_OK);
            zq_candidate_clear(&candidate, layers.n);
            assert_int_equal(zq_candidate_build("test", &source, bits, corrected, &candidate, NULL), ZQ_OK);
            assert_int_equal(zq_candidate_simulate(&candidate, &source, NULL), ZQ_OK);
            error[k] += output_error(standard.graph, candidate.simulated);
            zq_candidate_clear(&candidate, layers.n);
            zq_rounding_clear(&rounding[k]);
        }
        zq_free(activations);
        zq_standard_clear(&standard);
        zq_layers_clear(&layers);
        zq_graph_drop(graph);
    }
    print_message("settled: %g, before: %g\n", error[1], error[0]);
    assert_true(error[1] < 0.9 * error[0]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_promise_is_kept),          cmocka_unit_test(integers_serve_both_networks),
        cmocka_unit_test(corrections_are_brought_back),   cmocka_unit_test(rounding_is_better_than_nearest),
        cmocka_unit_test(settled_weights_do_less_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
