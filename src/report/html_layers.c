/* SPDX-License-Identifier: Apache-2.0 */
/* The width of every layer along the network, and the table of sensitivities. */
#include "report/html.h"
#include "report/markup.h"
#include "report/svg.h"

#include <math.h>

enum {
    WIDTHS_TOP = 26,
    BYTES_TOP = 142,
    DAMAGE_TOP = 258,
    SMALL = 78,
    LARGE = 150,
    AXIS = 30,
    HEIGHT = DAMAGE_TOP + LARGE + AXIS,
    WIDEST = 8
};
enum { PIXELS_A_LAYER = 4 }; /* on narrow screens the chart scrolls rather than shrink below that */

/* The chart's areas, over each other and with one scale across: layers, numbered from 1. */
typedef struct zq_stack {
    zq_panel widths, bytes, damage;
} zq_stack;

static double layer_bytes(const zq_record *record, int i) {
    return (double)zq_layer_bytes(&record->layers->items[i], record->chosen->bits[i]);
}

static double layer_weights(const zq_record *record, int i) {
    const zq_layer *layer = &record->layers->items[i];
    return (double)layer->n_channels * (double)layer->per_channel;
}

/* The damage measured for the width number k of a layer; none where every width is exact. */
static double omega(const zq_record *record, int i, int k) {
    return record->layers->items[i].affine
               ? NAN
               : record->sensitivity->omega[i * record->sensitivity->n_widths + k];
}

/* The number of the width that a layer got; -1: not among those measured. */
static int chosen_width(const zq_record *record, int i) {
    const zq_sensitivity *sensitivity = record->sensitivity;
    for (int k = 0; k < sensitivity->n_widths; k++)
        if (sensitivity->widths[k] == record->chosen->bits[i])
            return k;
    return -1;
}

static zq_stack scale(FILE *f, const zq_record *record) {
    const int n = record->layers->n;
    const zq_axis across = {.lo = 0.5, .hi = n + 0.5, .whole = true};
    zq_stack stack = {
        .widths = {f, across, {.lo = 0, .hi = WIDEST}, WIDTHS_TOP, SMALL},
        .bytes = {f, across, {.lo = 0, .hi = 0, .bytes = true, .whole = true}, BYTES_TOP, SMALL},
        .damage = {f, across, {.lo = 1, .hi = 0, .log = true}, DAMAGE_TOP, LARGE}};
    for (int i = 0; i < n; i++) {
        zq_axis_include(&stack.bytes.y, layer_bytes(record, i));
        for (int k = 0; k < record->sensitivity->n_widths; k++)
            zq_axis_include(&stack.damage.y, omega(record, i, k));
    }
    zq_axis_finish(&stack.damage.y, 0.03);
    return stack;
}

static void draw_damage_lines(const zq_panel *panel, const zq_record *record) {
    for (int k = 0; k < record->sensitivity->n_widths; k++) {
        char class[16];
        snprintf(class, sizeof class, "w%d", record->sensitivity->widths[k]);
        zq_svg_line_begin(panel, class);
        for (int i = 0; i < record->layers->n; i++)
            if (!record->layers->items[i].affine)
                zq_svg_line_to(panel, i + 1, omega(record, i, k));
        zq_svg_line_end(panel);
    }
}

static void put_tip(const zq_panel *panel, const zq_record *record, int i) {
    const zq_sensitivity *sensitivity = record->sensitivity;
    char size[ZQ_NUMBER], weights[ZQ_NUMBER];
    zq_svg_tip_begin(panel);
    fprintf(panel->f, "%d. ", i + 1);
    zq_markup_name(panel->f, record->layers->items[i].name);
    fprintf(panel->f, "\n%d bits: %s for %s weights", record->chosen->bits[i],
            zq_markup_bytes(layer_bytes(record, i), size),
            zq_markup_count(layer_weights(record, i), weights));
    if (record->layers->items[i].affine)
        fputs("\nScale and shift of a BatchNormalization, exact", panel->f);
    else if (record->layers->items[i].kept != 0)
        fputs(", as asked for", panel->f);
    for (int k = 0; !record->layers->items[i].affine && k < sensitivity->n_widths; k++)
        fprintf(panel->f, "%s%s with %d bits", k == 0 ? "\nDamage " : ", ",
                zq_markup_number(omega(record, i, k), size), sensitivity->widths[k]);
    zq_svg_tip_end(panel);
}

static void draw_layer(const zq_stack *stack, const zq_record *record, int i) {
    const int bits = record->chosen->bits[i], width = chosen_width(record, i);
    char class[16];
    snprintf(class, sizeof class, "b%d", bits);
    zq_svg_spot_begin(&stack->widths, i + 0.5, i + 1.5, HEIGHT - AXIS);
    zq_svg_bar(&stack->widths, i + 0.58, i + 1.42, bits, class);
    zq_svg_bar(&stack->bytes, i + 0.58, i + 1.42, layer_bytes(record, i), class);
    if (width >= 0 && !record->layers->items[i].affine)
        zq_svg_dot(&stack->damage, i + 1, omega(record, i, width), record->layers->n > 120 ? 2.5 : 3.5,
                   class);
    put_tip(&stack->widths, record, i);
    zq_svg_spot_end(&stack->widths);
}

static void draw(FILE *f, const zq_record *record) {
    const zq_stack stack = scale(f, record);
    fprintf(f, "<div class='scroll'><div class='plot' style='min-width:%dpx'>\n",
            record->layers->n * PIXELS_A_LAYER);
    zq_svg_begin(f, HEIGHT, "Width, bytes and sensitivity of every layer along the network");
    zq_svg_title(&stack.widths, "Bits of a weight");
    zq_svg_grid(&stack.widths, 5);
    zq_svg_title(&stack.bytes, "Bytes of the weights");
    zq_svg_grid(&stack.bytes, 4);
    zq_svg_title(&stack.damage, "Damage by this layer alone");
    zq_svg_grid(&stack.damage, 6);
    draw_damage_lines(&stack.damage, record);
    for (int i = 0; i < record->layers->n; i++)
        draw_layer(&stack, record, i);
    zq_svg_ticks(&stack.damage, 10);
    zq_svg_end(f);
    fputs("</div></div>\n", f);
}

/* The share of all weights at each width, as one bar. */
static void put_shares(FILE *f, const zq_record *record) {
    double n[WIDEST + 1] = {0}, all = 0;
    int layers[WIDEST + 1] = {0};
    char share[ZQ_NUMBER];
    for (int i = 0; i < record->layers->n; i++) {
        n[record->chosen->bits[i]] += layer_weights(record, i);
        layers[record->chosen->bits[i]]++;
        all += layer_weights(record, i);
    }
    fputs("<svg class='chart shares' height='14' role='img' aria-label='Weights by width'>", f);
    double left = 0;
    for (int bits = WIDEST; bits > 0; bits--) {
        if (layers[bits] > 0)
            fprintf(f, "<rect class='b%d' x='%.2f%%' y='0' width='%.2f%%' height='14'/>", bits, left,
                    100 * n[bits] / all);
        left += 100 * n[bits] / all;
    }
    fputs("</svg>\n<p class='legend'>", f);
    for (int bits = WIDEST; bits > 0; bits--)
        if (layers[bits] > 0)
            fprintf(f, "<span><i class='swatch b%d'></i><b>%d bits</b> %d layer%s, %s of weights</span> ",
                    bits, bits, layers[bits], layers[bits] == 1 ? "" : "s",
                    zq_markup_share(n[bits] / all, share));
    fputs("</p>\n", f);
}

static void put_row(FILE *f, const zq_record *record, int i) {
    const zq_layer *layer = &record->layers->items[i];
    const zq_sensitivity *sensitivity = record->sensitivity;
    const int width = chosen_width(record, i);
    char text[ZQ_NUMBER];
    snprintf(text, sizeof text, "%d", i + 1);
    fputs("<tr>", f);
    zq_html_cell(f, i + 1, text);
    fputs("<td class='name'>", f);
    zq_markup_name(f, layer->name);
    fprintf(f, "<td data-v='%d'><i class='swatch b%d'></i>%d", record->chosen->bits[i],
            record->chosen->bits[i], record->chosen->bits[i]);
    for (int k = 0; k < sensitivity->n_widths; k++)
        fprintf(f, "<td data-v='%.6g'%s>%s", omega(record, i, k), k == width ? " class='is'" : "",
                zq_markup_number(omega(record, i, k), text));
    zq_html_cell(f, layer_bytes(record, i), zq_markup_bytes(layer_bytes(record, i), text));
    zq_html_cell(f, layer_weights(record, i), zq_markup_count(layer_weights(record, i), text));
    zq_html_cell(f, layer->macs, zq_markup_count(layer->macs, text));
    fputs("\n", f);
}

static void put_table(FILE *f, const zq_record *record) {
    const zq_sensitivity *sensitivity = record->sensitivity;
    fputs("<div class='table tall'><table class='sortable'>\n<thead><tr><th data-n>#<th>Layer<th data-n>Bits",
          f);
    for (int k = 0; k < sensitivity->n_widths; k++)
        fprintf(f, "<th data-n>Damage at %d", sensitivity->widths[k]);
    fputs("<th data-n>Bytes<th data-n>Weights<th data-n>MACs<tbody>\n", f);
    for (int i = 0; i < record->layers->n; i++)
        put_row(f, record, i);
    fputs("</table></div>\n", f);
}

void zq_html_layers(FILE *f, const zq_record *record) {
    fputs("<section id='layers'>\n<h2>Layers</h2>\n", f);
    put_shares(f, record);
    draw(f, record);
    fputs(
        "<p class='note'>Layers in the order in which they run. Damage is measured with one layer narrowed "
        "at a time: a line for each width, dots at the one that the layer got.</p>\n<h3>Sensitivities</h3>\n",
        f);
    put_table(f, record);
    fputs("</section>\n", f);
}
