/* SPDX-License-Identifier: Apache-2.0 */
/* Networks to choose from: how they are made and what they cost. */
#include "job.h"

#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

zq_weight_spec zq_job_weight_spec(const zq_job *job, zq_weight_range range) {
    const zq_options *options = &job->options;
    zq_weight_spec spec = {.bits = 8, .range = range, .spare_bit = zq_job_form(job)->spare_bit};
    if (options->weights == ZQ_WEIGHTS_ASYMMETRIC) {
        spec.asymmetric = true;
        spec.range = ZQ_WEIGHT_MINMAX;
    }
    if (options->weight_clip > 0) {
        spec.range = ZQ_WEIGHT_PERCENTILE;
        spec.percentile = options->weight_clip;
    }
    return spec;
}

zq_rounder zq_job_rounder(const zq_job *job, const zq_weight_spec *spec) {
    return (zq_rounder){.standard = &job->standard,
                        .graph = job->graph,
                        .layers = &job->layers,
                        .activations = job->activations,
                        .spec = spec};
}

/* "4 8 2 ...", a digit for each layer. */
static char *describe_bits(int n_layers, const int *bits) {
    char *text = zq_alloc((size_t)n_layers * 2 + 1, 1);
    for (int i = 0; text != NULL && i < n_layers; i++) {
        text[2 * i] = (char)('0' + bits[i]);
        text[2 * i + 1] = i + 1 < n_layers ? ' ' : '\0';
    }
    return text;
}

static zq_candidate_source source_of(const zq_job *job, const zq_activation *activations,
                                     const zq_rounding *rounding, zq_weight_range range) {
    return (zq_candidate_source){.graph = job->graph,
                                 .standard = &job->standard,
                                 .layers = &job->layers,
                                 .activations = activations,
                                 .rounding = rounding,
                                 .spec = zq_job_weight_spec(job, range),
                                 .form = zq_job_form(job)};
}

/* That text is equally long whatever the widths and the damage, so that limits can be kept before they are
 * known. */
static zq_status write_graph(zq_job *job, const zq_candidate *candidate, const zq_graph *graph,
                             const char *path, uint64_t *bytes_out) {
    char *bits = describe_bits(job->layers.n, candidate->bits);
    char kl[32], activation_bits[32];
    if (bits == NULL)
        return zq_fail_memory(&job->error);
    snprintf(kl, sizeof kl, "%.4e", fmax(0, job->predicted.kl));
    snprintf(activation_bits, sizeof activation_bits, job->options.mixed_activations > 0 ? "%.2f" : "%.0f",
             zq_activations_mean_bits(job->standard.graph, candidate->activations));
    const zq_onnx_property properties[] = {
        {"zeroq.version", ZQ_VERSION}, {"zeroq.size", job->options.size},
        {"zeroq.weight_bits", bits},   {"zeroq.activation_bits", activation_bits},
        {"zeroq.predicted_kl", kl},    {"zeroq.runtime", zq_job_form(job)->option}};
    const int n = (int)(sizeof properties / sizeof properties[0]) -
                  (job->options.runtime == ZQ_RUNTIME_ONNXRUNTIME); /* goes without saying */
    const zq_status status = path == NULL ? zq_onnx_size(graph, n, properties, bytes_out, &job->error)
                                          : zq_onnx_write(graph, path, n, properties, bytes_out, &job->error);
    zq_free(bits);
    return status;
}

zq_status zq_job_write_candidate(zq_job *job, const zq_candidate *candidate, const char *path,
                                 uint64_t *bytes_out) {
    const zq_candidate_source source =
        source_of(job, candidate->activations, candidate->rounding, candidate->range);
    zq_graph *graph;
    ZQ_TRY(zq_candidate_rewrite(candidate, &source, &graph, &job->error));
    const zq_status status = write_graph(job, candidate, graph, path, bytes_out);
    zq_graph_drop(graph);
    return status;
}

zq_status zq_job_simulate_candidate(zq_job *job, zq_candidate *candidate) {
    const zq_candidate_source source =
        source_of(job, candidate->activations, candidate->rounding, candidate->range);
    return zq_candidate_simulate(candidate, &source, &job->error);
}

zq_status zq_job_add_candidate(zq_job *job, const char *name, const int *bits, const zq_rounding *rounding,
                               zq_weight_range range, zq_graph *corrected) {
    const zq_candidate_source source = source_of(job, job->activations, rounding, range);
    zq_candidate *added = &job->candidates[job->n_candidates];
    ZQ_TRY(zq_candidate_build(name, &source, bits, corrected, added, &job->error));
    job->n_candidates++;
    return zq_job_write_candidate(job, added, NULL, &added->bytes);
}

static void drop_last(zq_job *job) {
    zq_candidate_clear(&job->candidates[--job->n_candidates], job->layers.n);
}

void zq_job_drop_candidates(zq_job *job) {
    while (job->n_candidates > 0)
        drop_last(job);
    zq_job_use_activations(job, job->allotted);
}

/* ---- cost */

/* The same width in all layers, or what comes nearest where they may not have it. */
static void uniform_bits(const zq_job *job, int bits, int *bits_out) {
    for (int i = 0; i < job->layers.n; i++)
        bits_out[i] = zq_rules_at_most(&job->rules, &job->layers.items[i], bits);
}

static zq_status pack(zq_job *job, const int *bits, const zq_activation *activations, uint64_t *bytes) {
    zq_job_use_activations(job, activations);
    ZQ_TRY(zq_job_add_candidate(job, "uniform", bits, NULL, ZQ_WEIGHT_MINMAX, NULL));
    const uint64_t packed = job->candidates[job->n_candidates - 1].bytes;
    *bytes = packed > *bytes ? packed : *bytes;
    drop_last(job);
    return ZQ_OK;
}

/* Bytes of the file with that width in all layers that keep none; with either of the activations that it may
 * have, the larger one. */
static zq_status pack_uniform(zq_job *job, int width, int *bits, uint64_t *bytes_out) {
    *bytes_out = 0;
    for (int i = 0; i < job->layers.n; i++)
        bits[i] = job->layers.items[i].kept != 0 ? job->layers.items[i].kept : width;
    if (job->even != NULL)
        ZQ_TRY(pack(job, bits, job->even, bytes_out));
    return pack(job, bits, job->allotted, bytes_out);
}

/* Pricing knows a file to a few bytes; a width everywhere has to fit into what it is to mean. */
static zq_status make_room_for_width(zq_job *job, int *bits) {
    const double width = job->target.value;
    uint64_t bytes;
    if (job->target.kind != ZQ_TARGET_BITS || job->options.cost != ZQ_COST_BYTES || width != floor(width))
        return ZQ_OK;
    ZQ_TRY(pack_uniform(job, (int)width, bits, &bytes));
    job->limit = bytes > job->limit ? bytes : job->limit;
    return ZQ_OK;
}

zq_status zq_job_find_limit(zq_job *job, int *bits) {
    uint64_t bytes[ZQ_FILES_PACKED];
    for (int k = 0; k < ZQ_FILES_PACKED; k++)
        ZQ_TRY(pack_uniform(job, zq_packed_bits[k], bits, &bytes[k]));
    const double mixed = job->options.mixed_activations;
    job->pricing = (zq_pricing){.cost = job->options.cost,
                                .activation_bits = mixed > 0 ? mixed : job->options.activation_bits,
                                .file = zq_file_cost_from(&job->layers, bytes),
                                .fp32_bytes = job->graph->file_bytes};
    job->limit = zq_target_limit(&job->target, &job->layers, &job->pricing);
    return make_room_for_width(job, bits);
}

uint64_t zq_job_cost_of(const zq_job *job, const zq_candidate *candidate) {
    return job->pricing.cost == ZQ_COST_BYTES ? candidate->bytes
                                              : zq_network_cost(&job->pricing, &job->layers, candidate->bits);
}

bool zq_job_are_all_8(const zq_job *job, const int *bits) {
    for (int i = 0; i < job->layers.n; i++)
        if (bits[i] < 8)
            return false;
    return true;
}

bool zq_job_fits_at_8(const zq_job *job, int *bits) {
    uniform_bits(job, 8, bits);
    return zq_job_are_all_8(job, bits) && zq_network_cost(&job->pricing, &job->layers, bits) <= job->limit;
}

bool zq_job_has_only_8(const zq_job *job, int *bits) {
    uniform_bits(job, 8, bits);
    return !zq_job_may_narrow(job) && zq_job_are_all_8(job, bits);
}

/* ---- widths */

static zq_status refuse_limit(zq_job *job) {
    char limit[ZQ_COST_TEXT], least[ZQ_COST_TEXT];
    const uint64_t least_cost = zq_base_cost(&job->pricing, &job->layers) + job->frontier.points[0].bytes;
    return zq_fail(&job->error, ZQ_ERR_LIMIT,
                   "%s: the size %s means at most %s, but the fewest bits that every layer may have take %s; "
                   "ask for more",
                   job->model_path, job->options.size, zq_cost_text(job->options.cost, job->limit, limit),
                   zq_cost_text(job->options.cost, least_cost, least));
}

static zq_status add_point(zq_job *job, const zq_frontier *frontier, int point, int *bits) {
    const size_t n = (size_t)job->layers.n;
    for (size_t i = 0; i < n; i++)
        bits[i] = job->rules.widths[frontier->choice[(size_t)point * n + i]];
    return zq_job_add_candidate(job, "pareto", bits, &job->rounding, ZQ_WEIGHT_MSE, NULL);
}

zq_status zq_job_add_point(zq_job *job, int point, int *bits) {
    return add_point(job, &job->frontier, point, bits);
}

static zq_status find_point(zq_job *job, const zq_frontier *frontier, int *bits, int *point_out) {
    const uint64_t base = zq_base_cost(&job->pricing, &job->layers);
    uint64_t limit = job->limit > base ? job->limit - base : 0;
    for (;;) {
        *point_out = zq_frontier_at(frontier, limit);
        if (*point_out < 0)
            return refuse_limit(job);
        ZQ_TRY(add_point(job, frontier, *point_out, bits));
        if (zq_job_cost_of(job, &job->candidates[job->n_candidates - 1]) <= job->limit)
            return ZQ_OK;
        drop_last(job);
        limit = frontier->points[*point_out].bytes - 1;
    }
}

zq_status zq_job_find_point(zq_job *job, int *bits, int *point_out) {
    return find_point(job, &job->frontier, bits, point_out);
}

static bool has_bits(const zq_job *job, int candidate, const int *bits) {
    return job->candidates[candidate].rounding != NULL &&
           memcmp(job->candidates[candidate].bits, bits, (size_t)job->layers.n * sizeof *bits) == 0;
}

/* The choice that trusts less than 4 bits less, where none of the others is it already. */
static zq_status add_cautious(zq_job *job, int *bits) {
    zq_frontier frontier = {0};
    int point;
    zq_status status = zq_job_search_cautious(job, &frontier);
    if (status == ZQ_OK)
        status = find_point(job, &frontier, bits, &point);
    zq_frontier_clear(&frontier);
    if (status != ZQ_OK)
        return status;
    job->cautious = 0;
    while (!has_bits(job, job->cautious, bits))
        job->cautious++;
    if (job->cautious < job->n_candidates - 1)
        drop_last(job);
    return ZQ_OK;
}

zq_status zq_job_add_at_8(zq_job *job, int *bits) {
    uniform_bits(job, 8, bits);
    ZQ_TRY(zq_job_add_candidate(job, "uniform", bits, NULL, ZQ_WEIGHT_MINMAX, NULL));
    ZQ_TRY(zq_job_add_candidate(job, "uniform", bits, NULL, ZQ_WEIGHT_MSE, NULL));
    return job->settled.n_layers == 0
               ? ZQ_OK
               : zq_job_add_candidate(job, "uniform", bits, &job->settled, ZQ_WEIGHT_MSE, NULL);
}

zq_status zq_job_add_narrow(zq_job *job, int *bits) {
    int point;
    ZQ_TRY(zq_job_begin_stage(job, "build"));
    ZQ_TRY(zq_job_find_point(job, bits, &point));
    ZQ_TRY(zq_job_add_candidate(job, "pareto", bits, NULL, ZQ_WEIGHT_MSE, NULL));
    uniform_bits(job, 4, bits);
    for (int nearest = 0; nearest < 2; nearest++) {
        ZQ_TRY(
            zq_job_add_candidate(job, "uniform", bits, nearest ? NULL : &job->rounding, ZQ_WEIGHT_MSE, NULL));
        if (zq_job_cost_of(job, &job->candidates[job->n_candidates - 1]) > job->limit)
            drop_last(job);
    }
    ZQ_TRY(add_cautious(job, bits));
    return zq_job_end_stage(job);
}
