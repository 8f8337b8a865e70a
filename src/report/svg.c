/* SPDX-License-Identifier: Apache-2.0 */
#include "report/svg.h"

#include "report/markup.h"

#include <math.h>

enum { MOST_TICKS = 32, LINE_WIDTH = 1000 /* of a line's own coordinates */ };

/* ---- axes */

void zq_axis_include(zq_axis *axis, double x) {
    if (!isfinite(x) || (axis->log && x <= 0))
        return;
    const bool empty = axis->lo > axis->hi;
    if (empty || x < axis->lo)
        axis->lo = x;
    if (empty || x > axis->hi)
        axis->hi = x;
}

void zq_axis_finish(zq_axis *axis, double margin) {
    if (axis->lo > axis->hi)
        axis->lo = axis->hi = 1;
    if (axis->log) {
        const double ratio = fmax(axis->hi / axis->lo, 10), middle = sqrt(axis->lo * axis->hi);
        axis->lo = middle / sqrt(ratio) / pow(ratio, margin);
        axis->hi = middle * sqrt(ratio) * pow(ratio, margin);
    } else {
        const double length = axis->hi > axis->lo ? axis->hi - axis->lo : fmax(fabs(axis->hi), 1);
        const double middle = (axis->lo + axis->hi) / 2;
        axis->lo = middle - length * (0.5 + margin);
        axis->hi = middle + length * (0.5 + margin);
    }
}

double zq_axis_place(const zq_axis *axis, double x) {
    if (axis->log && !(x > axis->lo)) /* 0 and negative ones too */
        return 0;
    const double place =
        axis->log ? log(x / axis->lo) / log(axis->hi / axis->lo) : (x - axis->lo) / (axis->hi - axis->lo);
    return isnan(place) ? 0 : fmin(fmax(place, 0), 1);
}

static int linear_ticks(const zq_axis *axis, int most, double *ticks) {
    static const double steps[] = {1, 2, 5, 10};
    const double least = (axis->hi - axis->lo) / most, power = pow(10, floor(log10(least)));
    double step = 10 * power;
    for (int i = 3; i >= 0; i--)
        if (steps[i] * power >= least)
            step = steps[i] * power;
    if (axis->whole)
        step = fmax(step, 1);
    int n = 0;
    for (double k = ceil(axis->lo / step); k * step <= axis->hi && n < most; k++)
        ticks[n++] = k * step;
    return n;
}

/* Powers of ten, with their double and fivefold where there are few. */
static int log_ticks(const zq_axis *axis, int most, double *ticks) {
    static const double factors[] = {1, 2, 5};
    const int first = (int)floor(log10(axis->lo)), last = (int)ceil(log10(axis->hi));
    const int n_factors = 3 * (last - first) <= most ? 3 : 1, every = (last - first) / most + 1;
    int n = 0;
    for (int decade = first; decade <= last; decade += every)
        for (int i = 0; i < n_factors && n < most; i++) {
            const double tick = factors[i] * pow(10, decade);
            if (tick >= axis->lo * (1 - 1e-9) && tick <= axis->hi * (1 + 1e-9))
                ticks[n++] = tick;
        }
    return n;
}

int zq_axis_ticks(const zq_axis *axis, int most, double *ticks_out) {
    most = most < MOST_TICKS ? most : MOST_TICKS;
    return axis->log ? log_ticks(axis, most, ticks_out) : linear_ticks(axis, most, ticks_out);
}

/* Ticks are round, so few digits say them exactly. */
static const char *tick_text(const zq_axis *axis, double x, char buffer[ZQ_NUMBER]) {
    if (axis->bytes)
        snprintf(buffer, ZQ_NUMBER,
                 x >= 1e6   ? "%.6g MB"
                 : x >= 1e3 ? "%.6g KB"
                            : "%.6g B",
                 x / (x >= 1e6   ? 1e6
                      : x >= 1e3 ? 1e3
                                 : 1));
    else if (axis->log && x < 0.9e-3)
        snprintf(buffer, ZQ_NUMBER, "%.0fe%d", x / pow(10, floor(log10(x) + 1e-9)),
                 (int)floor(log10(x) + 1e-9));
    else if (!axis->log && fabs(x) < 1e-12)
        snprintf(buffer, ZQ_NUMBER, "0");
    else if (fabs(x) >= 1e4)
        snprintf(buffer, ZQ_NUMBER,
                 x >= 1e12  ? "%.6g T"
                 : x >= 1e9 ? "%.6g G"
                 : x >= 1e6 ? "%.6g M"
                            : "%.6g k",
                 x / (x >= 1e12  ? 1e12
                      : x >= 1e9 ? 1e9
                      : x >= 1e6 ? 1e6
                                 : 1e3));
    else
        snprintf(buffer, ZQ_NUMBER, "%.6g", x);
    return buffer;
}

/* ---- drawing */

void zq_svg_begin(FILE *f, double height, const char *label) {
    fprintf(f, "<svg class='chart' height='%.0f' role='img' aria-label='%s'>\n", height, label);
}

void zq_svg_end(FILE *f) {
    fputs("</svg>\n", f);
}

double zq_svg_x(const zq_panel *panel, double x) {
    return 100 * zq_axis_place(&panel->x, x);
}

double zq_svg_y(const zq_panel *panel, double y) {
    return panel->top + panel->height * (1 - zq_axis_place(&panel->y, y));
}

void zq_svg_title(const zq_panel *panel, const char *text) {
    fprintf(panel->f, "<text class='title' x='0' y='%.0f'>%s</text>\n", panel->top - 10, text);
}

void zq_svg_grid(const zq_panel *panel, int most_lines) {
    double ticks[MOST_TICKS];
    char text[ZQ_NUMBER];
    const int n = zq_axis_ticks(&panel->y, most_lines, ticks);
    for (int i = 0; i < n; i++) {
        const double y = zq_svg_y(panel, ticks[i]);
        fprintf(panel->f,
                "<line class='grid' x1='0' x2='100%%' y1='%.1f' y2='%.1f'/>"
                "<text class='tick' x='0' dx='-8' y='%.1f' text-anchor='end'>%s</text>\n",
                y, y, y + 4, tick_text(&panel->y, ticks[i], text));
    }
}

void zq_svg_ticks(const zq_panel *panel, int most) {
    double ticks[MOST_TICKS];
    char text[ZQ_NUMBER];
    const int n = zq_axis_ticks(&panel->x, most, ticks);
    const double bottom = panel->top + panel->height;
    fprintf(panel->f, "<line class='base' x1='0' x2='100%%' y1='%.1f' y2='%.1f'/>\n", bottom, bottom);
    for (int i = 0; i < n; i++) {
        const double x = zq_svg_x(panel, ticks[i]);
        fprintf(panel->f,
                "<line class='base' x1='%.2f%%' x2='%.2f%%' y1='%.1f' y2='%.1f'/>"
                "<text class='tick' x='%.2f%%' y='%.1f' text-anchor='middle'>%s</text>\n",
                x, x, bottom, bottom + 5, x, bottom + 19, tick_text(&panel->x, ticks[i], text));
    }
}

void zq_svg_line_begin(const zq_panel *panel, const char *class) {
    fprintf(
        panel->f,
        "<svg x='0' y='%.1f' width='100%%' height='%.1f' viewBox='0 0 %d %.1f' "
        "preserveAspectRatio='none'><polyline class='line %s' vector-effect='non-scaling-stroke' points='",
        panel->top, panel->height, LINE_WIDTH, panel->height, class);
}

void zq_svg_line_to(const zq_panel *panel, double x, double y) {
    fprintf(panel->f, "%.1f,%.1f ", LINE_WIDTH * zq_axis_place(&panel->x, x),
            zq_svg_y(panel, y) - panel->top);
}

void zq_svg_line_end(const zq_panel *panel) {
    fputs("'/></svg>\n", panel->f);
}

void zq_svg_dot(const zq_panel *panel, double x, double y, double radius, const char *class) {
    fprintf(panel->f, "<circle class='%s' cx='%.2f%%' cy='%.1f' r='%g'/>", class, zq_svg_x(panel, x),
            zq_svg_y(panel, y), radius);
}

void zq_svg_bar(const zq_panel *panel, double x0, double x1, double y, const char *class) {
    const double left = zq_svg_x(panel, x0), top = zq_svg_y(panel, y);
    fprintf(panel->f, "<rect class='%s' x='%.2f%%' y='%.1f' width='%.2f%%' height='%.1f'/>", class, left, top,
            zq_svg_x(panel, x1) - left, panel->top + panel->height - top);
}

void zq_svg_stem(const zq_panel *panel, double x, double y0, double y1, const char *class) {
    const double place = zq_svg_x(panel, x);
    fprintf(panel->f, "<line class='%s' x1='%.2f%%' x2='%.2f%%' y1='%.1f' y2='%.1f'/>", class, place, place,
            zq_svg_y(panel, y0), zq_svg_y(panel, y1));
}

void zq_svg_spot_begin(const zq_panel *panel, double x0, double x1, double chart_height) {
    const double left = zq_svg_x(panel, x0);
    fprintf(panel->f, "<g class='spot'><rect class='under' x='%.2f%%' y='0' width='%.2f%%' height='%.0f'/>",
            left, zq_svg_x(panel, x1) - left, chart_height);
}

void zq_svg_tip_begin(const zq_panel *panel) {
    fputs("<title>", panel->f);
}

void zq_svg_tip_end(const zq_panel *panel) {
    fputs("</title>", panel->f);
}

void zq_svg_spot_end(const zq_panel *panel) {
    fputs("</g>\n", panel->f);
}
