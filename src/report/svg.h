/* SPDX-License-Identifier: Apache-2.0 */
/* Charts as SVG inside HTML. Across, places are percents, so that a chart takes the width of the page and its
 * text keeps its size; down they are pixels. Colours are classes: the page's style sheet knows light and
 * dark. */
#ifndef ZQ_REPORT_SVG_H
#define ZQ_REPORT_SVG_H

#include <stdbool.h>
#include <stdio.h>

typedef struct zq_axis {
    double lo, hi; /* lo < hi; lo > 0 when logarithmic */
    bool log;
    bool bytes; /* labels are amounts of bytes */
    bool whole; /* only whole numbers are labelled */
} zq_axis;

/* Grows an axis (lo > hi: empty) to hold x, when that is finite and fits its kind. */
void zq_axis_include(zq_axis *axis, double x);

/* Room around what is included; an empty or pointlike axis becomes one of some length. */
void zq_axis_finish(zq_axis *axis, double margin);

/* 0 at lo to 1 at hi; outside, the nearer end. */
double zq_axis_place(const zq_axis *axis, double x);

/* At most `most` (2..32) round values inside the axis; returns how many. */
int zq_axis_ticks(const zq_axis *axis, int most, double *ticks_out);

/* An area of a chart with its own scales, from `top` pixels on. */
typedef struct zq_panel {
    FILE *f;
    zq_axis x, y; /* y grows upwards */
    double top, height;
} zq_panel;

/* label: what a screen reader says; plain text of ours. */
void zq_svg_begin(FILE *f, double height, const char *label);
void zq_svg_end(FILE *f);

double zq_svg_x(const zq_panel *panel, double x); /* percent */
double zq_svg_y(const zq_panel *panel, double y); /* pixels */

void zq_svg_title(const zq_panel *panel, const char *text); /* above the panel */
void zq_svg_grid(const zq_panel *panel, int most_lines);    /* lines across with their values */
void zq_svg_ticks(const zq_panel *panel, int most);         /* values along the bottom */

/* A line through points, given from left to right. */
void zq_svg_line_begin(const zq_panel *panel, const char *class);
void zq_svg_line_to(const zq_panel *panel, double x, double y);
void zq_svg_line_end(const zq_panel *panel);

void zq_svg_dot(const zq_panel *panel, double x, double y, double radius, const char *class);

/* A bar from the bottom of the panel to y, between two places across. */
void zq_svg_bar(const zq_panel *panel, double x0, double x1, double y, const char *class);

/* An upright line from y0 to y1. */
void zq_svg_stem(const zq_panel *panel, double x, double y0, double y1, const char *class);

/* A group that shows a text under the pointer, anywhere between x0 and x1 of the whole chart; what is drawn
 * until zq_svg_spot_end stands out then. Between zq_svg_tip_begin and zq_svg_tip_end the text is written,
 * lines separated by \n. */
void zq_svg_spot_begin(const zq_panel *panel, double x0, double x1, double chart_height);
void zq_svg_tip_begin(const zq_panel *panel);
void zq_svg_tip_end(const zq_panel *panel);
void zq_svg_spot_end(const zq_panel *panel);

#endif
