/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/memory.h"
#include "report/picture.h"
#include "report/report.h"

#include <string.h>

enum { COLUMNS = 8, GAP = 2, LEAST_SIDE = 96, MOST_IMAGES = 256 };

/* Where images lie on the sheet. */
typedef struct zq_sheet {
    int64_t height, width, n_images; /* of an image */
    int64_t columns, rows, zoom;
    int64_t sheet_height, sheet_width;
} zq_sheet;

static zq_sheet lay_out(const zq_shape *shape) {
    zq_sheet sheet = {.n_images = shape->dims[0] < MOST_IMAGES ? shape->dims[0] : MOST_IMAGES,
                      .height = zq_picture_height(shape),
                      .width = zq_picture_width(shape)};
    sheet.columns = sheet.n_images < COLUMNS ? sheet.n_images : COLUMNS;
    sheet.rows = (sheet.n_images + sheet.columns - 1) / sheet.columns;
    const int64_t side = sheet.height > sheet.width ? sheet.height : sheet.width;
    sheet.zoom = side < LEAST_SIDE ? (LEAST_SIDE + side - 1) / side : 1;
    sheet.sheet_height = sheet.rows * (sheet.height * sheet.zoom + GAP) + GAP;
    sheet.sheet_width = sheet.columns * (sheet.width * sheet.zoom + GAP) + GAP;
    return sheet;
}

static void draw_image(const zq_sheet *sheet, const zq_images *images, const zq_box *box, int64_t n,
                       unsigned char *rgb) {
    const int64_t top = GAP + n / sheet->columns * (sheet->height * sheet->zoom + GAP);
    const int64_t left = GAP + n % sheet->columns * (sheet->width * sheet->zoom + GAP);
    for (int64_t y = 0; y < sheet->height * sheet->zoom; y++)
        for (int64_t x = 0; x < sheet->width * sheet->zoom; x++)
            for (int c = 0; c < 3; c++)
                rgb[((top + y) * sheet->sheet_width + left + x) * 3 + c] =
                    zq_picture_level(images, box, n, c, y / sheet->zoom, x / sheet->zoom);
}

zq_status zq_sheet_write(const char *path, const zq_images *images, const zq_box *box, zq_error *err) {
    const zq_sheet sheet = lay_out(&images->shape);
    unsigned char *rgb = zq_alloc_raw((size_t)(sheet.sheet_height * sheet.sheet_width), 3), *png;
    size_t n;
    if (rgb == NULL)
        return zq_fail_memory(err);
    memset(rgb, 255, (size_t)(sheet.sheet_height * sheet.sheet_width) * 3);
    for (int64_t i = 0; i < sheet.n_images; i++)
        draw_image(&sheet, images, box, i, rgb);
    zq_status status = zq_picture_encode(sheet.sheet_height, sheet.sheet_width, rgb, &png, &n, err);
    zq_free(rgb);
    if (status == ZQ_OK) {
        status = zq_file_write(path, png, n, err);
        zq_free(png);
    }
    return status;
}
