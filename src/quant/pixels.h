/* SPDX-License-Identifier: Apache-2.0 */
/* Images as pixels of 8 bits, which is what networks are shown: small to keep, and the same again when read.
 */
#ifndef ZQ_QUANT_PIXELS_H
#define ZQ_QUANT_PIXELS_H

#include "quant/distill.h"

typedef struct zq_pixels {
    int64_t n_images, n_channels, area;
    float *lo, *hi; /* [n_channels], owned: what levels 0 and 255 mean */
    uint8_t *level; /* [n_images, n_channels, area], owned */
} zq_pixels;

/* Room for the images of a shape [N, C, ...]; free with zq_pixels_clear. */
zq_status zq_pixels_new(const zq_shape *shape, zq_pixels *out, zq_error *err);
void zq_pixels_clear(zq_pixels *pixels);

/* The nearest levels between the ends of the box, or those of the images where they reach beyond. */
zq_status zq_pixels_take(const zq_images *images, const zq_box *box, zq_pixels *out, zq_error *err);

/* data: [n_images, n_channels, area], written. */
void zq_pixels_give(const zq_pixels *pixels, float *data);

/* Images become what their pixels mean; taken from these, pixels give them again exactly. */
zq_status zq_images_round(zq_images *images, const zq_box *box, zq_error *err);

#endif
