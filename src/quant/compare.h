/* SPDX-License-Identifier: Apache-2.0 */
/* Two networks side by side on the same images, in portions: any number of images in little memory. */
#ifndef ZQ_QUANT_COMPARE_H
#define ZQ_QUANT_COMPARE_H

#include "quant/candidate.h"

typedef struct zq_comparison {
    int64_t n_images, batch;
    zq_damage damage; /* of the second network, the first being the reference */
    double ms[2];     /* an image, median over the portions */
    int n_threads;
} zq_comparison;

/* Writes image number i, plain, as the networks take it. */
typedef zq_status (*zq_image_source)(void *user, int64_t i, float *x, zq_error *err);

/* Inputs and outputs have to be alike. callback: called with (image, n_images); NULL: none. */
zq_status zq_compare(zq_graph *reference, zq_graph *other, int64_t n_images, zq_image_source source,
                     zq_step_callback callback, void *user, zq_comparison *out, zq_error *err);

#endif
