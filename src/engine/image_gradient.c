/* SPDX-License-Identifier: Apache-2.0 */
/* Each pixel gathers from the windows that read it. Pixels one stride apart read neighbouring windows through
 * the same taps, so they are taken in blocks that share the loads of the weights: per tap and vector of
 * channels, BLOCK * c_in multiply-adds for BLOCK + c_in loads. */
#include "engine/image_gradient.h"

#include <string.h>

#ifdef __AVX512F__
enum { LANES = 16 };
#else
enum { LANES = 8 };
#endif
enum { BLOCK = 4, MOST_CHANNELS = 4, MOST_TAPS = 16, MOST_STRIDE = 8 };

typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));
typedef float eight __attribute__((vector_size(8 * sizeof(float))));
typedef float four __attribute__((vector_size(4 * sizeof(float))));

static inline lanes load(const float *from) {
    lanes v;
    memcpy(&v, from, sizeof v);
    return v;
}

/* Half and half: one lane after the other takes longer than the products. */
static inline float total(lanes v) {
#ifdef __AVX512F__
    const eight half = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                       __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
#else
    const eight half = v;
#endif
    const four quarter =
        __builtin_shufflevector(half, half, 0, 1, 2, 3) + __builtin_shufflevector(half, half, 4, 5, 6, 7);
    return (quarter[0] + quarter[2]) + (quarter[1] + quarter[3]);
}

bool zq_image_gradient_takes(const zq_window *w) {
    for (int axis = 0; axis < w->n_spatial; axis++)
        if (w->kernel[axis] > MOST_TAPS || w->stride[axis] > MOST_STRIDE)
            return false;
    return w->n_spatial == 2 && w->groups == 1 && w->c_in <= MOST_CHANNELS && w->c_out % LANES == 0;
}

size_t zq_image_gradient_packed_count(const zq_window *w) {
    return (size_t)(w->kernel[0] * w->kernel[1] * w->c_in * w->c_out);
}

/* packed: [tap, c_out / LANES, c_in, LANES] */
void zq_image_gradient_pack(const zq_window *w, const float *weights, float *packed) {
    const int64_t n_taps = w->kernel[0] * w->kernel[1];
    for (int64_t tap = 0; tap < n_taps; tap++)
        for (int64_t out = 0; out < w->c_out; out++)
            for (int64_t in = 0; in < w->c_in; in++)
                packed[(tap * w->c_out + out / LANES * LANES) * w->c_in + in * LANES + out % LANES] =
                    weights[(out * w->c_in + in) * n_taps + tap];
}

/* The taps of an axis that meet a window when they read position, and which: position / stride + shift[i]. */
typedef struct taps {
    int64_t n;
    int64_t tap[MOST_TAPS], shift[MOST_TAPS];
} taps;

/* Of all positions that leave the remainder phase. */
static taps taps_of(const zq_window *w, int axis, int64_t phase) {
    const int64_t stride = w->stride[axis];
    taps t = {0};
    for (int64_t tap = 0; tap < w->kernel[axis]; tap++) {
        const int64_t from = phase + w->pad_lo[axis] - tap * w->dilation[axis];
        const int64_t rest = (from % stride + stride) % stride;
        if (rest != 0)
            continue;
        t.tap[t.n] = tap;
        t.shift[t.n++] = from / stride;
    }
    return t;
}

/* One tap of n pixels whose windows lie side by side from d_dst on. */
static inline void add_tap(int64_t c_out, int n_channels, int n, const float *d_dst, const float *weights,
                           lanes sums[BLOCK][MOST_CHANNELS]) {
    for (int64_t out = 0; out < c_out; out += LANES) {
        lanes w[MOST_CHANNELS];
#pragma GCC unroll 4
        for (int c = 0; c < n_channels; c++)
            w[c] = load(weights + out * n_channels + c * LANES);
#pragma GCC unroll 4
        for (int i = 0; i < n; i++) {
            const lanes d = load(d_dst + i * c_out + out);
#pragma GCC unroll 4
            for (int c = 0; c < n_channels; c++)
                sums[i][c] += d * w[c];
        }
    }
}

/* One row of pixels: where it reads, and the taps of its phase. */
typedef struct row {
    const zq_window *w;
    const float *d_dst, *packed;
    int64_t y; /* position / stride */
    const taps *down;
    float *d_src;
} row;

/* n pixels of a row, one stride apart: positions (x .. x + n) * stride + phase. */
static inline void gather(const row *r, const taps *across, int n_channels, int n, int64_t x, int64_t phase) {
    const zq_window *const w = r->w;
    lanes sums[BLOCK][MOST_CHANNELS] = {0};
    for (int64_t i = 0; i < r->down->n; i++) {
        const int64_t oy = r->y + r->down->shift[i];
        if (oy < 0 || oy >= w->out[0])
            continue;
        for (int64_t k = 0; k < across->n; k++) {
            const int64_t ox = x + across->shift[k];
            if (ox < 0 || ox + n > w->out[1])
                continue;
            const int64_t tap = r->down->tap[i] * w->kernel[1] + across->tap[k];
            add_tap(w->c_out, n_channels, n, r->d_dst + (oy * w->out[1] + ox) * w->c_out,
                    r->packed + tap * w->c_out * n_channels, sums);
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < n; i++)
#pragma GCC unroll 4
        for (int c = 0; c < n_channels; c++)
            r->d_src[((x + i) * w->stride[1] + phase) * n_channels + c] = total(sums[i][c]);
}

/* Whether every tap meets windows of all n pixels or of none. */
static bool is_whole(const zq_window *w, const taps *across, int64_t x, int n) {
    for (int64_t k = 0; k < across->n; k++) {
        const int64_t ox = x + across->shift[k];
        if (ox + n > 0 && ox < w->out[1] && (ox < 0 || ox + n > w->out[1]))
            return false;
    }
    return true;
}

static inline void run_row(const row *r, const taps *across, int n_channels) {
    const int64_t stride = r->w->stride[1], width = r->w->in[1];
    for (int64_t phase = 0; phase < stride && phase < width; phase++) {
        const int64_t n = (width - phase + stride - 1) / stride;
        for (int64_t x = 0; x < n;) {
            const bool block = x + BLOCK <= n && is_whole(r->w, &across[phase], x, BLOCK);
            if (block)
                gather(r, &across[phase], n_channels, BLOCK, x, phase);
            else
                gather(r, &across[phase], n_channels, 1, x, phase);
            x += block ? BLOCK : 1;
        }
    }
}

/* The number of channels is a constant in each case, so that sums stay in registers. */
static void run_row_of(const row *r, const taps *across) {
    switch (r->w->c_in) {
    case 1:
        run_row(r, across, 1);
        break;
    case 2:
        run_row(r, across, 2);
        break;
    case 3:
        run_row(r, across, 3);
        break;
    default:
        run_row(r, across, MOST_CHANNELS);
        break;
    }
}

void zq_image_gradient_run(const zq_window *w, const float *d_dst, const float *packed, float *d_src) {
    const int64_t height = w->in[0], size = w->in[1] * w->c_in, image = w->out[0] * w->out[1] * w->c_out;
    taps down[MOST_STRIDE], across[MOST_STRIDE];
    for (int64_t phase = 0; phase < MOST_STRIDE; phase++) {
        down[phase] = phase < w->stride[0] ? taps_of(w, 0, phase) : (taps){0};
        across[phase] = phase < w->stride[1] ? taps_of(w, 1, phase) : (taps){0};
    }
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < w->n_images * height; i++) {
        const int64_t y = i % height;
        const row r = {.w = w,
                       .d_dst = d_dst + i / height * image,
                       .packed = packed,
                       .y = y / w->stride[0],
                       .down = &down[y % w->stride[0]],
                       .d_src = d_src + i * size};
        run_row_of(&r, across);
    }
}
