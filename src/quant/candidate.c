/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/candidate.h"

#include "base/memory.h"
#include "engine/plan.h"
#include "onnx/onnx.h"
#include "passes/passes.h"
#include "quant/rewrite.h"
#include "quant/sensitivity.h"

#include <math.h>
#include <string.h>

enum { PIECE = 8 }; /* images that run together */

static zq_status round_to_nearest(const zq_candidate_source *from, int i, int bits, zq_weights *out,
                                  zq_error *err) {
    const zq_layer *layer = &from->layers->items[i];
    zq_weight_spec spec = from->spec;
    spec.bits = bits;
    spec.spare_bit = spec.spare_bit && !layer->depthwise; /* no pairs of products */
    float *w = zq_alloc_raw((size_t)(layer->n_channels * layer->per_channel), sizeof *w);
    float *floor = zq_alloc_raw((size_t)layer->n_channels, sizeof *floor);
    zq_status status = w == NULL || floor == NULL ? zq_fail_memory(err) : ZQ_OK;
    if (status == ZQ_OK)
        status = zq_standard_scale_floor(from->standard, from->graph, from->layers, i, from->activations,
                                         floor, err);
    if (status == ZQ_OK) {
        zq_layer_load(from->standard->graph, layer, w);
        status = zq_weights_quantize(&spec, layer->n_channels, layer->per_channel, w, floor, out, err);
    }
    zq_free(w);
    zq_free(floor);
    return status;
}

static zq_status quantize_layers(const zq_candidate_source *from, zq_candidate *out, zq_error *err) {
    for (int i = 0; i < from->layers->n; i++) {
        const zq_weights *rounded =
            from->rounding == NULL ? NULL : zq_rounding_at(from->rounding, i, out->bits[i]);
        ZQ_TRY(rounded != NULL ? zq_weights_copy(rounded, &out->weights[i], err)
                               : round_to_nearest(from, i, out->bits[i], &out->weights[i], err));
    }
    return ZQ_OK;
}

/* Takes graph, whose biases may change, in every case; NULL: out of memory. weights: [n_layers], change. */
static zq_status align_and_rewrite(const zq_candidate_source *from, zq_graph *graph, zq_weights *weights,
                                   zq_alignment *aligned, zq_graph **graph_out, zq_error *err) {
    zq_status status = graph == NULL ? zq_fail_memory(err) : zq_layers_own_biases(graph, from->layers, err);
    if (status == ZQ_OK)
        status = zq_align(graph, from->layers, from->activations, weights, aligned, err);
    if (status == ZQ_OK)
        status = zq_rewrite(graph, from->form, from->layers, from->activations, weights, graph_out, err);
    zq_graph_drop(graph);
    return status;
}

static void drop_weights(int n, zq_weights *weights) {
    for (int i = 0; weights != NULL && i < n; i++)
        zq_weights_clear(&weights[i]);
    zq_free(weights);
}

/* The file holds the network's own scales and biases. */
zq_status zq_candidate_rewrite(const zq_candidate *candidate, const zq_candidate_source *from,
                               zq_graph **graph_out, zq_error *err) {
    const int n = from->layers->n;
    zq_graph *moved = NULL;
    zq_alignment aligned = {0};
    zq_weights *weights = zq_alloc((size_t)n, sizeof *weights);
    zq_status status = weights == NULL ? zq_fail_memory(err) : ZQ_OK;
    for (int i = 0; status == ZQ_OK && i < n; i++)
        status = zq_standard_undo_weights(from->standard, i, &candidate->weights[i], &weights[i], err);
    if (status == ZQ_OK && candidate->corrected != NULL)
        status = zq_standard_undo_biases(from->standard, from->graph, from->layers, candidate->corrected,
                                         &moved, err);
    if (status == ZQ_OK)
        status = align_and_rewrite(from, moved != NULL ? moved : zq_graph_copy(from->graph), weights,
                                   &aligned, graph_out, err);
    zq_alignment_clear(&aligned);
    drop_weights(n, weights);
    return status;
}

zq_status zq_candidate_simulate(zq_candidate *candidate, const zq_candidate_source *from, zq_error *err) {
    const zq_graph *standard = candidate->corrected != NULL ? candidate->corrected : from->standard->graph;
    const int n = from->layers->n;
    if (candidate->simulated != NULL)
        return ZQ_OK;
    zq_weights *weights = zq_alloc((size_t)n, sizeof *weights);
    zq_status status = weights == NULL ? zq_fail_memory(err) : ZQ_OK;
    for (int i = 0; status == ZQ_OK && i < n; i++)
        status = zq_weights_copy(&candidate->weights[i], &weights[i], err);
    zq_alignment_clear(&candidate->aligned);
    if (status == ZQ_OK)
        status = align_and_rewrite(from, zq_graph_copy(standard), weights, &candidate->aligned,
                                   &candidate->simulated, err);
    drop_weights(n, weights);
    return status == ZQ_OK ? zq_fold_constants(candidate->simulated, NULL, err) : status;
}

zq_status zq_candidate_build(const char *name, const zq_candidate_source *source, const int *bits,
                             zq_graph *corrected, zq_candidate *out, zq_error *err) {
    const int n = source->layers->n;
    *out = (zq_candidate){.name = name,
                          .rounding = source->rounding,
                          .range = source->spec.range,
                          .activations = source->activations,
                          .corrected = corrected};
    out->bits = zq_memdup(bits, (size_t)n * sizeof *bits);
    out->weights = zq_alloc((size_t)n, sizeof *out->weights);
    zq_status status = out->bits == NULL || out->weights == NULL ? zq_fail_memory(err) : ZQ_OK;
    if (status == ZQ_OK)
        status = quantize_layers(source, out, err);
    if (status != ZQ_OK)
        zq_candidate_clear(out, n);
    return status;
}

void zq_candidate_forget(zq_candidate *candidate, int n_layers) {
    for (int i = 0; candidate->weights != NULL && i < n_layers; i++)
        zq_weights_clear(&candidate->weights[i]);
    zq_free(candidate->weights);
    zq_graph_drop(candidate->simulated);
    candidate->weights = NULL;
    candidate->simulated = NULL;
}

void zq_candidate_clear(zq_candidate *candidate, int n_layers) {
    zq_candidate_forget(candidate, n_layers);
    zq_alignment_clear(&candidate->aligned);
    zq_free(candidate->bits);
    zq_graph_drop(candidate->corrected);
    *candidate = (zq_candidate){0};
}

/* ---- running and judging */

void zq_outputs_drop(float **outputs, int n_outputs) {
    for (int o = 0; outputs != NULL && o < n_outputs; o++)
        zq_free(outputs[o]);
    zq_free(outputs);
}

/* Elements of an output of one image. */
static size_t output_elements(const zq_graph *graph, int output) {
    const zq_shape *shape = &graph->values[graph->outputs[output]].shape;
    return (size_t)(zq_shape_count(shape) / zq_graph_images(graph));
}

static zq_status run_piece(zq_plan *plan, const zq_graph *graph, const zq_images *images, int64_t first,
                           float **outputs, zq_error *err) {
    const size_t per_image = (size_t)(zq_shape_count(&images->shape) / images->shape.dims[0]);
    zq_plan_set_input(plan, 0, images->data + (size_t)first * per_image);
    ZQ_TRY(zq_plan_forward(plan, err));
    for (int o = 0; o < graph->n_outputs; o++)
        zq_plan_read(plan, graph->outputs[o], outputs[o] + (size_t)first * output_elements(graph, o));
    return ZQ_OK;
}

/* A plan serves all pieces but a shorter last one. */
static zq_status run_pieces(zq_graph *graph, const zq_images *images, float **outputs, zq_error *err) {
    const int64_t n_images = images->shape.dims[0];
    zq_plan_options options = {.n_images = graph->free_batch ? PIECE : zq_graph_images(graph)};
    const zq_plan_room room = {0};
    zq_plan *plan = NULL;
    zq_status status = ZQ_OK;
    for (int64_t first = 0; status == ZQ_OK && first < n_images; first += options.n_images) {
        const bool whole = n_images - first >= options.n_images;
        if (!whole) {
            zq_plan_drop(plan);
            plan = NULL;
            options.n_images = n_images - first;
        }
        if (plan == NULL)
            status = zq_plan_fit(graph, &options, &room, &plan, err);
        if (status == ZQ_OK)
            status = run_piece(plan, graph, images, first, outputs, err);
    }
    zq_plan_drop(plan);
    return status;
}

zq_status zq_outputs_run(zq_graph *graph, const zq_images *images, float ***outputs_out, zq_error *err) {
    const int64_t n_images = images->shape.dims[0];
    float **outputs = zq_alloc((size_t)graph->n_outputs, sizeof *outputs);
    zq_status status = outputs == NULL ? zq_fail_memory(err) : ZQ_OK;
    for (int o = 0; status == ZQ_OK && o < graph->n_outputs; o++) {
        outputs[o] = zq_alloc((size_t)n_images * output_elements(graph, o), sizeof(float));
        if (outputs[o] == NULL)
            status = zq_fail_memory(err);
    }
    if (status == ZQ_OK)
        status = run_pieces(graph, images, outputs, err);
    if (status != ZQ_OK) {
        zq_outputs_drop(outputs, graph->n_outputs);
        return status;
    }
    *outputs_out = outputs;
    return ZQ_OK;
}

/* In decibels, of images first to first + n. */
static double signal_to_noise(const zq_graph *graph, int64_t first, int64_t n, float *const *reference,
                              float *const *other) {
    double signal = 0, noise = 0;
    for (int o = 0; o < graph->n_outputs; o++) {
        const size_t per_image = output_elements(graph, o);
        const float *a = reference[o] + (size_t)first * per_image, *b = other[o] + (size_t)first * per_image;
        for (size_t i = 0; i < (size_t)n * per_image; i++) {
            const double difference = (double)a[i] - b[i];
            signal += (double)a[i] * a[i];
            noise += difference * difference;
        }
    }
    return 10 * log10(fmax(signal, 1e-300) / fmax(noise, 1e-300));
}

static double mean_of(int64_t n, const double *x, double *spread_out) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i];
    for (int64_t i = 0; i < n; i++)
        squares += (x[i] - sum / (double)n) * (x[i] - sum / (double)n);
    *spread_out = sqrt(squares / (double)n);
    return sum / (double)n;
}

zq_status zq_damage_measure(zq_graph *fp32, float *const *reference, zq_graph *quantized,
                            const zq_images *images, const zq_certainty *certainty, int64_t first,
                            zq_damage *out, zq_error *err) {
    const int64_t n = images->shape.dims[0];
    float **outputs = NULL;
    ZQ_TRY(zq_outputs_run(quantized, images, &outputs, err));
    double *distance = zq_alloc((size_t)n, sizeof *distance),
           *agreement = zq_alloc((size_t)n, sizeof *agreement);
    zq_status status = distance == NULL || agreement == NULL ? zq_fail_memory(err) : ZQ_OK;
    if (status == ZQ_OK) {
        zq_output_distance(fp32, n, (const float *const *)reference, (const float *const *)outputs, distance,
                           agreement);
        if (certainty != NULL)
            zq_agreement_expect(certainty, first, n, reference[0], outputs[0], agreement);
        out->expected = certainty != NULL;
        out->kl = mean_of(n, distance, &out->kl_spread);
        out->agreement = mean_of(n, agreement, &out->agreement_spread);
        out->snr_db = signal_to_noise(fp32, 0, n, reference, outputs);
        for (int64_t i = 0; i < n; i++)
            distance[i] = signal_to_noise(fp32, i, 1, reference, outputs);
        mean_of(n, distance, &out->snr_db_spread);
    }
    zq_free(distance);
    zq_free(agreement);
    zq_outputs_drop(outputs, quantized->n_outputs);
    return status;
}
