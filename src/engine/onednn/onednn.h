/* SPDX-License-Identifier: Apache-2.0 */
/* oneDNN behind one small interface, the same for 2.6 (Debian 12) and 3.x (Debian 13 and later).
 *
 * Activations are channels-last: [N, spatial..., C] in memory. Weights are packed once, in the layout that
 * the library likes best. Creation may fail; execution doesn't. Objects are used by one thread at a time. */
#ifndef ZQ_ENGINE_ONEDNN_H
#define ZQ_ENGINE_ONEDNN_H

#include "base/error.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ZQ_MAX_SPATIAL = 3 };

/* A convolution or pooling window; spatial arrays hold n_spatial (1..3) entries. */
typedef struct zq_window {
    int n_spatial;
    int64_t n_images, c_in, c_out, groups;
    int64_t in[ZQ_MAX_SPATIAL], out[ZQ_MAX_SPATIAL];
    int64_t kernel[ZQ_MAX_SPATIAL], stride[ZQ_MAX_SPATIAL],
        dilation[ZQ_MAX_SPATIAL]; /* dilation 1: dense (as ONNX) */
    int64_t pad_lo[ZQ_MAX_SPATIAL], pad_hi[ZQ_MAX_SPATIAL];
} zq_window;

/* What an activation lets through: y = min(max(x, lo), hi), slope 1 strictly between the bounds. */
typedef struct zq_clamp {
    float lo, hi;
} zq_clamp;
#define ZQ_NO_CLAMP ((zq_clamp){-INFINITY, INFINITY})

typedef struct zq_dnn_conv zq_dnn_conv;

typedef struct zq_dnn_conv_options {
    bool bias;      /* adds bias[c_out] */
    bool sum;       /* dst += instead of dst =, before clamps */
    bool clamps;    /* the activation comes last ... */
    zq_clamp clamp; /* ... and is this */
    bool backward;  /* gradient to the source will be wanted */
    bool half;      /* source, destination, their gradients and packed weights are bfloat16; sums are float */
} zq_dnn_conv_options;

/* Refuses (ZQ_ERR_UNSUPPORTED) where the library would take its reference kernel: the caller then uses the
 * plain operator. */
zq_status zq_dnn_conv_new(const zq_window *window, const zq_dnn_conv_options *options, zq_dnn_conv **out,
                          zq_error *err);
void zq_dnn_conv_drop(zq_dnn_conv *conv);

size_t zq_dnn_conv_packed_bytes(const zq_dnn_conv *conv);          /* forward weights */
size_t zq_dnn_conv_packed_backward_bytes(const zq_dnn_conv *conv); /* 0 without backward */
/* weights: plain ONNX [c_out, c_in / groups, kernel...] into packed (64-byte aligned, of the size above). */
void zq_dnn_conv_pack(zq_dnn_conv *conv, const float *weights, void *packed);
void zq_dnn_conv_pack_backward(zq_dnn_conv *conv, const float *weights, void *packed);
void zq_dnn_conv_forward(zq_dnn_conv *conv, const void *src, const void *packed, const float *bias,
                         void *dst);
void zq_dnn_conv_backward(zq_dnn_conv *conv, const void *d_dst, const void *packed_backward, void *d_src);
const char *zq_dnn_conv_kernel(const zq_dnn_conv *conv, bool backward); /* implementation's name; borrowed */

/* C[m, n] = A[m, k] op(B) (+ C when accumulate), all row-major; transposed_b: B is [n, k]. */
zq_status zq_dnn_gemm(bool transposed_b, int64_t m, int64_t n, int64_t k, const float *a, const float *b,
                      bool accumulate, float *c, zq_error *err);

/* C[m, n] = beta C + alpha op(A) op(B) inside larger row-major matrices whose rows are lda, ldb, ldc apart.
 */
zq_status zq_dnn_gemm_inside(bool transposed_a, bool transposed_b, int64_t m, int64_t n, int64_t k,
                             float alpha, const float *a, int64_t lda, const float *b, int64_t ldb,
                             float beta, float *c, int64_t ldc, zq_error *err);

typedef enum zq_pool_kind {
    ZQ_POOL_MAX,
    ZQ_POOL_AVERAGE,
    ZQ_POOL_AVERAGE_PADDED
} zq_pool_kind; /* padded: zeros counted */
typedef struct zq_dnn_pool zq_dnn_pool;

/* c_out == c_in, groups ignored. */
zq_status zq_dnn_pool_new(const zq_window *window, zq_pool_kind kind, bool backward, bool half,
                          zq_dnn_pool **out, zq_error *err);
void zq_dnn_pool_drop(zq_dnn_pool *pool);
size_t zq_dnn_pool_workspace_bytes(const zq_dnn_pool *pool); /* forward to backward; 0: none */
void zq_dnn_pool_forward(zq_dnn_pool *pool, const void *src, void *dst, void *workspace);
void zq_dnn_pool_backward(zq_dnn_pool *pool, const void *d_dst, const void *workspace, void *d_src);
const char *zq_dnn_pool_kernel(const zq_dnn_pool *pool);

/* Whether this processor multiplies bfloat16 itself; elsewhere the library does it slowly. */
bool zq_dnn_has_half(void);

/* "oneDNN 2.6.3" */
const char *zq_dnn_version(void);

#endif
