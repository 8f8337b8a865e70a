/* SPDX-License-Identifier: Apache-2.0 */
/* The frontier kept in a file, and any point of it written later. */
#include "job.h"
#include "report/report.h"

#include <string.h>

/* ---- from a file */

/* Options that decided what was measured can't be changed afterwards. */
static const char *find_decided(const zq_options *o) {
    const zq_options usual = zq_options_default();
    const struct {
        bool given;
        const char *name;
    } decided[] = {
        {o->cost != usual.cost, "--cost"},
        {o->search != usual.search, "--search"},
        {o->sensitivity != usual.sensitivity, "--sensitivity"},
        {o->runtime != usual.runtime, "--runtime"},
        {o->bits != NULL, "--bits"},
        {o->n_keep > 0, "--keep"},
        {o->n_exclude > 0, "--exclude"},
        {o->keep_first_last != 0, "--keep-first-last"},
        {o->input_shapes != NULL, "--shape"},
        {o->recipe != usual.recipe, "--distill"},
        {o->estimate_bn != 0, "--estimate-bn"},
        {o->n_images != 0, "--num-images"},
        {o->n_steps != 0, "--steps"},
        {o->input_max > 0 || o->n_input_norm > 0, "--input-max"},
        {o->images != NULL, "--images"},
        {o->weights != usual.weights, "--weights"},
        {o->weight_clip > 0, "--clip"},
        {o->activation_bits != usual.activation_bits || o->mixed_activations != 0, "--activations"},
        {o->activation_range != usual.activation_range, "--range"},
        {o->seed != usual.seed, "--seed"},
        {false, NULL}};
    int d = 0;
    while (decided[d].name != NULL && !decided[d].given)
        d++;
    return decided[d].name;
}

zq_status zq_job_open_saved(zq_job *job, const char *model_path) {
    const char *decided = find_decided(&job->options);
    if (job->options.from == NULL)
        return ZQ_OK;
    if (decided != NULL)
        return zq_fail(&job->error, ZQ_ERR_USAGE,
                       "%s can't be given with --from: it was decided when %.300s was made", decided,
                       job->options.from);
    ZQ_TRY(zq_saved_open(job->options.from, model_path, &job->saved, &job->error));
    job->given = job->options;
    return zq_saved_options(job->saved, &job->options, &job->error);
}

zq_status zq_job_take_images(zq_job *job) {
    return job->saved == NULL ? ZQ_OK
                              : zq_saved_images(job->saved, job->graph, &job->images, &job->box, &job->error);
}

zq_status zq_job_check_saved(zq_job *job) {
    zq_sensitivity sensitivity;
    zq_frontier frontier;
    if (job->saved == NULL)
        return ZQ_OK;
    ZQ_TRY(zq_saved_search(job->saved, &job->layers, &job->rules, &sensitivity, &frontier, &job->error));
    zq_sensitivity_clear(&sensitivity);
    zq_frontier_clear(&frontier);
    return ZQ_OK;
}

void zq_job_close_saved(zq_job *job) {
    if (job->saved != NULL)
        job->options = job->given;
    zq_saved_close(job->saved);
    job->saved = NULL;
}

zq_status zq_job_take_search(zq_job *job) {
    const size_t n = (size_t)job->layers.n;
    zq_frontier *frontier = &job->frontier;
    ZQ_TRY(zq_saved_search(job->saved, &job->layers, &job->rules, &job->sensitivity, frontier, &job->error));
    for (size_t p = 0; p < (size_t)frontier->n_points; p++) {
        for (size_t i = 0; i < n; i++)
            frontier->points[p].bytes += zq_layer_cost(&job->pricing, &job->layers.items[i],
                                                       job->rules.widths[frontier->choice[p * n + i]]);
        if (p > 0 && frontier->points[p].bytes <= frontier->points[p - 1].bytes)
            return zq_saved_refuse(job->saved, "the frontier isn't sorted by cost", &job->error);
    }
    return ZQ_OK;
}
