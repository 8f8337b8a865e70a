/* SPDX-License-Identifier: Apache-2.0 */
/* The job behind the public API. Its functions lie in job.c (the method, stage by stage) and in the files
 * that are named in brackets. */
#ifndef ZQ_JOB_H
#define ZQ_JOB_H

#include "quant/rules.h"
#include "report/record.h"

enum { ZQ_MAX_CANDIDATES = 6 };

struct zq_job {
    zq_options options;
    zq_error error;
    char *model_path, *output_path;
    zq_graph *graph;
    zq_simplify_counts bn;
    zq_layers layers;
    zq_rules rules;
    zq_placement *placements;
    zq_box box;
    zq_images images;
    zq_activation *activations;
    zq_density *seen;
    zq_target target;
    zq_pricing pricing;
    uint64_t limit; /* the target in units of the cost */
    zq_sensitivity sensitivity;
    zq_frontier frontier;
    zq_profile profile;
    int n_candidates, chosen;
    zq_candidate candidates[ZQ_MAX_CANDIDATES];
    zq_damage predicted;
    int64_t n_judge_images;
    int n_stages, n_kept_stages; /* kept: reading and distilling, when quantize is called again */
    zq_stage_time stages[ZQ_MAX_STAGES];
    double stage_start, last_report;
};

/* Checks the options and reads those that are text. [job_options.c] */
zq_status zq_job_check_options(zq_job *job);

/* Whether a model is open; clears the last failure and sets the number of threads. [job_open.c] */
zq_status zq_job_need_model(zq_job *job);

/* The sentence of an error begins with the file, unless it does already. [job_open.c] */
void zq_job_name_file(zq_error *error, const char *path);

/* Time and progress of a stage; name is static. */
zq_status zq_job_begin_stage(zq_job *job, const char *name);
zq_status zq_job_end_stage(zq_job *job);

/* Back to a job without a model. */
void zq_job_forget_model(zq_job *job);

#endif
