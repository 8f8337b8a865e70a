/* SPDX-License-Identifier: Apache-2.0 */
/* Dense linear algebra on row-major matrices; of square ones only the lower triangle is used. Results don't
 * depend on the number of threads. */
#ifndef ZQ_ENGINE_DENSE_H
#define ZQ_ENGINE_DENSE_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

/* c [m, n] = beta c + alpha a op(b) for a [m, k]; b: [k, n], or [n, k] if transposed. Rows are lda, ldb, ldc
 * apart. */
zq_status zq_dense_multiply(bool transposed_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                            int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc,
                            zq_error *err);

/* h [k, k] += x x^T for x [k, n]. */
zq_status zq_dense_add_gram(int64_t k, int64_t n, const float *x, float *h, zq_error *err);

/* The lower triangle of h [k, k] becomes L of h = L L^T. *positive_out is false where h isn't positive
 * definite; h is then unusable. */
zq_status zq_dense_cholesky(int64_t k, float *h, bool *positive_out, zq_error *err);

/* Each row of x [n, k] becomes z of z L^T = x. */
zq_status zq_dense_solve(int64_t k, const float *l, int64_t n, float *x, zq_error *err);

#endif
