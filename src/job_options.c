/* SPDX-License-Identifier: Apache-2.0 */
/* What a job can be told. */
#include "job.h"

#include <math.h>

const char *zq_version(void) {
    return ZQ_VERSION;
}

zq_options zq_options_default(void) {
    return (zq_options){
        .size = "w8", .activation_bits = 8, .activation_range = ZQ_RANGE_MSE, .percentile = 99.99};
}

zq_status zq_job_check_options(zq_job *job) {
    const zq_options *options = &job->options;
    zq_error *err = &job->error;
    if (options->n_images < 0 || options->n_images > 4096)
        return zq_fail(err, ZQ_ERR_USAGE, "%d images asked for, expected 1 to 4096", options->n_images);
    if (options->n_steps < 0 || options->n_steps > 100000)
        return zq_fail(err, ZQ_ERR_USAGE, "%d steps asked for, expected 1 to 100000", options->n_steps);
    if (options->n_threads < 0 || options->n_threads > 1024)
        return zq_fail(err, ZQ_ERR_USAGE, "%d threads asked for, expected 1 to 1024", options->n_threads);
    if (!(options->weight_clip == 0 || (options->weight_clip > 50 && options->weight_clip <= 100)))
        return zq_fail(err, ZQ_ERR_USAGE,
                       "weights are to be clipped at the percentile %g, expected 50 to 100",
                       options->weight_clip);
    if (options->activation_bits < 4 || options->activation_bits > 8)
        return zq_fail(err, ZQ_ERR_USAGE, "activations of %d bits are asked for, expected 4 to 8",
                       options->activation_bits);
    if (!(options->percentile > 50 && options->percentile <= 100))
        return zq_fail(err, ZQ_ERR_USAGE, "the percentile of activations is %g, expected 50 to 100",
                       options->percentile);
    if (!(options->max_kl >= 0 && options->max_kl < INFINITY))
        return zq_fail(err, ZQ_ERR_USAGE, "a KL divergence of at most %g is asked for, expected more than 0",
                       options->max_kl);
    if (!(options->min_agreement >= 0 && options->min_agreement <= 1))
        return zq_fail(err, ZQ_ERR_USAGE, "an agreement of at least %g %% is asked for, expected 0 to 100",
                       100 * options->min_agreement);
    if (options->size == NULL)
        job->options.size = "w8";
    return zq_target_parse(job->options.size, options->cost, &job->target, err);
}
