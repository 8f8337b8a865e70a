/* SPDX-License-Identifier: Apache-2.0 */
/* The statistics that BatchNormalization stored against those of the distilled images. */
#include "report/html.h"
#include "report/markup.h"
#include "report/svg.h"

#include <math.h>

enum { MEAN_TOP = 26, STD_TOP = 182, PANEL = 120, HEIGHT = STD_TOP + PANEL + 30, PIXELS_A_VALUE = 4 };

static void put_spread(FILE *f, const zq_spread *spread) {
    char low[ZQ_NUMBER], middle[ZQ_NUMBER], high[ZQ_NUMBER];
    fprintf(f, "%s (%s \xe2\x80\xa6 %s)", zq_markup_number(spread->middle, middle),
            zq_markup_number(spread->low, low), zq_markup_number(spread->high, high));
}

static void draw_spread(const zq_panel *panel, double x, const zq_spread *spread) {
    zq_svg_stem(panel, x, spread->low, spread->high, "spread");
    zq_svg_dot(panel, x, spread->middle, 2.5, "middle");
}

static void draw_value(const zq_panel *mean, const zq_panel *std, const zq_record *record, int i) {
    const zq_match *match = &record->images->matches[i];
    FILE *f = mean->f;
    zq_svg_spot_begin(mean, i + 0.5, i + 1.5, STD_TOP + PANEL);
    draw_spread(mean, i + 1, &match->mean);
    draw_spread(std, i + 1, &match->std);
    zq_svg_tip_begin(mean);
    fprintf(f, "%d. ", i + 1);
    zq_markup_name(f, record->graph->values[match->value].name);
    fprintf(f, "\n%lld channels\nError of means, in sigma: ", (long long)match->n_channels);
    put_spread(f, &match->mean);
    fputs("\nDeviation reached / expected: ", f);
    put_spread(f, &match->std);
    zq_svg_tip_end(mean);
    zq_svg_spot_end(mean);
}

static void draw(FILE *f, const zq_record *record) {
    const zq_images *images = record->images;
    const zq_axis across = {.lo = 0.5, .hi = images->n_matches + 0.5, .whole = true};
    zq_panel mean = {f, across, {.lo = -0.5, .hi = 0.5}, MEAN_TOP, PANEL};
    zq_panel std = {f, across, {.lo = 0.5, .hi = 1.5}, STD_TOP, PANEL};
    for (int i = 0; i < images->n_matches; i++) {
        zq_axis_include(&mean.y, fmax(images->matches[i].mean.low, -3));
        zq_axis_include(&mean.y, fmin(images->matches[i].mean.high, 3));
        zq_axis_include(&std.y, images->matches[i].std.low);
        zq_axis_include(&std.y, fmin(images->matches[i].std.high, 3));
    }
    fprintf(f, "<div class='scroll'><div class='plot' style='min-width:%dpx'>\n",
            images->n_matches * PIXELS_A_VALUE);
    zq_svg_begin(f, HEIGHT, "Statistics reached against those expected, by layer");
    zq_svg_title(&mean, "Means: (reached \xe2\x88\x92 expected) / sigma");
    zq_svg_grid(&mean, 5);
    zq_svg_title(&std, "Deviations: reached / expected");
    zq_svg_grid(&std, 5);
    fprintf(f,
            "<line class='met' x1='0' x2='100%%' y1='%.1f' y2='%.1f'/><line class='met' x1='0' x2='100%%' "
            "y1='%.1f' y2='%.1f'/>\n",
            zq_svg_y(&mean, 0), zq_svg_y(&mean, 0), zq_svg_y(&std, 1), zq_svg_y(&std, 1));
    for (int i = 0; i < images->n_matches; i++)
        draw_value(&mean, &std, record, i);
    zq_svg_ticks(&std, 10);
    zq_svg_end(f);
    fputs("</div></div>\n", f);
}

static void put_table(FILE *f, const zq_record *record) {
    char text[ZQ_NUMBER];
    fputs("<details><summary>As a table</summary>\n<div class='table tall'><table "
          "class='sortable'>\n<thead><tr><th data-n>#<th>Value<th data-n>Channels<th data-n>Residual<th "
          "data-n>Error of means, in sigma<th data-n>Deviation, reached / expected<tbody>\n",
          f);
    for (int i = 0; i < record->images->n_matches; i++) {
        const zq_match *match = &record->images->matches[i];
        snprintf(text, sizeof text, "%d", i + 1);
        fputs("<tr>", f);
        zq_html_cell(f, i + 1, text);
        fputs("<td class='name'>", f);
        zq_markup_name(f, record->graph->values[match->value].name);
        snprintf(text, sizeof text, "%lld", (long long)match->n_channels);
        zq_html_cell(f, (double)match->n_channels, text);
        zq_html_cell(f, match->residual, zq_markup_number(match->residual, text));
        zq_html_cell(f, match->mean.middle, "");
        put_spread(f, &match->mean);
        zq_html_cell(f, match->std.middle, "");
        put_spread(f, &match->std);
        fputs("\n", f);
    }
    fputs("</table></div></details>\n", f);
}

void zq_html_statistics(FILE *f, const zq_record *record) {
    fputs("<section id='statistics'>\n<h2>Statistics, expected and reached</h2>\n", f);
    if (record->images == NULL || record->images->n_matches == 0)
        fputs("<p>The network holds no BatchNormalization statistics to compare with.</p>\n", f);
    else {
        fputs(record->bn->n_estimated > 0
                  ? "<p><strong>The network holds no BatchNormalization statistics: those expected here are "
                    "estimates</strong>, measured on random images with edges and corrected for depth. "
                  : "<p>BatchNormalization stored the mean and the deviation of every channel in training. ",
              f);
        fputs("The distilled images are good where they lead to the same, which are the thick lines. Dots "
              "are the median channel of a layer; bars hold the middle four fifths of its channels.</p>\n",
              f);
        draw(f, record);
        put_table(f, record);
    }
    fputs("</section>\n", f);
}
