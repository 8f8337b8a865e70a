/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"
#include "engine/plan.h"
#include "quant/rounding.h"
#include "tiny_net.h"

#include <omp.h>
#include <stdio.h>

enum { SIDE = 12, IMAGES = 6, IMAGE = 3 * SIDE * SIDE, CLASSES = 5, WIDTHS = 5 };
static const int widths[WIDTHS] = {2, 3, 4, 6, 8};
static const zq_weight_spec spec = {.range = ZQ_WEIGHT_MINMAX};

static float pixels[IMAGES * IMAGE];

static zq_images random_images(uint64_t seed) {
    for (int i = 0; i < IMAGES * IMAGE; i++)
        pixels[i] = (float)zq_random_normal(seed, (uint64_t)i);
    return (zq_images){.shape = zq_shape_of(4, (const int64_t[]){IMAGES, 3, SIDE, SIDE}), .data = pixels};
}

/* To nearest at every width. */
static zq_rounding round_to_nearest(zq_graph *graph, const zq_layers *layers) {
    zq_rounding rounding = {.n_layers = layers->n, .n_widths = WIDTHS};
    memcpy(rounding.widths, widths, sizeof widths);
    rounding.weights = zq_alloc((size_t)layers->n * WIDTHS, sizeof *rounding.weights);
    for (int i = 0; i < layers->n; i++) {
        const zq_layer *layer = &layers->items[i];
        float *w = malloc((size_t)(layer->n_channels * layer->per_channel) * sizeof *w);
        zq_layer_load(graph, layer, w);
        for (int k = 0; k < WIDTHS; k++) {
            zq_weight_spec at_bits = spec;
            at_bits.bits = widths[k];
            assert_int_equal(zq_weights_quantize(&at_bits, layer->n_channels, layer->per_channel, w, NULL,
                                                 &rounding.weights[i * WIDTHS + k], NULL),
                             ZQ_OK);
        }
        free(w);
    }
    return rounding;
}

static zq_sensitivity measure(zq_graph *graph, const zq_layers *layers, const zq_images *images,
                              zq_sensitivity_method method) {
    zq_sensitivity result;
    zq_error err;
    zq_rounding rounding = round_to_nearest(graph, layers);
    if (zq_sensitivity_measure(graph, layers, images, &rounding, method, NULL, NULL, &result, &err) != ZQ_OK)
        fail_msg("%s", err.text);
    zq_rounding_clear(&rounding);
    return result;
}

static void logits_of(zq_graph *graph, float *logits) {
    const zq_plan_options options = {.n_images = IMAGES};
    zq_plan *plan;
    assert_int_equal(zq_plan_new(graph, &options, &plan, NULL), ZQ_OK);
    zq_plan_set_input(plan, 0, pixels);
    assert_int_equal(zq_plan_forward(plan, NULL), ZQ_OK);
    zq_plan_read(plan, graph->outputs[0], logits);
    zq_plan_drop(plan);
}

/* Eq. 2 as it stands: a copy of the network with one weight tensor changed, run from start to end. */
static double definition(zq_graph *graph, const zq_layer *layer, int bits) {
    static float reference[IMAGES * CLASSES], other[IMAGES * CLASSES];
    const float *a[] = {reference}, *b[] = {other};
    double distance[IMAGES], omega = 0;
    zq_weight_spec at_bits = spec;
    zq_weights quantized;
    logits_of(graph, reference);
    zq_graph *copy = zq_graph_copy(graph);
    float *w = malloc((size_t)(layer->n_channels * layer->per_channel) * sizeof *w);
    at_bits.bits = bits;
    zq_layer_load(graph, layer, w);
    assert_int_equal(
        zq_weights_quantize(&at_bits, layer->n_channels, layer->per_channel, w, NULL, &quantized, NULL),
        ZQ_OK);
    zq_weights_dequantize(&quantized, w);
    zq_layer_store(graph, layer, w, zq_value_own_constant(&copy->values[layer->weight])->data);
    logits_of(copy, other);
    zq_output_distance(graph, IMAGES, a, b, distance, NULL);
    for (int i = 0; i < IMAGES; i++)
        omega += distance[i] / IMAGES;
    zq_weights_clear(&quantized);
    zq_graph_drop(copy);
    free(w);
    return omega;
}

static void omega_is_the_definition(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        print_message("seed %d\n", (int)seed);
        zq_graph *graph = tiny_net(seed, SIDE, 0);
        const zq_images images = random_images(seed);
        zq_layers layers;
        assert_int_equal(zq_layers_find(graph, &layers, NULL), ZQ_OK);
        assert_int_equal(layers.n, 3);
        zq_sensitivity result = measure(graph, &layers, &images, ZQ_SENSITIVITY_EXACT);
        for (int i = 0; i < layers.n; i++)
            for (int k = 0; k < WIDTHS; k++) {
                const double expected = definition(graph, &layers.items[i], widths[k]);
                const double found = result.omega[i * WIDTHS + k];
                if (!(fabs(found - expected) <= 1e-3 * expected + 1e-9))
                    fail_msg("layer %d at %d bits: %g, by definition %g", i, widths[k], found, expected);
            }
        assert_true(result.omega[0] > result.omega[2]);
        zq_sensitivity_clear(&result);
        zq_layers_clear(&layers);
        zq_graph_drop(graph);
    }
}

/* KL(softmax(z) || softmax(z + change)) */
static double divergence(int n, const float *z, const double *change) {
    double own = 0, other = 0, kl = 0;
    for (int i = 0; i < n; i++) {
        own += exp(z[i]);
        other += exp(z[i] + change[i]);
    }
    for (int i = 0; i < n; i++)
        kl += exp(z[i]) / own * (log(other) - log(own) - change[i]);
    return kl;
}

/* Of one layer, what was measured; of all, what the sum of their changes does. From choice to choice only
 * what differs is added up anew. */
static void superposed_is_its_definition(void **state) {
    (void)state;
    enum { LAYERS = 3, POINTS = LAYERS * WIDTHS + 1 };
    zq_graph *graph = tiny_net(5, SIDE, 0);
    const zq_images images = random_images(5);
    zq_layers layers;
    assert_int_equal(zq_layers_find(graph, &layers, NULL), ZQ_OK);
    assert_int_equal(layers.n, LAYERS);
    zq_sensitivity result = measure(graph, &layers, &images, ZQ_SENSITIVITY_EXACT);
    const zq_superposed *s = &result.superposed;
    assert_int_equal(s->n_images, IMAGES);
    uint8_t choices[POINTS][LAYERS];
    double found[POINTS], expected = 0;
    memset(choices, ZQ_NOT_NARROWED, sizeof choices);
    for (int i = 0; i < LAYERS; i++) {
        for (int k = 0; k < WIDTHS; k++)
            choices[i * WIDTHS + k][i] = (uint8_t)k;
        choices[POINTS - 1][i] = (uint8_t)(i % 2);
    }
    assert_int_equal(zq_superposed_predict(s, POINTS, choices[0], found, NULL), ZQ_OK);
    for (int p = 0; p < POINTS - 1; p++)
        assert_true(fabs(found[p] - result.omega[p]) <= 1e-3 * result.omega[p] + 1e-6);
    for (int image = 0; image < IMAGES; image++) {
        double change[CLASSES] = {0};
        for (int i = 0; i < LAYERS; i++)
            for (int c = 0; c < CLASSES; c++)
                change[c] += (double)s->dz[((i * WIDTHS + i % 2) * IMAGES + image) * CLASSES + c];
        expected += divergence(CLASSES, s->z + image * CLASSES, change) / IMAGES;
    }
    assert_true(fabs(found[POINTS - 1] - expected) <= 1e-3 * expected);
    zq_sensitivity_clear(&result);
    zq_layers_clear(&layers);
    zq_graph_drop(graph);
}

/* A network for two images at a time takes one width after the other. */
static void a_fixed_batch_measures_the_same(void **state) {
    (void)state;
    zq_graph *free_batch = tiny_net(4, SIDE, 0), *fixed = tiny_net(4, SIDE, 2);
    const zq_images images = random_images(4);
    zq_layers layers;
    assert_int_equal(zq_layers_find(free_batch, &layers, NULL), ZQ_OK);
    zq_sensitivity a = measure(free_batch, &layers, &images, ZQ_SENSITIVITY_EXACT),
                   b = measure(fixed, &layers, &images, ZQ_SENSITIVITY_EXACT);
    for (int i = 0; i < layers.n * WIDTHS; i++)
        assert_true(fabs(a.omega[i] - b.omega[i]) <= 1e-3 * a.omega[i] + 1e-9);
    zq_sensitivity_clear(&a);
    zq_sensitivity_clear(&b);
    zq_layers_clear(&layers);
    zq_graph_drop(free_batch);
    zq_graph_drop(fixed);
}

/* With less and less memory: fewer images at once, one width after the other, and then none. */
static void little_memory_measures_the_same(void **state) {
    (void)state;
    zq_graph *graph = tiny_net(4, SIDE, 0);
    const zq_images images = random_images(4);
    zq_layers layers;
    zq_error err;
    assert_int_equal(zq_layers_find(graph, &layers, NULL), ZQ_OK);
    zq_rounding rounding = round_to_nearest(graph, &layers);
    zq_sensitivity a = measure(graph, &layers, &images, ZQ_SENSITIVITY_EXACT), b;
    int n_kept = 0;
    for (size_t room = 1000000;; room -= room / 10, n_kept++) {
        zq_memory_set_limit(zq_memory_held() + room);
        const zq_status status = zq_sensitivity_measure(graph, &layers, &images, &rounding,
                                                        ZQ_SENSITIVITY_EXACT, NULL, NULL, &b, &err);
        zq_memory_set_limit(0);
        if (status == ZQ_ERR_MEMORY)
            break;
        assert_int_equal(status, ZQ_OK);
        for (int i = 0; i < layers.n * WIDTHS; i++)
            assert_true(fabs(a.omega[i] - b.omega[i]) <= 1e-3 * a.omega[i] + 1e-9);
        zq_sensitivity_clear(&b);
    }
    print_message("%d limits were kept\n", n_kept);
    assert_true(n_kept > 10);
    zq_sensitivity_clear(&a);
    zq_rounding_clear(&rounding);
    zq_layers_clear(&layers);
    zq_graph_drop(graph);
}

/* Two nodes with one weight change together. */
static void a_shared_weight_is_one_layer(void **state) {
    (void)state;
    zq_graph *graph = tiny_net(5, SIDE, 0);
    const int w = zq_graph_find_value(graph, "w3"), from = zq_graph_find_value(graph, "flat");
    const int inputs[] = {from, w};
    const int second = tiny_node(graph, "Gemm", "second", 2, inputs, 0);
    graph->values[second].shape = zq_shape_of(2, (const int64_t[]){1, CLASSES});
    const int both[] = {graph->outputs[0], second};
    const int sum = tiny_node(graph, "Add", "sum", 2, both, 0);
    graph->values[sum].shape = zq_shape_of(2, (const int64_t[]){1, CLASSES});
    graph->outputs[0] = sum;
    const zq_images images = random_images(5);
    zq_layers layers;
    assert_int_equal(zq_layers_find(graph, &layers, NULL), ZQ_OK);
    assert_int_equal(layers.n, 3);
    assert_int_equal(layers.items[2].n_nodes, 2);
    zq_sensitivity result = measure(graph, &layers, &images, ZQ_SENSITIVITY_EXACT);
    for (int i = 0; i < layers.n; i++) {
        const double expected = definition(graph, &layers.items[i], 4);
        assert_true(fabs(result.omega[i * WIDTHS + 2] - expected) <= 1e-3 * expected + 1e-9);
    }
    zq_sensitivity_clear(&result);
    zq_layers_clear(&layers);
    zq_graph_drop(graph);
}

/* 40 layers on 6 images: 6 (32 / 40)^(1/2) of them, whole fours. */
static void deep_networks_take_fewer_images(void **state) {
    (void)state;
    zq_graph *graph = tiny_net(9, SIDE, 0);
    const zq_shape square = zq_shape_of(2, (const int64_t[]){CLASSES, CLASSES});
    for (int i = 3; i < 40; i++) {
        char weight[16], output[16];
        snprintf(weight, sizeof weight, "deep%d", i);
        snprintf(output, sizeof output, "z%d", i);
        const int inputs[] = {graph->outputs[0], tiny_random(graph, 9, weight, square, 0.5)};
        graph->outputs[0] = tiny_node(graph, "Gemm", output, 2, inputs, 0);
        graph->values[graph->outputs[0]].shape = zq_shape_of(2, (const int64_t[]){1, CLASSES});
    }
    zq_images images = random_images(9);
    zq_layers layers;
    assert_int_equal(zq_layers_find(graph, &layers, NULL), ZQ_OK);
    assert_int_equal(layers.n, 40);
    zq_sensitivity all = measure(graph, &layers, &images, ZQ_SENSITIVITY_SAMPLED);
    images.shape.dims[0] = 4;
    zq_sensitivity few = measure(graph, &layers, &images, ZQ_SENSITIVITY_SAMPLED);
    assert_memory_equal(all.omega, few.omega, (size_t)(layers.n * WIDTHS) * sizeof *all.omega);
    zq_sensitivity_clear(&all);
    zq_sensitivity_clear(&few);
    zq_layers_clear(&layers);
    zq_graph_drop(graph);
}

/* All images are needed by so few layers: 2 and 4 bits are measured, as the definition has it; 3 bits lie
 * between both, 6 and 8 follow from the errors. */
static void samples_are_near_the_definition(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        zq_graph *graph = tiny_net(seed, SIDE, 0);
        const zq_images images = random_images(seed);
        zq_layers layers;
        assert_int_equal(zq_layers_find(graph, &layers, NULL), ZQ_OK);
        zq_sensitivity exact = measure(graph, &layers, &images, ZQ_SENSITIVITY_EXACT);
        zq_sensitivity sampled = measure(graph, &layers, &images, ZQ_SENSITIVITY_SAMPLED);
        assert_int_equal(sampled.method, ZQ_SENSITIVITY_SAMPLED);
        for (int i = 0; i < layers.n * WIDTHS; i++) {
            const double ratio = sampled.omega[i] / exact.omega[i];
            print_message("layer %d, %d bits: ratio %g\n", i / WIDTHS, widths[i % WIDTHS], ratio);
            const int bits = widths[i % WIDTHS];
            if (bits == 3)
                assert_true(sampled.omega[i] <= fmax(sampled.omega[i - 1], sampled.omega[i + 1]) &&
                            sampled.omega[i] >= fmin(sampled.omega[i - 1], sampled.omega[i + 1]));
            else
                assert_true(bits > 4 ? ratio > 0.05 && ratio < 20 : fabs(ratio - 1) < 1e-3);
        }
        zq_sensitivity_clear(&exact);
        zq_sensitivity_clear(&sampled);
        zq_layers_clear(&layers);
        zq_graph_drop(graph);
    }
}

/* With fewer classes than probes nothing is left to chance: what differs is the third order. */
static void the_second_order_is_near_the_definition(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        zq_graph *graph = tiny_net(seed, SIDE, 0);
        const zq_images images = random_images(seed);
        zq_layers layers;
        assert_int_equal(zq_layers_find(graph, &layers, NULL), ZQ_OK);
        zq_sensitivity exact = measure(graph, &layers, &images, ZQ_SENSITIVITY_EXACT);
        zq_sensitivity second = measure(graph, &layers, &images, ZQ_SENSITIVITY_FISHER);
        assert_true(exact.method == ZQ_SENSITIVITY_EXACT && second.method == ZQ_SENSITIVITY_FISHER);
        for (int i = 0; i < layers.n; i++) {
            const int at = i * WIDTHS + WIDTHS - 1; /* 8 bits */
            print_message("layer %d: %g, to second order %g\n", i, exact.omega[at], second.omega[at]);
            assert_true(fabs(second.omega[at] / exact.omega[at] - 1) < 0.1);
        }
        zq_sensitivity_clear(&exact);
        zq_sensitivity_clear(&second);
        zq_layers_clear(&layers);
        zq_graph_drop(graph);
    }
}

/* Neither the batch that the network takes nor the number of threads. */
static void nothing_changes_the_second_order(void **state) {
    (void)state;
    zq_graph *free_batch = tiny_net(4, SIDE, 0), *fixed = tiny_net(4, SIDE, 2);
    const zq_images images = random_images(4);
    zq_layers layers;
    assert_int_equal(zq_layers_find(free_batch, &layers, NULL), ZQ_OK);
    const int n_threads = omp_get_max_threads();
    omp_set_num_threads(1);
    zq_sensitivity a = measure(free_batch, &layers, &images, ZQ_SENSITIVITY_FISHER);
    omp_set_num_threads(3);
    zq_sensitivity b = measure(free_batch, &layers, &images, ZQ_SENSITIVITY_FISHER),
                   c = measure(fixed, &layers, &images, ZQ_SENSITIVITY_FISHER);
    omp_set_num_threads(n_threads);
    assert_memory_equal(a.omega, b.omega, (size_t)(layers.n * WIDTHS) * sizeof *a.omega);
    for (int i = 0; i < layers.n * WIDTHS; i++)
        assert_true(fabs(a.omega[i] - c.omega[i]) <= 1e-4 * a.omega[i]);
    zq_sensitivity_clear(&a);
    zq_sensitivity_clear(&b);
    zq_sensitivity_clear(&c);
    zq_layers_clear(&layers);
    zq_graph_drop(free_batch);
    zq_graph_drop(fixed);
}

/* Floor has no gradient. */
static void without_a_gradient_the_definition_serves(void **state) {
    (void)state;
    zq_graph *graph = tiny_net(7, SIDE, 0);
    const int floor = tiny_node(graph, "Floor", "floor", 1, graph->outputs, 0);
    graph->values[floor].shape = zq_shape_of(2, (const int64_t[]){1, CLASSES});
    graph->outputs[0] = floor;
    const zq_images images = random_images(7);
    zq_layers layers;
    assert_int_equal(zq_layers_find(graph, &layers, NULL), ZQ_OK);
    zq_sensitivity exact = measure(graph, &layers, &images, ZQ_SENSITIVITY_EXACT),
                   other = measure(graph, &layers, &images, ZQ_SENSITIVITY_FISHER);
    assert_true(other.method == ZQ_SENSITIVITY_EXACT);
    assert_memory_equal(exact.omega, other.omega, (size_t)(layers.n * WIDTHS) * sizeof *exact.omega);
    zq_sensitivity_clear(&exact);
    zq_sensitivity_clear(&other);
    zq_layers_clear(&layers);
    zq_graph_drop(graph);
}

static int stop_at_once(void *user, int done, int total) {
    (void)user;
    return done == 1 && total == 3;
}

static void the_callback_cancels(void **state) {
    (void)state;
    zq_graph *graph = tiny_net(6, SIDE, 0);
    const zq_images images = random_images(6);
    zq_layers layers;
    zq_sensitivity result;
    assert_int_equal(zq_layers_find(graph, &layers, NULL), ZQ_OK);
    zq_rounding rounding = round_to_nearest(graph, &layers);
    assert_int_equal(zq_sensitivity_measure(graph, &layers, &images, &rounding, ZQ_SENSITIVITY_EXACT,
                                            stop_at_once, NULL, &result, NULL),
                     ZQ_ERR_CANCELLED);
    zq_rounding_clear(&rounding);
    assert_null(result.omega);
    zq_layers_clear(&layers);
    zq_graph_drop(graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(omega_is_the_definition),
        cmocka_unit_test(superposed_is_its_definition),
        cmocka_unit_test(a_fixed_batch_measures_the_same),
        cmocka_unit_test(little_memory_measures_the_same),
        cmocka_unit_test(a_shared_weight_is_one_layer),
        cmocka_unit_test(deep_networks_take_fewer_images),
        cmocka_unit_test(samples_are_near_the_definition),
        cmocka_unit_test(the_second_order_is_near_the_definition),
        cmocka_unit_test(nothing_changes_the_second_order),
        cmocka_unit_test(without_a_gradient_the_definition_serves),
        cmocka_unit_test(the_callback_cancels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
