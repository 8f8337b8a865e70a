/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/agreement.h"
#include "tiny_net.h"

enum { IMAGES = 4, SIDE = 12, IMAGE = 3 * SIDE * SIDE, CLASSES = 5 };

static void margin_is_that_of_the_network(void **state) {
    (void)state;
    static float pixels[IMAGES * IMAGE];
    zq_graph *graph = tiny_net(1, SIDE, 0);
    zq_images images = {.shape = zq_shape_of(4, (const int64_t[]){IMAGES, 3, SIDE, SIDE}), .data = pixels};
    zq_certainty certainty;
    double margin = 0;
    for (int i = 0; i < IMAGES * IMAGE; i++)
        pixels[i] = (float)zq_random_normal(1, (uint64_t)i);
    assert_int_equal(zq_certainty_measure(graph, &images, &certainty, NULL), ZQ_OK);
    assert_int_equal(certainty.n_classes, CLASSES);
    for (int i = 0; i < IMAGES; i++) {
        const float *z = certainty.scores + (size_t)i * CLASSES;
        float first = -INFINITY, second = -INFINITY;
        for (int c = 0; c < CLASSES; c++) {
            second = fmaxf(second, fminf(first, z[c]));
            first = fmaxf(first, z[c]);
        }
        margin += ((double)first - second) / IMAGES;
    }
    assert_true(fabs(certainty.margin - margin) < 1e-6);
    zq_certainty_clear(&certainty);
    zq_graph_drop(graph);
}

/* Scores 4, 1, 0, and margins of 2 in the mean: what moves the best down by d against the second takes those
 * below d. */
static void agreement_is_the_share_of_larger_margins(void **state) {
    (void)state;
    float scores[] = {9, 9, 9, 4, 1, 0}; /* number 1 counts */
    const zq_certainty certainty = {.n_classes = 3, .scores = scores, .margin = 2};
    const float reference[] = {2, 1, 0.5F};
    const struct {
        float other[3];
        double expected;
    } cases[] = {
        {{2, 1, 0.5F}, 1},            /* nothing moves */
        {{2.5F, 1, 0.5F}, 1},         /* the best gains */
        {{1, 1, 0.5F}, exp(-0.5)},    /* it loses 1 */
        {{2, 1.5F, 0.5F}, exp(-.25)}, /* the second gains 0.5 */
        {{2, 1, 2}, exp(-.25)},       /* the third gains 1.5, which is 0.5 more than the second has */
        {{NAN, 1, 0.5F}, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double agreement;
        zq_agreement_expect(&certainty, 1, 1, reference, cases[i].other, &agreement);
        if (!(fabs(agreement - cases[i].expected) < 1e-6))
            fail_msg("case %d: %g, expected %g", (int)i, agreement, cases[i].expected);
    }
}

/* Behind a softmax the same comes of the same scores. */
static void probabilities_are_scores(void **state) {
    (void)state;
    const float scores[] = {4, 1, 0}, from[] = {2, 1, 0.5F}, to[] = {1, 1.25F, 0.5F};
    float log_p[3], p[3], q[3];
    double sum_p = 0, sum_q = 0, expected, found;
    for (int c = 0; c < 3; c++) {
        sum_p += exp(from[c]);
        sum_q += exp(to[c]);
    }
    for (int c = 0; c < 3; c++) {
        p[c] = (float)(exp(from[c]) / sum_p);
        q[c] = (float)(exp(to[c]) / sum_q);
        log_p[c] = scores[c] - 7;
    }
    const zq_certainty logits = {.n_classes = 3, .scores = (float *)scores, .margin = 2};
    const zq_certainty probabilities = {.n_classes = 3, .probability = true, .scores = log_p, .margin = 2};
    zq_agreement_expect(&logits, 0, 1, from, to, &expected);
    zq_agreement_expect(&probabilities, 0, 1, p, q, &found);
    assert_true(fabs(expected - exp(-1.25 / 2)) < 1e-6);
    assert_true(fabs(found - expected) < 1e-6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(margin_is_that_of_the_network),
        cmocka_unit_test(agreement_is_the_share_of_larger_margins),
        cmocka_unit_test(probabilities_are_scores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
