/* SPDX-License-Identifier: Apache-2.0 */
/* The grouped search on the calibration network. */
#include "job.h"
#include "quant/grouped.h"
#include "quant/joint.h"

typedef struct session {
    zq_job *job;
    zq_joint *joint;
    int64_t done, most;
} session;

static zq_status measure(void *user, int n, const uint8_t *choice, double *damage_out) {
    session *s = user;
    ZQ_TRY(zq_joint_measure(s->joint, n, choice, damage_out, &s->job->error));
    return zq_job_on_step(s->job, (int)(++s->done * 1000 / s->most), 1000) != 0 ? s->job->error.status
                                                                                : ZQ_OK;
}

zq_status zq_job_search_grouped(zq_job *job, const uint64_t *costs, const double *omega,
                                const zq_images *images) {
    session s = {.job = job};
    const zq_grouped_problem problem = {.n_layers = job->layers.n,
                                        .n_widths = job->rules.n_widths,
                                        .costs = costs,
                                        .omega = omega,
                                        .n_tried = ZQ_GROUPED_TRIED,
                                        .n_kept = ZQ_GROUPED_KEPT,
                                        .n_bins = ZQ_GROUPED_BINS,
                                        .n_together = ZQ_GROUPED_TOGETHER,
                                        .measure = measure,
                                        .user = &s};
    s.most = zq_grouped_formula(&problem);
    ZQ_TRY(zq_joint_new(job->standard.graph, &job->layers, images, &job->rounding, &s.joint, &job->error));
    const zq_status status = zq_grouped_search(&problem, &job->frontier, &job->n_measured, &job->error);
    zq_joint_drop(s.joint);
    job->n_measured += (int64_t)problem.n_widths * problem.n_layers;
    job->n_formula = s.most;
    return status;
}
