/* SPDX-License-Identifier: Apache-2.0 */
/* The distilled images, and how their loss fell. */
#include "base/memory.h"
#include "report/html.h"
#include "report/markup.h"
#include "report/picture.h"
#include "report/svg.h"

#include <math.h>
#include <string.h>

enum { LONG_SIDE = 112, MOST_IMAGES = 32, ROW = 8, HEIGHT = 190 };
/* Of the whole page, and of all pixels: they are noise, which doesn't compress, and base64 makes 4 bytes
 * of 3. */
static const double page_bytes = 1.9e6, pixel_bytes = 6.1e5, bytes_a_match = 900;

static int choose_shrink(const zq_shape *shape) {
    const int64_t height = zq_picture_height(shape), width = zq_picture_width(shape);
    const int64_t side = height > width ? height : width, shrink = (side + LONG_SIDE - 1) / LONG_SIDE;
    return (int)(shrink > height ? height : shrink > width ? width : shrink); /* at least a pixel stays */
}

/* As many as fit, in whole rows; one is always shown. */
static int64_t choose_number(FILE *f, const zq_images *images, int shrink) {
    const zq_shape *shape = &images->shape;
    const double area =
        (double)(zq_picture_height(shape) / shrink) * (double)(zq_picture_width(shape) / shrink);
    const double left = page_bytes - (double)ftell(f) - bytes_a_match * images->n_matches;
    const double fit = fmin(fmax(left / 1.4, 0), pixel_bytes) / (3 * area);
    int64_t n = shape->dims[0] < MOST_IMAGES ? shape->dims[0] : MOST_IMAGES;
    if ((double)n > fit)
        n = fit > ROW ? (int64_t)fit / ROW * ROW : (int64_t)fit;
    return n < 1 ? 1 : n;
}

static zq_status put_image(FILE *f, const zq_record *record, int64_t n, int shrink, zq_error *err) {
    const zq_shape *shape = &record->images->shape;
    unsigned char *png;
    size_t n_bytes;
    ZQ_TRY(zq_picture_of_image(record->images, record->box, n, shrink, &png, &n_bytes, err));
    fprintf(f, "<img alt='Distilled image %lld' width='%lld' height='%lld' src='data:image/png;base64,",
            (long long)n + 1, (long long)(zq_picture_width(shape) / shrink),
            (long long)(zq_picture_height(shape) / shrink));
    zq_markup_base64(f, n_bytes, png);
    fputs("'>\n", f);
    zq_free(png);
    return ZQ_OK;
}

static void draw_loss(FILE *f, const zq_record *record) {
    const zq_images *images = record->images;
    zq_panel panel = {.f = f,
                      .x = {.lo = 0, .hi = images->n_steps, .whole = true},
                      .y = {.lo = 1, .hi = 0, .log = true},
                      .top = 26,
                      .height = HEIGHT - 60};
    for (int s = 0; s < images->n_steps; s++)
        zq_axis_include(&panel.y, images->loss[s]);
    zq_axis_finish(&panel.y, 0.03);
    fputs("<div class='plot'>\n", f);
    zq_svg_begin(f, HEIGHT, "Loss of the distillation by step");
    zq_svg_title(&panel, "Loss by step");
    zq_svg_grid(&panel, 6);
    zq_svg_ticks(&panel, 10);
    zq_svg_line_begin(&panel, "frontier");
    for (int s = 0; s < images->n_steps; s++)
        zq_svg_line_to(&panel, s, images->loss[s]);
    zq_svg_line_end(&panel);
    zq_svg_end(f);
    fputs("</div>\n", f);
}

static void put_sentence(FILE *f, const zq_record *record, int64_t n_shown, int shrink) {
    const zq_images *images = record->images;
    char residual[ZQ_NUMBER];
    fprintf(f, "<p>%lld image%s of %lld\xc3\x97%lld pixels %s, ", (long long)images->shape.dims[0],
            images->shape.dims[0] == 1 ? "" : "s", (long long)zq_picture_width(&images->shape),
            (long long)zq_picture_height(&images->shape),
            strcmp(images->source, "photos") == 0  ? "of photos"
            : strcmp(images->source, "noise") == 0 ? "of random noise"
            : record->bn->n_estimated > 0          ? "distilled from estimated statistics"
                                          : "distilled from the network\xe2\x80\x99s own statistics");
    fprintf(f, "with valid pixels %s. ",
            !record->box->estimated    ? "as given"
            : record->bn->bn_total > 0 ? "estimated from the first layer"
                                       : "assumed to lie between -2.5 and 2.5");
    if (images->half)
        fputs("The distillation computed in bfloat16. ", f);
    if (images->n_matches > 0)
        fprintf(f,
                "Their statistics are %s of sigma\xc2\xb2 from the %s ones; 64 real images have 0.02 to 0.05 "
                "from stored ones. ",
                zq_markup_number(images->residual, residual),
                record->bn->n_estimated > 0 ? "estimated" : "stored");
    if (n_shown < images->shape.dims[0])
        fprintf(f, "The first %lld are shown", (long long)n_shown);
    else
        fputs("All are shown", f);
    fprintf(f, shrink > 1 ? ", at a %s of their size.</p>\n" : ".</p>\n",
            shrink == 2   ? "half"
            : shrink == 3 ? "third"
                          : "fraction");
}

zq_status zq_html_images(FILE *f, const zq_record *record, zq_error *err) {
    fputs("<section id='images'>\n<h2>Images</h2>\n", f);
    if (record->images == NULL || record->box == NULL) {
        fputs("<p>None are there.</p>\n</section>\n", f);
        return ZQ_OK;
    }
    const int shrink = choose_shrink(&record->images->shape);
    const int64_t n_shown = choose_number(f, record->images, shrink);
    put_sentence(f, record, n_shown, shrink);
    fputs("<div class='images'>\n", f);
    for (int64_t n = 0; n < n_shown; n++)
        ZQ_TRY(put_image(f, record, n, shrink, err));
    fputs("</div>\n", f);
    if (record->images->n_steps > 1)
        draw_loss(f, record);
    fputs("</section>\n", f);
    return ZQ_OK;
}
