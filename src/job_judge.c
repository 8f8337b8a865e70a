/* SPDX-License-Identifier: Apache-2.0 */
/* Which candidate is written, and how good it is. */
#include "job.h"
#include "quant/correct.h"
#include "quant/labels.h"
#include "quant/learn.h"

#include <string.h>

/* Distilled images with labels say how certain the network is; on photos, agreement is counted. */
static zq_status need_certainty(zq_job *job) {
    zq_labels labels;
    zq_labels_init(job->graph, 0, &labels);
    return labels.value < 0 || strcmp(job->images.source, "fast") != 0 || job->certainty.scores != NULL
               ? ZQ_OK
               : zq_certainty_measure(job->graph, &job->images, &job->certainty, &job->error);
}

/* images: some of the job's. */
static zq_status judge(zq_job *job, zq_candidate *candidate, float *const *reference, const zq_images *images,
                       zq_damage *out) {
    const int64_t per_image = zq_shape_count(&job->images.shape) / job->images.shape.dims[0];
    ZQ_TRY(zq_job_simulate_candidate(job, candidate));
    return zq_damage_measure(job->standard.graph, reference, candidate->simulated, images,
                             job->certainty.scores != NULL ? &job->certainty : NULL,
                             (images->data - job->images.data) / per_image, out, &job->error);
}

/* The best candidate once more, with its biases corrected. */
static zq_status correct_chosen(zq_job *job, const zq_images *images) {
    zq_candidate *best = &job->candidates[job->chosen];
    zq_graph *corrected;
    ZQ_TRY(zq_job_simulate_candidate(job, best));
    ZQ_TRY(zq_correct_biases(job->standard.graph, &job->layers, best->weights, best->simulated,
                             &best->aligned, images, &corrected, &job->error));
    return zq_job_add_candidate(job, best->name, best->bits, best->rounding, best->range, corrected);
}

/* The best candidate once more, with its weights rounded in the network that it is. */
static zq_status settle_chosen(zq_job *job, const zq_images *images) {
    const zq_candidate *best = &job->candidates[job->chosen];
    const zq_weight_spec spec = zq_job_weight_spec(job, ZQ_WEIGHT_MSE);
    const zq_rounder rounder = zq_job_rounder(job, &spec);
    zq_rounding_clear(&job->settled);
    zq_graph_drop(job->candidates[job->chosen].simulated); /* made anew if it stays the best */
    job->candidates[job->chosen].simulated = NULL;
    ZQ_TRY(zq_rounding_settle(&rounder, images, &job->rounding, best->bits, &job->settled, &job->error));
    return zq_job_add_candidate(job, best->name, best->bits, &job->settled, ZQ_WEIGHT_MSE, NULL);
}

/* On photos correcting the biases nearly always helps, and more surely than a few held-out images tell
 * (docs/accuracy.md): they only say where it does harm. */
static const double much_worse = 1.5;

/* So does the choice that trusts less than 4 bits less (zq_job_search_cautious), as long as what the images
 * say isn't clear. */
static const double clearly_worse = 4.0 / 3;

/* Corrected biases may be new ones, so the limit is asked again. Of the worse one only figures stay. */
static void take_if_better(zq_job *job, int k) {
    const zq_candidate *candidate = &job->candidates[k];
    const int before = job->chosen;
    const bool only_biases =
        candidate->corrected != NULL && candidate->rounding == job->candidates[before].rounding;
    const bool only_caution = before == 0 && k > 0 && k == job->cautious;
    const double most = job->candidates[before].damage.kl * (only_biases    ? much_worse
                                                             : only_caution ? clearly_worse
                                                                            : 1);
    if (zq_job_cost_of(job, candidate) <= job->limit && candidate->damage.kl < most)
        job->chosen = k;
    if (k != before)
        zq_candidate_forget(&job->candidates[job->chosen == k ? before : k], job->layers.n);
}

/* Judges the candidate that was added last. */
static zq_status judge_last(zq_job *job, float *const *reference, const zq_images *images) {
    const int last = job->n_candidates - 1;
    ZQ_TRY(judge(job, &job->candidates[last], reference, images, &job->candidates[last].damage));
    take_if_better(job, last);
    return ZQ_OK;
}

/* The best candidate once more, with the same width for all activations. */
static zq_status try_even(zq_job *job, float *const *reference, const zq_images *images) {
    const zq_candidate *best = &job->candidates[job->chosen];
    if (job->even == NULL)
        return ZQ_OK;
    zq_job_use_activations(job, job->even);
    ZQ_TRY(zq_job_add_candidate(job, best->name, best->bits, best->rounding, best->range, NULL));
    ZQ_TRY(judge_last(job, reference, images));
    zq_job_use_activations(job, job->candidates[job->chosen].activations);
    return ZQ_OK;
}

/* Both take all images at once, so a fixed batch goes without. */
static zq_status improve(zq_job *job, float *const *reference, const zq_share *images) {
    if (!job->graph->free_batch)
        return ZQ_OK;
    if (job->candidates[job->chosen].rounding == &job->rounding) {
        ZQ_TRY(settle_chosen(job, &images->improve));
        ZQ_TRY(judge_last(job, reference, &images->choose));
    }
    ZQ_TRY(correct_chosen(job, &images->improve));
    return judge_last(job, reference, &images->choose);
}

zq_status zq_job_choose(zq_job *job, const zq_share *images) {
    float **reference = NULL;
    ZQ_TRY(need_certainty(job));
    ZQ_TRY(zq_outputs_run(job->standard.graph, &images->choose, &reference, &job->error));
    zq_status status = ZQ_OK;
    job->chosen = 0;
    for (int k = 0; status == ZQ_OK && k < job->n_candidates; k++) {
        status = judge(job, &job->candidates[k], reference, &images->choose, &job->candidates[k].damage);
        take_if_better(job, k);
    }
    if (status == ZQ_OK)
        status = try_even(job, reference, &images->choose);
    if (status == ZQ_OK)
        status = improve(job, reference, images);
    zq_outputs_drop(reference, job->graph->n_outputs);
    return status;
}

zq_status zq_job_predict(zq_job *job, const zq_images *images) {
    float **reference = NULL;
    ZQ_TRY(zq_outputs_run(job->standard.graph, images, &reference, &job->error));
    const zq_status status = judge(job, &job->candidates[job->chosen], reference, images, &job->predicted);
    job->n_judge_images = images->shape.dims[0];
    zq_outputs_drop(reference, job->graph->n_outputs);
    return status;
}

/* ---- learning */

/* Steps of so many images; fewer for networks whose steps take long. */
enum { LEARN_STEPS = 400, LEAST_STEPS = 20, LEARN_IMAGES = 32 };
static const double most_macs = 4e12;

static zq_learn_options learn_options(zq_job *job) {
    zq_learn_options options = {.n_steps = LEARN_STEPS,
                                .n_images = LEARN_IMAGES,
                                .seed = job->options.seed,
                                .callback = zq_job_on_step,
                                .user = job};
    double macs = job->layers.float_macs;
    for (int i = 0; i < job->layers.n; i++)
        macs += job->layers.items[i].macs;
    const double fit = most_macs / (LEARN_IMAGES * (macs + 1));
    if (fit < LEARN_STEPS)
        options.n_steps = fit < LEAST_STEPS ? LEAST_STEPS : (int)fit;
    return options;
}

/* The chosen candidate once more, with weights, scales and biases learned. */
static zq_status add_learned(zq_job *job, const zq_images *images) {
    const zq_candidate *best = &job->candidates[job->chosen];
    const zq_weight_spec spec = zq_job_weight_spec(job, ZQ_WEIGHT_MSE);
    const zq_rounder rounder = zq_job_rounder(job, &spec);
    const zq_learn_options options = learn_options(job);
    zq_graph *learned;
    zq_rounding_clear(&job->learned);
    ZQ_TRY(
        zq_rounding_start(&job->layers, job->rules.n_widths, job->rules.widths, &job->learned, &job->error));
    ZQ_TRY(zq_rounding_learn(&rounder, images, best->weights, best->corrected, &options, &job->learned,
                             &learned, &job->error));
    return zq_job_add_candidate(job, best->name, best->bits, &job->learned, ZQ_WEIGHT_MSE, learned);
}

/* Both of them on images that neither has seen. */
static zq_status decide(zq_job *job, float *const *reference, const zq_images *images) {
    ZQ_TRY(
        judge(job, &job->candidates[job->chosen], reference, images, &job->candidates[job->chosen].damage));
    return judge_last(job, reference, images);
}

zq_status zq_job_learn(zq_job *job, const zq_share *images) {
    float **reference = NULL;
    if (job->options.effort != ZQ_EFFORT_BEST || !job->graph->free_batch)
        return ZQ_OK;
    ZQ_TRY(zq_job_begin_stage(job, "learn"));
    const zq_status learned = add_learned(job, &images->improve);
    if (learned == ZQ_ERR_UNSUPPORTED) /* an operator without a gradient: it stays as it is */
        return zq_job_end_stage(job);
    ZQ_TRY(learned);
    ZQ_TRY(zq_outputs_run(job->standard.graph, &images->decide, &reference, &job->error));
    const zq_status status = decide(job, reference, &images->decide);
    zq_outputs_drop(reference, job->graph->n_outputs);
    ZQ_TRY(status);
    ZQ_TRY(zq_job_predict(job, &images->judge));
    return zq_job_end_stage(job);
}

zq_status zq_job_judge(zq_job *job, const zq_share *images) {
    ZQ_TRY(zq_job_begin_stage(job, "judge"));
    ZQ_TRY(zq_job_choose(job, images));
    ZQ_TRY(zq_job_predict(job, &images->judge));
    return zq_job_end_stage(job);
}
