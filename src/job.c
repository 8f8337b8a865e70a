/* SPDX-License-Identifier: Apache-2.0 */
/* The method from start to end: the only file that knows the order of the stages. */
#include "job.h"

#include "base/file.h"
#include "base/memory.h"
#include "onnx/onnx.h"
#include "passes/passes.h"

#include <string.h>

static zq_images slice(const zq_images *images, int64_t first, int64_t n) {
    zq_images part = {.shape = images->shape};
    part.shape.dims[0] = n;
    part.data = images->data + first * (zq_shape_count(&images->shape) / images->shape.dims[0]);
    return part;
}

/* What is measured on so many images varies little any more; the others serve rounding better. */
enum { MOST_HELD_OUT = 64 };

/* A quarter of the images to choose, a quarter to judge (half of it to decide, if anything is decided then),
 * of many fewer, the rest for the search, each of whole batches; with fewer than four batches, all for all.
 */
static zq_share share_images(const zq_images *images, int64_t batch, zq_effort effort) {
    const int64_t n = images->shape.dims[0], most = batch > MOST_HELD_OUT ? batch : MOST_HELD_OUT;
    const int64_t quarter = (n / 4 < most ? n / 4 : most) / batch * batch;
    const int64_t decide = effort == ZQ_EFFORT_BEST ? quarter / batch / 2 * batch : 0;
    if (quarter == 0)
        return (zq_share){*images, *images, *images, *images, *images};
    return (zq_share){.search = slice(images, 0, n - 2 * quarter),
                      .choose = slice(images, n - 2 * quarter, quarter),
                      .decide = slice(images, n - quarter, decide > 0 ? decide : quarter),
                      .judge = slice(images, n - quarter + decide, quarter - decide),
                      .improve = slice(images, 0, n - quarter)};
}

/* For candidates with any activations. */
static zq_status round_weights(zq_job *job, const zq_images *images, int n_widths, const int *widths,
                               zq_rounding *out) {
    const zq_weight_spec spec = zq_job_weight_spec(job, ZQ_WEIGHT_MSE);
    zq_rounder rounder = zq_job_rounder(job, &spec);
    rounder.activations = job->finest != NULL ? job->finest : job->activations;
    ZQ_TRY(zq_job_begin_stage(job, "round"));
    ZQ_TRY(zq_rounding_new(&rounder, images, n_widths, widths, zq_job_on_step, job, out, &job->error));
    return zq_job_end_stage(job);
}

/* Damage of every layer at every width; a file that holds it may have the frontier, too. */
static zq_status measure_sensitivity(zq_job *job, const zq_images *images) {
    if (job->saved != NULL)
        return zq_job_take_search(job);
    ZQ_TRY(zq_job_begin_stage(job, "sensitivity"));
    ZQ_TRY(zq_sensitivity_measure(job->standard.graph, &job->layers, images, &job->rounding,
                                  job->options.sensitivity, zq_job_on_step, job, &job->sensitivity,
                                  &job->error));
    return zq_job_end_stage(job);
}

zq_status zq_job_find_frontier(zq_job *job) {
    const zq_share images = share_images(&job->images, zq_graph_images(job->graph), job->options.effort);
    if (job->frontier.n_points > 0)
        return ZQ_OK;
    ZQ_TRY(round_weights(job, &images.search, job->rules.n_widths, job->rules.widths, &job->rounding));
    ZQ_TRY(measure_sensitivity(job, &images.choose));
    return zq_job_search(job, &images.choose);
}

static zq_status write_model(zq_job *job, const char *path) {
    zq_candidate *chosen = &job->candidates[job->chosen];
    ZQ_TRY(zq_job_begin_stage(job, "write"));
    ZQ_TRY(zq_job_write_candidate(job, chosen, path, &chosen->bytes));
    job->output_path = zq_strdup(path);
    return job->output_path == NULL ? zq_fail_memory(&job->error) : zq_job_end_stage(job);
}

/* An output that can't be written is refused before the work, not after it. */
static zq_status check_path(zq_job *job, const char *path) {
    zq_file probe;
    if (zq_file_same(path, job->model_path))
        return zq_fail(&job->error, ZQ_ERR_USAGE, "%s: the output is the model itself; name another file",
                       path);
    ZQ_TRY(zq_file_create(path, &probe, &job->error));
    zq_file_abandon(&probe);
    return ZQ_OK;
}

/* For weights of so many bits; where layers may have several widths, 4 stand for all. */
static zq_status balance(zq_job *job, double weight_bits) {
    const zq_options *options = &job->options;
    if (job->balanced_for == weight_bits)
        return ZQ_OK;
    job->balanced_for = weight_bits;
    return zq_balance(job->graph, weight_bits,
                      options->mixed_activations > 0 ? options->mixed_activations : options->activation_bits,
                      &job->error);
}

/* ZeroQ: distil images (Alg. 1), calibrate activations on them, measure sensitivities (eq. 2), allocate
 * widths on the Pareto frontier (eq. 4), and write what does best on images held out. */
static zq_status quantize(zq_job *job, const char *path, int *bits) {
    ZQ_TRY(check_path(job, path));
    ZQ_TRY(zq_job_check_memory(job, ZQ_TASK_QUANTIZE));
    ZQ_TRY(zq_job_make_images(job, job->options.recipe, job->options.seed));
    ZQ_TRY(balance(job, zq_job_has_only_8(job, bits) ? 8 : 4));
    zq_share images = share_images(&job->images, zq_graph_images(job->graph), job->options.effort);
    ZQ_TRY(zq_job_calibrate(job, &images.search));
    ZQ_TRY(zq_job_find_limit(job, bits));
    if (zq_job_limits_damage(job)) {
        ZQ_TRY(zq_job_find_frontier(job));
        ZQ_TRY(zq_job_find_smallest(job, bits, &images));
    } else if (zq_job_fits_at_8(job, bits)) {
        /* error feedback serves the many places of an image that aren't what it is about; without it nothing
         * is searched, and more images tell more */
        if (zq_some_output_has_places(job->graph))
            images.choose = images.improve;
        else
            ZQ_TRY(round_weights(job, &images.search, 1, &(int){8}, &job->settled));
        ZQ_TRY(zq_job_add_at_8(job, bits));
        ZQ_TRY(zq_job_judge(job, &images));
    } else {
        ZQ_TRY(zq_job_find_frontier(job));
        ZQ_TRY(zq_job_add_narrow(job, bits));
        ZQ_TRY(zq_job_judge(job, &images));
    }
    ZQ_TRY(zq_job_learn(job, &images));
    return write_model(job, path);
}

zq_status zq_job_check_path(zq_job *job, const char *path) {
    ZQ_TRY(zq_job_need_model(job));
    return check_path(job, path);
}

zq_status zq_job_distill(zq_job *job) {
    ZQ_TRY(zq_job_need_model(job));
    zq_status status = zq_job_check_memory(job, ZQ_TASK_DISTILL);
    if (status == ZQ_OK)
        status = zq_job_make_images(job, job->options.recipe, job->options.seed);
    if (status != ZQ_OK)
        zq_job_name_file(&job->error, job->model_path);
    return status;
}

static zq_status need_layers(zq_job *job) {
    ZQ_TRY(zq_job_need_model(job));
    return job->placements != NULL
               ? ZQ_OK
               : zq_fail(&job->error, ZQ_ERR_USAGE, "%s: was opened to be compared; open it to quantize it",
                         job->model_path);
}

static zq_status save_frontier(zq_job *job, int *bits) {
    ZQ_TRY(zq_job_check_memory(job, ZQ_TASK_PARETO));
    ZQ_TRY(zq_job_make_images(job, job->options.recipe, job->options.seed));
    ZQ_TRY(balance(job, 4));
    const zq_share images = share_images(&job->images, zq_graph_images(job->graph), job->options.effort);
    ZQ_TRY(zq_job_calibrate(job, &images.search));
    ZQ_TRY(zq_job_find_limit(job, bits));
    ZQ_TRY(zq_job_find_frontier(job));
    job->saves_frontier = true;
    return ZQ_OK;
}

zq_status zq_job_pareto(zq_job *job) {
    ZQ_TRY(need_layers(job));
    zq_job_forget_results(job);
    if (!zq_job_form(job)->narrow)
        return zq_fail(&job->error, ZQ_ERR_USAGE, "all layers have 8 bits for %s: there is no frontier",
                       zq_job_form(job)->name);
    int *bits = zq_alloc((size_t)job->layers.n, sizeof *bits);
    const zq_status status = bits == NULL ? zq_fail_memory(&job->error) : save_frontier(job, bits);
    zq_free(bits);
    if (status != ZQ_OK)
        zq_job_name_file(&job->error, job->model_path);
    return status;
}

zq_status zq_job_quantize(zq_job *job, const char *path) {
    ZQ_TRY(need_layers(job));
    zq_job_forget_results(job);
    int *bits = zq_alloc((size_t)job->layers.n, sizeof *bits);
    const zq_status status = bits == NULL ? zq_fail_memory(&job->error) : quantize(job, path, bits);
    zq_free(bits);
    if (status != ZQ_OK && strstr(job->error.text, path) == NULL)
        zq_job_name_file(&job->error, job->model_path);
    return status;
}
