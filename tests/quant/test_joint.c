/* SPDX-License-Identifier: Apache-2.0 */
/* Several layers narrowed at once, one choice after the other, against a copy of the network with those
 * weights. */
#include "quant/joint.h"

#include "base/memory.h"
#include "engine/plan.h"
#include "tiny_net.h"

enum { SIDE = 12, IMAGES = 4, IMAGE = 3 * SIDE * SIDE, CLASSES = 5, WIDTHS = 3, LAYERS = 3 };
static const int widths[WIDTHS] = {2, 4, 8};
static float pixels[IMAGES * IMAGE];

static zq_rounding round_to_nearest(zq_graph *graph, const zq_layers *layers) {
    zq_rounding rounding = {.n_layers = layers->n, .n_widths = WIDTHS};
    memcpy(rounding.widths, widths, sizeof widths);
    rounding.weights = zq_alloc((size_t)layers->n * WIDTHS, sizeof *rounding.weights);
    for (int i = 0; i < layers->n; i++) {
        const zq_layer *layer = &layers->items[i];
        float *w = malloc((size_t)(layer->n_channels * layer->per_channel) * sizeof *w);
        zq_layer_load(graph, layer, w);
        for (int k = 0; k < WIDTHS; k++) {
            const zq_weight_spec spec = {.bits = widths[k], .range = ZQ_WEIGHT_MINMAX};
            assert_int_equal(zq_weights_quantize(&spec, layer->n_channels, layer->per_channel, w, NULL,
                                                 &rounding.weights[i * WIDTHS + k], NULL),
                             ZQ_OK);
        }
        free(w);
    }
    return rounding;
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

static double definition(zq_graph *graph, const zq_layers *layers, const zq_rounding *rounding, int n,
                         const uint8_t *choice) {
    static float reference[IMAGES * CLASSES], other[IMAGES * CLASSES], w[8 * 6 * 9 * 3];
    const float *a[] = {reference}, *b[] = {other};
    double distance[IMAGES], sum = 0;
    zq_graph *copy = zq_graph_copy(graph);
    for (int i = 0; i < n; i++) {
        zq_weights_dequantize(&rounding->weights[i * WIDTHS + choice[i]], w);
        zq_layer_store(graph, &layers->items[i], w,
                       zq_value_own_constant(&copy->values[layers->items[i].weight])->data);
    }
    logits_of(graph, reference);
    logits_of(copy, other);
    zq_output_distance(graph, IMAGES, a, b, distance, NULL);
    for (int i = 0; i < IMAGES; i++)
        sum += distance[i] / IMAGES;
    zq_graph_drop(copy);
    return sum;
}

static void one_after_the_other(void **state) {
    (void)state;
    zq_graph *graph = tiny_net(3, SIDE, 0);
    zq_layers layers;
    zq_joint *joint = NULL;
    for (int i = 0; i < IMAGES * IMAGE; i++)
        pixels[i] = (float)zq_random_normal(3, (uint64_t)i);
    const zq_images images = {.shape = zq_shape_of(4, (const int64_t[]){IMAGES, 3, SIDE, SIDE}),
                              .data = pixels};
    assert_int_equal(zq_layers_find(graph, &layers, NULL), ZQ_OK);
    assert_int_equal(layers.n, LAYERS);
    zq_rounding rounding = round_to_nearest(graph, &layers);
    for (long k = 1; joint == NULL; k++) { /* memory refused at every place before that */
        zq_alloc_fail_at(k);
        const zq_status status = zq_joint_new(graph, &layers, &images, &rounding, &joint, NULL);
        zq_alloc_fail_at(0);
        assert_true(status == ZQ_ERR_MEMORY || status == ZQ_OK);
        assert_true(k < 1000);
    }
    for (uint64_t round = 0; round < 60; round++) {
        uint8_t choice[LAYERS];
        double found;
        const int n = (int)(zq_random_bits(9, 4 * round) % (LAYERS + 1));
        for (int i = 0; i < n; i++)
            choice[i] = (uint8_t)(zq_random_bits(9, 4 * round + 1 + (uint64_t)i) % WIDTHS);
        assert_int_equal(zq_joint_measure(joint, n, choice, &found, NULL), ZQ_OK);
        const double expected = definition(graph, &layers, &rounding, n, choice);
        if (!(fabs(found - expected) <= 1e-3 * expected + 1e-9))
            fail_msg("round %d, %d layers: %g, expected %g", (int)round, n, found, expected);
    }
    zq_joint_drop(joint);
    zq_rounding_clear(&rounding);
    zq_layers_clear(&layers);
    zq_graph_drop(graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_after_the_other)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
