/* SPDX-License-Identifier: Apache-2.0 */
/* The limit of memory: everything that zq_alloc gives is counted, plans shrink to what is left (zq_plan_fit),
 * and what can't shrink is added up before the work. */
#include "base/memory.h"
#include "engine/plan.h"
#include "job.h"
#include "quant/learn.h"

#include <math.h>
#include <sys/stat.h>

/* What the process takes beside that: code, oneDNN's kernels, threads, pages that are partly used. */
static const size_t own_bytes = 64000000;

void zq_job_limit_memory(const zq_job *job) {
    const uint64_t limit = job->options.memory;
    zq_memory_set_limit(limit == 0 ? 0 : limit > own_bytes ? (size_t)(limit - own_bytes) : 1);
}

zq_status zq_job_explain_memory(zq_job *job, const char *path, zq_status status) {
    struct stat file;
    if (status != ZQ_ERR_MEMORY || job->options.memory == 0)
        return status;
    const double bytes = stat(path, &file) == 0 ? (double)file.st_size : 0;
    return zq_fail(&job->error, ZQ_ERR_LIMIT,
                   "%s: can't be read within %.0f MB of memory; reading it takes about %.0f MB", path,
                   (double)job->options.memory / 1e6, (3 * bytes + (double)own_bytes) / 1e6 + 1);
}

/* What the stages take beside what is held already, at the least. */
typedef struct needs {
    const char *stage; /* the one that takes the most */
    size_t bytes;
} needs;

static void add(needs *n, const char *stage, size_t bytes) {
    if (bytes > n->bytes)
        *n = (needs){stage, bytes};
}

/* Of a plan for as few images as there may be. It isn't run, so most of it takes no memory yet. */
static zq_status plan_bytes(zq_job *job, zq_plan_options options, size_t *bytes_out) {
    zq_plan *plan;
    options.n_images *= zq_graph_images(job->graph);
    zq_memory_set_limit(0);
    const zq_status status = zq_plan_new(job->graph, &options, &plan, &job->error);
    zq_job_limit_memory(job);
    if (status != ZQ_OK)
        return status;
    *bytes_out = zq_plan_bytes(plan);
    zq_plan_drop(plan);
    return ZQ_OK;
}

static size_t image_bytes(const zq_job *job) {
    const zq_shape *shape = &job->graph->values[job->graph->inputs[0]].shape;
    size_t bytes = sizeof(float);
    for (int d = 1; d < shape->rank; d++)
        bytes *= (size_t)shape->dims[d];
    return bytes;
}

static zq_status need_images(zq_job *job, size_t images, size_t group, needs *n) {
    size_t plan;
    if (job->options.images != NULL || job->options.recipe == ZQ_DISTILL_NOISE)
        return ZQ_OK;
    ZQ_TRY(plan_bytes(job, (zq_plan_options){.n_images = 1, .gradient = true}, &plan));
    add(n, "distilling", images + 4 * group + plan); /* gradient, pixels and two moments */
    return ZQ_OK;
}

/* held: images and the calibration network. */
static zq_status need_rounding(zq_job *job, size_t held, int n_widths, size_t *rounded_out, needs *n) {
    size_t plan;
    *rounded_out = (size_t)n_widths * zq_layers_weights(&job->layers);
    ZQ_TRY(plan_bytes(job, (zq_plan_options){.n_images = 1}, &plan));
    add(n, "rounding", held + zq_rounding_bytes(job->graph, &job->layers, n_widths, false) + plan);
    return ZQ_OK;
}

static zq_status need_search(zq_job *job, size_t held, size_t keeping, size_t *rounded_out, needs *n) {
    const size_t n_widths = (size_t)job->rules.n_widths, largest = zq_layers_largest(&job->layers);
    ZQ_TRY(need_rounding(job, held, job->rules.n_widths, rounded_out, n));
    if (job->options.sensitivity == ZQ_SENSITIVITY_FISHER)
        ZQ_TRY(plan_bytes(
            job, (zq_plan_options){.n_images = 1, .gradient = true, .keep_values = true, .separate = true},
            &keeping));
    add(n, "measuring sensitivities",
        held + *rounded_out + (3 + n_widths) * largest * sizeof(float) + image_bytes(job) + keeping);
    return ZQ_OK;
}

static zq_status need_judging(zq_job *job, size_t held, size_t rounded, bool narrow, needs *n) {
    const size_t weights = zq_layers_weights(&job->layers);
    size_t plan;
    ZQ_TRY(plan_bytes(job, (zq_plan_options){.n_images = 1}, &plan));
    const size_t dequantized = weights * sizeof(float) + zq_layers_largest(&job->layers) * sizeof(float);
    add(n, "judging candidates",
        held + rounded + (narrow ? 6 : 4) * weights + (plan > dequantized ? plan : dequantized));
    if (!narrow || !job->graph->free_batch)
        return ZQ_OK;
    ZQ_TRY(plan_bytes(
        job, (zq_plan_options){.n_images = 2, .separate = true, .statistics = true, .varied = true}, &plan));
    add(n, "rounding once more",
        held + rounded + weights + zq_rounding_bytes(job->graph, &job->layers, 1, true) + plan +
            2 * image_bytes(job));
    return ZQ_OK;
}

/* Two plans at once. */
static zq_status need_learning(zq_job *job, size_t held, size_t rounded, needs *n) {
    const size_t weights = zq_layers_weights(&job->layers);
    size_t student, teacher;
    if (job->options.effort != ZQ_EFFORT_BEST || !job->graph->free_batch)
        return ZQ_OK;
    zq_plan_options options = {.n_images = 1, .keep_values = true, .separate = true};
    ZQ_TRY(plan_bytes(job, options, &teacher));
    options.gradient = true;
    ZQ_TRY(plan_bytes(job, options, &student));
    add(n, "learning", held + rounded + 6 * weights + zq_learn_bytes(&job->layers) + student + teacher);
    return ZQ_OK;
}

static zq_status need_quantizing(zq_job *job, size_t images, bool writes, needs *n) {
    const bool narrow = !writes || zq_job_may_narrow(job);
    const size_t held = images + zq_layers_weights(&job->layers) * sizeof(float);
    size_t keeping, rounded = 0;
    ZQ_TRY(plan_bytes(job, (zq_plan_options){.n_images = 1, .keep_values = true}, &keeping));
    add(n, "calibrating", held + keeping);
    if (job->options.mixed_activations > 0)
        add(n, "measuring activations", held + image_bytes(job) + keeping);
    ZQ_TRY(narrow ? need_search(job, held, keeping, &rounded, n) : need_rounding(job, held, 1, &rounded, n));
    if (!writes)
        return ZQ_OK;
    ZQ_TRY(need_judging(job, held, rounded, narrow, n));
    return need_learning(job, held, rounded, n);
}

zq_status zq_job_check_memory(zq_job *job, zq_task task) {
    const zq_distill_options options = zq_job_distill_options(job, job->options.recipe);
    int64_t n_images;
    const size_t group = (size_t)zq_distill_group(job->graph, &options, &n_images) * image_bytes(job);
    const size_t images = job->images.data != NULL ? 0 : (size_t)n_images * image_bytes(job);
    needs n = {0};
    if (job->options.memory == 0)
        return ZQ_OK;
    if (job->images.data == NULL)
        ZQ_TRY(need_images(job, images, group, &n));
    if (task != ZQ_TASK_DISTILL)
        ZQ_TRY(need_quantizing(job, images, task == ZQ_TASK_QUANTIZE, &n));
    const size_t crumbs = n.bytes / 50 + 1000000; /* names, histograms, what oneDNN pads */
    const double bytes = (double)(zq_memory_held() + n.bytes + crumbs + own_bytes);
    return bytes <= (double)job->options.memory
               ? ZQ_OK
               : zq_fail(&job->error, ZQ_ERR_LIMIT,
                         "%s: %.0f MB of memory are too few: %s takes %.0f MB, even with one image at a time",
                         job->model_path, (double)job->options.memory / 1e6, n.stage, ceil(bytes / 1e6));
}
