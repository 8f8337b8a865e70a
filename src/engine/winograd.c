/* SPDX-License-Identifier: Apache-2.0 */
/* Tiles of 6 x 6 pixels that overlap by 2 become, channel by channel, 36 numbers each; the numbers of one
 * kind from all tiles are a matrix [tiles, c_in], which a matrix [c_in, c_out] of the weights takes to
 * [tiles, c_out]; and 36 such numbers become 4 x 4 outputs. Weights are transformed in every run: kept, they
 * would take four times their memory. Those of so many destination channels at a time that what they become
 * stays in the cache until it is used. */
#include "engine/winograd.h"

#include <string.h>

#ifdef __AVX512F__
#define LANES 16
#else
#define LANES 8
#endif

enum {
    IN = 6,  /* a tile */
    OUT = 4, /* its outputs */
    KINDS = IN * IN,
    LEAST_CHANNELS = 32,
    LEAST_TILES = 32,
    MOST_TILES = 256,       /* at a time: what they become should stay in the cache of the last level */
    MOST_WEIGHTS = 1 << 15, /* at a time, likewise; a destination channel's where they are more */
    ROWS = 128,             /* of a product that one thread makes */
    GAP = 16, /* floats behind a matrix: powers of two apart, 36 would share one set of the cache */
};

typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t mask __attribute__((vector_size(LANES * sizeof(int32_t))));

typedef struct tiling {
    int64_t rows, columns, n; /* of an image, and of all */
} tiling;

static tiling tiles_of(const zq_window *w) {
    const int64_t rows = (w->out[0] + OUT - 1) / OUT, columns = (w->out[1] + OUT - 1) / OUT;
    return (tiling){rows, columns, w->n_images * rows * columns};
}

static int64_t at_once(const zq_window *w) {
    const int64_t n = tiles_of(w).n;
    return n < MOST_TILES ? n : MOST_TILES;
}

/* Destination channels at a time. */
static int64_t columns_of(const zq_window *w) {
    int64_t n = MOST_WEIGHTS / w->c_in / LANES * LANES;
    n = n < 4 * LANES ? 4 * LANES : n; /* products with fewer columns are slow */
    return n < w->c_out ? n : w->c_out;
}

bool zq_winograd_takes(const zq_window *w) {
    if (w->n_spatial != 2 || w->groups != 1 || w->c_in % LANES != 0 || w->c_out % LANES != 0)
        return false;
    for (int i = 0; i < 2; i++)
        if (w->kernel[i] != 3 || w->stride[i] != 1 || w->dilation[i] != 1 || w->pad_lo[i] > 2 ||
            w->pad_hi[i] > 2 || w->out[i] < OUT)
            return false;
    const int64_t most = w->c_in > w->c_out ? w->c_in : w->c_out, n = tiles_of(w).n;
    return w->c_in >= LEAST_CHANNELS && w->c_out >= LEAST_CHANNELS && n >= LEAST_TILES && n * 16 >= most;
}

zq_window zq_winograd_backward(const zq_window *window) {
    zq_window w = *window;
    w.c_in = window->c_out;
    w.c_out = window->c_in;
    for (int i = 0; i < 2; i++) {
        w.in[i] = window->out[i];
        w.out[i] = window->in[i];
        w.pad_lo[i] = 2 - window->pad_lo[i];
        w.pad_hi[i] = 2 - window->pad_hi[i];
    }
    return w;
}

/* From the matrix of one kind to the next. */
static int64_t apart(int64_t rows, int64_t columns) {
    return rows * columns + GAP;
}

size_t zq_winograd_room(const zq_window *w) {
    const int64_t n = at_once(w);
    return (size_t)(KINDS * (apart(w->c_in, columns_of(w)) + apart(n, w->c_in) + apart(n, w->c_out)));
}

/* ---- weights */

/* G g of three numbers, stride apart; y: [6] */
static inline void transform_taps(const lanes *g, int stride, lanes *y, int y_stride) {
    const lanes sum = (g[0] + g[2 * stride]) * (1.0F / 6), middle = g[stride] * (1.0F / 6);
    const lanes far = g[0] * (1.0F / 24) + g[2 * stride] * (1.0F / 6), near = g[stride] * (1.0F / 12);
    y[0] = g[0] * 0.25F;
    y[y_stride] = -sum - middle;
    y[2 * y_stride] = middle - sum;
    y[3 * y_stride] = far + near;
    y[4 * y_stride] = far - near;
    y[5 * y_stride] = g[2 * stride];
}

/* Elements `apart` from each other. Element by element into memory, the load of all of them would wait for
 * the last of the stores. */
static inline lanes gather_lanes(const float *x, int64_t apart) {
#if LANES == 16
    return (lanes){x[0],          x[apart],      x[2 * apart],  x[3 * apart], x[4 * apart],  x[5 * apart],
                   x[6 * apart],  x[7 * apart],  x[8 * apart],  x[9 * apart], x[10 * apart], x[11 * apart],
                   x[12 * apart], x[13 * apart], x[14 * apart], x[15 * apart]};
#else
    return (lanes){x[0],         x[apart],     x[2 * apart], x[3 * apart],
                   x[4 * apart], x[5 * apart], x[6 * apart], x[7 * apart]};
#endif
}

/* LANES destination channels from out on, of source channel in. dst: theirs in a matrix [KINDS, c_in,
 * n_columns], as all such with gaps */
static void transform_weights_at(const zq_window *w, bool backward, const float *weights, int64_t in,
                                 int64_t out, int64_t n_columns, float *dst) {
    const int64_t per_in = backward ? w->c_out * 9 : 9, per_out = backward ? 9 : w->c_in * 9;
    const float *const from = weights + in * per_in + out * per_out;
    lanes g[9], half[3 * IN], all[KINDS];
    for (int tap = 0; tap < 9; tap++)
        g[tap] = gather_lanes(from + (backward ? 8 - tap : tap), per_out);
    for (int column = 0; column < 3; column++)
        transform_taps(g + column, 3, half + column, 3);
    for (int row = 0; row < IN; row++)
        transform_taps(half + 3 * row, 1, all + IN * row, 1);
    for (int kind = 0; kind < KINDS; kind++)
        memcpy(dst + kind * apart(w->c_in, n_columns) + in * n_columns, &all[kind], sizeof(lanes));
}

/* Destination channels from out on. dst: [KINDS, c_in, n_columns] */
static void transform_weights(const zq_window *w, bool backward, const float *weights, int64_t out,
                              int64_t n_columns, float *dst) {
#pragma omp parallel for schedule(static)
    for (int64_t first = 0; first < w->c_in; first += LANES) /* a few at a time: their weights share lines */
        for (int64_t c = 0; c < n_columns; c += LANES)
            for (int64_t in = first; in < first + LANES; in++)
                transform_weights_at(w, backward, weights, in, out + c, n_columns, dst + c);
}

/* ---- sources */

/* B^T d of six numbers */
static inline void transform_source(const lanes *d, int stride, lanes *y, int y_stride) {
    const lanes d0 = d[0], d1 = d[stride], d2 = d[2 * stride], d3 = d[3 * stride], d4 = d[4 * stride],
                d5 = d[5 * stride];
    const lanes a = d4 - 4 * d2, b = d3 - 4 * d1, c = d4 - d2, e = 2 * (d3 - d1);
    y[0] = 4 * d0 - 5 * d2 + d4;
    y[y_stride] = a + b;
    y[2 * y_stride] = a - b;
    y[3 * y_stride] = c + e;
    y[4 * y_stride] = c - e;
    y[5 * y_stride] = 4 * d1 - 5 * d3 + d5;
}

/* dst: [KINDS, n, c_in], of tile number t of n; pixel (y, x) is the tile's first, maybe outside. */
static void transform_tile(const zq_window *w, const float *image, int64_t y, int64_t x, int64_t t, int64_t n,
                           float *dst) {
    for (int64_t c = 0; c < w->c_in; c += LANES) {
        lanes d[KINDS], half[KINDS], all[KINDS];
        for (int i = 0; i < IN; i++)
            for (int j = 0; j < IN; j++) {
                const bool inside = y + i >= 0 && y + i < w->in[0] && x + j >= 0 && x + j < w->in[1];
                if (inside)
                    memcpy(&d[IN * i + j], image + ((y + i) * w->in[1] + x + j) * w->c_in + c, sizeof(lanes));
                else
                    d[IN * i + j] = (lanes){0};
            }
        for (int column = 0; column < IN; column++)
            transform_source(d + column, IN, half + column, IN);
        for (int row = 0; row < IN; row++)
            transform_source(half + IN * row, 1, all + IN * row, 1);
        for (int kind = 0; kind < KINDS; kind++)
            memcpy(dst + kind * apart(n, w->c_in) + t * w->c_in + c, &all[kind], sizeof(lanes));
    }
}

/* Tiles first .. first + n. */
static void transform_tiles(const zq_window *w, const float *src, int64_t first, int64_t n, float *dst) {
    const tiling all = tiles_of(w);
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < n; t++) {
        const int64_t per_image = all.rows * all.columns, image = (first + t) / per_image;
        const int64_t at = (first + t) % per_image;
        transform_tile(w, src + image * w->in[0] * w->in[1] * w->c_in, at / all.columns * OUT - w->pad_lo[0],
                       at % all.columns * OUT - w->pad_lo[1], t, n, dst);
    }
}

/* ---- destinations */

/* A^T m of six numbers */
static inline void transform_sums(const lanes *m, int stride, lanes *y, int y_stride) {
    const lanes near = m[stride] + m[2 * stride], near_off = m[stride] - m[2 * stride];
    const lanes far = m[3 * stride] + m[4 * stride], far_off = 2 * (m[3 * stride] - m[4 * stride]);
    y[0] = m[0] + near + far;
    y[y_stride] = near_off + far_off;
    y[2 * y_stride] = near + 4 * far;
    y[3 * y_stride] = near_off + 4 * far_off + m[5 * stride];
}

static inline lanes choose(mask where, lanes yes, lanes no) {
    return (lanes)((where & (mask)yes) | (~where & (mask)no));
}

static inline void finish_tile(const zq_window *w, const float *sums, int64_t t, int64_t n, const float *bias,
                               const zq_clamp *clamp, float *image, int64_t y, int64_t x) {
    const int64_t n_rows = w->out[0] - y < OUT ? w->out[0] - y : OUT;
    const int64_t n_columns = w->out[1] - x < OUT ? w->out[1] - x : OUT;
    for (int64_t c = 0; c < w->c_out; c += LANES) {
        lanes m[KINDS], half[OUT * IN], all[OUT * OUT], b = {0};
        for (int kind = 0; kind < KINDS; kind++)
            memcpy(&m[kind], sums + kind * apart(n, w->c_out) + t * w->c_out + c, sizeof(lanes));
        for (int column = 0; column < IN; column++)
            transform_sums(m + column, IN, half + column, IN);
        for (int row = 0; row < OUT; row++)
            transform_sums(half + IN * row, 1, all + OUT * row, 1);
        if (bias != NULL)
            memcpy(&b, bias + c, sizeof b);
        const zq_clamp bounds = clamp != NULL ? *clamp : ZQ_NO_CLAMP;
        const lanes lo = (lanes){0} + bounds.lo, hi = (lanes){0} + bounds.hi;
        for (int64_t i = 0; i < n_rows; i++)
            for (int64_t j = 0; j < n_columns; j++) {
                lanes v = all[OUT * i + j] + b;
                if (clamp != NULL) /* NaN passes: it shall be noticed at the end */
                    v = choose(v > hi, hi, choose(v < lo, lo, v));
                memcpy(image + ((y + i) * w->out[1] + x + j) * w->c_out + c, &v, sizeof v);
            }
    }
}

static void finish_tiles(const zq_window *w, const float *sums, int64_t first, int64_t n, const float *bias,
                         const zq_clamp *clamp, float *dst) {
    const tiling all = tiles_of(w);
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < n; t++) {
        const int64_t per_image = all.rows * all.columns, image = (first + t) / per_image;
        const int64_t at = (first + t) % per_image;
        finish_tile(w, sums, t, n, bias, clamp, dst + image * w->out[0] * w->out[1] * w->c_out,
                    at / all.columns * OUT, at % all.columns * OUT);
    }
}

/* ---- all of it */

/* Columns of sums [KINDS, n, c_out] = tiles [KINDS, n, c_in] weights [KINDS, c_in, n_columns] */
static zq_status multiply(const zq_window *w, int64_t n, const float *tiles, int64_t n_columns,
                          const float *weights, float *sums, zq_error *err) {
    const int64_t n_parts = (n + ROWS - 1) / ROWS;
    zq_status status = ZQ_OK;
#pragma omp parallel for schedule(static)
    for (int64_t at = 0; at < KINDS * n_parts; at++) {
        const int64_t kind = at / n_parts, first = at % n_parts * n / n_parts;
        const int64_t n_rows = (at % n_parts + 1) * n / n_parts - first;
        zq_error own = {0};
        const zq_status done = zq_dnn_gemm_inside(
            false, false, n_rows, n_columns, w->c_in, 1, tiles + kind * apart(n, w->c_in) + first * w->c_in,
            w->c_in, weights + kind * apart(w->c_in, n_columns), n_columns, 0,
            sums + kind * apart(n, w->c_out) + first * w->c_out, w->c_out, &own);
        if (done != ZQ_OK) {
#pragma omp critical(zq_winograd)
            {
                status = done;
                *err = own;
            }
        }
    }
    return status;
}

zq_status zq_winograd_run(const zq_window *w, bool backward, const float *src, const float *weights,
                          const float *bias, const zq_clamp *clamp, float *room, float *dst, zq_error *err) {
    const int64_t n_tiles = tiles_of(w).n, most = at_once(w), columns = columns_of(w);
    float *const tiles = room + KINDS * apart(w->c_in, columns);
    float *const sums = tiles + KINDS * apart(most, w->c_in);
    for (int64_t first = 0; first < n_tiles; first += most) {
        const int64_t n = n_tiles - first < most ? n_tiles - first : most;
        transform_tiles(w, src, first, n, tiles);
        for (int64_t out = 0; out < w->c_out; out += columns) {
            const int64_t n_columns = w->c_out - out < columns ? w->c_out - out : columns;
            if (first == 0 || columns < w->c_out)
                transform_weights(w, backward, weights, out, n_columns, room);
            ZQ_TRY(multiply(w, n, tiles, n_columns, room, sums + out, err));
        }
        finish_tiles(w, sums, first, n, bias, clamp, dst);
    }
    return ZQ_OK;
}
