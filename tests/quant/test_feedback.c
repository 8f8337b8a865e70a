/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"
#include "engine/dense.h"
#include "quant/feedback.h"
#include "quant/moments.h"
#include "tiny_net.h"

enum { CHANNELS = 150, K = 330, SAMPLES = 400 };

static float w[CHANNELS * K], x[K * SAMPLES], rest[CHANNELS * K], wanted[CHANNELS * K];

/* Correlated inputs of very different size. */
static void make(uint64_t seed) {
    for (int i = 0; i < CHANNELS * K; i++)
        w[i] = (float)zq_random_normal(seed, (uint64_t)i);
    for (int s = 0; s < SAMPLES; s++) {
        const double common = zq_random_normal(seed + 1, (uint64_t)s);
        for (int i = 0; i < K; i++)
            x[i * SAMPLES + s] =
                (float)((0.1 + i % 7) * (common + zq_random_normal(seed + 2, (uint64_t)(i * SAMPLES + s))));
    }
}

static float *gram(void) {
    float *h = zq_alloc((size_t)K * K, sizeof *h);
    assert_int_equal(zq_dense_add_gram(K, SAMPLES, x, h, NULL), ZQ_OK);
    return h;
}

static zq_weights nearest(int bits, bool asymmetric) {
    const zq_weight_spec spec = {.bits = bits, .asymmetric = asymmetric, .range = ZQ_WEIGHT_MINMAX};
    zq_weights weights;
    assert_int_equal(zq_weights_quantize(&spec, CHANNELS, K, w, NULL, &weights, NULL), ZQ_OK);
    return weights;
}

/* e H e^T, with what damping adds to H. */
static double damage(const zq_weights *weights, int64_t c, double added) {
    static float rounded[CHANNELS * K];
    double sum = 0;
    zq_weights_dequantize(weights, rounded);
    for (int s = 0; s < SAMPLES; s++) {
        double y = 0;
        for (int i = 0; i < K; i++)
            y += ((double)w[c * K + i] - rounded[c * K + i]) * x[i * SAMPLES + s];
        sum += y * y;
    }
    for (int i = 0; i < K; i++)
        sum += added * pow((double)w[c * K + i] - rounded[c * K + i], 2);
    return sum;
}

static double added_by(double damping) {
    double trace = 0;
    for (int i = 0; i < K * SAMPLES; i++)
        trace += (double)x[i] * x[i];
    return damping * trace / K;
}

static void the_loss_is_the_damage_and_far_below_nearest(void **state) {
    (void)state;
    for (int round = 0; round < 4; round++) {
        const int bits = round % 2 == 0 ? 4 : 2;
        double loss[CHANNELS], before = 0, after = 0;
        zq_feedback feedback;
        zq_error err;
        make((uint64_t)round);
        float *h = gram();
        zq_weights weights = nearest(bits, round > 1);
        if (zq_feedback_new(K, h, 0.01, &feedback, &err) != ZQ_OK)
            fail_msg("%s", err.text);
        for (int64_t c = 0; c < CHANNELS; c++)
            before += damage(&weights, c, 0);
        assert_int_equal(zq_feedback_round(&feedback, 0, CHANNELS, w, NULL, &weights, rest, loss, &err),
                         ZQ_OK);
        for (int64_t c = 0; c < CHANNELS; c++) {
            const double expected = damage(&weights, c, added_by(0.01));
            assert_true(fabs(loss[c] - expected) < 1e-2 * expected);
            after += damage(&weights, c, 0);
        }
        print_message("%d bits: %g, to nearest %g\n", bits, after, before);
        assert_true(after < (bits == 4 ? 0.5 : 0.8) * before);
        for (int i = 0; i < CHANNELS * K; i++)
            assert_true(weights.q[i] >= weights.q_min && weights.q[i] <= weights.q_max);
        zq_feedback_clear(&feedback);
        zq_weights_clear(&weights);
        zq_free(h);
    }
}

/* Nothing to offset: each weight is rounded to nearest. */
static void unrelated_inputs_change_nothing(void **state) {
    (void)state;
    make(9);
    float *h = zq_alloc((size_t)K * K, sizeof *h);
    for (int i = 0; i < K; i++)
        h[i * K + i] = (float)(1 + i % 5);
    double loss[CHANNELS];
    zq_feedback feedback;
    zq_weights weights = nearest(4, false), same = nearest(4, false);
    assert_int_equal(zq_feedback_new(K, h, 0.01, &feedback, NULL), ZQ_OK);
    assert_int_equal(zq_feedback_round(&feedback, 0, CHANNELS, w, NULL, &weights, rest, loss, NULL), ZQ_OK);
    int n_other = 0; /* ties */
    for (int i = 0; i < CHANNELS * K; i++)
        n_other += weights.q[i] != same.q[i];
    assert_true(n_other <= 2);
    zq_feedback_clear(&feedback);
    zq_weights_clear(&weights);
    zq_weights_clear(&same);
    zq_free(h);
}

/* An input of zeros, and fewer samples than weights. */
static void what_the_inputs_do_not_say_is_damped(void **state) {
    (void)state;
    make(10);
    float *h = zq_alloc((size_t)K * K, sizeof *h);
    double loss[CHANNELS];
    for (int n = 0; n < 2; n++) {
        zq_feedback feedback;
        zq_weights weights = nearest(4, false);
        if (n == 1)
            assert_int_equal(zq_dense_add_gram(K, 3, x, h, NULL), ZQ_OK);
        assert_int_equal(zq_feedback_new(K, h, 0.01, &feedback, NULL), ZQ_OK);
        assert_int_equal(zq_feedback_round(&feedback, 0, CHANNELS, w, NULL, &weights, rest, loss, NULL),
                         ZQ_OK);
        for (int c = 0; c < CHANNELS; c++)
            assert_true(isfinite(loss[c]));
        zq_feedback_clear(&feedback);
        zq_weights_clear(&weights);
    }
    zq_free(h);
}

/* Inputs x that should be y: what is rounded makes up for that, and the loss says by how much. */
static void what_inputs_are_off_by_is_made_up_for(void **state) {
    (void)state;
    static float y[K * SAMPLES], residual[CHANNELS * K], rounded[CHANNELS * K];
    double loss[CHANNELS], after[2] = {0, 0};
    make(11);
    for (int i = 0; i < K * SAMPLES; i++)
        y[i] = x[i] + (float)(0.3 * zq_random_normal(12, (uint64_t)i) + 0.3 * x[i % SAMPLES]);
    for (int c = 0; c < CHANNELS; c++)
        for (int s = 0; s < SAMPLES; s++) {
            double off = 0;
            for (int i = 0; i < K; i++)
                off += (double)w[c * K + i] * (y[i * SAMPLES + s] - x[i * SAMPLES + s]);
            for (int i = 0; i < K; i++)
                residual[c * K + i] += (float)(off * x[i * SAMPLES + s]);
        }
    for (int pass = 0; pass < 2; pass++) {
        float *h = gram();
        zq_feedback feedback;
        zq_weights weights = nearest(4, false);
        assert_int_equal(zq_feedback_new(K, h, 0.01, &feedback, NULL), ZQ_OK);
        if (pass == 1)
            assert_int_equal(zq_feedback_solve(&feedback, CHANNELS, residual, NULL), ZQ_OK);
        assert_int_equal(zq_feedback_round(&feedback, 0, CHANNELS, w, pass == 1 ? residual : NULL, &weights,
                                           rest, loss, NULL),
                         ZQ_OK);
        zq_weights_dequantize(&weights, rounded);
        for (int c = 0; c < CHANNELS; c++) {
            double damage = 0, constant = 0, z = 0, added = 0;
            for (int s = 0; s < SAMPLES; s++) {
                double got = 0, off = 0;
                for (int i = 0; i < K; i++) {
                    const int at = i * SAMPLES + s;
                    got += (double)w[c * K + i] * y[at] - (double)rounded[c * K + i] * x[at];
                    off += (double)w[c * K + i] * (y[at] - x[at]);
                }
                damage += got * got;
                constant += off * off;
            }
            for (int i = 0; i < K; i++) {
                z += (double)residual[c * K + i] * residual[c * K + i];
                added += added_by(0.01) * pow((double)w[c * K + i] - rounded[c * K + i], 2);
            }
            after[pass] += damage;
            if (pass == 1) /* |e L + z|^2 = damage + damping - |w (y - x)|^2 + |z|^2 */
                assert_true(fabs(loss[c] - (damage + added - constant + z)) < 1e-2 * (damage + constant));
        }
        zq_feedback_clear(&feedback);
        zq_weights_clear(&weights);
        zq_free(h);
    }
    print_message("off by: %g, made up for: %g\n", after[0], after[1]);
    assert_true(after[1] < 0.95 * after[0]);
}

/* Fitted scales do less damage in every channel, and none is below its floor. */
static void fitted_scales_are_the_best_ones(void **state) {
    (void)state;
    for (int bits = 2; bits <= 4; bits += 2) {
        double loss[CHANNELS];
        float floor[CHANNELS];
        zq_feedback feedback;
        make((uint64_t)(20 + bits));
        float *h = gram();
        zq_weights weights = nearest(bits, false);
        assert_int_equal(zq_feedback_new(K, h, 0.01, &feedback, NULL), ZQ_OK);
        assert_int_equal(zq_feedback_round(&feedback, 0, CHANNELS, w, NULL, &weights, rest, loss, NULL),
                         ZQ_OK);
        for (int c = 0; c < CHANNELS; c++)
            floor[c] = c % 7 == 3 ? 2 * weights.scale[c] : 0;
        assert_int_equal(zq_feedback_project(&feedback, CHANNELS, w, NULL, wanted, NULL), ZQ_OK);
        zq_feedback_fit(&feedback, 0, CHANNELS, wanted, rest, floor, &weights);
        for (int c = 0; c < CHANNELS; c++) {
            const float scale = weights.scale[c];
            const double fitted = damage(&weights, c, added_by(0.01));
            assert_true(scale >= floor[c]);
            if (floor[c] > 0)
                continue;
            assert_true(fitted < loss[c] * 1.001);
            for (int side = -1; side <= 1; side += 2) {
                weights.scale[c] = scale * (1 + 0.02F * (float)side);
                assert_true(damage(&weights, c, added_by(0.01)) > fitted * 0.999);
            }
            weights.scale[c] = scale;
        }
        zq_feedback_clear(&feedback);
        zq_weights_clear(&weights);
        zq_free(h);
    }
}

static double sum_of(const double *x) {
    double sum = 0;
    for (int c = 0; c < CHANNELS; c++)
        sum += x[c];
    return sum;
}

/* From the nearest levels on: afterwards no single weight can move by a step and lessen the damage. */
static void refined_weights_cannot_be_bettered_one_by_one(void **state) {
    (void)state;
    for (int bits = 2; bits <= 4; bits += 2) {
        double before[CHANNELS], after[CHANNELS];
        float floor[CHANNELS];
        zq_feedback feedback;
        make((uint64_t)(30 + bits));
        float *h = gram();
        zq_weights weights = nearest(bits, bits == 2);
        assert_int_equal(zq_feedback_new(K, h, 0.01, &feedback, NULL), ZQ_OK);
        zq_weights_dequantize(&weights, wanted);
        for (int i = 0; i < CHANNELS * K; i++)
            wanted[i] = w[i] - wanted[i];
        assert_int_equal(zq_feedback_project(&feedback, CHANNELS, wanted, NULL, rest, NULL), ZQ_OK);
        assert_int_equal(zq_feedback_project(&feedback, CHANNELS, w, NULL, wanted, NULL), ZQ_OK);
        for (int c = 0; c < CHANNELS; c++)
            floor[c] = c % 7 == 3 ? 1.1F * weights.scale[c] : 0;
        for (int64_t c = 0; c < CHANNELS; c++)
            before[c] = damage(&weights, c, added_by(0.01));
        assert_int_equal(zq_feedback_refine(&feedback, 0, CHANNELS, wanted, rest, floor, &weights, NULL),
                         ZQ_OK);
        for (int64_t c = 0; c < CHANNELS; c++) {
            after[c] = damage(&weights, c, added_by(0.01));
            assert_true(weights.scale[c] >= floor[c]);
            assert_true(after[c] < before[c] || floor[c] > 0);
        }
        assert_true(sum_of(after) < 0.45 * sum_of(before));
        for (int64_t i = 0; i < 60; i++) {
            const int64_t c = i % 3 * 70, at = c * K + 11 * i % K;
            const int8_t q = weights.q[at];
            const double damaged = damage(&weights, c, added_by(0.01));
            for (int step = -1; step <= 1; step += 2) {
                if (q + step < weights.q_min || q + step > weights.q_max)
                    continue;
                weights.q[at] = (int8_t)(q + step);
                assert_true(damage(&weights, c, added_by(0.01)) > damaged * 0.9999);
            }
            weights.q[at] = q;
        }
        print_message("%d bits: %g, refined %g\n", bits, sum_of(before), sum_of(after));
        zq_feedback_clear(&feedback);
        zq_weights_clear(&weights);
        zq_free(h);
    }
}

/* Inputs whose squares overflow have no second moments that anything could be made of. */
static void overflowing_moments_are_told(void **state) {
    (void)state;
    float gram[] = {1, 0, 0, 2, 3, 0, 0, 4};
    const zq_moments moments = {.groups = 2, .k = 2, .n_channels = 2, .gram = gram};
    assert_true(zq_moments_are_finite(&moments));
    assert_true(zq_moments_are_finite(&(zq_moments){0}));
    gram[7] = INFINITY;
    assert_false(zq_moments_are_finite(&moments));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_loss_is_the_damage_and_far_below_nearest),
        cmocka_unit_test(unrelated_inputs_change_nothing),
        cmocka_unit_test(what_the_inputs_do_not_say_is_damped),
        cmocka_unit_test(what_inputs_are_off_by_is_made_up_for),
        cmocka_unit_test(fitted_scales_are_the_best_ones),
        cmocka_unit_test(refined_weights_cannot_be_bettered_one_by_one),
        cmocka_unit_test(overflowing_moments_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
