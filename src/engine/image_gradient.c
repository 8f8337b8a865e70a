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
enum { BLOCK = 4, MOST_CHANNELS = 4 };

typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));

static inline lanes load(const float *from) {
    lanes v;
    memcpy(&v, from, sizeof v);
    return v;
}

static inline float total(lanes v) {
    float sum = 0;
    for (int i = 0; i < LANES; i++)
        sum += v[i];
    return sum;
}

bool zq_image_gradient_takes(const zq_window *w) {
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

/* The window along an axis that reads position through tap; false: none does. */
static inline bool window_at(const zq_window *w, int axis, int64_t position, int64_t tap, int64_t *out) {
    const int64_t from = position + w->pad_lo[axis] - tap * w->dilation[axis];
    *out = from / w->stride[axis];
    return from >= 0 && from % w->stride[axis] == 0 && *out < w->out[axis];
}

/* One tap of n pixels whose windows lie side by side from d_dst on. */
static inline void add_tap(int64_t c_out, int n_channels, int n, const float *d_dst, const float *weights,
                           lanes sums[BLOCK][MOST_CHANNELS]) {
    for (int64_t out = 0; out < c_out; out += LANES) {
        lanes w[MOST_CHANNELS];
        for (int c = 0; c < n_channels; c++)
            w[c] = load(weights + out * n_channels + c * LANES);
        for (int i = 0; i < n; i++) {
            const lanes d = load(d_dst + i * c_out + out);
            for (int c = 0; c < n_channels; c++)
                sums[i][c] += d * w[c];
        }
    }
}

/* n pixels of a row, one stride apart from x on. False: not all taps that meet the first meet the last. */
static inline bool gather(const zq_window *w, int n_channels, int n, int64_t y, int64_t x, const float *d_dst,
                          const float *packed, float *d_src) {
    lanes sums[BLOCK][MOST_CHANNELS] = {0};
    for (int64_t ky = 0; ky < w->kernel[0]; ky++) {
        int64_t oy, ox, last;
        if (!window_at(w, 0, y, ky, &oy))
            continue;
        for (int64_t kx = 0; kx < w->kernel[1]; kx++) {
            const bool first_meets = window_at(w, 1, x, kx, &ox);
            if (n > 1 && window_at(w, 1, x + (n - 1) * w->stride[1], kx, &last) != first_meets)
                return false;
            if (first_meets)
                add_tap(w->c_out, n_channels, n, d_dst + (oy * w->out[1] + ox) * w->c_out,
                        packed + (ky * w->kernel[1] + kx) * w->c_out * n_channels, sums);
        }
    }
    for (int i = 0; i < n; i++)
        for (int c = 0; c < n_channels; c++)
            d_src[(x + i * w->stride[1]) * n_channels + c] = total(sums[i][c]);
    return true;
}

static inline void run_row(const zq_window *w, int n_channels, int64_t y, const float *d_dst,
                           const float *packed, float *d_src) {
    const int64_t stride = w->stride[1], width = w->in[1];
    for (int64_t phase = 0; phase < stride && phase < width; phase++) {
        int64_t x = phase;
        while (x < width) {
            const bool block =
                x + (BLOCK - 1) * stride < width && gather(w, n_channels, BLOCK, y, x, d_dst, packed, d_src);
            if (!block)
                gather(w, n_channels, 1, y, x, d_dst, packed, d_src);
            x += (block ? BLOCK : 1) * stride;
        }
    }
}

/* The number of channels is a constant in each case, so that sums stay in registers. */
static void run_row_of(const zq_window *w, int64_t y, const float *d_dst, const float *packed, float *d_src) {
    switch (w->c_in) {
    case 1:
        run_row(w, 1, y, d_dst, packed, d_src);
        break;
    case 2:
        run_row(w, 2, y, d_dst, packed, d_src);
        break;
    case 3:
        run_row(w, 3, y, d_dst, packed, d_src);
        break;
    default:
        run_row(w, MOST_CHANNELS, y, d_dst, packed, d_src);
        break;
    }
}

void zq_image_gradient_run(const zq_window *w, const float *d_dst, const float *packed, float *d_src) {
    const int64_t height = w->in[0], row = w->in[1] * w->c_in, image = w->out[0] * w->out[1] * w->c_out;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < w->n_images * height; i++)
        run_row_of(w, i % height, d_dst + i / height * image, packed, d_src + i * row);
}
