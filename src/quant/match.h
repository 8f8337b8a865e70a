/* SPDX-License-Identifier: Apache-2.0 */
/* How well a batch of images meets the statistics that BatchNormalization stored for one value. */
#ifndef ZQ_QUANT_MATCH_H
#define ZQ_QUANT_MATCH_H

#include <stdint.h>

/* Where most channels lie: the tenth, half and nine tenths of them are below. */
typedef struct zq_spread {
    float low, middle, high;
} zq_spread;

typedef struct zq_match {
    int value; /* of the graph */
    int64_t n_channels;
    double residual; /* mean over channels of ((m - mu)/sigma)^2 + (s/sigma - 1)^2 */
    zq_spread mean;  /* of (m - mu)/sigma over channels; met: 0 */
    zq_spread std;   /* of s/sigma; met: 1 */
} zq_match;

#endif
