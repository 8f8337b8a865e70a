/* SPDX-License-Identifier: Apache-2.0 */
#include "report/record.h"

#include "graph/op.h"
#include "onnx/onnx.h"
#include "report/saved.h"

#include <jansson.h>
#include <math.h>

enum { FORMAT_VERSION = 1 };

/* JSON knows no NaN and no infinity. */
static json_t *number(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *numbers(int64_t n, const double *x) {
    json_t *list = json_array();
    for (int64_t i = 0; i < n; i++)
        json_array_append_new(list, number(x[i]));
    return list;
}

static json_t *floats(int64_t n, const float *x) {
    json_t *list = json_array();
    for (int64_t i = 0; i < n; i++)
        json_array_append_new(list, number(x[i]));
    return list;
}

static json_t *dimensions(const zq_shape *shape, bool free_batch) {
    json_t *list = json_array();
    for (int d = 0; d < shape->rank; d++)
        json_array_append_new(list, d == 0 && free_batch ? json_string("N") : json_integer(shape->dims[d]));
    return list;
}

/* Names come from the file and need not be UTF-8. */
static json_t *text(const char *string) {
    json_t *value = string == NULL ? json_null() : json_string(string);
    return value != NULL ? value : json_string("(not UTF-8)");
}

/* ---- the model */

static json_t *model_json(const zq_record *record) {
    const zq_graph *graph = record->graph;
    json_t *inputs = json_array(), *outputs = json_array();
    for (int i = 0; i < graph->n_inputs; i++) {
        const zq_value *value = &graph->values[graph->inputs[i]];
        json_array_append_new(inputs, json_pack("{s:o, s:o}", "name", text(value->name), "shape",
                                                dimensions(&value->shape, graph->free_batch)));
    }
    for (int o = 0; o < graph->n_outputs; o++) {
        const zq_value *value = &graph->values[graph->outputs[o]];
        json_array_append_new(outputs, json_pack("{s:o, s:o, s:s}", "name", text(value->name), "shape",
                                                 dimensions(&value->shape, graph->free_batch), "compared_by",
                                                 zq_output_rule_name(zq_output_rule_of(graph, o))));
    }
    return json_pack(
        "{s:o, s:I, s:i, s:i, s:o, s:o, s:o, s:{s:i, s:i, s:i, s:i, s:i}, s:f, s:i, s:{s:i, s:o}}", "file",
        text(record->model_path), "bytes", (json_int_t)graph->file_bytes, "opset", graph->opset, "ir_version",
        graph->ir_version, "producer", text(graph->producer), "inputs", inputs, "outputs", outputs,
        "batch_normalization", "nodes", record->bn->bn_total, "folded", record->bn->bn_folded,
        "kept_as_affine", record->bn->bn_affine, "of_these_absorbed", record->bn->bn_absorbed, "estimated",
        record->bn->n_estimated, "macs", record->summary.n_macs, "weighted_layers", record->layers->n,
        "copied", "nodes", zq_tail_nodes(graph->tail), "reason", text(zq_tail_reason(graph->tail)));
}

static int layer_of_node(const zq_layers *layers, int node) {
    for (int i = 0; i < layers->n; i++)
        for (int k = 0; k < layers->items[i].n_nodes; k++)
            if (layers->items[i].nodes[k] == node)
                return i;
    return -1;
}

static json_t *node_json(const zq_record *record, int n) {
    const zq_graph *graph = record->graph;
    const zq_node *node = &graph->nodes[n];
    const zq_value *output = &graph->values[node->outputs[0]];
    json_t *json =
        json_pack("{s:o, s:s, s:o, s:o, s:s, s:b}", "name", text(node->name), "op", node->op->name, "output",
                  text(output->name), "shape", dimensions(&output->shape, graph->free_batch), "runs_as",
                  zq_placement_text(record->placements[n]), "statistics_known", output->stats != NULL);
    const int layer = layer_of_node(record->layers, n);
    if (layer >= 0)
        json_object_set_new(json, "layer", json_integer(layer));
    return json;
}

static json_t *nodes_json(const zq_record *record) {
    json_t *list = json_array();
    for (int n = 0; record->placements != NULL && n < record->graph->n_nodes; n++)
        json_array_append_new(list, node_json(record, n));
    return list;
}

/* ---- layers, sensitivities, widths */

static json_t *layers_json(const zq_record *record) {
    const zq_sensitivity *sensitivity = record->sensitivity;
    json_t *list = json_array();
    for (int i = 0; i < record->layers->n; i++) {
        const zq_layer *layer = &record->layers->items[i];
        json_t *json = json_pack("{s:o, s:I, s:I, s:f, s:b}", "name", text(layer->name), "weights",
                                 (json_int_t)(layer->n_channels * layer->per_channel), "channels",
                                 (json_int_t)layer->n_channels, "macs", layer->macs, "affine", layer->affine);
        if (sensitivity != NULL)
            json_object_set_new(
                json, "sensitivity",
                numbers(sensitivity->n_widths, sensitivity->omega + i * sensitivity->n_widths));
        if (record->chosen != NULL)
            json_object_set_new(json, "bits", json_integer(record->chosen->bits[i]));
        json_array_append_new(list, json);
    }
    return list;
}

static json_t *widths_json(const zq_sensitivity *sensitivity) {
    json_t *list = json_array();
    for (int k = 0; k < sensitivity->n_widths; k++)
        json_array_append_new(list, json_integer(sensitivity->widths[k]));
    return list;
}

/* Every point with its cost, its file size, its damage by two predictions, and the width of every layer. */
static json_t *frontier_json(const zq_record *record) {
    const zq_frontier *frontier = record->frontier;
    json_t *list = json_array();
    for (int p = 0; p < frontier->n_points; p++) {
        json_t *bits = json_array();
        for (int i = 0; i < frontier->n_layers; i++)
            json_array_append_new(bits, json_integer(zq_record_point_bits(record, p, i)));
        json_array_append_new(list, json_pack("{s:I, s:I, s:o, s:o, s:o}", "bytes",
                                              (json_int_t)zq_record_point_bytes(record, p), "cost",
                                              (json_int_t)zq_record_point_cost(record, p), "sensitivity",
                                              number(frontier->points[p].omega), "joint",
                                              number(record->joint[p]), "bits", bits));
    }
    return list;
}

static json_t *uniform_json(const zq_record *record) {
    json_t *list = json_array();
    for (int k = 0; k < record->sensitivity->n_widths; k++) {
        const zq_uniform uniform = zq_record_uniform(record, k);
        json_array_append_new(list, json_pack("{s:i, s:I, s:I, s:o, s:o}", "width", uniform.bits, "bytes",
                                              (json_int_t)uniform.bytes, "cost", (json_int_t)uniform.cost,
                                              "sensitivity", number(uniform.sensitivity), "joint",
                                              number(uniform.joint)));
    }
    return list;
}

static json_t *damage_json(const zq_damage *damage) {
    return json_pack("{s:o, s:o, s:o, s:o, s:b, s:o, s:o}", "kl", number(damage->kl), "kl_spread",
                     number(damage->kl_spread), "agreement", number(damage->agreement), "agreement_spread",
                     number(damage->agreement_spread), "agreement_expected", damage->expected, "snr_db",
                     number(damage->snr_db), "snr_db_spread", number(damage->snr_db_spread));
}

static const char *range_name(zq_weight_range range) {
    return range == ZQ_WEIGHT_MINMAX ? "min-max" : range == ZQ_WEIGHT_MSE ? "least squares" : "percentile";
}

static json_t *candidates_json(const zq_record *record) {
    json_t *list = json_array();
    for (int k = 0; k < record->n_candidates; k++) {
        const zq_candidate *candidate = &record->candidates[k];
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:s, s:b, s:b, s:I, s:o, s:b}", "widths", candidate->name, "rounding",
                            candidate->rounding == NULL ? "nearest" : "error feedback", "weight_range",
                            range_name(candidate->range), "biases_corrected", candidate->corrected,
                            "activations_mixed", zq_record_is_mixed(record, candidate), "bytes",
                            (json_int_t)candidate->bytes, "damage", damage_json(&candidate->damage), "chosen",
                            candidate == record->chosen));
    }
    return list;
}

/* ---- images and ranges */

static json_t *spread_json(const zq_spread *spread) {
    return json_pack("[o, o, o]", number(spread->low), number(spread->middle), number(spread->high));
}

static json_t *statistics_json(const zq_record *record) {
    json_t *list = json_array();
    for (int i = 0; i < record->images->n_matches; i++) {
        const zq_match *match = &record->images->matches[i];
        json_array_append_new(
            list,
            json_pack("{s:o, s:I, s:o, s:o, s:o}", "name", text(record->graph->values[match->value].name),
                      "channels", (json_int_t)match->n_channels, "residual", number(match->residual),
                      "mean_error", spread_json(&match->mean), "deviation_ratio", spread_json(&match->std)));
    }
    return list;
}

static json_t *images_json(const zq_record *record) {
    const zq_box *box = record->box;
    const zq_images *images = record->images;
    return json_pack("{s:s, s:s, s:o, s:i, s:o, s:o, s:o, s:{s:b, s:o, s:o}}", "recipe", images->source,
                     "precision", images->half ? "bf16" : "fp32", "shape", dimensions(&images->shape, false),
                     "steps", images->n_steps, "loss", numbers(images->n_steps, images->loss), "residual",
                     number(images->residual), "statistics", statistics_json(record), "valid_pixels",
                     "estimated", box->estimated, "lo", floats(box->n_channels, box->lo), "hi",
                     floats(box->n_channels, box->hi));
}

static json_t *density_json(const zq_density *density) {
    return json_pack("{s:o, s:o, s:o, s:o}", "lo", number(density->lo), "hi", number(density->hi), "zeros",
                     number(density->zeros), "histogram", floats(ZQ_DENSITY_BINS, density->share));
}

static json_t *activations_json(const zq_record *record) {
    json_t *list = json_array();
    for (int v = 0; v < record->graph->n_values; v++) {
        const zq_activation *activation = &record->activations[v];
        if (activation->used)
            json_array_append_new(
                list, json_pack("{s:o, s:f, s:i, s:i, s:i, s:b, s:o}", "name",
                                text(record->graph->values[v].name), "scale", (double)activation->scale,
                                "zero_point", activation->zero_point - (activation->is_signed ? 128 : 0),
                                "bits", zq_activation_bits(activation), "levels", activation->q_max + 1,
                                "wide", activation->wide, "seen", density_json(&record->seen[v])));
    }
    return list;
}

static json_t *grid_json(const zq_record *record, int grid) {
    json_t *values = json_array();
    for (int v = 0; v < record->grids->n_values; v++)
        if (record->grids->of_value[v] == grid)
            json_array_append_new(values, text(record->graph->values[v].name));
    return json_pack("{s:o, s:I, s:i, s:o}", "values", values, "elements",
                     (json_int_t)record->grids->elements[grid], "bits",
                     zq_grid_widths[record->grid_choice[grid]], "sensitivity",
                     numbers(ZQ_N_GRID_WIDTHS, record->grid_damage + grid * ZQ_N_GRID_WIDTHS));
}

static json_t *mixed_json(const zq_record *record) {
    json_t *widths = json_array(), *grids = json_array();
    for (int k = 0; k < ZQ_N_GRID_WIDTHS; k++)
        json_array_append_new(widths, json_integer(zq_grid_widths[k]));
    for (int g = 0; g < record->grids->n; g++)
        json_array_append_new(grids, grid_json(record, g));
    return json_pack("{s:f, s:o, s:o}", "mean_bits", record->options->mixed_activations, "widths", widths,
                     "grids", grids);
}

/* ---- the engine */

static json_t *plan_json(const zq_record *record) {
    const zq_profile *profile = record->profile;
    json_t *steps = json_array();
    for (int i = 0; i < profile->n_steps; i++) {
        const zq_profile_step *step = &profile->steps[i];
        json_array_append_new(steps,
                              json_pack("{s:i, s:o, s:s, s:s, s:f, s:f, s:f}", "node", step->node, "shape",
                                        dimensions(&step->shape, false), "layout", step->layout, "kernel",
                                        step->kernel, "flop", step->flop, "forward_ms", step->forward_ms,
                                        "backward_ms", step->backward_ms));
    }
    return json_pack("{s:I, s:b, s:i, s:i, s:I, s:f, s:f, s:f, s:o}", "images", (json_int_t)profile->n_images,
                     "gradient", profile->gradient, "threads", profile->n_threads, "rounds",
                     profile->n_rounds, "bytes", (json_int_t)profile->plan_bytes, "flop", profile->flop, "ms",
                     profile->best_ms, "cpu_ms", profile->best_cpu_ms, "steps", steps);
}

static json_t *comparison_json(const zq_record *record) {
    const zq_comparison *c = record->comparison;
    return json_pack("{s:o, s:I, s:I, s:o, s:f, s:f, s:I, s:i}", "file", text(record->compared_path), "bytes",
                     (json_int_t)record->compared_bytes, "images", (json_int_t)c->n_images, "damage",
                     damage_json(&c->damage), "reference_ms", c->ms[0], "ms", c->ms[1], "batch",
                     (json_int_t)c->batch, "threads", c->n_threads);
}

/* ---- the whole */

static json_t *stages_json(const zq_record *record) {
    json_t *list = json_array();
    for (int s = 0; s < record->n_stages; s++)
        json_array_append_new(list, json_pack("{s:s, s:f}", "stage", record->stages[s].name, "seconds",
                                              record->stages[s].seconds));
    return list;
}

static json_t *summary_json(const zq_record *record) {
    const zq_summary *summary = &record->summary;
    return json_pack("{s:I, s:I, s:f, s:f, s:o, s:f, s:I}", "fp32_bytes", (json_int_t)summary->fp32_bytes,
                     "quantized_bytes", (json_int_t)summary->quantized_bytes, "mean_bits", summary->mean_bits,
                     "activation_bits", summary->mean_activation_bits, "predicted",
                     record->predicted != NULL ? damage_json(record->predicted) : json_null(), "seconds",
                     summary->seconds, "peak_bytes", (json_int_t)summary->peak_bytes);
}

char *zq_record_json(const zq_record *record) {
    static const char *const methods[] = {"sampled", "exact", "fisher"};
    json_t *json = json_pack("{s:i, s:s, s:I, s:o, s:o, s:o}", "format", FORMAT_VERSION, "zeroq",
                             zq_version(), "seed", (json_int_t)record->options->seed, "model",
                             model_json(record), "nodes", nodes_json(record), "layers", layers_json(record));
    if (record->comparison != NULL)
        json_object_set_new(json, "comparison", comparison_json(record));
    if (record->profile != NULL)
        json_object_set_new(json, "plan", plan_json(record));
    if (record->images != NULL)
        json_object_set_new(json, "images", images_json(record));
    if (record->activations != NULL)
        json_object_set_new(json, "activations", activations_json(record));
    if (record->grid_choice != NULL && record->grid_damage != NULL)
        json_object_set_new(json, "mixed_activations", mixed_json(record));
    if (record->sensitivity != NULL) {
        json_object_set_new(json, "sensitivity_widths", widths_json(record->sensitivity));
        json_object_set_new(json, "sensitivity_method", json_string(methods[record->sensitivity->method]));
    }
    if (record->frontier != NULL) {
        json_object_set_new(json, "frontier", frontier_json(record));
        json_object_set_new(json, "uniform", uniform_json(record));
    }
    if (record->frontier != NULL && record->n_measured > 0) {
        const char *method = record->options->search == ZQ_SEARCH_GROUPED ? "grouped" : "independent";
        json_object_set_new(json, "search",
                            json_pack("{s:s, s:I, s:I}", "method", method, "evaluations",
                                      (json_int_t)record->n_measured, "by_formula",
                                      (json_int_t)record->n_formula));
    }
    if (record->chosen != NULL) {
        const zq_cost cost = record->pricing->cost;
        const json_int_t limit = (json_int_t)record->limit;
        json_object_set_new(json, "cost", json_string(zq_cost_name(cost)));
        json_object_set_new(json, "limit", json_integer(limit));
        json_object_set_new(json, "limit_bytes", cost == ZQ_COST_BYTES ? json_integer(limit) : json_null());
        json_object_set_new(json, "candidates", candidates_json(record));
        json_object_set_new(json, "judged_on_images", json_integer(record->n_judge_images));
    }
    const bool complete = !record->is_saved || json_object_set_new(json, "saved", zq_saved_json(record)) == 0;
    json_object_set_new(json, "output", text(record->output_path));
    json_object_set_new(json, "command", text(record->options->command));
    json_object_set_new(json, "summary", summary_json(record));
    json_object_set_new(json, "stages", stages_json(record));
    char *result = json == NULL || !complete
                       ? NULL
                       : json_dumps(json, (record->is_saved ? JSON_COMPACT : JSON_INDENT(1)) |
                                              JSON_REAL_PRECISION(9)); /* exact for floats */
    json_decref(json);
    return result;
}
