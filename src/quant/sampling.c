/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/sampling.h"

#include <math.h>

/* Each of L items runs what lies behind it, L^2 / 2 layers an image. More items than this are measured on
 * fewer images: these are the same for all of them, which stay comparable, and what chance adds to single
 * ones evens out in the sum of many. */
enum { ALL_IMAGES_UP_TO = 32 };

/* The standard error of a sensitivity, as a share of it and apart from what all items have in common. */
static const double enough = 0.2;

int64_t zq_sample_images(const zq_graph *graph, int n_items, int64_t n) {
    const double share = sqrt((double)ALL_IMAGES_UP_TO / n_items);
    const int64_t together = graph->free_batch ? ZQ_SAMPLED_TOGETHER : zq_graph_images(graph);
    const int64_t few = (int64_t)((double)n * share) / together * together;
    return share >= 1 || n <= together ? n : few > together ? few : together;
}

bool zq_sample_agrees(size_t n, const double *a, const double *b) {
    double sum = 0, square = 0;
    int n_measured = 0;
    for (size_t i = 0; i < n; i++) {
        if (!(a[i] > 0 && b[i] > 0))
            continue;
        const double ratio = log(a[i] / b[i]);
        sum += ratio;
        square += ratio * ratio;
        n_measured++;
    }
    const double mean = n_measured > 0 ? sum / n_measured : 0;
    return n_measured > 0 &&
           square / n_measured - mean * mean < 4 * enough * enough; /* of half as many: twice the error */
}
