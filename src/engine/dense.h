/* SPDX-License-Identifier: Apache-2.0 */
/* Dense linear algebra on square row-major matrices of which only the lower triangle is used. Results don't
 * depend on the number of threads. */
#ifndef ZQ_ENGINE_DENSE_H
#define ZQ_ENGINE_DENSE_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

/* h [k, k] += x x^T for x [k, n]. */
zq_status zq_dense_add_gram(int64_t k, int64_t n, const float *x, float *h, zq_error *err);

/* The lower triangle of h [k, k] becomes L of h = L L^T. *positive_out is false where h isn't positive
 * definite; h is then unusable. */
zq_status zq_dense_cholesky(int64_t k, float *h, bool *positive_out, zq_error *err);

#endif
