/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/learned.h"

#include "base/memory.h"

#include <math.h>

/* At rate 1, a step: integers; relative; deviations of the output. Larger steps lower the loss sooner, but on
 * images that aren't learned from no further (docs/accuracy.md). */
static const double weight_rate = 0.001, scale_rate = 5e-4, bias_rate = 2e-3;
static const double epsilon = 1e-12; /* gradients of single weights are small */

/* How far from its integer a weight may begin, and how far beyond the last one it may go. */
static const float inside = 0.45F, beyond = 0.49F;

zq_status zq_learned_init(zq_weights *weights, const float *wanted, const float *floor, float *bias,
                          zq_learned *out, zq_error *err) {
    const int64_t n = weights->n_channels, k = weights->per_channel;
    *out = (zq_learned){.weights = weights, .floor = floor, .bias = bias};
    out->u = zq_alloc((size_t)(2 * n * k + 4 * n), sizeof *out->u);
    if (out->u == NULL)
        return zq_fail_memory(err);
    out->d_w = out->u + n * k;
    out->d_bias = out->d_w + n * k;
    out->first = out->d_bias + n;
    out->stretch = out->first + n;
    out->d_stretch = out->stretch + n;
    for (int64_t c = 0; c < n; c++) {
        out->first[c] = weights->scale[c];
        for (int64_t i = c * k; i < (c + 1) * k; i++) {
            const float q = weights->q[i];
            const float off = wanted[i] / weights->scale[c] + (float)weights->zero_point[c] - q;
            out->u[i] = q + fminf(fmaxf(off, -inside), inside);
        }
    }
    ZQ_TRY(zq_adam_init((size_t)(n * k), epsilon, &out->adam_u, err));
    ZQ_TRY(zq_adam_init((size_t)n, epsilon, &out->adam_stretch, err));
    return zq_adam_init((size_t)n, epsilon, &out->adam_bias, err);
}

void zq_learned_clear(zq_learned *learned) {
    zq_free(learned->u);
    zq_adam_clear(&learned->adam_u);
    zq_adam_clear(&learned->adam_stretch);
    zq_adam_clear(&learned->adam_bias);
    *learned = (zq_learned){0};
}

/* Gradients of weights become those of u and of the scales. */
static void find_gradients(zq_learned *l) {
    const zq_weights *const w = l->weights;
    const int64_t k = w->per_channel;
#pragma omp parallel for schedule(static)
    for (int64_t c = 0; c < w->n_channels; c++) {
        double sum = 0;
        for (int64_t i = c * k; i < (c + 1) * k; i++) {
            sum += (double)l->d_w[i] * (w->q[i] - w->zero_point[c]);
            l->d_w[i] *= w->scale[c];
        }
        l->d_stretch[c] = (float)sum * w->scale[c];
    }
}

static void round_weights(zq_learned *l) {
    zq_weights *const w = l->weights;
    const int64_t k = w->per_channel;
    const float lo = (float)w->q_min - beyond, hi = (float)w->q_max + beyond;
#pragma omp parallel for schedule(static)
    for (int64_t c = 0; c < w->n_channels; c++) {
        w->scale[c] = fmaxf(l->first[c] * expf(l->stretch[c]), l->floor[c]);
        for (int64_t i = c * k; i < (c + 1) * k; i++) {
            l->u[i] = fminf(fmaxf(l->u[i], lo), hi);
            w->q[i] = (int8_t)nearbyintf(l->u[i]);
        }
    }
}

void zq_learned_step(zq_learned *l, double rate) {
    find_gradients(l);
    zq_adam_step(&l->adam_u, rate * weight_rate, l->d_w, l->u);
    zq_adam_step(&l->adam_stretch, rate * scale_rate, l->d_stretch, l->stretch);
    if (l->bias != NULL)
        zq_adam_step(&l->adam_bias, rate * bias_rate * l->deviation, l->d_bias, l->bias);
    round_weights(l);
}
