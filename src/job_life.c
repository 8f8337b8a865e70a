/* SPDX-License-Identifier: Apache-2.0 */
/* Birth and end of a job, and what it says on the way: time, progress, the sentence of a failure. */
#include "job.h"

#include "base/memory.h"

#include <time.h>

/* ---- time, progress */

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static zq_status report(zq_job *job, const char *stage, double done) {
    const bool cancelled =
        job->options.progress != NULL && job->options.progress(job->options.progress_user, stage, done);
    return cancelled ? zq_fail(&job->error, ZQ_ERR_CANCELLED, "cancelled while at '%s'", stage) : ZQ_OK;
}

zq_status zq_job_begin_stage(zq_job *job, const char *name) {
    job->stage_start = job->last_report = now();
    job->stages[job->n_stages] = (zq_stage_time){.name = name};
    return report(job, name, 0);
}

zq_status zq_job_end_stage(zq_job *job) {
    zq_stage_time *stage = &job->stages[job->n_stages++];
    stage->seconds = now() - job->stage_start;
    return report(job, stage->name, 1);
}

/* A few reports a second are enough. */
int zq_job_on_step(void *user, int step, int n_steps) {
    zq_job *job = user;
    if (now() - job->last_report < 0.15)
        return 0;
    job->last_report = now();
    return report(job, job->stages[job->n_stages].name, (double)step / n_steps) != ZQ_OK;
}

/* ---- life */

zq_job *zq_job_new(const zq_options *options) {
    zq_job *job = zq_alloc(1, sizeof *job);
    if (job != NULL)
        job->options = options != NULL ? *options : zq_options_default();
    return job;
}

void zq_job_forget_results(zq_job *job) {
    for (int k = 0; k < job->n_candidates; k++)
        zq_candidate_clear(&job->candidates[k], job->layers.n);
    zq_standard_clear(&job->standard);
    zq_rounding_clear(&job->rounding);
    zq_rounding_clear(&job->settled);
    zq_rounding_clear(&job->learned);
    zq_sensitivity_clear(&job->sensitivity);
    zq_frontier_clear(&job->frontier);
    zq_free(job->joint);
    zq_free(job->allotted);
    zq_free(job->even);
    zq_free(job->finest);
    zq_free(job->seen);
    zq_grids_clear(&job->grids);
    zq_free(job->grid_damage);
    zq_free(job->grid_choice);
    zq_free(job->output_path);
    job->activations = job->allotted = job->even = job->finest = NULL;
    job->seen = NULL;
    job->joint = NULL;
    job->grid_damage = NULL;
    job->grid_choice = NULL;
    job->output_path = NULL;
    job->n_candidates = job->cautious = 0;
    zq_certainty_clear(&job->certainty);
    job->predicted = (zq_damage){0};
    job->n_judge_images = 0;
    job->saves_frontier = false;
    job->n_measured = job->n_formula = 0;
    job->n_stages = job->n_kept_stages;
}

void zq_job_forget_model(zq_job *job) {
    zq_job_forget_results(job);
    zq_profile_clear(&job->profile);
    zq_free(job->compared_path);
    job->compared_path = NULL;
    job->comparison = (zq_comparison){0};
    zq_job_close_saved(job);
    zq_images_clear(&job->images);
    zq_box_clear(&job->box);
    zq_layers_clear(&job->layers);
    zq_graph_drop(job->graph);
    zq_tail_drop(job->tail);
    zq_free(job->placements);
    zq_free(job->model_path);
    job->graph = NULL;
    job->balanced_for = 0;
    job->tail = NULL;
    job->placements = NULL;
    job->model_path = NULL;
    job->n_stages = job->n_kept_stages = 0;
}

void zq_job_drop(zq_job *job) {
    if (job != NULL) {
        zq_job_forget_model(job);
        zq_free(job);
    }
}

const char *zq_job_message(const zq_job *job) {
    return job == NULL ? "out of memory" : job->error.text;
}
