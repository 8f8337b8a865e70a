/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"
#include "quant/calibrate.h"
#include "quant/candidate.h"
#include "quant/learn.h"
#include "quant/learned.h"
#include "quant/rewrite.h"
#include "tiny_net.h"

#include <omp.h>

enum { SIDE = 12, IMAGES = 16 };

static float pixels[IMAGES * 3 * SIDE * SIDE];

static zq_images random_images(uint64_t seed) {
    for (int i = 0; i < IMAGES * 3 * SIDE * SIDE; i++)
        pixels[i] = (float)zq_random_normal(seed, (uint64_t)i);
    return (zq_images){.shape = zq_shape_of(4, (const int64_t[]){IMAGES, 3, SIDE, SIDE}), .data = pixels};
}

/* ---- one layer */

/* The weights are round(u) scale: what they cost, w d_w, falls by what u and the scales have moved. */
static void weights_follow_their_gradient(void **state) {
    (void)state;
    enum { N = 2, K = 3 };
    const float wanted[N * K] = {0.9F, -2.2F, 3.4F, 0.26F, 0.5F, -1.0F};
    const float floor[N] = {0, 0.5F};
    float bias[N] = {1, 1};
    const zq_weight_spec spec = {.bits = 4, .range = ZQ_WEIGHT_MINMAX};
    zq_weights weights;
    zq_learned learned;
    assert_int_equal(zq_weights_quantize(&spec, N, K, wanted, floor, &weights, NULL), ZQ_OK);
    const float first = weights.scale[0];
    const int8_t q = weights.q[0];
    assert_int_equal(zq_learned_init(&weights, wanted, floor, bias, &learned, NULL), ZQ_OK);
    for (int i = 0; i < N * K; i++)
        assert_true(fabsf(learned.u[i] - weights.q[i]) <= 0.5F);
    learned.deviation = 1;
    for (int step = 0; step < 2000; step++) {
        for (int i = 0; i < N * K; i++)
            learned.d_w[i] = i == 0 ? -1 : i == 3 ? 1 : 0; /* the first weight up; the fourth down */
        learned.d_bias[0] = 1;
        learned.d_bias[1] = 0;
        zq_learned_step(&learned, 1);
    }
    assert_true(weights.q[0] > q);
    assert_true(weights.scale[0] > first);
    assert_true(weights.q[3] < 0);
    assert_true(weights.scale[1] >= floor[1]);
    assert_true(bias[0] < 0.5F && bias[1] == 1);
    for (int i = 0; i < N * K; i++)
        assert_true(weights.q[i] >= weights.q_min && weights.q[i] <= weights.q_max);
    zq_learned_clear(&learned);
    zq_weights_clear(&weights);
}

/* ---- a network */

typedef struct problem {
    zq_graph *graph;
    zq_images images;
    zq_layers layers;
    zq_standard standard;
    zq_activation *activations;
    zq_weight_spec spec;
    zq_rounder rounder;
    zq_weights nearest[3];
} problem;

static const int widths[] = {3, 8}; /* what the test narrows to, and what zq_rounding_start has to know */

static void begin(problem *p, uint64_t seed) {
    *p = (problem){.spec = {.bits = 3, .range = ZQ_WEIGHT_MSE}};
    p->graph = tiny_net(seed, SIDE, 0);
    p->images = random_images(seed + 10);
    assert_int_equal(zq_layers_find(p->graph, &p->layers, NULL), ZQ_OK);
    assert_int_equal(p->layers.n, 3);
    assert_int_equal(zq_standard_new(p->graph, &p->layers, &p->images, &p->standard, NULL), ZQ_OK);
    p->activations = zq_alloc((size_t)p->standard.graph->n_values, sizeof *p->activations);
    const zq_activation_spec spec = {ZQ_RANGE_MSE, 0, 8, false, false};
    assert_int_equal(zq_calibrate(p->standard.graph, &p->images, NULL, &spec, p->activations, NULL, NULL),
                     ZQ_OK);
    assert_int_equal(
        zq_place(p->standard.graph, zq_form_of(ZQ_RUNTIME_ONNXRUNTIME), p->activations, NULL, NULL, NULL),
        ZQ_OK);
    p->rounder = (zq_rounder){&p->standard, p->graph, &p->layers, p->activations, &p->spec};
    for (int i = 0; i < p->layers.n; i++) {
        float w[8 * 8 * 9];
        zq_layer_load(p->standard.graph, &p->layers.items[i], w);
        assert_int_equal(zq_weights_quantize(&p->spec, p->layers.items[i].n_channels,
                                             p->layers.items[i].per_channel, w, NULL, &p->nearest[i], NULL),
                         ZQ_OK);
    }
}

static void end(problem *p) {
    for (int i = 0; i < p->layers.n; i++)
        zq_weights_clear(&p->nearest[i]);
    zq_free(p->activations);
    zq_standard_clear(&p->standard);
    zq_layers_clear(&p->layers);
    zq_graph_drop(p->graph);
}

static double damage_of(problem *p, const zq_rounding *rounding, zq_graph *corrected) {
    static const int bits[] = {3, 3, 3};
    const zq_candidate_source source = {.graph = p->graph,
                                        .standard = &p->standard,
                                        .layers = &p->layers,
                                        .activations = p->activations,
                                        .rounding = rounding,
                                        .spec = p->spec,
                                        .form = zq_form_of(ZQ_RUNTIME_ONNXRUNTIME)};
    zq_candidate candidate;
    zq_damage damage;
    float **reference;
    assert_int_equal(zq_candidate_build("test", &source, bits, corrected, &candidate, NULL), ZQ_OK);
    assert_int_equal(zq_candidate_simulate(&candidate, &source, NULL), ZQ_OK);
    assert_int_equal(zq_outputs_run(p->standard.graph, &p->images, &reference, NULL), ZQ_OK);
    assert_int_equal(zq_damage_measure(p->standard.graph, reference, candidate.simulated, &p->images, NULL, 0,
                                       &damage, NULL),
                     ZQ_OK);
    zq_outputs_drop(reference, 1);
    zq_candidate_clear(&candidate, p->layers.n);
    return damage.kl;
}

static zq_status learn(problem *p, zq_step_callback callback, zq_rounding *out, zq_graph **graph_out,
                       zq_error *err) {
    const zq_learn_options options = {.n_steps = 300, .n_images = 8, .seed = 1, .callback = callback};
    assert_int_equal(zq_rounding_start(&p->layers, 2, widths, out, NULL), ZQ_OK);
    return zq_rounding_learn(&p->rounder, &p->images, p->nearest, NULL, &options, out, graph_out, err);
}

static void learning_lowers_the_damage(void **state) {
    (void)state;
    double before = 0, after = 0;
    for (uint64_t seed = 0; seed < 3; seed++) {
        problem p;
        zq_rounding rounding;
        zq_graph *learned;
        zq_error err;
        begin(&p, 40 + seed);
        before += damage_of(&p, NULL, NULL);
        if (learn(&p, NULL, &rounding, &learned, &err) != ZQ_OK)
            fail_msg("%s", err.text);
        after += damage_of(&p, &rounding, learned);
        zq_rounding_clear(&rounding);
        end(&p);
    }
    print_message("learned: %g, before: %g\n", after, before);
    assert_true(after < 0.5 * before);
}

static void threads_change_nothing(void **state) {
    (void)state;
    zq_rounding rounding[2];
    zq_graph *learned[2];
    problem p;
    const int usual = omp_get_max_threads();
    begin(&p, 50);
    for (int k = 0; k < 2; k++) {
        omp_set_num_threads(1 + k);
        assert_int_equal(learn(&p, NULL, &rounding[k], &learned[k], NULL), ZQ_OK);
    }
    omp_set_num_threads(usual);
    for (int i = 0; i < p.layers.n; i++) {
        const zq_weights *a = zq_rounding_at(&rounding[0], i, 3), *b = zq_rounding_at(&rounding[1], i, 3);
        assert_memory_equal(a->q, b->q, (size_t)(a->n_channels * a->per_channel));
        assert_memory_equal(a->scale, b->scale, (size_t)a->n_channels * sizeof *a->scale);
    }
    for (int k = 0; k < 2; k++) {
        zq_rounding_clear(&rounding[k]);
        zq_graph_drop(learned[k]);
    }
    end(&p);
}

static int stop(void *user, int step, int n_steps) {
    (void)user;
    assert_int_equal(n_steps, 300);
    return step == 5;
}

static void learning_can_be_cancelled(void **state) {
    (void)state;
    zq_rounding rounding;
    zq_graph *learned = NULL;
    zq_error err = {0};
    problem p;
    begin(&p, 60);
    assert_int_equal(learn(&p, stop, &rounding, &learned, &err), ZQ_ERR_CANCELLED);
    assert_non_null(strstr(err.text, "after 5 of 300 steps"));
    assert_null(learned);
    zq_rounding_clear(&rounding);
    end(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_follow_their_gradient),
        cmocka_unit_test(learning_lowers_the_damage),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(learning_can_be_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
