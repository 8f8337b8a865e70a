/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/labels.h"
#include "tiny_net.h"

enum { IMAGES = 4, SIDE = 12, IMAGE = 3 * SIDE * SIDE, CLASSES = 5 };

/* 0.03 of the cross-entropy of the images' labels, from the definition; leaves the plan run. */
static double loss_of(const zq_labels *labels, zq_plan *plan, const float *pixels) {
    float z[IMAGES * CLASSES];
    double loss = 0;
    zq_plan_set_input(plan, 0, pixels);
    assert_int_equal(zq_plan_forward(plan, NULL), ZQ_OK);
    zq_plan_read(plan, labels->value, z);
    for (int i = 0; i < IMAGES; i++) {
        double sum = 0;
        for (int c = 0; c < CLASSES; c++)
            sum += exp(z[i * CLASSES + c]);
        loss += log(sum) - z[i * CLASSES + (int)(zq_random_bits(labels->seed, (uint64_t)i) % CLASSES)];
    }
    return 0.03 * loss / IMAGES;
}

static void gradient_is_the_difference(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        static float pixels[IMAGES * IMAGE], moved[IMAGES * IMAGE], gradient[IMAGES * IMAGE];
        zq_graph *graph = tiny_net_with("Sigmoid", seed, SIDE, 0);
        const zq_plan_options options = {.n_images = IMAGES, .gradient = true};
        zq_plan *plan;
        zq_plan_seed entry;
        zq_labels labels;
        assert_int_equal(zq_plan_new(graph, &options, &plan, NULL), ZQ_OK);
        zq_labels_init(graph, seed, &labels);
        assert_int_equal(labels.n_classes, CLASSES);
        for (int i = 0; i < IMAGES * IMAGE; i++)
            pixels[i] = (float)zq_random_normal(seed, (uint64_t)i);
        loss_of(&labels, plan, pixels);
        assert_int_equal(zq_labels_seed(&labels, plan, IMAGES, 0, &entry, NULL), ZQ_OK);
        assert_int_equal(zq_plan_backward(plan, 1, &entry, gradient, NULL), ZQ_OK);
        for (uint64_t d = 0; d < 4; d++) {
            double expected = 0, difference = 0;
            for (int sign = -1; sign <= 1; sign += 2) {
                for (int i = 0; i < IMAGES * IMAGE; i++)
                    moved[i] = pixels[i] + (float)(sign * 0.02 * zq_random_normal(50 + d, (uint64_t)i));
                difference += sign * loss_of(&labels, plan, moved) / 0.04;
            }
            for (int i = 0; i < IMAGES * IMAGE; i++)
                expected += gradient[i] * zq_random_normal(50 + d, (uint64_t)i);
            if (fabs(expected - difference) > 1e-2 * fabs(expected) + 2e-5)
                fail_msg("along direction %d the gradient says %g, differences say %g", (int)d, expected,
                         difference);
        }
        zq_labels_clear(&labels);
        zq_plan_drop(plan);
        zq_graph_drop(graph);
    }
}

/* Scores of something else than classes get no labels. */
static void other_outputs_have_none(void **state) {
    (void)state;
    zq_graph *graph = tiny_net(1, SIDE, 0);
    zq_labels labels;
    graph->outputs[0] = zq_graph_find_value(graph, "z2");
    zq_labels_init(graph, 1, &labels);
    assert_int_equal(labels.value, -1);
    graph->outputs[0] = zq_graph_find_value(graph, "a2");
    zq_labels_init(graph, 1, &labels);
    assert_int_equal(labels.value, -1);
    zq_graph_drop(graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(gradient_is_the_difference),
                                       cmocka_unit_test(other_outputs_have_none)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
