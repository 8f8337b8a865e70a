/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"
#include "photo/photo.h"

#include <math.h>
#include <string.h>

/* Along one axis: each output element is a weighted sum of n_taps elements from first on. */
typedef struct taps {
    int64_t n_out, n_taps;
    int64_t *first;
    float *weight; /* [n_out, n_taps] */
} taps;

static void taps_clear(taps *t) {
    zq_free(t->first);
    zq_free(t->weight);
}

/* A triangle around the centre of each output pixel, as wide as an output pixel where it shrinks: n_out
 * pixels from the part start .. start + size of n_in. */
static zq_status taps_make(int64_t n_in, double start, double size, int64_t n_out, taps *t, zq_error *err) {
    const double scale = size / (double)n_out, reach = fmax(scale, 1);
    const int64_t most = 2 * (int64_t)ceil(reach) + 1;
    *t = (taps){.n_out = n_out, .n_taps = most < n_in ? most : n_in};
    t->first = zq_alloc((size_t)n_out, sizeof *t->first);
    t->weight = zq_alloc((size_t)n_out, (size_t)t->n_taps * sizeof *t->weight);
    if (t->first == NULL || t->weight == NULL) {
        taps_clear(t);
        return zq_fail_memory(err);
    }
    for (int64_t o = 0; o < n_out; o++) {
        const double centre = start + ((double)o + 0.5) * scale;
        int64_t first = (int64_t)floor(centre - reach + 0.5);
        first = first < 0 ? 0 : first;
        first = first > n_in - t->n_taps ? n_in - t->n_taps : first;
        double sum = 0;
        for (int64_t k = 0; k < t->n_taps; k++)
            sum += fmax(0, 1 - fabs(((double)(first + k) + 0.5 - centre) / reach));
        t->first[o] = first;
        for (int64_t k = 0; k < t->n_taps; k++)
            t->weight[o * t->n_taps + k] =
                (float)(fmax(0, 1 - fabs(((double)(first + k) + 0.5 - centre) / reach)) / sum);
    }
    return ZQ_OK;
}

/* Rows of the photo, narrowed: [photo height, columns, 3]. */
static void narrow(const zq_photo *photo, const taps *columns, float *rows) {
#pragma omp parallel for
    for (int64_t y = 0; y < photo->height; y++) {
        const unsigned char *in = photo->rgb + y * photo->width * 3;
        float *out = rows + y * columns->n_out * 3;
        for (int64_t x = 0; x < columns->n_out; x++)
            for (int64_t c = 0; c < 3; c++) {
                const unsigned char *from = in + columns->first[x] * 3 + c;
                float sum = 0;
                for (int64_t k = 0; k < columns->n_taps; k++)
                    sum += columns->weight[x * columns->n_taps + k] * (float)from[3 * k];
                out[3 * x + c] = sum;
            }
    }
}

/* Rows put together, into a part of the planes [3, height, width] that begins at planes. */
static void shorten(const float *rows, int64_t n_columns, const taps *lines, int64_t height, int64_t width,
                    float *planes) {
#pragma omp parallel for
    for (int64_t y = 0; y < lines->n_out; y++)
        for (int64_t x = 0; x < n_columns; x++)
            for (int64_t c = 0; c < 3; c++) {
                float sum = 0;
                for (int64_t k = 0; k < lines->n_taps; k++)
                    sum += lines->weight[y * lines->n_taps + k] *
                           rows[((lines->first[y] + k) * n_columns + x) * 3 + c];
                planes[(c * height + y) * width + x] = sum;
            }
}

/* What of the photo is taken, in its pixels, and where it goes. */
typedef struct cut {
    double top, left, height, width;
    int64_t out_top, out_left, out_height, out_width;
} cut;

static cut cut_of(const zq_photo *photo, zq_resize how, int64_t height, int64_t width) {
    const double tall = (double)photo->height, wide = (double)photo->width;
    const double y_scale = tall / (double)height, x_scale = wide / (double)width;
    cut c = {.height = tall, .width = wide, .out_height = height, .out_width = width};
    if (how == ZQ_RESIZE_CROP) { /* 7/8 of the shorter side, or pixel by pixel where that is about the same */
        const double cover = fmin(y_scale, x_scale);
        const bool as_it_is = cover >= 1 && cover <= 8.0 / 7;
        const double scale = as_it_is ? 1 : cover * 7 / 8;
        c.height = (double)height * scale;
        c.width = (double)width * scale;
        c.top = as_it_is ? floor((tall - c.height) / 2) : (tall - c.height) / 2;
        c.left = as_it_is ? floor((wide - c.width) / 2) : (wide - c.width) / 2;
    } else if (how == ZQ_RESIZE_PAD) {
        const double scale = fmax(y_scale, x_scale);
        c.out_height = (int64_t)fmax(1, round(tall / scale));
        c.out_width = (int64_t)fmax(1, round(wide / scale));
        c.out_top = (height - c.out_height) / 2;
        c.out_left = (width - c.out_width) / 2;
    }
    return c;
}

zq_status zq_photo_resize(const zq_photo *photo, zq_resize how, int64_t height, int64_t width, float *planes,
                          zq_error *err) {
    const cut c = cut_of(photo, how, height, width);
    taps columns, lines;
    ZQ_TRY(taps_make(photo->width, c.left, c.width, c.out_width, &columns, err));
    zq_status status = taps_make(photo->height, c.top, c.height, c.out_height, &lines, err);
    if (status != ZQ_OK) {
        taps_clear(&columns);
        return status;
    }
    float *rows = zq_alloc_raw((size_t)(photo->height * c.out_width), 3 * sizeof *rows);
    if (rows != NULL) {
        memset(planes, 0, (size_t)(height * width) * 3 * sizeof *planes);
        narrow(photo, &columns, rows);
        shorten(rows, c.out_width, &lines, height, width, planes + c.out_top * width + c.out_left);
    }
    zq_free(rows);
    taps_clear(&columns);
    taps_clear(&lines);
    return rows != NULL ? ZQ_OK : zq_fail_memory(err);
}
