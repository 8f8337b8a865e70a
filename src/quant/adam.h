/* SPDX-License-Identifier: Apache-2.0 */
/* Adam (Kingma and Ba, ICLR 2015, Alg. 1) and the two schedules of its rate that distillation uses. */
#ifndef ZQ_QUANT_ADAM_H
#define ZQ_QUANT_ADAM_H

#include "base/error.h"

#include <stddef.h>

typedef struct zq_adam {
    size_t n;
    int n_steps;    /* done so far */
    double epsilon; /* added to the root of the second moment */
    float *m, *v;   /* [n] first and second moment of the gradient, owned */
} zq_adam;

/* beta_1 = 0.9 and beta_2 = 0.999 always. Free with zq_adam_clear. */
zq_status zq_adam_init(size_t n, double epsilon, zq_adam *adam_out, zq_error *err);
void zq_adam_clear(zq_adam *adam);

/* x -= rate m^ / (sqrt(v^) + epsilon) with the bias-corrected moments. x, gradient: [n]. */
void zq_adam_step(zq_adam *adam, double rate, const float *gradient, float *x);

/* Half a cosine from rate at step 0 towards 0 at step n_steps. */
double zq_cosine_rate(double rate, int step, int n_steps);

/* Divides the rate by 10 whenever the loss has not improved for patience steps. */
typedef struct zq_plateau {
    double rate, best;
    int patience, n_stale; /* n_stale: steps since the best */
} zq_plateau;

zq_plateau zq_plateau_start(double rate, int patience);
void zq_plateau_update(zq_plateau *plateau, double loss);

#endif
