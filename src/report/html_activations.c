/* SPDX-License-Identifier: Apache-2.0 */
/* The range that every quantized value got, over what it held. */
#include "report/html.h"
#include "report/markup.h"
#include "report/svg.h"

#include <math.h>

enum { SHOWN = 12, HEIGHT = 60, RANGE_Y = 54 };

/* A histogram with roots as heights, so that thin tails are seen, over the range that 8 bits can say. */
static void draw(FILE *f, const zq_density *density, double lo, double hi) {
    const double width = ((double)density->hi - density->lo) / ZQ_DENSITY_BINS;
    zq_axis x = {1, 0, false, false}, y = {0, 0, false, false};
    for (int i = 0; i < ZQ_DENSITY_BINS; i++)
        zq_axis_include(&y, sqrt(density->share[i]));
    zq_axis_include(&x, lo);
    zq_axis_include(&x, hi);
    zq_axis_include(&x, density->lo);
    zq_axis_include(&x, density->hi);
    zq_axis_finish(&x, 0);
    zq_axis_finish(&y, 0);
    y.lo = 0;
    fprintf(
        f,
        "<svg class='chart' height='%d' viewBox='0 0 240 %d' preserveAspectRatio='none' aria-hidden='true'>",
        HEIGHT, HEIGHT);
    fprintf(f, "<path class='hist' d='M%.1f 48", 240 * zq_axis_place(&x, density->lo));
    for (int i = 0; i < ZQ_DENSITY_BINS && width > 0; i++)
        fprintf(f, "V%.1fH%.1f", 48 - 46 * zq_axis_place(&y, sqrt(density->share[i])),
                240 * zq_axis_place(&x, density->lo + (i + 1) * width));
    fputs("V48Z'/>", f);
    const double left = 240 * zq_axis_place(&x, lo), right = 240 * zq_axis_place(&x, hi);
    fprintf(f, "<path class='clip' d='M0 0H%.1fV48H0ZM%.1f 0H240V48H%.1fZ'/>", left, right, right);
    fprintf(f, "<path class='range' d='M%.1f %dH%.1f'/></svg>", left, RANGE_Y, right);
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
    fprintf(f, "<p><b>%s \xe2\x80\xa6 %s</b>", zq_markup_number(lo, a), zq_markup_number(hi, b));
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
    fprintf(f,
            "<section id='activations'>\n<h2>Activations</h2>\n<p>%d values are quantized to 8 bits. Each "
            "shows what it held "
            "on the distilled images, exact zeros left out and heights as square roots, so that tails are "
            "seen; the bar "
            "below is the range that its 8 bits can say, and what lies beyond is clipped to it.</p>\n<ul "
            "class='cards'>\n",
            n);
    for (int v = 0; v < record->graph->n_values; v++) {
        if (!record->activations[v].used)
            continue;
        if (shown++ == SHOWN)
            fprintf(f, "</ul>\n<details><summary>The other %d values</summary>\n<ul class='cards'>\n",
                    n - SHOWN);
        put_card(f, record, v);
    }
    fprintf(f, "</ul>\n%s</section>\n", n > SHOWN ? "</details>\n" : "");
}
