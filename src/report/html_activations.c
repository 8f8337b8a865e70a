/* SPDX-License-Identifier: Apache-2.0 */
/* The range that every quantized value got, over what it held. */
#include "report/html.h"
#include "report/markup.h"
#include "report/svg.h"

#include <math.h>

enum { SHOWN = 12, MOST = 400, WIDTH = 240, HEIGHT = 60, BOTTOM = 48, RANGE_Y = 54 };

/* A histogram with roots as heights, so that thin tails are seen; in units of bins and pixels. */
static void draw_bins(FILE *f, const zq_density *density, double left, double right) {
    float most = 0;
    for (int i = 0; i < ZQ_DENSITY_BINS; i++)
        most = fmaxf(most, density->share[i]);
    if (!(most > 0))
        return;
    fprintf(f, "<path class='hist' transform='translate(%.1f) scale(%.3f 1)' d='M0 %d", left,
            (right - left) / ZQ_DENSITY_BINS, BOTTOM);
    for (int i = 0; i < ZQ_DENSITY_BINS; i++)
        fprintf(f, "V%.3gh1", BOTTOM - (BOTTOM - 2) * sqrt(density->share[i] / most));
    fprintf(f, "V%dZ'/>", BOTTOM);
}

/* What a value held over the range that its bits can say. */
static void draw(FILE *f, const zq_density *density, double lo, double hi) {
    zq_axis x = {.lo = 1, .hi = 0};
    zq_axis_include(&x, lo);
    zq_axis_include(&x, hi);
    zq_axis_include(&x, density->lo);
    zq_axis_include(&x, density->hi);
    zq_axis_finish(&x, 0);
    fprintf(
        f,
        "<svg class='chart' height='%d' viewBox='0 0 %d %d' preserveAspectRatio='none' aria-hidden='true'>",
        HEIGHT, WIDTH, HEIGHT);
    draw_bins(f, density, WIDTH * zq_axis_place(&x, density->lo), WIDTH * zq_axis_place(&x, density->hi));
    const double left = WIDTH * zq_axis_place(&x, lo), right = WIDTH * zq_axis_place(&x, hi);
    if (left > 0 || right < WIDTH)
        fprintf(f, "<path class='clip' d='M0 0H%.1fV%dH0ZM%.1f 0H%dV%dH%.1fZ'/>", left, BOTTOM, right, WIDTH,
                BOTTOM, right);
    fprintf(f, "<path class='range' vector-effect='non-scaling-stroke' d='M%.1f %dH%.1f'/></svg>", left,
            RANGE_Y, right);
}

static void put_card(FILE *f, const zq_record *record, int v) {
    const zq_activation *activation = &record->activations[v];
    const zq_density *density = &record->seen[v];
    const double lo = -(double)activation->scale * activation->zero_point;
    const double hi = (double)activation->scale * (activation->q_max - activation->zero_point);
    char a[ZQ_NUMBER], b[ZQ_NUMBER];
    fputs("<li><h4>", f);
    zq_markup_name(f, record->graph->values[v].name);
    fputs("</h4>", f);
    if (density->n > 0)
        draw(f, density, lo, hi);
    fprintf(f, "<p><b>%s \xe2\x80\xa6 %s</b>, %d bits", zq_markup_number(lo, a), zq_markup_number(hi, b),
            zq_activation_bits(activation));
    if (density->n > 0) {
        fprintf(f, "<br>seen %s \xe2\x80\xa6 %s", zq_markup_number(density->lo, a),
                zq_markup_number(density->hi, b));
        fprintf(f, "<br>%s beyond, %s zero", zq_markup_share(zq_density_outside(density, lo, hi), a),
                zq_markup_share(density->zeros, b));
    }
    fputs("</p></li>\n", f);
}

void zq_html_activations(FILE *f, const zq_record *record) {
    int n = 0, shown = 0;
    for (int v = 0; v < record->graph->n_values; v++)
        n += record->activations[v].used;
    fprintf(
        f,
        "<section id='activations'>\n<h2>Activations</h2>\n<p>%d values are quantized to %.3g bits%s. Each "
        "shows what it held on the images below, exact zeros left out and heights as square roots, "
        "so that tails are seen; the bar below is the range that its bits can say, and what lies "
        "beyond is clipped to it.</p>\n<ul class='cards'>\n",
        n, record->summary.mean_activation_bits,
        record->grid_choice != NULL ? " in the mean over the elements of an image" : "");
    for (int v = 0; v < record->graph->n_values && shown < MOST; v++) {
        if (!record->activations[v].used)
            continue;
        if (shown++ == SHOWN)
            fprintf(f, "</ul>\n<details><summary>The other %d values</summary>\n<ul class='cards'>\n",
                    n - SHOWN);
        put_card(f, record, v);
    }
    fputs("</ul>\n", f);
    if (n > MOST)
        fprintf(f, "<p>The last %d are left out here; the JSON report has all.</p>\n", n - MOST);
    fprintf(f, "%s</section>\n", n > SHOWN ? "</details>\n" : "");
}
