/* SPDX-License-Identifier: Apache-2.0 */
/* The arithmetic of uniform quantization: q = clamp(round_half_even(x / scale) + zero_point), x^ = (q -
 * zero_point) scale. */
#ifndef ZQ_QUANT_QUANTIZER_H
#define ZQ_QUANT_QUANTIZER_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How an activation is quantized: one scale for the tensor, unsigned 8 bits (or fewer levels in the same
 * container). */
typedef struct zq_activation {
    bool used;      /* false: the value stays float */
    float scale;    /* > 0 */
    int zero_point; /* 0 .. q_max */
    int q_max;      /* 255 for 8 bits */
    bool is_signed; /* in the file, all integers are 128 less */
    bool wide;      /* has 8 bits whatever is asked for (quant/wide.h) */
} zq_activation;

/* Scale and zero point for a range: 0 is inside and exactly representable; zero_point is 0 when lo >= 0. A
 * floor keeps the scale positive. bits: 2..8. */
zq_activation zq_activation_from_range(float lo, float hi, int bits);

/* How ranges are found, and what becomes of them. */
typedef struct zq_activation_spec {
    zq_range_method method;
    double percentile; /* for ZQ_RANGE_PERCENTILE, such as 99.99 */
    int bits;          /* 2..8 */
    bool symmetric;    /* signed, with zero point 0 in the file; 8 bits, -127..127 being the range */
    bool places;       /* the network says something of each place of an image: clipping counts more */
} zq_activation_spec;

zq_activation zq_activation_of_range(const zq_activation_spec *spec, float lo, float hi);

/* x -> nearest representable, in place or not. */
void zq_activation_apply(const zq_activation *activation, size_t n, const float *src, float *dst);

typedef enum zq_weight_range { ZQ_WEIGHT_MINMAX, ZQ_WEIGHT_MSE, ZQ_WEIGHT_PERCENTILE } zq_weight_range;

typedef struct zq_weight_spec {
    int bits;        /* 2..8 */
    bool asymmetric; /* a zero point for each channel; false: zero point 0 */
    bool spare_bit;  /* 8 bits are -64..63, so that two products with bytes fit 16 bits */
    zq_weight_range range;
    double percentile; /* for ZQ_WEIGHT_PERCENTILE, such as 99.99 */
} zq_weight_spec;

/* Quantized weights of a layer. Channel c of element (c, i) comes first: q[c * per_channel + i]. */
typedef struct zq_weights {
    int bits;
    int64_t n_channels, per_channel;
    int q_min, q_max; /* symmetric: -127..127 (or -64..63) at 8 bits, -2^(b-1)..2^(b-1)-1 below */
    float *scale;     /* [n_channels], > 0, owned */
    int *zero_point;  /* [n_channels], owned; all 0 when symmetric */
    int8_t *q;        /* [n_channels * per_channel], owned */
} zq_weights;

/* Quantizes w [n_channels, per_channel] to nearest. scale_floor: [n_channels] least scale of a channel (keeps
 * int32 biases in range), NULL: none. Free with zq_weights_clear. */
zq_status zq_weights_quantize(const zq_weight_spec *spec, int64_t n_channels, int64_t per_channel,
                              const float *w, const float *scale_floor, zq_weights *out, zq_error *err);
zq_status zq_weights_copy(const zq_weights *weights, zq_weights *out, zq_error *err);
void zq_weights_dequantize(const zq_weights *weights, float *w_out);
void zq_weights_clear(zq_weights *weights);

#endif
