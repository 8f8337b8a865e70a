/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/pixels.h"

#include "base/memory.h"

#include <math.h>

enum { HIGHEST = 255 };

zq_status zq_pixels_new(const zq_shape *shape, zq_pixels *out, zq_error *err) {
    const int64_t count = zq_shape_count(shape), n = shape->dims[0], n_channels = shape->dims[1];
    *out = (zq_pixels){.n_images = n, .n_channels = n_channels, .area = count / (n * n_channels)};
    out->lo = zq_alloc((size_t)n_channels, sizeof *out->lo);
    out->hi = zq_alloc((size_t)n_channels, sizeof *out->hi);
    out->level = zq_alloc_raw((size_t)count, 1);
    if (out->lo != NULL && out->hi != NULL && out->level != NULL)
        return ZQ_OK;
    zq_pixels_clear(out);
    return zq_fail_memory(err);
}

void zq_pixels_clear(zq_pixels *pixels) {
    zq_free(pixels->lo);
    zq_free(pixels->hi);
    zq_free(pixels->level);
    *pixels = (zq_pixels){0};
}

static void find_ends(const zq_images *images, const zq_box *box, zq_pixels *out) {
    for (int64_t c = 0; c < out->n_channels; c++) {
        out->lo[c] = box->lo[c];
        out->hi[c] = box->hi[c];
    }
    for (int64_t i = 0; i < out->n_images * out->n_channels * out->area; i++) {
        const int64_t c = i / out->area % out->n_channels;
        out->lo[c] = fminf(out->lo[c], images->data[i]);
        out->hi[c] = fmaxf(out->hi[c], images->data[i]);
    }
}

static uint8_t level_of(float x, float lo, float hi) {
    const float share = hi > lo ? (x - lo) / (hi - lo) : 0;
    return (uint8_t)lrintf(HIGHEST * fminf(fmaxf(share, 0), 1));
}

zq_status zq_pixels_take(const zq_images *images, const zq_box *box, zq_pixels *out, zq_error *err) {
    ZQ_TRY(zq_pixels_new(&images->shape, out, err));
    find_ends(images, box, out);
    for (int64_t i = 0; i < out->n_images * out->n_channels * out->area; i++) {
        const int64_t c = i / out->area % out->n_channels;
        out->level[i] = level_of(images->data[i], out->lo[c], out->hi[c]);
    }
    return ZQ_OK;
}

/* The ends come out as they are, so that the same ends are found again. */
static float value_of(uint8_t level, float lo, float hi) {
    return level == HIGHEST ? hi : lo + (hi - lo) * ((float)level / HIGHEST);
}

void zq_pixels_give(const zq_pixels *pixels, float *data) {
    for (int64_t i = 0; i < pixels->n_images * pixels->n_channels * pixels->area; i++) {
        const int64_t c = i / pixels->area % pixels->n_channels;
        data[i] = value_of(pixels->level[i], pixels->lo[c], pixels->hi[c]);
    }
}

zq_status zq_images_round(zq_images *images, const zq_box *box, zq_error *err) {
    zq_pixels pixels;
    ZQ_TRY(zq_pixels_take(images, box, &pixels, err));
    zq_pixels_give(&pixels, images->data);
    zq_pixels_clear(&pixels);
    return ZQ_OK;
}
