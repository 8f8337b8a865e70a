/* SPDX-License-Identifier: Apache-2.0 */
/* The smallest network that keeps a damage. */
#include "job.h"

bool zq_job_limits_damage(const zq_job *job) {
    return job->options.max_kl > 0 || job->options.min_agreement > 0;
}

bool zq_job_may_narrow(const zq_job *job) {
    return job->target.kind != ZQ_TARGET_BITS || job->target.value < 8 || zq_job_limits_damage(job);
}

static bool keeps_damage(const zq_job *job) {
    const zq_options *options = &job->options;
    return (options->max_kl == 0 || job->predicted.kl <= options->max_kl) &&
           job->predicted.agreement >= options->min_agreement;
}

static zq_status refuse_damage(zq_job *job) {
    return zq_fail(
        &job->error, ZQ_ERR_LIMIT,
        "%s: the damage asked for can't be kept: the best network within the size %s, of %llu bytes, "
        "has a KL divergence of %.4g nats and the same largest output on %.1f %% of %s%lld held-out "
        "images; allow more damage, or a larger size",
        job->model_path, job->options.size, (unsigned long long)job->candidates[job->chosen].bytes,
        job->predicted.kl, 100 * job->predicted.agreement,
        job->predicted.expected ? "photos, as expected from " : "", (long long)job->n_judge_images);
}

/* Makes and judges the candidates of a point of the frontier, and of no other: job->predicted is what the
 * file will do. */
static zq_status settle(zq_job *job, int point, int *bits, const zq_share *images) {
    zq_job_drop_candidates(job);
    ZQ_TRY(zq_job_add_point(job, point, bits));
    if (zq_job_are_all_8(job, bits))
        ZQ_TRY(zq_job_add_candidate(job, "pareto", bits, NULL, ZQ_WEIGHT_MINMAX, NULL));
    ZQ_TRY(zq_job_choose(job, images));
    return zq_job_predict(job, &images->judge);
}

/* Along the frontier damage falls, up to noise, so halving finds the smallest. */
static zq_status halve(zq_job *job, int highest, int *bits, const zq_share *images) {
    int lo = 0, hi = highest, settled = highest;
    ZQ_TRY(settle(job, settled, bits, images));
    if (!keeps_damage(job))
        return refuse_damage(job);
    while (lo < hi) {
        settled = lo + (hi - lo) / 2;
        ZQ_TRY(settle(job, settled, bits, images));
        if (keeps_damage(job))
            hi = settled;
        else
            lo = settled + 1;
        if (zq_job_on_step(job, highest - (hi - lo), highest) != 0)
            return job->error.status;
    }
    return settled == hi ? ZQ_OK : settle(job, hi, bits, images);
}

zq_status zq_job_find_smallest(zq_job *job, int *bits, const zq_share *images) {
    int highest;
    ZQ_TRY(zq_job_begin_stage(job, "halve"));
    ZQ_TRY(zq_job_find_point(job, bits, &highest));
    ZQ_TRY(halve(job, highest, bits, images));
    return zq_job_end_stage(job);
}
