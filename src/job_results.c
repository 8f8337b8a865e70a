/* SPDX-License-Identifier: Apache-2.0 */
/* What a job has to tell. */
#include "base/file.h"
#include "job.h"
#include "report/html.h"
#include "report/report.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static zq_status need_images(zq_job *job) {
    ZQ_TRY(zq_job_need_model(job));
    return job->images.data != NULL ? ZQ_OK
                                    : zq_fail(&job->error, ZQ_ERR_USAGE, "no images have been distilled yet");
}

zq_status zq_job_write_images(zq_job *job, const char *path) {
    ZQ_TRY(need_images(job));
    ZQ_TRY(zq_job_check_path(job, path));
    return zq_npy_write(path, &job->images, &job->error);
}

zq_status zq_job_write_sheet(zq_job *job, const char *path) {
    ZQ_TRY(need_images(job));
    ZQ_TRY(zq_job_check_path(job, path));
    return zq_sheet_write(path, &job->images, &job->box, &job->error);
}

static double mean_bits(const zq_job *job) {
    double bits = 0, count = 0;
    for (int i = 0; job->n_candidates > 0 && i < job->layers.n; i++) {
        const double n = (double)job->layers.items[i].n_channels * (double)job->layers.items[i].per_channel;
        bits += n * job->candidates[job->chosen].bits[i];
        count += n;
    }
    return count > 0 ? bits / count : 0;
}

void zq_job_summary(const zq_job *job, zq_summary *summary_out) {
    struct rusage usage;
    *summary_out = (zq_summary){.n_layers = job->layers.n, .mean_bits = mean_bits(job)};
    if (job->activations != NULL)
        summary_out->mean_activation_bits = zq_activations_mean_bits(job->standard.graph, job->activations);
    if (job->graph != NULL)
        summary_out->fp32_bytes = job->graph->file_bytes;
    for (int i = 0; i < job->layers.n; i++)
        summary_out->n_macs += job->layers.items[i].macs;
    if (job->output_path != NULL)
        summary_out->quantized_bytes = job->candidates[job->chosen].bytes;
    summary_out->predicted_kl = job->predicted.kl;
    summary_out->predicted_agreement = job->predicted.agreement;
    for (int s = 0; s < job->n_stages; s++)
        summary_out->seconds += job->stages[s].seconds;
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        summary_out->peak_bytes = (uint64_t)usage.ru_maxrss * 1024;
}

static zq_record make_record(const zq_job *job) {
    const bool judged = job->n_candidates > 0 && job->n_judge_images > 0;
    zq_record record = {.model_path = job->model_path,
                        .output_path = job->output_path,
                        .options = &job->options,
                        .graph = job->graph,
                        .bn = &job->bn,
                        .layers = &job->layers,
                        .placements = job->placements,
                        .box = job->box.lo != NULL ? &job->box : NULL,
                        .images = job->images.data != NULL ? &job->images : NULL,
                        .activations = job->activations,
                        .seen = job->seen,
                        .allotted = job->allotted,
                        .grids = &job->grids,
                        .grid_choice = job->grid_choice,
                        .grid_damage = job->grid_damage,
                        .sensitivity = job->sensitivity.omega != NULL ? &job->sensitivity : NULL,
                        .frontier = job->frontier.n_points > 0 ? &job->frontier : NULL,
                        .joint = job->joint,
                        .n_measured = job->n_measured,
                        .n_formula = job->n_formula,
                        .is_saved = job->saves_frontier,
                        .pricing = &job->pricing,
                        .limit = job->limit,
                        .profile = job->profile.n_steps > 0 ? &job->profile : NULL,
                        .compared_path = job->compared_path,
                        .compared_bytes = job->compared_bytes,
                        .comparison = job->comparison.n_images > 0 ? &job->comparison : NULL,
                        .n_candidates = job->n_candidates,
                        .candidates = job->candidates,
                        .chosen = judged ? &job->candidates[job->chosen] : NULL,
                        .predicted = judged ? &job->predicted : NULL,
                        .n_judge_images = job->n_judge_images,
                        .n_stages = job->n_stages};
    memcpy(record.stages, job->stages, sizeof record.stages);
    zq_job_summary(job, &record.summary);
    return record;
}

char *zq_job_json(zq_job *job) {
    if (zq_job_need_model(job) != ZQ_OK || zq_job_predict_frontier(job) != ZQ_OK)
        return NULL;
    const zq_record record = make_record(job);
    return zq_record_json(&record);
}

zq_status zq_job_write_json(zq_job *job, const char *path) {
    ZQ_TRY(zq_job_check_path(job, path));
    char *text = zq_job_json(job);
    if (text == NULL)
        return zq_fail_memory(&job->error);
    const zq_status status = zq_file_write(path, text, strlen(text), &job->error);
    free(text);
    return status;
}

zq_status zq_job_write_csv(zq_job *job, const char *path) {
    ZQ_TRY(zq_job_check_path(job, path));
    if (job->frontier.n_points == 0)
        return zq_fail(&job->error, ZQ_ERR_USAGE, "no frontier has been measured yet");
    ZQ_TRY(zq_job_predict_frontier(job));
    const zq_record record = make_record(job);
    return zq_csv_write(path, &record, &job->error);
}

zq_status zq_job_write_report(zq_job *job, const char *path) {
    ZQ_TRY(zq_job_check_path(job, path));
    if (job->output_path == NULL)
        return zq_fail(&job->error, ZQ_ERR_USAGE,
                       "nothing has been quantized yet, so there is nothing to report");
    ZQ_TRY(zq_job_find_frontier(job));
    ZQ_TRY(zq_job_predict_frontier(job));
    const zq_record record = make_record(job);
    return zq_html_write(path, &record, &job->error);
}
