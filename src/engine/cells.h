/* SPDX-License-Identifier: Apache-2.0 */
/* Cells: elements in memory, float or bfloat16 (the upper half of a float: its range with 8 bits of
 * precision). Loops compute in float: they take cells piece by piece, in place where they are floats, through
 * a buffer in the first-level cache where they aren't. */
#ifndef ZQ_ENGINE_CELLS_H
#define ZQ_ENGINE_CELLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct zq_cells {
    void *data;
    bool half; /* bfloat16 */
} zq_cells;

enum { ZQ_PIECE = 512 }; /* elements of a buffer: five of them leave the first-level cache room */

static inline size_t zq_cells_bytes(bool half) {
    return half ? sizeof(uint16_t) : sizeof(float);
}

static inline float zq_half_widen(uint16_t half) {
    const uint32_t bits = (uint32_t)half << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* To nearest, ties to even; NaN stays NaN. */
static inline uint16_t zq_half_narrow(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16, nan = bits >> 16 | 0x40;
    return (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? nan : rounded);
}

static inline void zq_half_widen_row(size_t n, const uint16_t *restrict half, float *restrict dst) {
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        dst[i] = zq_half_widen(half[i]);
}

static inline void zq_half_narrow_row(size_t n, const float *restrict x, uint16_t *restrict dst) {
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        dst[i] = zq_half_narrow(x[i]);
}

/* One at a time: for loops where half is a constant. */
static inline float zq_cells_get(zq_cells cells, size_t at) {
    return cells.half ? zq_half_widen(((const uint16_t *)cells.data)[at]) : ((const float *)cells.data)[at];
}

static inline void zq_cells_put(zq_cells cells, size_t at, float x) {
    if (cells.half)
        ((uint16_t *)cells.data)[at] = zq_half_narrow(x);
    else
        ((float *)cells.data)[at] = x;
}

/* Elements at .. at + n, n <= ZQ_PIECE, to be read; buffer: room for them. */
static inline const float *zq_cells_read(zq_cells cells, size_t at, size_t n, float *buffer) {
    if (!cells.half)
        return (const float *)cells.data + at;
    zq_half_widen_row(n, (const uint16_t *)cells.data + at, buffer);
    return buffer;
}

/* Where elements at .. at + n are to be written, which zq_cells_end then brings home. */
static inline float *zq_cells_begin(zq_cells cells, size_t at, float *buffer) {
    return cells.half ? buffer : (float *)cells.data + at;
}

/* The same with what they hold in it, if anything is to be added to that. */
static inline float *zq_cells_open(zq_cells cells, bool add, size_t at, size_t n, float *buffer) {
    if (add && cells.half)
        zq_cells_read(cells, at, n, buffer);
    return zq_cells_begin(cells, at, buffer);
}

static inline void zq_cells_end(zq_cells cells, size_t at, size_t n, const float *buffer) {
    if (cells.half)
        zq_half_narrow_row(n, buffer, (uint16_t *)cells.data + at);
}

#endif
