/* SPDX-License-Identifier: Apache-2.0 */
/* Work is cut into tiles, each by one thread: inside a parallel region oneDNN doesn't start its own threads,
 * so that sums are always made in the same order. */
#include "engine/dense.h"

#include "engine/onednn/onednn.h"

#include <math.h>
#include <string.h>

enum { TILE = 192, PANEL = 96 };

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* c [size, size] = beta c + alpha a a^T in the lower triangle (whole tiles on the diagonal); a: [size, n],
 * rows lda apart. */
static zq_status add_square(int64_t size, int64_t n, float alpha, const float *a, int64_t lda, float *c,
                            int64_t ldc, zq_error *err) {
    const int64_t n_tiles = (size + TILE - 1) / TILE, n_pairs = n_tiles * (n_tiles + 1) / 2;
    zq_status status = ZQ_OK;
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t pair = 0; pair < n_pairs; pair++) {
        int64_t row = (int64_t)((sqrt(8.0 * (double)pair + 1) - 1) / 2);
        row -= row * (row + 1) / 2 > pair;
        row += (row + 1) * (row + 2) / 2 <= pair;
        const int64_t i = row * TILE, j = (pair - row * (row + 1) / 2) * TILE;
        zq_error own = {0};
        const zq_status done =
            zq_dnn_gemm_inside(false, true, least(TILE, size - i), least(TILE, size - j), n, alpha,
                               a + i * lda, lda, a + j * lda, lda, 1, c + i * ldc + j, ldc, &own);
        if (done != ZQ_OK) {
#pragma omp critical(zq_dense)
            {
                status = done;
                *err = own;
            }
        }
    }
    return status;
}

zq_status zq_dense_multiply(bool transposed_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                            int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc,
                            zq_error *err) {
    const int64_t n_rows = (m + TILE - 1) / TILE, n_columns = (n + TILE - 1) / TILE;
    zq_status status = ZQ_OK;
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t tile = 0; tile < n_rows * n_columns; tile++) {
        const int64_t i = tile / n_columns * TILE, j = tile % n_columns * TILE;
        zq_error own = {0};
        const zq_status done = zq_dnn_gemm_inside(
            false, transposed_b, least(TILE, m - i), least(TILE, n - j), k, alpha, a + i * lda, lda,
            b + j * (transposed_b ? ldb : 1), ldb, beta, c + i * ldc + j, ldc, &own);
        if (done != ZQ_OK) {
#pragma omp critical(zq_dense)
            {
                status = done;
                *err = own;
            }
        }
    }
    return status;
}

zq_status zq_dense_add_gram(int64_t k, int64_t n, const float *x, float *h, zq_error *err) {
    return add_square(k, n, 1, x, n, h, k, err);
}

/* The diagonal block of size n, rows k apart. */
static bool factor_block(int64_t n, int64_t k, float *a) {
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = j; i < n; i++) {
            double sum = a[i * k + j];
            for (int64_t t = 0; t < j; t++)
                sum -= (double)a[i * k + t] * a[j * k + t];
            if (i == j && !(sum > 0))
                return false;
            a[i * k + j] = i == j ? (float)sqrt(sum) : (float)(sum / a[j * k + j]);
        }
    return true;
}

/* The inverse of a diagonal block, rows k apart; zeros above the diagonal. inverse: [n, n] */
static void invert_block(int64_t n, int64_t k, const float *l, float *inverse) {
    memset(inverse, 0, (size_t)(n * n) * sizeof *inverse);
    for (int64_t i = 0; i < n; i++) {
        double row[PANEL] = {0};
        for (int64_t t = 0; t < i; t++)
            for (int64_t j = 0; j <= t; j++)
                row[j] -= (double)l[i * k + t] * inverse[t * n + j];
        for (int64_t j = 0; j < i; j++)
            inverse[i * n + j] = (float)(row[j] / l[i * k + i]);
        inverse[i * n + i] = 1 / l[i * k + i];
    }
}

/* Rows below the diagonal block: x L^T = a, by a product with the inverse, which is the faster way. */
static zq_status solve_panel(int64_t n_rows, int64_t n, int64_t k, const float *block, float *a,
                             zq_error *err) {
    float inverse[PANEL * PANEL];
    zq_status status = ZQ_OK;
    invert_block(n, k, block, inverse);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n_rows; i += TILE) {
        const int64_t m = least(TILE, n_rows - i);
        float rows[TILE * PANEL];
        for (int64_t row = 0; row < m; row++)
            memcpy(rows + row * n, a + (i + row) * k, (size_t)n * sizeof *rows);
        zq_error own = {0};
        const zq_status done =
            zq_dnn_gemm_inside(false, true, m, n, n, 1, rows, n, inverse, n, 0, a + i * k, k, &own);
        if (done != ZQ_OK) {
#pragma omp critical(zq_dense)
            {
                status = done;
                *err = own;
            }
        }
    }
    return status;
}

zq_status zq_dense_solve(int64_t k, const float *l, int64_t n, float *x, zq_error *err) {
    for (int64_t j = 0; j < k; j += PANEL) {
        const int64_t width = least(PANEL, k - j);
        if (j > 0)
            ZQ_TRY(zq_dense_multiply(true, n, width, j, -1, x, k, l + j * k, k, 1, x + j, k, err));
        ZQ_TRY(solve_panel(n, width, k, l + j * k + j, x + j, err));
    }
    return ZQ_OK;
}

zq_status zq_dense_cholesky(int64_t k, float *h, bool *positive_out, zq_error *err) {
    *positive_out = true;
    for (int64_t j = 0; j < k && *positive_out; j += PANEL) {
        const int64_t n = least(PANEL, k - j), rest = k - j - n;
        float *const block = h + j * k + j, *const below = block + n * k;
        *positive_out = factor_block(n, k, block);
        if (!*positive_out)
            break;
        ZQ_TRY(solve_panel(rest, n, k, block, below, err));
        ZQ_TRY(add_square(rest, n, -1, below, k, below + n, k, err));
    }
    return ZQ_OK;
}
