/* SPDX-License-Identifier: Apache-2.0 */
/* How many images it takes to tell what is measured one at a time, such as layers, apart. */
#ifndef ZQ_QUANT_SAMPLING_H
#define ZQ_QUANT_SAMPLING_H

#include "graph/graph.h"

#include <stdbool.h>

/* Images that run together. */
enum { ZQ_SAMPLED_TOGETHER = 4 };

/* The most images, of n, on which so many items are measured: whole batches, or numbers that divide well. Of
 * many items fewer, so that the time grows with their number to the power of 1.5. */
int64_t zq_sample_images(const zq_graph *graph, int n_items, int64_t n);

/* Whether images are enough: two halves of them, a and b [n] sums of damage, tell the items apart alike.
 * Where either is 0, nothing was measured. */
bool zq_sample_agrees(size_t n, const double *a, const double *b);

#endif
