/* SPDX-License-Identifier: Apache-2.0 */
/* Rounding with error feedback (GPTQ, Frantar et al., ICLR 2023): weights are rounded one after another, and
 * the error made so far is offset by those that are still to come, so that the layer's output on its inputs
 * suffers least.
 *
 * With H = sum of x x^T over inputs x = L L^T and e = w - w^, the damage to an output channel is e H e^T =
 * |e L|^2. Entry t of e L depends on e_i with i >= t only, so from the last weight to the first each is
 * rounded to what makes its own entry least: w_t + sum_{i > t} e_i L_it / L_tt. That is GPTQ's update without
 * the inverse of H.
 *
 * Where the inputs x are themselves off, from y, what counts is w y - w^ x = e x + w (y - x) (GPTAQ, Li et
 * al., 2025, arXiv:2504.02692). With R = sum of w (y - x) x^T the damage is |e L + z|^2 up to a constant,
 * where z L^T = R: the same, but the entries of e L begin at z. */
#ifndef ZQ_QUANT_FEEDBACK_H
#define ZQ_QUANT_FEEDBACK_H

#include "quant/quantizer.h"

typedef struct zq_feedback {
    int64_t k;
    float *factor;     /* [k, k] L in its lower triangle, rows and columns in the order below; owned */
    int *order;        /* [k] which weight each row is: the one of the largest input last; owned */
    const float *gram; /* [k, k] sum x x^T, all of it, in the order of the weights; borrowed */
    float added;       /* to its diagonal */
} zq_feedback;

/* gram: [k, k] lower triangle of sum x x^T; all of it is filled in, and it has to outlive feedback. damping:
 * share of the mean of the diagonal that is added to the diagonal. Free with zq_feedback_clear. */
zq_status zq_feedback_new(int64_t k, float *gram, double damping, zq_feedback *out, zq_error *err);
void zq_feedback_clear(zq_feedback *feedback);

/* residual [n, k]: R of n channels becomes their z, in the order of factor's rows. */
zq_status zq_feedback_solve(const zq_feedback *feedback, int64_t n, float *residual, zq_error *err);

/* What n channels of w [n, k] should amount to, w L + z, in the order of factor's rows. z: [n, k] of
 * zq_feedback_solve; NULL: the inputs are right. */
zq_status zq_feedback_project(const zq_feedback *feedback, int64_t n, const float *w, const float *z,
                              float *wanted_out, zq_error *err);

/* Rounds n channels of w [n, k] from channel first of weights on, whose scales and zero points stay. z: as
 * above. rest: [n, k] e L + z, in the order of factor's rows. loss: [n] the square of each channel's. */
zq_status zq_feedback_round(const zq_feedback *feedback, int64_t first, int64_t n, const float *w,
                            const float *z, zq_weights *weights, float *rest, double *loss, zq_error *err);

/* Scales of n channels become those for which the weights, as they are rounded, do least damage, but none
 * less than floor [n]. wanted and rest: as above; rest is what these weights leave. */
void zq_feedback_fit(const zq_feedback *feedback, int64_t first, int64_t n, const float *wanted,
                     const float *rest, const float *floor, zq_weights *weights);

/* Single weights of n channels move by whole steps, wherever that lessens the damage, until none does
 * (coordinate descent), scales being fitted twice in between. wanted, rest, floor: as above; rest is of the
 * weights as they come. */
zq_status zq_feedback_refine(const zq_feedback *feedback, int64_t first, int64_t n, const float *wanted,
                             const float *rest, const float *floor, zq_weights *weights, zq_error *err);

#endif
