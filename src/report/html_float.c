/* SPDX-License-Identifier: Apache-2.0 */
/* What was not quantized, and why. */
#include "graph/op.h"
#include "report/html.h"
#include "report/markup.h"

#include <string.h>

enum { MOST_NAMES = 200 };

/* Whether a node is the first of its operator with this placement; how many there are in *n_out. */
static bool is_first(const zq_record *record, int node, int *n_out) {
    const zq_graph *graph = record->graph;
    bool first = true;
    *n_out = 0;
    for (int n = 0; n < graph->n_nodes; n++)
        if (graph->nodes[n].op == graph->nodes[node].op &&
            record->placements[n] == record->placements[node]) {
            first = first && n >= node;
            ++*n_out;
        }
    return first;
}

static void put_names(FILE *f, const zq_record *record, int node) {
    const zq_graph *graph = record->graph;
    int n_names = 0;
    for (int n = node; n < graph->n_nodes && n_names < MOST_NAMES; n++) {
        const zq_node *other = &graph->nodes[n];
        if (other->op != graph->nodes[node].op || record->placements[n] != record->placements[node])
            continue;
        fputs(n_names++ > 0 ? ", " : "", f);
        zq_markup_name(f, other->name[0] != '\0' ? other->name : graph->values[other->outputs[0]].name);
    }
}

static void put_row(FILE *f, const zq_record *record, int node, int n) {
    const char *reason = zq_placement_text(record->placements[node]), *colon = strstr(reason, ": ");
    fprintf(f, "<tr><td>%s<td data-v='%d'>%d<td>%s<td class='names'>", record->graph->nodes[node].op->name, n,
            n, colon != NULL ? colon + 2 : reason);
    put_names(f, record, node);
    fputs(n > MOST_NAMES ? ", \xe2\x80\xa6\n" : "\n", f);
}

/* Share of multiply-accumulates that run on integers, layers that were excluded counted as well. */
static double integer_share(const zq_record *record) {
    double all = 0, integer = 0, macs;
    for (int n = 0; n < record->graph->n_nodes; n++)
        if (zq_layer_node_macs(record->graph, &record->graph->nodes[n], &macs, NULL) == ZQ_OK) {
            all += macs;
            integer += record->placements[n] == ZQ_PLACED_INTEGER ? macs : 0;
        }
    return all > 0 ? integer / all : 0;
}

void zq_html_float(FILE *f, const zq_record *record) {
    const zq_graph *graph = record->graph;
    int n_float = 0, n_affine = 0, n;
    char share[ZQ_NUMBER];
    for (n = 0; n < graph->n_nodes; n++)
        n_float += record->placements[n] != ZQ_PLACED_INTEGER;
    for (int i = 0; i < record->layers->n; i++)
        n_affine += record->layers->items[i].affine;
    fprintf(f,
            "<section id='float'>\n<h2>Left in float</h2>\n<p>%s of the multiply-accumulates run on integers "
            "in %s",
            zq_markup_share(integer_share(record), share), zq_form_of(record->options->runtime)->name);
    if (n_float == 0)
        fputs("; nothing stays in float.</p>\n", f);
    else {
        fprintf(f, ", and %d of %d nodes stay in float:</p>\n", n_float, graph->n_nodes);
        fputs("<div class='table'><table class='sortable'>\n<thead><tr><th>Operator<th "
              "data-n>Nodes<th>Why<th>Which<tbody>\n",
              f);
        for (int node = 0; node < graph->n_nodes; node++)
            if (record->placements[node] != ZQ_PLACED_INTEGER && is_first(record, node, &n))
                put_row(f, record, node, n);
        fputs("</table></div>\n", f);
    }
    if (n_affine > 0)
        fprintf(f,
                "<p>%d layer%s for a BatchNormalization that could not be folded, and keep%s 8 bits.</p>\n",
                n_affine, n_affine == 1 ? " stands" : "s stand", n_affine == 1 ? "s" : "");
    fprintf(f, "<p>Biases are %s, as the runtime wants them.</p>\n</section>\n",
            zq_form_of(record->options->runtime)->float_bias ? "floats" : "32-bit integers");
}
