/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions of 3 x 3 with stride 1 by minimal filtering, F(4 x 4, 3 x 3) (Lavin and Gray, CVPR 2016,
 * arXiv:1509.09308): 36 products of matrices for every 4 x 4 outputs in place of 144. Results differ from the
 * sum as it stands by about 1e-5 of the largest one. */
#ifndef ZQ_ENGINE_WINOGRAD_H
#define ZQ_ENGINE_WINOGRAD_H

#include "engine/onednn/onednn.h"

/* Whether this kernel serves the convolution: where it is the faster one. */
bool zq_winograd_takes(const zq_window *window);

/* The convolution that maps gradients of the destination to those of the source. */
zq_window zq_winograd_backward(const zq_window *window);

/* Floats that a run needs beside source and destination, 64-byte aligned. */
size_t zq_winograd_room(const zq_window *window);

/* dst = clamp(conv(src) + bias), both channels-last; bias: [c_out] or NULL. weights: plain ONNX, of the
 * forward convolution in both directions; backward: window is that of zq_winograd_backward. room: as above.
 * The same sums in the same order for any number of threads. */
zq_status zq_winograd_run(const zq_window *window, bool backward, const float *src, const float *weights,
                          const float *bias, const zq_clamp *clamp, float *room, float *dst, zq_error *err);

#endif
