/* SPDX-License-Identifier: Apache-2.0 */
/* Loops of elementwise operators with one input. */
#ifndef ZQ_OPS_ELEMENTWISE_H
#define ZQ_OPS_ELEMENTWISE_H

#include "graph/op.h"

#include <tgmath.h> /* exp() and the like follow zq_real */

/* Below this many elements, waking the other threads costs more than it saves. */
#define ZQ_PARALLEL_MIN 32768

/* out[0] = expression, in terms of x, an element of in[0]. The loop vectorizes when expression does. */
#define ZQ_UNARY_FORWARD(io, expression)                                                                     \
    do {                                                                                                     \
        const int64_t n_ = zq_shape_count(&(io)->out[0]->shape);                                             \
        const zq_real *const src_ = (io)->in[0]->data;                                                       \
        zq_real *const dst_ = (io)->out[0]->data;                                                            \
        _Pragma("omp parallel for schedule(static) if (n_ >= ZQ_PARALLEL_MIN)") for (int64_t i_ = 0;         \
                                                                                     i_ < n_; i_++) {        \
            const zq_real x = src_[i_];                                                                      \
            dst_[i_] = (expression);                                                                         \
        }                                                                                                    \
    } while (0)

/* d_in[0] = expression, in terms of x (in[0]), y (out[0]) and d_y (d_out[0]); zeros where no gradient comes.
 */
#define ZQ_UNARY_BACKWARD(io, expression)                                                                    \
    do {                                                                                                     \
        if (!zq_elementwise_has_gradient(io))                                                                \
            break;                                                                                           \
        const int64_t n_ = zq_shape_count(&(io)->out[0]->shape);                                             \
        const zq_real *const src_ = (io)->in[0]->data;                                                       \
        const zq_real *const dst_ = (io)->out[0]->data;                                                      \
        const zq_real *const d_dst_ = (io)->d_out[0]->data;                                                  \
        zq_real *const d_src_ = (io)->d_in[0]->data;                                                         \
        _Pragma("omp parallel for schedule(static) if (n_ >= ZQ_PARALLEL_MIN)") for (int64_t i_ = 0;         \
                                                                                     i_ < n_; i_++) {        \
            const zq_real x = src_[i_], y = dst_[i_], d_y = d_dst_[i_];                                      \
            (void)x;                                                                                         \
            (void)y;                                                                                         \
            d_src_[i_] = (expression);                                                                       \
        }                                                                                                    \
    } while (0)

/* Whether there is a gradient to compute: in[0]'s is wanted and out[0]'s is there. Sets the other inputs' to
 * zero (bounds and the like: no gradient is defined for them), and all when out[0]'s is missing. */
bool zq_elementwise_has_gradient(const zq_io *io);

/* Sets every wanted gradient to zero. */
void zq_elementwise_zero_gradients(const zq_io *io);

#endif
