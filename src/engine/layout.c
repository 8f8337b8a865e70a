/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/layout.h"

enum { TILE = 32 };

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* dst[j, i] (+)= src[i, j] for a tile of a [rows, columns] matrix */
static void transpose_tile(int64_t i0, int64_t i1, int64_t j0, int64_t j1, int64_t rows, int64_t columns,
                           const float *restrict src, bool add, float *restrict dst) {
    for (int64_t j = j0; j < j1; j++) {
        float *const to = dst + j * rows;
        if (add)
            for (int64_t i = i0; i < i1; i++)
                to[i] += src[i * columns + j];
        else
            for (int64_t i = i0; i < i1; i++)
                to[i] = src[i * columns + j];
    }
}

static void transpose(int64_t n, int64_t rows, int64_t columns, const float *src, bool add, float *dst) {
    const int64_t n_bands = (columns + TILE - 1) / TILE;
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t image = 0; image < n; image++) {
        for (int64_t band = 0; band < n_bands; band++) {
            const int64_t at = image * rows * columns, j0 = band * TILE, j1 = least(j0 + TILE, columns);
            for (int64_t i0 = 0; i0 < rows; i0 += TILE)
                transpose_tile(i0, least(i0 + TILE, rows), j0, j1, rows, columns, src + at, add, dst + at);
        }
    }
}

void zq_layout_to_last(int64_t n, int64_t c, int64_t s, const float *src, bool add, float *dst) {
    transpose(n, c, s, src, add, dst);
}

void zq_layout_to_plain(int64_t n, int64_t c, int64_t s, const float *src, float *dst) {
    transpose(n, s, c, src, false, dst);
}
