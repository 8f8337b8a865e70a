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

/* Of the box and of all pixels. */
static void find_ends(const zq_images *images, const zq_box *box, zq_pixels *out) {
    for (int64_t c = 0; c < out->n_channels; c++) {
        float lo = box->lo[c], hi = box->hi[c];
#pragma omp parallel for reduction(min : lo) reduction(max : hi)
        for (int64_t image = 0; image < out->n_images; image++) {
            const float *const plane = images->data + (image * out->n_channels + c) * out->area;
            for (int64_t i = 0; i < out->area; i++) {
                lo = plane[i] < lo ? plane[i] : lo;
                hi = plane[i] > hi ? plane[i] : hi;
            }
        }
        out->lo[c] = lo;
        out->hi[c] = hi;
    }
}

static uint8_t level_of(float x, float lo, float hi) {
    const float share = hi > lo ? (x - lo) / (hi - lo) : 0;
    const float inside = share > 0 ? share < 1 ? share : 1 : 0;
    return (uint8_t)lrintf(HIGHEST * inside);
}

zq_status zq_pixels_take(const zq_images *images, const zq_box *box, zq_pixels *out, zq_error *err) {
    ZQ_TRY(zq_pixels_new(&images->shape, out, err));
    find_ends(images, box, out);
#pragma omp parallel for
    for (int64_t plane = 0; plane < out->n_images * out->n_channels; plane++) {
        const float lo = out->lo[plane % out->n_channels], hi = out->hi[plane % out->n_channels];
        for (int64_t i = plane * out->area; i < (plane + 1) * out->area; i++)
            out->level[i] = level_of(images->data[i], lo, hi);
    }
    return ZQ_OK;
}

/* The ends come out as they are, so that the same ends are found again. */
static float value_of(uint8_t level, float lo, float hi) {
    return level == HIGHEST ? hi : lo + (hi - lo) * ((float)level / HIGHEST);
}

void zq_pixels_give(const zq_pixels *pixels, float *data) {
#pragma omp parallel for
    for (int64_t plane = 0; plane < pixels->n_images * pixels->n_channels; plane++) {
        const float lo = pixels->lo[plane % pixels->n_channels], hi = pixels->hi[plane % pixels->n_channels];
        for (int64_t i = plane * pixels->area; i < (plane + 1) * pixels->area; i++)
            data[i] = value_of(pixels->level[i], lo, hi);
    }
}

zq_status zq_images_round(zq_images *images, const zq_box *box, zq_error *err) {
    zq_pixels pixels;
    ZQ_TRY(zq_pixels_take(images, box, &pixels, err));
    zq_pixels_give(&pixels, images->data);
    zq_pixels_clear(&pixels);
    return ZQ_OK;
}
