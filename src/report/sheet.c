/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/memory.h"
#include "report/report.h"

#include <math.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 8, GAP = 2, LEAST_SIDE = 96, MOST_IMAGES = 256 };

/* Where images lie on the sheet. */
typedef struct zq_sheet {
    int64_t channels, height, width, n_images;
    int64_t columns, rows, zoom;
    int64_t sheet_height, sheet_width;
} zq_sheet;

/* Images that are no pictures (1-D or 3-D) are drawn as one row of pixels each. */
static zq_sheet lay_out(const zq_shape *shape) {
    zq_sheet sheet = {.n_images = shape->dims[0] < MOST_IMAGES ? shape->dims[0] : MOST_IMAGES,
                      .channels = shape->dims[1]};
    sheet.width = shape->dims[shape->rank - 1];
    sheet.height = zq_shape_count(shape) / (shape->dims[0] * sheet.channels * sheet.width);
    sheet.columns = sheet.n_images < COLUMNS ? sheet.n_images : COLUMNS;
    sheet.rows = (sheet.n_images + sheet.columns - 1) / sheet.columns;
    const int64_t side = sheet.height > sheet.width ? sheet.height : sheet.width;
    sheet.zoom = side < LEAST_SIDE ? (LEAST_SIDE + side - 1) / side : 1;
    sheet.sheet_height = sheet.rows * (sheet.height * sheet.zoom + GAP) + GAP;
    sheet.sheet_width = sheet.columns * (sheet.width * sheet.zoom + GAP) + GAP;
    return sheet;
}

static unsigned char pixel(const zq_sheet *sheet, const zq_images *images, const zq_box *box, int64_t n,
                           int64_t c, int64_t y, int64_t x) {
    if (sheet->channels != 3)
        c = 0;
    const float value = images->data[((n * sheet->channels + c) * sheet->height + y) * sheet->width + x];
    const float share = (value - box->lo[c]) / fmaxf(box->hi[c] - box->lo[c], 1e-12F);
    return (unsigned char)(255 * fminf(fmaxf(share, 0), 1) + 0.5F);
}

static void draw_image(const zq_sheet *sheet, const zq_images *images, const zq_box *box, int64_t n,
                       unsigned char *rgb) {
    const int64_t top = GAP + n / sheet->columns * (sheet->height * sheet->zoom + GAP);
    const int64_t left = GAP + n % sheet->columns * (sheet->width * sheet->zoom + GAP);
    for (int64_t y = 0; y < sheet->height * sheet->zoom; y++)
        for (int64_t x = 0; x < sheet->width * sheet->zoom; x++)
            for (int64_t c = 0; c < 3; c++)
                rgb[((top + y) * sheet->sheet_width + left + x) * 3 + c] =
                    pixel(sheet, images, box, n, c, y / sheet->zoom, x / sheet->zoom);
}

/* libpng writes into memory, so that the file appears whole or not at all. */
static zq_status encode(const zq_sheet *sheet, const unsigned char *rgb, const char *path, zq_error *err) {
    png_image image = {.version = PNG_IMAGE_VERSION,
                       .width = (png_uint_32)sheet->sheet_width,
                       .height = (png_uint_32)sheet->sheet_height,
                       .format = PNG_FORMAT_RGB};
    png_alloc_size_t n = 0;
    if (!png_image_write_get_memory_size(image, n, 0, rgb, 0, NULL))
        return zq_fail(err, ZQ_ERR_INTERNAL, "%s: the picture can't be encoded: %s", path, image.message);
    void *bytes = zq_alloc_raw(n, 1);
    if (bytes == NULL)
        return zq_fail_memory(err);
    zq_status status;
    if (png_image_write_to_memory(&image, bytes, &n, 0, rgb, 0, NULL))
        status = zq_file_write(path, bytes, n, err);
    else
        status = zq_fail(err, ZQ_ERR_INTERNAL, "%s: the picture can't be encoded: %s", path, image.message);
    zq_free(bytes);
    return status;
}

zq_status zq_sheet_write(const char *path, const zq_images *images, const zq_box *box, zq_error *err) {
    const zq_sheet sheet = lay_out(&images->shape);
    unsigned char *rgb = zq_alloc_raw((size_t)(sheet.sheet_height * sheet.sheet_width), 3);
    if (rgb == NULL)
        return zq_fail_memory(err);
    memset(rgb, 255, (size_t)(sheet.sheet_height * sheet.sheet_width) * 3);
    for (int64_t n = 0; n < sheet.n_images; n++)
        draw_image(&sheet, images, box, n, rgb);
    const zq_status status = encode(&sheet, rgb, path, err);
    zq_free(rgb);
    return status;
}
