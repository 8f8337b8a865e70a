/* SPDX-License-Identifier: Apache-2.0 */
/* The job behind the public API. Its functions lie in job.c (the method, stage by stage) and in the files
 * that are named in brackets. */
#ifndef ZQ_JOB_H
#define ZQ_JOB_H

#include "onnx/onnx.h"
#include "photo/photo.h"
#include "quant/grids.h"
#include "quant/rules.h"
#include "report/saved.h"

enum { ZQ_MAX_CANDIDATES = 9 };

/* Images have several uses, and what one finds is judged by images that it hasn't seen, since whatever is
 * searched may overfit to them. Once the widths are chosen, all but the last serve to make the most of them.
 */
typedef struct zq_share {
    zq_images search;  /* weights rounded at every width */
    zq_images choose;  /* sensitivities, and between candidates */
    zq_images decide;  /* between what was learned and what it was learned from, with the best effort */
    zq_images judge;   /* the predicted damage that is printed */
    zq_images improve; /* weights of the chosen widths, biases: search and choose together */
} zq_share;

struct zq_job {
    zq_options options, given; /* given: those before a frontier's file decided */
    zq_error error;
    zq_saved *saved; /* that file; NULL: none */
    char *model_path, *output_path;
    zq_graph *graph;
    double balanced_for; /* weights of so many bits are what its channels are balanced for; 0: not yet */
    zq_tail *tail;       /* what follows it in the file; NULL: nothing */
    zq_simplify_counts bn;
    zq_layers layers;
    zq_rules rules;
    zq_placement *placements;
    zq_box box;
    zq_images images;
    zq_standard standard;    /* the calibration network */
    zq_activation *allotted; /* [standard.graph->n_values], those of graph first */
    zq_activation *even;     /* the same with one width for all, where allotted has several; NULL: none */
    const zq_activation *activations; /* one of these: what is made from now on has them */
    zq_density *seen;                 /* [standard.graph->n_values] */
    zq_activation *finest; /* the same with most bits everywhere: weights that fit these fit any; NULL: one
                              width for all */
    zq_grids grids;        /* what may have a width of its own; empty where all activations have one */
    double *grid_damage;   /* [grids.n, ZQ_N_GRID_WIDTHS]; NULL: not measured */
    uint8_t *grid_choice;  /* [grids.n] of the widths in allotted, an index; NULL: one for all */
    zq_rounding rounding, settled; /* of all widths; of the chosen ones, in the network that they make ... */
    zq_rounding learned;           /* ... and by gradients */
    zq_target target;
    zq_pricing pricing;
    uint64_t limit; /* the target in units of the cost */
    zq_sensitivity sensitivity;
    zq_frontier frontier;
    double *joint; /* [frontier.n_points] damage of all layers together, predicted (quant/superposed.h);
                      NULL: not yet */
    int64_t n_measured, n_formula; /* runs of the network that found it, and of the paper's formula */
    bool saves_frontier;
    zq_profile profile;
    char *compared_path;
    uint64_t compared_bytes;
    zq_comparison comparison;
    int n_candidates, chosen;
    int cautious; /* of the candidates, the one of least summed damage where less than 4 bits count more; 0:
                     the first one, which is it anyway */
    zq_candidate candidates[ZQ_MAX_CANDIDATES];
    zq_certainty certainty; /* of the network on the images; no scores: agreement is counted */
    zq_damage predicted;
    int64_t n_judge_images;
    int n_stages, n_kept_stages; /* kept: reading and distilling, when quantize is called again */
    zq_stage_time stages[ZQ_MAX_STAGES];
    double stage_start, last_report;
};

/* What the runtime asked for wants. [job_options.c] */
const zq_form *zq_job_form(const zq_job *job);

/* Checks the options and reads those that are text. [job_options.c] */
zq_status zq_job_check_options(zq_job *job);

/* Whether a model is open; clears the last failure and sets the number of threads. [job_open.c] */
zq_status zq_job_need_model(zq_job *job);

/* The sentence of an error begins with the file, unless it does already. [job_open.c] */
void zq_job_name_file(zq_error *error, const char *path);

/* Allocations keep options.memory from here on; whether what is to be done can keep it, too; and status, or a
 * better sentence where a model can't even be read. [job_memory.c] */
void zq_job_limit_memory(const zq_job *job);
typedef enum zq_task { ZQ_TASK_DISTILL, ZQ_TASK_QUANTIZE, ZQ_TASK_PARETO } zq_task;
zq_status zq_job_check_memory(zq_job *job, zq_task task);
zq_status zq_job_explain_memory(zq_job *job, const char *path, zq_status status);

/* Forgets all that quantizing found, and all of the model. [job_life.c] */
void zq_job_forget_results(zq_job *job);
void zq_job_forget_model(zq_job *job);

/* Time and progress of a stage; name is static. [job_life.c] */
zq_status zq_job_begin_stage(zq_job *job, const char *name);
zq_status zq_job_end_stage(zq_job *job);

/* At most a few reports a second from inside a stage; user: the job. Non-zero cancels. [job_life.c] */
int zq_job_on_step(void *user, int step, int n_steps);

/* The images of the job, unless it has some: photos where the options name a folder, else distilled ones.
 * [job_images.c] */
zq_status zq_job_make_images(zq_job *job, zq_recipe recipe, uint64_t seed);

/* Images and steps as the options say. [job_images.c] */
zq_distill_options zq_job_distill_options(const zq_job *job, zq_recipe recipe);

/* Statistics where BatchNormalization left none, if the options ask for estimates. [job_images.c] */
zq_status zq_job_estimate_stats(zq_job *job);

/* The folder's photos, and one of them as the network takes it: x: [C, H, W]. [job_images.c] */
zq_status zq_job_list_photos(zq_job *job, zq_photo_list *list_out);
zq_status zq_job_read_photo(zq_job *job, const char *path, float *x);

/* Reads a model as far as it can be run; a float one is simplified. [job_open.c] */
zq_status zq_job_read_graph(zq_job *job, const char *path, zq_graph **graph_out, zq_tail **tail_out,
                            zq_simplify_counts *bn_out);

/* Whether there is exactly one input, of images. [job_open.c] */
zq_status zq_job_check_input(zq_job *job, const char *path, const zq_graph *graph);

/* Where options.from names a file: its options; once the model is read, its images and the box of their
 * pixels; once the layers are known, whether the rest is in order. [job_frontier.c] */
zq_status zq_job_open_saved(zq_job *job, const char *model_path);
zq_status zq_job_take_images(zq_job *job);
zq_status zq_job_check_saved(zq_job *job);
void zq_job_close_saved(zq_job *job);

/* Sensitivities and frontier of that file, priced. [job_frontier.c] */
zq_status zq_job_take_search(zq_job *job);

/* The calibration network, ranges of activations and their widths. images: what widths are measured on.
 * [job_activations.c] */
zq_status zq_job_calibrate(zq_job *job, const zq_images *images);

/* What is made from now on has these activations: allotted or even. [job_activations.c] */
void zq_job_use_activations(zq_job *job, const zq_activation *activations);

/* Weights rounded, sensitivities and frontier, unless they are known. */
zq_status zq_job_find_frontier(zq_job *job);

/* Predicts the damage of each point with all layers narrowed, for whoever reads of it. [job_search.c] */
zq_status zq_job_predict_frontier(zq_job *job);

/* The frontier where less than 4 bits count more. out: owned by the caller. [job_search.c] */
zq_status zq_job_search_cautious(zq_job *job, zq_frontier *out);

/* The frontier from the sensitivities; images: for measurements with several layers narrowed. [job_search.c]
 */
zq_status zq_job_search(zq_job *job, const zq_images *images);

/* How weights are rounded to nearest, but for the bits. [job_candidates.c] */
zq_weight_spec zq_job_weight_spec(const zq_job *job, zq_weight_range range);

/* What rounds them as well as possible; spec is borrowed. [job_candidates.c] */
zq_rounder zq_job_rounder(const zq_job *job, const zq_weight_spec *spec);

/* What files cost, from two that are really packed; and the limit that the target means. bits: [layers.n],
 * overwritten, here and below. [job_candidates.c] */
zq_status zq_job_find_limit(zq_job *job, int *bits);

/* What a candidate costs, in units of the limit. [job_candidates.c] */
uint64_t zq_job_cost_of(const zq_job *job, const zq_candidate *candidate);

/* Whether no layer is narrowed, and whether the limit asks for none. [job_candidates.c] */
bool zq_job_are_all_8(const zq_job *job, const int *bits);
bool zq_job_fits_at_8(const zq_job *job, int *bits);

/* Whether 8 bits in all layers are what the user asks for; bits: [n_layers], for use here. [job_candidates.c]
 */
bool zq_job_has_only_8(const zq_job *job, int *bits);

/* Adds a candidate. rounding: NULL: to nearest. corrected: the calibration network with other biases, taken
 * in every case; NULL: its own. [job_candidates.c] */
zq_status zq_job_add_candidate(zq_job *job, const char *name, const int *bits, const zq_rounding *rounding,
                               zq_weight_range range, zq_graph *corrected);

/* Drops all candidates; others have the allotted activations again. [job_candidates.c] */
void zq_job_drop_candidates(zq_job *job);

/* Adds that of a point of the frontier, or of the best one whose file, really packed, keeps the limit.
 * [job_candidates.c] */
zq_status zq_job_add_point(zq_job *job, int point, int *bits);
zq_status zq_job_find_point(zq_job *job, int *bits, int *point_out);

/* Adds all that come into question with 8 bits everywhere; and with fewer: the widths that sensitivities say
 * and the same for all, each rounded as well as possible and to nearest. [job_candidates.c] */
zq_status zq_job_add_at_8(zq_job *job, int *bits);
zq_status zq_job_add_narrow(zq_job *job, int *bits);

/* The candidate's file with what it says of itself, written to path (NULL: only its size is wanted).
 * [job_candidates.c] */
zq_status zq_job_write_candidate(zq_job *job, const zq_candidate *candidate, const char *path,
                                 uint64_t *bytes_out);

/* Makes it ready to be run, unless it is. [job_candidates.c] */
zq_status zq_job_simulate_candidate(zq_job *job, zq_candidate *candidate);

/* Chooses the candidate with the least damage on images that no search saw, then the same with corrected
 * biases if that is better still; predicts its damage on others; both as a stage. [job_judge.c] */
zq_status zq_job_choose(zq_job *job, const zq_share *images);
zq_status zq_job_predict(zq_job *job, const zq_images *images);
zq_status zq_job_judge(zq_job *job, const zq_share *images);

/* With the best effort: learns the chosen candidate, takes it if it does less damage on the images that
 * decide, and predicts anew; a stage of its own. [job_judge.c] */
zq_status zq_job_learn(zq_job *job, const zq_share *images);

/* Whether the options limit the damage; and chooses the smallest point of the frontier within the limit that
 * keeps it on the images that judge. ZQ_ERR_LIMIT: none does. [job_damage.c] */
bool zq_job_limits_damage(const zq_job *job);

/* Whether what the user wants may need less than 8 bits in a layer. [job_damage.c] */
bool zq_job_may_narrow(const zq_job *job);
zq_status zq_job_find_smallest(zq_job *job, int *bits, const zq_share *images);

#endif
