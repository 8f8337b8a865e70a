/* SPDX-License-Identifier: Apache-2.0 */
/* Bit allocation by the paper's Appendix A, between the independent sum and trying everything: layers are
 * decided group by group, and what looks best by the sum is measured with all layers decided so far narrowed
 * at once. */
#ifndef ZQ_QUANT_GROUPED_H
#define ZQ_QUANT_GROUPED_H

#include "quant/allocate.h"

enum { ZQ_GROUPED_TRIED = 10, ZQ_GROUPED_KEPT = 5, ZQ_GROUPED_BINS = 200, ZQ_GROUPED_TOGETHER = 5 };

typedef struct zq_grouped_problem {
    int n_layers, n_widths;
    const uint64_t *costs; /* [n_layers, n_widths] */
    const double *omega;   /* the same, as in zq_allocate */
    int n_tried, n_kept;   /* choices of a bin: measured, and kept for the next group */
    int n_bins;            /* of the cost */
    int n_together;        /* layers of a group */
    /* Damage with the first n layers at the widths of choice [n], the others as they are. */
    zq_status (*measure)(void *user, int n, const uint8_t *choice, double *damage_out);
    void *user;
} zq_grouped_problem;

/* The undominated choices that were measured in the end; omega of a point is its damage. n_measured_out:
 * calls of measure. Free with zq_frontier_clear. */
zq_status zq_grouped_search(const zq_grouped_problem *problem, zq_frontier *out, int64_t *n_measured_out,
                            zq_error *err);

/* Measurements by the paper's formula, (L / a) t~ b + m L: an upper bound of those above and of the
 * sensitivities together. */
int64_t zq_grouped_formula(const zq_grouped_problem *problem);

#endif
