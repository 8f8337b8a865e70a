/* SPDX-License-Identifier: Apache-2.0 */
/* What ONNX Runtime runs as integers: operators between DequantizeLinear and QuantizeLinear. The plan holds
 * the integers as floats; sums of products are exact below 2^24, which networks don't reach in practice (it
 * takes 512 products of the largest numbers, all of one sign), and are requantized like MLAS does it. */
#ifndef ZQ_ENGINE_QUANTIZED_H
#define ZQ_ENGINE_QUANTIZED_H

#include "engine/loops.h"

/* One scale and zero point for a whole value: x = (q - zero_point) scale. */
typedef struct zq_scale {
    float scale, zero_point;
} zq_scale;

/* How a float result becomes an integer: round(clamp(y / scale, lo, hi)) + zero_point; the bounds, integers,
 * come from the integer type, from Relu or Clip in front and from an integer Clip behind. */
typedef struct zq_requantizer {
    zq_scale scale;
    float lo, hi;
} zq_requantizer;

/* value is DequantizeLinear of integers that are known at run time only, with one scale. */
bool zq_quantized_source(const zq_plan *plan, int value, int *integers_out, zq_scale *scale_out);

/* at is a QuantizeLinear with one scale or (unless all values are kept) the integer Clip behind it.
 * *value_out: what is quantized. */
bool zq_quantized_end(const zq_plan *plan, int at, zq_requantizer *out, int *value_out);

/* The same where what is quantized has no other use; with the Relu or Clip in front of it in the bounds.
 * *core_out: the node that computes it. */
bool zq_quantized_tail(const zq_plan *plan, int at, zq_requantizer *out, int *core_out);

/* The nodes from at up to core run in the step of core. */
void zq_quantized_absorb(zq_plan *plan, int at, int core);

/* Integer weights of a Conv, Gemm or MatMul as float. */
typedef struct zq_quantized_weights {
    size_t n;
    float *weights; /* [n] q - zero point, plain; owned */
    int64_t n_channels;
    float *scale; /* [n_channels], owned */
    float *bias;  /* [n_channels] in units of the products, integers unless the file has floats; owned, NULL:
                     none */
} zq_quantized_weights;

/* *found_out is false where weights aren't constants in the integer form, or the bias is none in that form or
 * floats; axis: of the weight's output channels; source_scale: of what they are multiplied by. Free with
 * zq_quantized_weights_clear. */
zq_status zq_quantized_weights_find(const zq_plan *plan, const zq_node *node, int axis, float source_scale,
                                    zq_quantized_weights *out, bool *found_out, zq_error *err);
/* When a step has taken them: what DequantizeLinear made of them, if nothing else reads it, is freed. */
void zq_quantized_weights_release(zq_plan *plan, const zq_node *node);

void zq_quantized_weights_clear(zq_quantized_weights *weights);

/* ---- loops */

static inline float zq_requantize(float y, const zq_requantizer *r) {
    y = y < r->lo ? r->lo : y;
    y = y > r->hi ? r->hi : y;
    return rintf(y) + r->scale.zero_point;
}

/* dst = q - zero_point */
void zq_quantized_center(size_t n, const float *q, float zero_point, float *dst);

/* dst = clamp(round(x / scale)) + zero point */
void zq_quantized_quantize(size_t n, const float *x, const zq_requantizer *requantizer, float *dst);

/* In place: acc[row, c] becomes clamp(round(acc factor[c])) + zero point. n_factors: channels or 1. */
void zq_quantized_requantize(zq_rows rows, const zq_requantizer *requantizer, int64_t n_factors,
                             const float *factor, float *acc);

#endif
