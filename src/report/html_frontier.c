/* SPDX-License-Identifier: Apache-2.0 */
/* Size against damage: the frontier, uniform widths, what was built and measured. */
#include "report/html.h"
#include "report/markup.h"
#include "report/svg.h"

#include <math.h>

enum { HEIGHT = 380, TOP = 16, BOTTOM = 34, MOST_SPOTS = 120, MOST_LINE_POINTS = 400 };

/* Across goes what --size counts. */
static double point_cost(const zq_record *record, int p) {
    return (double)zq_record_point_cost(record, p);
}

static double candidate_cost(const zq_record *record, const zq_candidate *candidate) {
    return record->pricing->cost == ZQ_COST_BYTES
               ? (double)candidate->bytes
               : (double)zq_network_cost(record->pricing, record->layers, candidate->bits);
}

static bool has_joint(const zq_record *record) {
    return isfinite(record->joint[0]);
}

/* Axes that hold everything that is drawn. */
static zq_panel scale(FILE *f, const zq_record *record) {
    zq_panel panel = {.f = f,
                      .x = {.lo = 1, .hi = 0, .bytes = record->pricing->cost != ZQ_COST_BOPS},
                      .y = {.lo = 1, .hi = 0, .log = true},
                      .top = TOP,
                      .height = HEIGHT - TOP - BOTTOM};
    const zq_frontier *frontier = record->frontier;
    for (int p = 0; p < frontier->n_points; p++) {
        zq_axis_include(&panel.x, point_cost(record, p));
        zq_axis_include(&panel.y, frontier->points[p].omega);
        if (has_joint(record))
            zq_axis_include(&panel.y, record->joint[p]);
    }
    for (int k = 0; k < record->sensitivity->n_widths; k++) {
        const zq_uniform uniform = zq_record_uniform(record, k);
        zq_axis_include(&panel.x, (double)uniform.cost);
        zq_axis_include(&panel.y, uniform.sensitivity);
    }
    for (int k = 0; k < record->n_candidates; k++) {
        zq_axis_include(&panel.x, candidate_cost(record, &record->candidates[k]));
        zq_axis_include(&panel.y, record->candidates[k].damage.kl);
    }
    zq_axis_include(&panel.y, record->predicted->kl);
    zq_axis_finish(&panel.x, 0.04);
    zq_axis_finish(&panel.y, 0.08);
    return panel;
}

static void draw_line(const zq_panel *panel, const zq_record *record, bool joint) {
    const int n = record->frontier->n_points, every = n / MOST_LINE_POINTS + 1;
    zq_svg_line_begin(panel, joint ? "joint" : "frontier");
    for (int p = 0; p < n; p += p + every < n || p == n - 1 ? every : n - 1 - p)
        zq_svg_line_to(panel, point_cost(record, p),
                       joint ? record->joint[p] : record->frontier->points[p].omega);
    zq_svg_line_end(panel);
}

static void draw_limit(const zq_panel *panel, const zq_record *record) {
    const double limit = (double)record->limit;
    if (limit < panel->x.lo || limit > panel->x.hi)
        return;
    zq_svg_stem(panel, limit, panel->y.lo, panel->y.hi, "limit");
    const double x = zq_svg_x(panel, limit);
    const bool at_right = x > 50;
    fprintf(panel->f, "<text class='label muted' x='%.2f%%' y='%d' dx='%d' text-anchor='%s'>limit, --size ",
            x, TOP - 4, at_right ? -6 : 6, at_right ? "end" : "start"); /* above all that is drawn */
    zq_markup_name(panel->f, record->options->size);
    fputs("</text>\n", panel->f);
}

/* "8 layers with 8 bits, 11 with 4" */
static void put_widths(const zq_panel *panel, const zq_record *record, int p) {
    const zq_frontier *frontier = record->frontier;
    const char *gap = "";
    for (int k = record->sensitivity->n_widths - 1; k >= 0; k--) {
        int n = 0;
        for (int i = 0; i < frontier->n_layers; i++)
            n += frontier->choice[(size_t)p * (size_t)frontier->n_layers + (size_t)i] == k;
        if (n > 0)
            fprintf(panel->f, "%s%d layer%s with %d bits", gap, n, n == 1 ? "" : "s",
                    record->sensitivity->widths[k]);
        gap = n > 0 ? ", " : gap;
    }
}

static void put_size(const zq_panel *panel, const zq_record *record, double bytes) {
    char size[ZQ_NUMBER];
    fprintf(panel->f, "%s, %.1f %% of FP32\n", zq_markup_bytes(bytes, size),
            100 * bytes / (double)record->summary.fp32_bytes);
}

/* Spots along the frontier, each as wide as the way to its neighbours. */
static void draw_spots(const zq_panel *panel, const zq_record *record) {
    const int n = record->frontier->n_points, every = n / MOST_SPOTS + 1;
    double left = panel->x.lo;
    char text[ZQ_NUMBER];
    for (int p = 0; p < n; p += every) {
        const double x = point_cost(record, p), omega = record->frontier->points[p].omega;
        const double right = p + every < n ? (x + point_cost(record, p + every)) / 2 : panel->x.hi;
        zq_svg_spot_begin(panel, left, right, HEIGHT - BOTTOM);
        zq_svg_dot(panel, x, omega, 5, "hidden");
        zq_svg_tip_begin(panel);
        put_size(panel, record, (double)zq_record_point_bytes(record, p));
        fprintf(panel->f, "Sum of sensitivities %s\n", zq_markup_number(omega, text));
        if (has_joint(record))
            fprintf(panel->f, "All layers together %s\n", zq_markup_number(record->joint[p], text));
        put_widths(panel, record, p);
        zq_svg_tip_end(panel);
        zq_svg_spot_end(panel);
        left = right;
    }
}

static void draw_uniform(const zq_panel *panel, const zq_record *record, int k) {
    const zq_uniform uniform = zq_record_uniform(record, k);
    char text[ZQ_NUMBER];
    const double x = zq_svg_x(panel, (double)uniform.cost), y = zq_svg_y(panel, uniform.sensitivity);
    const bool at_end = x > 85; /* there the line comes from above */
    fputs("<g class='mark'>", panel->f);
    zq_svg_dot(panel, (double)uniform.cost, uniform.sensitivity, 5, "uniform");
    fprintf(panel->f,
            "<text class='label' x='%.2f%%' y='%.1f' dx='4' text-anchor='%s'>%d bits everywhere</text>", x,
            at_end ? y + 17 : y - 9, at_end ? "end" : "start", uniform.bits);
    zq_svg_tip_begin(panel);
    fprintf(panel->f, "%d bits everywhere\n", uniform.bits);
    put_size(panel, record, (double)uniform.bytes);
    fprintf(panel->f, "Sum of sensitivities %s", zq_markup_number(uniform.sensitivity, text));
    if (isfinite(uniform.joint))
        fprintf(panel->f, "\nAll layers together %s", zq_markup_number(uniform.joint, text));
    zq_svg_tip_end(panel);
    fputs("</g>\n", panel->f);
}

/* How a candidate's weights were rounded. */
static const char *rounding_name(const zq_candidate *candidate) {
    if (candidate->rounding != NULL)
        return "error feedback";
    return candidate->range == ZQ_WEIGHT_MINMAX ? "min-max"
           : candidate->range == ZQ_WEIGHT_MSE  ? "least squares"
                                                : "percentile";
}

static void draw_measured(const zq_panel *panel, const zq_record *record, const zq_candidate *candidate) {
    const bool chosen = candidate == record->chosen;
    const zq_damage *damage = chosen ? record->predicted : &candidate->damage;
    char kl[ZQ_NUMBER], spread[ZQ_NUMBER];
    fputs("<g class='mark'>", panel->f);
    zq_svg_dot(panel, candidate_cost(record, candidate), damage->kl, chosen ? 7 : 4,
               chosen ? "chosen" : "measured");
    zq_svg_tip_begin(panel);
    fprintf(panel->f, "%s\n", chosen ? "The file that was written" : "Built and measured, not chosen");
    put_size(panel, record, (double)candidate->bytes);
    fprintf(panel->f, "Measured: %s \xc2\xb1 %s, same largest output %.0f %%\n%s, %s%s",
            zq_markup_number(damage->kl, kl), zq_markup_number(damage->kl_spread, spread),
            100 * damage->agreement, candidate->name, rounding_name(candidate),
            candidate->corrected ? ", biases corrected" : "");
    zq_svg_tip_end(panel);
    fputs("</g>\n", panel->f);
}

static void draw_chosen_label(const zq_panel *panel, const zq_record *record) {
    const double x = zq_svg_x(panel, candidate_cost(record, record->chosen));
    fprintf(panel->f,
            "<text class='label strong' x='%.2f%%' y='%.1f' dx='%d' text-anchor='%s'>written</text>\n", x,
            zq_svg_y(panel, record->predicted->kl) + 20, x < 12 ? 4 : -6, x < 12 ? "start" : "end");
}

static void draw(FILE *f, const zq_record *record) {
    const zq_panel panel = scale(f, record);
    fprintf(f, "<div class='plot'>\n");
    zq_svg_begin(f, HEIGHT, "Size of the file against damage");
    zq_svg_grid(&panel, 8);
    zq_svg_ticks(&panel, 6);
    draw_limit(&panel, record);
    if (has_joint(record))
        draw_line(&panel, record, true);
    draw_line(&panel, record, false);
    draw_spots(&panel, record);
    for (int k = 0; k < record->sensitivity->n_widths; k++)
        draw_uniform(&panel, record, k);
    for (int k = 0; k < record->n_candidates; k++)
        if (&record->candidates[k] != record->chosen)
            draw_measured(&panel, record, &record->candidates[k]);
    draw_measured(&panel, record, record->chosen);
    draw_chosen_label(&panel, record);
    zq_svg_end(f);
    fprintf(f,
            "</div>\n<p class='legend'><span><i class='swatch line'></i>best sum of sensitivities at each "
            "size</span> %s<span><i class='swatch uniform'></i>the same width everywhere, likewise</span> "
            "<span><i class='swatch measured'></i>built and measured as a whole</span> <span><i "
            "class='swatch chosen'></i>written, measured on held-out images</span></p>\n",
            has_joint(record)
                ? "<span><i class='swatch line joint'></i>the same widths, all layers together, "
                  "predicted</span> "
                : "");
}

/* Where others have several. */
static bool has_one_width(const zq_record *record, const zq_candidate *candidate) {
    return record->grid_choice != NULL && !zq_record_is_mixed(record, candidate);
}

static void put_candidate(FILE *f, const zq_record *record, const zq_candidate *candidate) {
    const bool chosen = candidate == record->chosen;
    const zq_damage *damage = &candidate->damage;
    char text[ZQ_NUMBER], spread[ZQ_NUMBER];
    fprintf(f, "<tr%s><td class='name'>%s, %s%s%s%s", chosen ? " class='best'" : "", candidate->name,
            rounding_name(candidate), has_one_width(record, candidate) ? ", one width for activations" : "",
            candidate->corrected ? ", biases corrected" : "", chosen ? " (written)" : "");
    zq_html_cell(f, damage->kl, zq_markup_number(damage->kl, text));
    fprintf(f, " \xc2\xb1 %s", zq_markup_number(damage->kl_spread, spread));
    zq_html_cell(f, damage->agreement, zq_markup_share(damage->agreement, text));
    zq_html_cell(f, damage->snr_db, zq_markup_number(damage->snr_db, text));
    zq_html_cell(f, (double)candidate->bytes, zq_markup_bytes((double)candidate->bytes, text));
    fputs("\n", f);
}

static void put_candidates(FILE *f, const zq_record *record) {
    fputs("<h3>Built and measured</h3>\n<p class='note'>On the images that choose between them; what is "
          "predicted above comes from others, which chose nothing.</p>\n<div class='table'><table "
          "class='sortable'>\n<thead><tr><th>Widths and rounding<th data-n>Damage<th data-n>Same "
          "largest output<th data-n>Signal to noise, dB<th data-n>Size<tbody>\n",
          f);
    for (int k = 0; k < record->n_candidates; k++)
        put_candidate(f, record, &record->candidates[k]);
    fputs("</table></div>\n", f);
}

void zq_html_frontier(FILE *f, const zq_record *record) {
    fputs("<section id='frontier'>\n<h2>Size and damage</h2>\n", f);
    fputs("<p>Each point of the line is the choice of widths with the least damage among all of its size, if "
          "the damage of layers adds up. It doesn\xe2\x80\x99t quite, so files are built and measured as a "
          "whole before one is chosen. ",
          f);
    if (has_joint(record))
        fputs("The dashed line adds up what layers do to the scores, and not their damage. ", f);
    if (record->pricing->cost != ZQ_COST_BYTES)
        fputs(record->pricing->cost == ZQ_COST_BITS
                  ? "Across goes what the weights would take if b bits took b bits. "
                  : "Across go bit operations of one image: multiply-accumulates times both widths. ",
              f);
    fputs(zq_html_damage_is_kl(record)
              ? "Damage is the KL divergence of the outputs in nats, on the images below.</p>\n"
              : "Damage is the mean over the outputs, on the images below: the KL divergence of scores in "
                "nats, the squared error of everything else relative to its variance.</p>\n",
          f);
    draw(f, record);
    put_candidates(f, record);
    fputs("</section>\n", f);
}
