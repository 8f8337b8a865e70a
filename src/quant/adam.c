/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/adam.h"

#include "base/memory.h"

#include <math.h>
#include <string.h>

static const double beta_1 = 0.9, beta_2 = 0.999;

zq_status zq_adam_init(size_t n, double epsilon, zq_adam *adam_out, zq_error *err) {
    *adam_out = (zq_adam){
        .n = n, .epsilon = epsilon, .m = zq_alloc(n, sizeof(float)), .v = zq_alloc(n, sizeof(float))};
    if (adam_out->m != NULL && adam_out->v != NULL)
        return ZQ_OK;
    zq_adam_clear(adam_out);
    return zq_fail_memory(err);
}

void zq_adam_clear(zq_adam *adam) {
    zq_free(adam->m);
    zq_free(adam->v);
    memset(adam, 0, sizeof *adam);
}

void zq_adam_step(zq_adam *adam, double rate, const float *gradient, float *x) {
    adam->n_steps++;
    const float b1 = (float)beta_1, b2 = (float)beta_2, epsilon = (float)adam->epsilon;
    const float to_m = (float)(rate / (1 - pow(beta_1, adam->n_steps)));
    const float to_v = (float)(1 / (1 - pow(beta_2, adam->n_steps)));
    float *const m = adam->m, *const v = adam->v;
#pragma omp parallel for simd
    for (size_t i = 0; i < adam->n; i++) {
        m[i] = b1 * m[i] + (1 - b1) * gradient[i];
        v[i] = b2 * v[i] + (1 - b2) * gradient[i] * gradient[i];
        x[i] -= to_m * m[i] / (sqrtf(to_v * v[i]) + epsilon);
    }
}

double zq_cosine_rate(double rate, int step, int n_steps) {
    const double pi = 3.141592653589793;
    return rate * 0.5 * (1 + cos(pi * step / (n_steps > 0 ? n_steps : 1)));
}

zq_plateau zq_plateau_start(double rate, int patience) {
    return (zq_plateau){.rate = rate, .best = INFINITY, .patience = patience};
}

void zq_plateau_update(zq_plateau *plateau, double loss) {
    if (loss < plateau->best) {
        plateau->best = loss;
        plateau->n_stale = 0;
    } else if (++plateau->n_stale >= plateau->patience) {
        plateau->rate /= 10;
        plateau->n_stale = 0;
    }
}
