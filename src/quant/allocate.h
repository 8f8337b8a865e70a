/* SPDX-License-Identifier: Apache-2.0 */
/* Bit allocation: the Pareto frontier of size against summed sensitivity (eq. 4) by dynamic programming. */
#ifndef ZQ_QUANT_ALLOCATE_H
#define ZQ_QUANT_ALLOCATE_H

#include "base/error.h"

#include <stdint.h>

typedef struct zq_frontier_point {
    uint64_t bytes; /* of all layers */
    double omega;   /* summed sensitivity */
} zq_frontier_point;

typedef struct zq_frontier {
    int n_points, n_layers;
    zq_frontier_point *points; /* [n_points], bytes strictly increasing, omega strictly decreasing; owned */
    uint8_t *choice;           /* [n_points, n_layers], index of the width; owned */
} zq_frontier;

/* bytes, omega: [n_layers, n_widths]. A width with a negative, infinite or NaN omega is not allowed for that
 * layer. Exact while at most max_points points are undominated; beyond that one is kept in each of max_points
 * bins of bytes. 0: 4096. */
zq_status zq_allocate(int n_layers, int n_widths, const uint64_t *bytes, const double *omega, int max_points,
                      zq_frontier *out, zq_error *err);

/* The best point of at most limit bytes; -1: none is that small. */
int zq_frontier_at(const zq_frontier *frontier, uint64_t limit);
void zq_frontier_clear(zq_frontier *frontier);

#endif
