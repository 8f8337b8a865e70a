/* SPDX-License-Identifier: Apache-2.0 */
/* What a value held on the distilled images, in few enough bins to be kept and drawn for every value. */
#ifndef ZQ_QUANT_DENSITY_H
#define ZQ_QUANT_DENSITY_H

#include "quant/calibrate.h"

enum { ZQ_DENSITY_BINS = 48 };
struct zq_density {
    double n;                     /* elements seen; 0: the value was not computed */
    float lo, hi;                 /* extremes */
    float zeros;                  /* share of elements that are exactly 0, which no bin counts */
    float share[ZQ_DENSITY_BINS]; /* of all elements, in equal bins over lo..hi */
};

void zq_density_make(const zq_histogram *histogram, zq_density *out);

/* Share of elements below lo or above hi; inside a bin they are taken as evenly spread. */
double zq_density_outside(const zq_density *density, double lo, double hi);

#endif
