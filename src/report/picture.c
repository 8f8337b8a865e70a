/* SPDX-License-Identifier: Apache-2.0 */
#include "report/picture.h"

#include "base/memory.h"

#include <math.h>
#include <png.h>

int64_t zq_picture_width(const zq_shape *shape) {
    return shape->dims[shape->rank - 1];
}

int64_t zq_picture_height(const zq_shape *shape) {
    return zq_shape_count(shape) / (shape->dims[0] * shape->dims[1] * zq_picture_width(shape));
}

unsigned char zq_picture_level(const zq_images *images, const zq_box *box, int64_t n, int colour, int64_t y,
                               int64_t x) {
    const zq_shape *shape = &images->shape;
    const int64_t n_channels = shape->dims[1], c = n_channels == 3 ? colour : 0;
    const float value =
        images->data[((n * n_channels + c) * zq_picture_height(shape) + y) * zq_picture_width(shape) + x];
    const float share = (value - box->lo[c]) / fmaxf(box->hi[c] - box->lo[c], 1e-12F);
    return (unsigned char)(255 * fminf(fmaxf(share, 0), 1) + 0.5F);
}

zq_status zq_picture_encode(int64_t height, int64_t width, const unsigned char *rgb, unsigned char **png_out,
                            size_t *n_out, zq_error *err) {
    png_image image = {.version = PNG_IMAGE_VERSION,
                       .width = (png_uint_32)width,
                       .height = (png_uint_32)height,
                       .format = PNG_FORMAT_RGB};
    png_alloc_size_t n = 0;
    if (!png_image_write_get_memory_size(image, n, 0, rgb, 0, NULL))
        return zq_fail(err, ZQ_ERR_INTERNAL, "a picture can't be encoded: %s", image.message);
    *png_out = zq_alloc_raw(n, 1);
    if (*png_out == NULL)
        return zq_fail_memory(err);
    if (!png_image_write_to_memory(&image, *png_out, &n, 0, rgb, 0, NULL)) {
        zq_free(*png_out);
        return zq_fail(err, ZQ_ERR_INTERNAL, "a picture can't be encoded: %s", image.message);
    }
    *n_out = n;
    return ZQ_OK;
}

static unsigned char mean_level(const zq_images *images, const zq_box *box, int64_t n, int colour, int64_t y,
                                int64_t x, int shrink) {
    int sum = 0;
    for (int i = 0; i < shrink; i++)
        for (int j = 0; j < shrink; j++)
            sum += zq_picture_level(images, box, n, colour, y * shrink + i, x * shrink + j);
    return (unsigned char)((sum + shrink * shrink / 2) / (shrink * shrink));
}

zq_status zq_picture_of_image(const zq_images *images, const zq_box *box, int64_t n, int shrink,
                              unsigned char **png_out, size_t *n_out, zq_error *err) {
    const int64_t height = zq_picture_height(&images->shape) / shrink,
                  width = zq_picture_width(&images->shape) / shrink;
    unsigned char *rgb = zq_alloc_raw((size_t)(height * width), 3);
    if (rgb == NULL)
        return zq_fail_memory(err);
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < width; x++)
            for (int c = 0; c < 3; c++)
                rgb[(y * width + x) * 3 + c] = mean_level(images, box, n, c, y, x, shrink);
    const zq_status status = zq_picture_encode(height, width, rgb, png_out, n_out, err);
    zq_free(rgb);
    return status;
}
