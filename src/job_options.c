/* SPDX-License-Identifier: Apache-2.0 */
/* What a job can be told. */
#include "job.h"

#include <math.h>
#include <string.h>

const char *zq_version(void) {
    return ZQ_VERSION;
}

zq_options zq_options_default(void) {
    return (zq_options){
        .size = "w8", .activation_bits = 8, .activation_range = ZQ_RANGE_MSE, .percentile = 99.99};
}

const zq_form *zq_job_form(const zq_job *job) {
    return zq_form_of(job->options.runtime);
}

static bool keeps_all_8(const zq_options *options) {
    for (int k = 0; k < options->n_keep; k++) {
        const char *equals = strrchr(options->keep[k], '=');
        if (equals != NULL && strcmp(equals, "=8") != 0)
            return false;
    }
    return true;
}

static zq_status check_runtime(zq_job *job) {
    const zq_options *options = &job->options;
    const char *narrows = job->target.kind == ZQ_TARGET_BITS && job->target.value < 8      ? "--size"
                          : options->bits != NULL && strcmp(options->bits, "8") != 0       ? "--bits"
                          : !keeps_all_8(options)                                          ? "--keep"
                          : options->activation_bits < 8 || options->mixed_activations > 0 ? "--activations"
                          : options->weights == ZQ_WEIGHTS_ASYMMETRIC                      ? "--weights"
                                                                                           : NULL;
    if (zq_job_form(job)->narrow || narrows == NULL)
        return ZQ_OK;
    return zq_fail(
        &job->error, ZQ_ERR_USAGE,
        "%s: with --runtime %s weights are symmetric, and they and activations have 8 bits; leave it out, or "
        "choose --runtime onnxruntime",
        narrows, zq_job_form(job)->option);
}

zq_status zq_job_check_options(zq_job *job) {
    const zq_options *options = &job->options;
    zq_error *err = &job->error;
    if ((unsigned)options->runtime > ZQ_RUNTIME_TENSORRT)
        return zq_fail(err, ZQ_ERR_USAGE, "no runtime has the number %d", (int)options->runtime);
    if (options->n_images < 0 || options->n_images > 4096)
        return zq_fail(err, ZQ_ERR_USAGE, "%d images asked for, expected 1 to 4096", options->n_images);
    if (options->n_steps < 0 || options->n_steps > 100000)
        return zq_fail(err, ZQ_ERR_USAGE, "%d steps asked for, expected 1 to 100000", options->n_steps);
    if (options->n_threads < 0 || options->n_threads > 1024)
        return zq_fail(err, ZQ_ERR_USAGE, "%d threads asked for, expected 1 to 1024", options->n_threads);
    if (options->precision == ZQ_PRECISION_BF16 && !zq_plan_takes_half())
        return zq_fail(err, ZQ_ERR_UNSUPPORTED,
                       "this processor doesn't multiply bfloat16: leave --precision out, or choose fp32");
    if (!(options->weight_clip == 0 || (options->weight_clip > 50 && options->weight_clip <= 100)))
        return zq_fail(err, ZQ_ERR_USAGE,
                       "weights are to be clipped at the percentile %g, expected 50 to 100",
                       options->weight_clip);
    if (options->activation_bits < 4 || options->activation_bits > 8)
        return zq_fail(err, ZQ_ERR_USAGE, "activations of %d bits are asked for, expected 4 to 8",
                       options->activation_bits);
    if (options->mixed_activations != 0 &&
        !(options->mixed_activations >= 4 && options->mixed_activations <= 8))
        return zq_fail(err, ZQ_ERR_USAGE, "activations of %g bits in the mean are asked for, expected 4 to 8",
                       options->mixed_activations);
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
    ZQ_TRY(zq_target_parse(job->options.size, options->cost, &job->target, err));
    return check_runtime(job);
}
