/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/onednn/onednn.h"

#include "engine/onednn/step.h"

#include <string.h>

zq_status zq_dnn_gemm(bool transposed_b, int64_t m, int64_t n, int64_t k, const float *a, const float *b,
                      bool accumulate, float *c, zq_error *err) {
    if (m < 0 || n < 0 || k < 0)
        return zq_fail(err, ZQ_ERR_INTERNAL, "a matrix product of negative size");
    if (m == 0 || n == 0)
        return ZQ_OK;
    if (k == 0) {
        if (!accumulate)
            memset(c, 0, (size_t)m * (size_t)n * sizeof *c);
        return ZQ_OK;
    }
    const dnnl_status_t status = dnnl_sgemm('N', transposed_b ? 'T' : 'N', m, n, k, 1.0f, a, k, b,
                                            transposed_b ? k : n, accumulate ? 1.0f : 0.0f, c, n);
    return status == dnnl_success ? ZQ_OK : zq_dnn_fail(status, "a matrix product", err);
}

zq_status zq_dnn_gemm_inside(bool transposed_a, bool transposed_b, int64_t m, int64_t n, int64_t k,
                             float alpha, const float *a, int64_t lda, const float *b, int64_t ldb,
                             float beta, float *c, int64_t ldc, zq_error *err) {
    if (m <= 0 || n <= 0 || k <= 0)
        return ZQ_OK;
    const dnnl_status_t status = dnnl_sgemm(transposed_a ? 'T' : 'N', transposed_b ? 'T' : 'N', m, n, k,
                                            alpha, a, lda, b, ldb, beta, c, ldc);
    return status == dnnl_success ? ZQ_OK : zq_dnn_fail(status, "a matrix product", err);
}
