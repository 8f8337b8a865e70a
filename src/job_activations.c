/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges and widths of activations: one width for all, or one for each grid by what it does (eq. 2 and 4). */
#include "base/memory.h"
#include "job.h"
#include "quant/calibrate.h"

#include <math.h>

static bool are_mixed(const zq_job *job) {
    return job->options.mixed_activations > 0;
}

void zq_job_use_activations(zq_job *job, const zq_activation *activations) {
    job->activations = activations;
    for (int i = 0; i < job->layers.n; i++) {
        zq_layer *layer = &job->layers.items[i];
        layer->input_bits = 0;
        for (int k = 0; k < layer->n_nodes && activations != NULL; k++) {
            const int bits = zq_activation_bits(&activations[job->graph->nodes[layer->nodes[k]].inputs[0]]);
            layer->input_bits = bits > layer->input_bits ? bits : layer->input_bits;
        }
    }
}

/* Where clipping counts most, the rarest values make the range, and the calibration network, whose channels
 * were brought to what BatchNormalization knows, blows some of them up: of its range and that of the network
 * as it is the narrower one counts. */
static zq_status narrow(zq_job *job, const zq_activation_spec *spec, int n_widths, const int *widths,
                        zq_activation **ranges) {
    const size_t n_values = (size_t)job->graph->n_values;
    zq_activation *const all = zq_alloc((size_t)n_widths * n_values, sizeof *all);
    zq_activation **const plain = zq_alloc((size_t)n_widths, sizeof *plain);
    zq_status status = all == NULL || plain == NULL ? zq_fail_memory(&job->error) : ZQ_OK;
    for (int k = 0; k < n_widths && plain != NULL; k++)
        plain[k] = all + (size_t)k * n_values;
    if (status == ZQ_OK)
        status = zq_calibrate_widths(job->graph, &job->images, &job->box, spec, n_widths, widths, plain, NULL,
                                     &job->error);
    for (int k = 0; k < n_widths && status == ZQ_OK; k++)
        for (size_t v = 0; v < n_values; v++)
            if (plain[k][v].used && ranges[k][v].used && plain[k][v].scale < ranges[k][v].scale)
                ranges[k][v] = plain[k][v];
    zq_free(all);
    zq_free(plain);
    return status;
}

/* Ranges at several widths, as they are placed. scale_of: of the last. */
static zq_status find_ranges(zq_job *job, int n_widths, const int *widths, zq_activation **ranges,
                             int *scale_of) {
    zq_graph *graph = job->standard.graph;
    const zq_activation_spec spec = {.method = job->options.activation_range,
                                     .percentile = job->options.percentile,
                                     .places = zq_some_output_has_places(graph),
                                     .symmetric = zq_job_form(job)->symmetric};
    ZQ_TRY(zq_calibrate_widths(graph, &job->images, &job->box, &spec, n_widths, widths, ranges, job->seen,
                               &job->error));
    if (spec.places && spec.method == ZQ_RANGE_MSE)
        ZQ_TRY(narrow(job, &spec, n_widths, widths, ranges));
    for (int k = 0; k < n_widths; k++)
        ZQ_TRY(zq_place(graph, zq_job_form(job), ranges[k], NULL, scale_of, &job->error));
    return ZQ_OK;
}

static zq_status measure(zq_job *job, zq_activation *const *ranges, const zq_images *images) {
    ZQ_TRY(zq_job_begin_stage(job, "activations"));
    ZQ_TRY(zq_grids_measure(job->standard.graph, &job->grids, ranges, images,
                            job->options.sensitivity == ZQ_SENSITIVITY_EXACT, zq_job_on_step, job,
                            job->grid_damage, &job->error));
    ZQ_TRY(zq_grids_allocate(&job->grids, job->grid_damage, job->options.mixed_activations, job->grid_choice,
                             &job->error));
    return zq_job_end_stage(job);
}

static zq_status mix(zq_job *job, zq_activation *const *ranges, const int *scale_of,
                     const zq_images *images) {
    ZQ_TRY(zq_grids_new(job->standard.graph, ranges[0], scale_of, &job->grids, &job->error));
    job->grid_choice = zq_alloc((size_t)job->grids.n, sizeof *job->grid_choice);
    job->grid_damage = zq_alloc((size_t)job->grids.n, ZQ_N_GRID_WIDTHS * sizeof *job->grid_damage);
    if (job->grid_choice == NULL || job->grid_damage == NULL)
        return zq_fail_memory(&job->error);
    ZQ_TRY(job->saved != NULL ? zq_saved_activations(job->saved, job->grids.n, job->grid_choice,
                                                     job->grid_damage, &job->error)
                              : measure(job, ranges, images));
    zq_grids_choose(&job->grids, ranges, job->grid_choice, job->allotted);
    zq_job_use_activations(job, job->allotted);
    return ZQ_OK;
}

/* The widths to choose from, the widest last, and the same for all. */
static zq_status calibrate_mixed(zq_job *job, const zq_images *images) {
    enum { EVEN = ZQ_N_GRID_WIDTHS, N };
    const size_t n_values = (size_t)job->standard.graph->n_values;
    int widths[N], *scale_of = zq_alloc(n_values, sizeof *scale_of);
    zq_activation *ranges[N] = {NULL};
    bool ok = scale_of != NULL;
    for (int k = 0; k < N && ok; k++) {
        widths[k] = k == EVEN ? (int)floor(job->options.mixed_activations) : zq_grid_widths[k];
        ok = (ranges[k] = zq_alloc(n_values, sizeof *ranges[k])) != NULL;
    }
    zq_status status = ok ? ZQ_OK : zq_fail_memory(&job->error);
    if (status == ZQ_OK)
        status = find_ranges(job, N, widths, ranges, scale_of);
    if (status == ZQ_OK)
        status = zq_job_end_stage(job);
    if (status == ZQ_OK)
        status = mix(job, ranges, scale_of, images);
    job->even = ranges[EVEN];
    job->finest = ranges[EVEN - 1];
    for (int k = 0; k < EVEN - 1; k++)
        zq_free(ranges[k]);
    zq_free(scale_of);
    return status;
}

zq_status zq_job_calibrate(zq_job *job, const zq_images *images) {
    ZQ_TRY(zq_job_begin_stage(job, "calibrate"));
    ZQ_TRY(zq_standard_new(job->graph, &job->layers, &job->images, &job->standard, &job->error));
    const size_t n_values = (size_t)job->standard.graph->n_values;
    job->allotted = zq_alloc(n_values, sizeof *job->allotted);
    job->seen = zq_alloc(n_values, sizeof *job->seen);
    if (job->allotted == NULL || job->seen == NULL)
        return zq_fail_memory(&job->error);
    if (are_mixed(job))
        return calibrate_mixed(job, images);
    ZQ_TRY(find_ranges(job, 1, &job->options.activation_bits, &job->allotted, NULL));
    zq_job_use_activations(job, job->allotted);
    return zq_job_end_stage(job);
}
