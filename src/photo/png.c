/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"
#include "photo/decode.h"

#include <png.h>

/* With its transparency, which is then left out: composing would need to know a background. */
static zq_status read_pixels(png_image *image, zq_photo *photo, zq_error *err) {
    const size_t n = (size_t)photo->height * (size_t)photo->width;
    unsigned char *rgba = zq_alloc_raw(n, 4);
    if (rgba == NULL)
        return zq_fail_memory(err);
    image->format = PNG_FORMAT_RGBA;
    const bool done = png_image_finish_read(image, NULL, rgba, 0, NULL) != 0;
    for (size_t i = 0; done && i < n; i++)
        for (size_t c = 0; c < 3; c++)
            photo->rgb[3 * i + c] = rgba[4 * i + c];
    zq_free(rgba);
    return done ? ZQ_OK : zq_fail(err, ZQ_ERR_FORMAT, "is a damaged PNG file: %s", image->message);
}

zq_status zq_photo_decode_png(const unsigned char *bytes, size_t n, zq_photo *photo, zq_error *err) {
    png_image image = {.version = PNG_IMAGE_VERSION};
    if (!png_image_begin_read_from_memory(&image, bytes, n))
        return zq_fail(err, ZQ_ERR_FORMAT, "is a damaged PNG file: %s", image.message);
    image.flags |= PNG_IMAGE_FLAG_16BIT_sRGB; /* 16 bits without a gamma are taken for linear otherwise */
    zq_status status = zq_photo_allocate(image.height, image.width, photo, err);
    if (status == ZQ_OK)
        status = read_pixels(&image, photo, err);
    png_image_free(&image);
    return status;
}
