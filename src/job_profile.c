/* SPDX-License-Identifier: Apache-2.0 */
/* Timing the engine on the job's model. No stage of the method: it isn't listed among them. */
#include "job.h"

enum { PROFILED_IMAGES = 8, MOST_IMAGES = 4096 };

static zq_status report(zq_job *job, double done) {
    const zq_options *options = &job->options;
    const bool cancelled =
        options->progress != NULL && options->progress(options->progress_user, "profile", done);
    return cancelled ? zq_fail(&job->error, ZQ_ERR_CANCELLED, "cancelled while at 'profile'") : ZQ_OK;
}

static int on_round(void *user, int round, int n_rounds) {
    return report(user, (double)round / n_rounds) != ZQ_OK;
}

static zq_status profile(zq_job *job, int n_images, bool gradient) {
    if (n_images < 0 || n_images > MOST_IMAGES)
        return zq_fail(&job->error, ZQ_ERR_USAGE, "%d images asked for, expected 1 to %d", n_images,
                       MOST_IMAGES);
    const int64_t n = n_images > 0             ? n_images
                      : job->graph->free_batch ? PROFILED_IMAGES
                                               : zq_graph_images(job->graph);
    const bool half = gradient ? zq_job_distill_options(job, job->options.recipe).half
                               : job->options.precision == ZQ_PRECISION_BF16;
    ZQ_TRY(report(job, 0));
    ZQ_TRY(zq_profile_measure(job->graph, n, gradient, half, on_round, job, &job->profile, &job->error));
    return report(job, 1);
}

zq_status zq_job_profile(zq_job *job, int n_images, int gradient) {
    ZQ_TRY(zq_job_need_model(job));
    zq_profile_clear(&job->profile);
    const zq_status status = profile(job, n_images, gradient != 0);
    if (status != ZQ_OK)
        zq_job_name_file(&job->error, job->model_path);
    return status;
}
