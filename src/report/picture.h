/* SPDX-License-Identifier: Apache-2.0 */
/* Distilled images as something to look at: the valid range of a pixel becomes 0..255. 1 channel: grey, 3:
 * RGB, others: the first channel. */
#ifndef ZQ_REPORT_PICTURE_H
#define ZQ_REPORT_PICTURE_H

#include "quant/distill.h"

/* Images that are no pictures (1-D or 3-D) are seen as rows of their last dimension. */
int64_t zq_picture_height(const zq_shape *shape);
int64_t zq_picture_width(const zq_shape *shape);

/* Image n at (y, x), colour 0..2. */
unsigned char zq_picture_level(const zq_images *images, const zq_box *box, int64_t n, int colour, int64_t y,
                               int64_t x);

/* PNG of [height, width, 3]; *png_out is owned by the caller (zq_free). */
zq_status zq_picture_encode(int64_t height, int64_t width, const unsigned char *rgb, unsigned char **png_out,
                            size_t *n_out, zq_error *err);

/* PNG of image n with its sides divided by `shrink`, each pixel the mean of those it stands for. */
zq_status zq_picture_of_image(const zq_images *images, const zq_box *box, int64_t n, int shrink,
                              unsigned char **png_out, size_t *n_out, zq_error *err);

#endif
