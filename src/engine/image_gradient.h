/* SPDX-License-Identifier: Apache-2.0 */
/* The gradient of a convolution to an image: a source of so few channels that kernels which vectorize over
 * them throw most of a vector away. Here vectors run over the destination's channels. */
#ifndef ZQ_ENGINE_IMAGE_GRADIENT_H
#define ZQ_ENGINE_IMAGE_GRADIENT_H

#include "engine/onednn/onednn.h"

/* Whether this kernel serves the convolution: two spatial axes, one group, at most four source channels. */
bool zq_image_gradient_takes(const zq_window *window);

/* Floats that the weights take once packed. */
size_t zq_image_gradient_packed_count(const zq_window *window);
/* weights: plain ONNX [c_out, c_in, kernel...] */
void zq_image_gradient_pack(const zq_window *window, const float *weights, float *packed);

/* d_dst, d_src: channels-last. The same sums in the same order for any number of threads. */
void zq_image_gradient_run(const zq_window *window, const float *d_dst, const float *packed, float *d_src);

#endif
