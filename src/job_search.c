/* SPDX-License-Identifier: Apache-2.0 */
/* The search for widths: independent (eq. 4), or grouped (Appendix A) on the calibration network. */
#include "job.h"

#include "base/memory.h"
#include "quant/grouped.h"
#include "quant/joint.h"

#include <math.h>

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

static zq_status search_grouped(zq_job *job, const uint64_t *costs, const double *omega,
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

static zq_status search_independent(zq_job *job, const uint64_t *costs, const double *omega) {
    const int n_layers = job->layers.n, n_widths = job->rules.n_widths;
    job->n_measured = job->n_formula = (int64_t)n_layers * n_widths;
    return zq_allocate(n_layers, n_widths, costs, omega, 0, &job->frontier, &job->error);
}

/* What distilled images say of less than 4 bits is too good to be true: what the images have in common, the
 * weights are fitted to, and photos have it less in common. Most of all where few inputs were seen: with 2
 * bits in a classifier photos lose twice as much. usual: what 2 bits in other layers count; 3 bits are
 * halfway. */
static double caution(const zq_job *job, int layer, int bits, double usual) {
    const double factor = job->rounding.scarce[layer] ? 4 : usual;
    return bits > 3 ? 1 : bits == 3 ? sqrt(factor) : factor;
}

/* costs, omega: [n_layers, n_widths]; a width that a layer may not have gets a negative omega. */
static void fill(const zq_job *job, double usual, uint64_t *costs, double *omega) {
    const int n_widths = job->rules.n_widths;
    for (int i = 0; i < job->layers.n; i++)
        for (int k = 0; k < n_widths; k++) {
            const zq_layer *layer = &job->layers.items[i];
            costs[i * n_widths + k] = zq_layer_cost(&job->pricing, layer, job->rules.widths[k]);
            omega[i * n_widths + k] =
                !zq_rules_allow(&job->rules, layer, k)
                    ? -1
                    : job->sensitivity.omega[i * n_widths + k] * caution(job, i, job->rules.widths[k], usual);
        }
}

zq_status zq_job_search(zq_job *job, const zq_images *images) {
    const size_t n = (size_t)job->layers.n * (size_t)job->rules.n_widths;
    if (job->frontier.n_points > 0)
        return ZQ_OK;
    ZQ_TRY(zq_job_begin_stage(job, "allocate"));
    uint64_t *costs = zq_alloc(n, sizeof *costs);
    double *omega = zq_alloc(n, sizeof *omega);
    zq_status status = costs == NULL || omega == NULL ? zq_fail_memory(&job->error) : ZQ_OK;
    if (status == ZQ_OK) {
        fill(job, 1, costs, omega);
        status = job->options.search == ZQ_SEARCH_GROUPED ? search_grouped(job, costs, omega, images)
                                                          : search_independent(job, costs, omega);
    }
    zq_free(costs);
    zq_free(omega);
    return status == ZQ_OK ? zq_job_end_stage(job) : status;
}

zq_status zq_job_search_cautious(zq_job *job, zq_frontier *out) {
    const size_t n = (size_t)job->layers.n * (size_t)job->rules.n_widths;
    uint64_t *costs = zq_alloc(n, sizeof *costs);
    double *omega = zq_alloc(n, sizeof *omega);
    zq_status status = costs == NULL || omega == NULL ? zq_fail_memory(&job->error) : ZQ_OK;
    if (status == ZQ_OK) {
        fill(job, 2, costs, omega);
        status = zq_allocate(job->layers.n, job->rules.n_widths, costs, omega, 0, out, &job->error);
    }
    zq_free(costs);
    zq_free(omega);
    return status;
}

zq_status zq_job_predict_frontier(zq_job *job) {
    const zq_frontier *frontier = &job->frontier;
    if (frontier->n_points == 0 || job->joint != NULL)
        return ZQ_OK;
    job->joint = zq_alloc((size_t)frontier->n_points, sizeof *job->joint);
    if (job->joint == NULL)
        return zq_fail_memory(&job->error);
    return zq_superposed_predict(&job->sensitivity.superposed, frontier->n_points, frontier->choice,
                                 job->joint, &job->error);
}
