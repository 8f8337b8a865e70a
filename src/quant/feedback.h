/* SPDX-License-Identifier: Apache-2.0 */
/* Rounding with error feedback (GPTQ, Frantar et al., ICLR 2023): weights are rounded one after another, and
 * the error made so far is offset by those that are still to come, so that the layer's output on its inputs
 * suffers least.
 *
 * With H = sum of x x^T over inputs x = L L^T and e = w - w^, the damage to an output channel is e H e^T =
 * |e L|^2. Entry t of e L depends on e_i with i >= t only, so from the last weight to the first each is
 * rounded to what makes its own entry least: w_t + sum_{i > t} e_i L_it / L_tt. That is GPTQ's update without
 * the inverse of H. */
#ifndef ZQ_QUANT_FEEDBACK_H
#define ZQ_QUANT_FEEDBACK_H

#include "quant/quantizer.h"

typedef struct zq_feedback {
    int64_t k;
    float *factor; /* [k, k] L in its lower triangle, rows and columns in the order below; owned */
    int *order;    /* [k] which weight each row is: the one of the largest input last; owned */
} zq_feedback;

/* gram: [k, k] lower triangle of sum x x^T, used up. damping: share of the mean of the diagonal that is added
 * to the diagonal. Free with zq_feedback_clear. */
zq_status zq_feedback_new(int64_t k, float *gram, double damping, zq_feedback *out, zq_error *err);
void zq_feedback_clear(zq_feedback *feedback);

/* Rounds n channels of w [n, k] from channel first of weights on, whose scales and zero points stay. loss:
 * [n] |e L|^2 of each. */
zq_status zq_feedback_round(const zq_feedback *feedback, int64_t first, int64_t n, const float *w,
                            zq_weights *weights, double *loss, zq_error *err);

#endif
