/* SPDX-License-Identifier: Apache-2.0 */
/* Elementwise operators with two inputs a and b, whose shapes are broadcast as ONNX (and numpy) does it. */
#ifndef ZQ_OPS_BROADCAST_H
#define ZQ_OPS_BROADCAST_H

#include "graph/op.h"

#include <tgmath.h> /* pow() and the like follow zq_real */

/* Computes n consecutive elements dst[i] from a[i * a_step] and b[i * b_step] (steps 0 or 1); a gradient
 * kernel also reads d_y[i], which is NULL for others. */
typedef void zq_row(int64_t n, const void *a, int64_t a_step, const void *b, int64_t b_step,
                    const zq_real *d_y, void *dst);

/* What an operator with two inputs computes; NULL where it isn't defined. */
typedef struct zq_binary {
    zq_row *f32, *i64, *i32;
    zq_row *d_a, *d_b; /* elements of the gradients, before they are summed over broadcast dimensions */
} zq_binary;

#define ZQ_ROW_LOOP_(type, a_at, b_at, d_at, expression)                                                     \
    for (int64_t i_ = 0; i_ < n_; i_++) {                                                                    \
        const type a = a_[a_at], b = b_[b_at];                                                               \
        const zq_real d_y = d_at;                                                                            \
        (void)a;                                                                                             \
        (void)b;                                                                                             \
        (void)d_y;                                                                                           \
        dst_[i_] = (expression);                                                                             \
    }

/* One loop for each pair of steps, so that each of them vectorizes. */
#define ZQ_ROW_(name, type, d_at, expression)                                                                \
    static void name(int64_t n_, const void *a_row_, int64_t a_step_, const void *b_row_, int64_t b_step_,   \
                     const zq_real *d_row_, void *dst_row_) {                                                \
        const type *const a_ = a_row_, *const b_ = b_row_;                                                   \
        type *const dst_ = dst_row_;                                                                         \
        (void)d_row_;                                                                                        \
        if (a_step_ != 0 && b_step_ != 0) {                                                                  \
            ZQ_ROW_LOOP_(type, i_, i_, d_at, expression)                                                     \
        } else if (a_step_ != 0) {                                                                           \
            ZQ_ROW_LOOP_(type, i_, 0, d_at, expression)                                                      \
        } else if (b_step_ != 0) {                                                                           \
            ZQ_ROW_LOOP_(type, 0, i_, d_at, expression)                                                      \
        } else {                                                                                             \
            ZQ_ROW_LOOP_(type, 0, 0, d_at, expression)                                                       \
        }                                                                                                    \
    }

/* Defines a zq_row: expression in terms of a and b. */
#define ZQ_ROW(name, type, expression) ZQ_ROW_(name, type, 0, expression)

/* Defines a gradient zq_row: expression in terms of a, b and d_y. */
#define ZQ_ROW_GRADIENT(name, expression) ZQ_ROW_(name, zq_real, d_row_[i_], expression)

/* The common shape; false when a and b don't go together. */
bool zq_broadcast_shape(const zq_shape *a, const zq_shape *b, zq_shape *out);

zq_status zq_broadcast_infer(const zq_io *io, const zq_binary *binary, zq_error *err);
zq_status zq_broadcast_forward(const zq_io *io, const zq_binary *binary, zq_error *err);
zq_status zq_broadcast_backward(const zq_io *io, const zq_binary *binary, zq_error *err);

/* The sentence for an integer that is divided by zero. */
zq_status zq_broadcast_check_divisor(const zq_io *io, zq_error *err);

/* Sums d_y (shape) over the dimensions along which src_shape was broadcast to it, into d_src. */
void zq_broadcast_sum(const zq_shape *shape, const zq_real *d_y, const zq_shape *src_shape, zq_real *d_src);

#endif
