/* SPDX-License-Identifier: Apache-2.0 */
/* The command, the model and the stages behind the page. */
#include "report/html.h"
#include "report/markup.h"

#include <inttypes.h>

static void put_values(FILE *f, const zq_graph *graph, int n, const int *values, const char *name) {
    fprintf(f, "<div><dt>%s</dt><dd>", name);
    for (int i = 0; i < n; i++) {
        const zq_value *value = &graph->values[values[i]];
        fputs(i > 0 ? "<br>" : "", f);
        zq_markup_name(f, value->name);
        for (int d = 0; d < value->shape.rank; d++)
            if (d == 0 && graph->free_batch)
                fputs(", N", f);
            else
                fprintf(f, "%s%" PRId64, d == 0 ? ", " : " \xc3\x97 ", value->shape.dims[d]);
    }
    fputs("</dd></div>\n", f);
}

static void put_text(FILE *f, const char *name, const char *text) {
    fprintf(f, "<div><dt>%s</dt><dd>", name);
    zq_markup_name(f, text);
    fputs("</dd></div>\n", f);
}

static void put_model(FILE *f, const zq_record *record) {
    const zq_graph *graph = record->graph;
    char size[ZQ_NUMBER], macs[ZQ_NUMBER];
    put_text(f, "Model", record->model_path);
    put_text(f, "Written", record->output_path);
    fprintf(f, "<div><dt>File</dt><dd>%s, opset %d, IR version %d</dd></div>\n",
            zq_markup_bytes((double)graph->file_bytes, size), graph->opset, graph->ir_version);
    if (graph->producer != NULL)
        put_text(f, "Producer", graph->producer);
    put_values(f, graph, graph->n_inputs, graph->inputs, "Inputs");
    put_values(f, graph, graph->n_outputs, graph->outputs, "Outputs");
    fprintf(f,
            "<div><dt>Network</dt><dd>%d nodes, %d weighted layers, %s multiply-accumulates an "
            "image</dd></div>\n",
            graph->n_nodes, record->layers->n, zq_markup_count(record->summary.n_macs, macs));
    fprintf(f, "<div><dt>BatchNormalization</dt><dd>%d: %d folded, %d kept as scale and shift</dd></div>\n",
            record->bn->bn_total, record->bn->bn_folded, record->bn->bn_affine);
}

static void put_run(FILE *f, const zq_record *record) {
    char peak[ZQ_NUMBER];
    fprintf(f, "<div><dt>Program</dt><dd>zeroq %s, seed %" PRIu64 "</dd></div>\n<div><dt>Time</dt><dd>",
            zq_version(), record->options->seed);
    for (int s = 0; s < record->n_stages; s++)
        fprintf(f, "%s%s %.2f s", s > 0 ? ", " : "", record->stages[s].name, record->stages[s].seconds);
    fprintf(f, "; in all %.2f s</dd></div>\n<div><dt>Peak memory</dt><dd>%s</dd></div>\n",
            record->summary.seconds, zq_markup_bytes((double)record->summary.peak_bytes, peak));
}

void zq_html_origin(FILE *f, const zq_record *record) {
    fputs("<section id='origin'>\n<h2>How it was made</h2>\n", f);
    if (record->options->command != NULL) {
        fputs("<pre>", f);
        zq_markup_text(f, record->options->command);
        fputs("</pre>\n", f);
    }
    fputs("<dl class='list'>\n", f);
    put_run(f, record);
    put_model(f, record);
    fputs("</dl>\n</section>\n", f);
}
