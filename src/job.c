/* SPDX-License-Identifier: Apache-2.0 */
/* The public API, and the method from start to end: the only file that knows the order of the stages. */
#include "job.h"
#include "base/file.h"
#include "base/memory.h"
#include "onnx/onnx.h"
#include "quant/calibrate.h"
#include "quant/correct.h"
#include "quant/rewrite.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- time, progress */

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static zq_status report(zq_job *job, const char *stage, double done) {
    const bool cancelled =
        job->options.progress != NULL && job->options.progress(job->options.progress_user, stage, done);
    return cancelled ? zq_fail(&job->error, ZQ_ERR_CANCELLED, "cancelled while at '%s'", stage) : ZQ_OK;
}

zq_status zq_job_begin_stage(zq_job *job, const char *name) {
    job->stage_start = job->last_report = now();
    job->stages[job->n_stages] = (zq_stage_time){.name = name};
    return report(job, name, 0);
}

zq_status zq_job_end_stage(zq_job *job) {
    zq_stage_time *stage = &job->stages[job->n_stages++];
    stage->seconds = now() - job->stage_start;
    return report(job, stage->name, 1);
}

/* A few reports a second are enough. */
int zq_job_on_step(void *user, int step, int n_steps) {
    zq_job *job = user;
    if (now() - job->last_report < 0.15)
        return 0;
    job->last_report = now();
    return report(job, job->stages[job->n_stages].name, (double)step / n_steps) != ZQ_OK;
}

/* ---- life */

zq_job *zq_job_new(const zq_options *options) {
    zq_job *job = zq_alloc(1, sizeof *job);
    if (job != NULL)
        job->options = options != NULL ? *options : zq_options_default();
    return job;
}

static void forget_results(zq_job *job) {
    for (int k = 0; k < job->n_candidates; k++)
        zq_candidate_clear(&job->candidates[k], job->layers.n);
    zq_standard_clear(&job->standard);
    zq_rounding_clear(&job->rounding);
    zq_sensitivity_clear(&job->sensitivity);
    zq_frontier_clear(&job->frontier);
    zq_free(job->activations);
    zq_free(job->seen);
    zq_free(job->output_path);
    job->activations = NULL;
    job->seen = NULL;
    job->output_path = NULL;
    job->n_candidates = 0;
    job->predicted = (zq_damage){0};
    job->n_judge_images = 0;
    job->saves_frontier = false;
    job->n_measured = job->n_formula = 0;
    job->n_stages = job->n_kept_stages;
}

void zq_job_forget_model(zq_job *job) {
    forget_results(job);
    zq_profile_clear(&job->profile);
    zq_free(job->compared_path);
    job->compared_path = NULL;
    job->comparison = (zq_comparison){0};
    zq_job_close_saved(job);
    zq_images_clear(&job->images);
    zq_box_clear(&job->box);
    zq_layers_clear(&job->layers);
    zq_graph_drop(job->graph);
    zq_tail_drop(job->tail);
    zq_free(job->placements);
    zq_free(job->model_path);
    job->graph = NULL;
    job->tail = NULL;
    job->placements = NULL;
    job->model_path = NULL;
    job->n_stages = job->n_kept_stages = 0;
}

void zq_job_drop(zq_job *job) {
    if (job != NULL) {
        zq_job_forget_model(job);
        zq_free(job);
    }
}

const char *zq_job_message(const zq_job *job) {
    return job == NULL ? "out of memory" : job->error.text;
}

/* ---- stages */

static zq_images slice(const zq_images *images, int64_t first, int64_t n) {
    zq_images part = {.shape = images->shape};
    part.shape.dims[0] = n;
    part.data = images->data + first * (zq_shape_count(&images->shape) / images->shape.dims[0]);
    return part;
}

/* Half of the images for the search, a quarter to choose, a quarter to judge, each of whole batches; with
 * fewer than four batches, all for all. */
static zq_share share_images(const zq_images *images, int64_t batch) {
    const int64_t n = images->shape.dims[0], quarter = n / batch / 4 * batch;
    if (quarter == 0)
        return (zq_share){*images, *images, *images};
    return (zq_share){.search = slice(images, 0, n - 2 * quarter),
                      .choose = slice(images, n - 2 * quarter, quarter),
                      .judge = slice(images, n - quarter, quarter)};
}

static zq_status calibrate(zq_job *job) {
    ZQ_TRY(zq_job_begin_stage(job, "calibrate"));
    ZQ_TRY(zq_standard_new(job->graph, &job->layers, &job->images, &job->standard, &job->error));
    zq_graph *graph = job->standard.graph;
    job->activations = zq_alloc((size_t)graph->n_values, sizeof *job->activations);
    job->seen = zq_alloc((size_t)graph->n_values, sizeof *job->seen);
    if (job->activations == NULL || job->seen == NULL)
        return zq_fail_memory(&job->error);
    ZQ_TRY(zq_calibrate(graph, &job->images, &job->box, job->options.activation_range,
                        job->options.percentile, job->options.activation_bits, job->activations, job->seen,
                        &job->error));
    ZQ_TRY(zq_place(graph, job->activations, NULL, &job->error));
    return zq_job_end_stage(job);
}

static zq_weight_spec weight_spec(const zq_job *job, zq_weight_range range) {
    const zq_options *options = &job->options;
    zq_weight_spec spec = {.bits = 8, .range = range};
    if (options->weights == ZQ_WEIGHTS_ASYMMETRIC) {
        spec.asymmetric = true;
        spec.range = ZQ_WEIGHT_MINMAX;
    }
    if (options->weight_clip > 0) {
        spec.range = ZQ_WEIGHT_PERCENTILE;
        spec.percentile = options->weight_clip;
    }
    return spec;
}

/* "4 8 2 ...", a digit for each layer. */
static char *describe_bits(int n_layers, const int *bits) {
    char *text = zq_alloc((size_t)n_layers * 2 + 1, 1);
    for (int i = 0; text != NULL && i < n_layers; i++) {
        text[2 * i] = (char)('0' + bits[i]);
        text[2 * i + 1] = i + 1 < n_layers ? ' ' : '\0';
    }
    return text;
}

/* The candidate's file with what it says of itself, written to path (NULL: only its size is wanted). That
 * text is equally long whatever the widths and the damage, so that limits can be kept before they are known.
 */
static zq_status write_candidate(zq_job *job, const zq_candidate *candidate, const char *path,
                                 uint64_t *bytes_out) {
    char *bits = describe_bits(job->layers.n, candidate->bits);
    char kl[32], activation_bits[] = {(char)('0' + job->options.activation_bits), '\0'};
    if (bits == NULL)
        return zq_fail_memory(&job->error);
    snprintf(kl, sizeof kl, "%.4e", fmax(0, job->predicted.kl));
    const zq_onnx_property properties[] = {{"zeroq.version", ZQ_VERSION},
                                           {"zeroq.size", job->options.size},
                                           {"zeroq.weight_bits", bits},
                                           {"zeroq.activation_bits", activation_bits},
                                           {"zeroq.predicted_kl", kl}};
    const int n = (int)(sizeof properties / sizeof properties[0]);
    const zq_status status =
        path == NULL ? zq_onnx_size(candidate->graph, n, properties, bytes_out, &job->error)
                     : zq_onnx_write(candidate->graph, path, n, properties, bytes_out, &job->error);
    zq_free(bits);
    return status;
}

/* corrected: the calibration network with other biases; NULL: its own. */
static zq_status add_candidate(zq_job *job, const char *name, const int *bits, const zq_rounding *rounding,
                               zq_weight_range range, const zq_graph *corrected) {
    const zq_candidate_source source = {.graph = job->graph,
                                        .standard = &job->standard,
                                        .layers = &job->layers,
                                        .activations = job->activations,
                                        .rounding = rounding,
                                        .spec = weight_spec(job, range),
                                        .corrected = corrected};
    zq_candidate *added = &job->candidates[job->n_candidates];
    ZQ_TRY(zq_candidate_build(name, &source, bits, added, &job->error));
    job->n_candidates++;
    return write_candidate(job, added, NULL, &added->bytes);
}

static void drop_last_candidate(zq_job *job) {
    zq_candidate_clear(&job->candidates[--job->n_candidates], job->layers.n);
}

/* The same width in all layers, or what comes nearest where they may not have it. */
static void uniform_bits(const zq_job *job, int bits, int *bits_out) {
    for (int i = 0; i < job->layers.n; i++)
        bits_out[i] = zq_rules_at_most(&job->rules, &job->layers.items[i], bits);
}

/* What files cost, from two that are really packed; and the limit that the target means. */
static zq_status find_limit(zq_job *job, int *bits) {
    uint64_t bytes[2];
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < job->layers.n; i++)
            bits[i] = job->layers.items[i].kept != 0 ? job->layers.items[i].kept : k == 0 ? 8 : 4;
        ZQ_TRY(add_candidate(job, "uniform", bits, NULL, ZQ_WEIGHT_MINMAX, NULL));
        bytes[k] = job->candidates[job->n_candidates - 1].bytes;
        drop_last_candidate(job);
    }
    job->pricing = (zq_pricing){.cost = job->options.cost,
                                .activation_bits = job->options.activation_bits,
                                .file = zq_file_cost_from(&job->layers, bytes[0], bytes[1]),
                                .fp32_bytes = job->graph->file_bytes};
    job->limit = zq_target_limit(&job->target, &job->layers, &job->pricing);
    return ZQ_OK;
}

static uint64_t cost_of(const zq_job *job, const zq_candidate *candidate) {
    return job->pricing.cost == ZQ_COST_BYTES ? candidate->bytes
                                              : zq_network_cost(&job->pricing, &job->layers, candidate->bits);
}

static bool are_all_8(const zq_job *job, const int *bits) {
    for (int i = 0; i < job->layers.n; i++)
        if (bits[i] < 8)
            return false;
    return true;
}

static bool everything_fits_at_8(const zq_job *job, const int *bits /* the widest */) {
    return are_all_8(job, bits) && zq_network_cost(&job->pricing, &job->layers, bits) <= job->limit;
}

static zq_status round_weights(zq_job *job, const zq_images *images) {
    const zq_weight_spec spec = weight_spec(job, ZQ_WEIGHT_MSE);
    ZQ_TRY(zq_job_begin_stage(job, "round"));
    ZQ_TRY(zq_rounding_new(&job->standard, job->graph, &job->layers, job->activations, images, &spec,
                           job->rules.n_widths, job->rules.widths, zq_job_on_step, job, &job->rounding,
                           &job->error));
    return zq_job_end_stage(job);
}

static zq_status measure_sensitivity(zq_job *job, const zq_images *images) {
    ZQ_TRY(zq_job_begin_stage(job, "sensitivity"));
    ZQ_TRY(zq_sensitivity_measure(job->standard.graph, &job->layers, images, &job->rounding, zq_job_on_step,
                                  job, &job->sensitivity, &job->error));
    return zq_job_end_stage(job);
}

/* Damage of every layer at every width; the file that holds it may have the frontier, too. */
static zq_status measure(zq_job *job, const zq_share *images) {
    ZQ_TRY(round_weights(job, &images->search));
    return job->saved != NULL ? zq_job_take_search(job) : measure_sensitivity(job, &images->choose);
}

static zq_status search(zq_job *job, const uint64_t *costs, const double *omega, const zq_images *images) {
    const int n_layers = job->layers.n, n_widths = job->rules.n_widths;
    if (job->options.search == ZQ_SEARCH_GROUPED)
        return zq_job_search_grouped(job, costs, omega, images);
    job->n_measured = job->n_formula = (int64_t)n_layers * n_widths;
    return zq_allocate(n_layers, n_widths, costs, omega, 0, &job->frontier, &job->error);
}

static zq_status find_frontier(zq_job *job, const zq_images *images) {
    const int n_layers = job->layers.n, n_widths = job->rules.n_widths;
    if (job->frontier.n_points > 0)
        return ZQ_OK;
    ZQ_TRY(zq_job_begin_stage(job, "allocate"));
    uint64_t *costs = zq_alloc((size_t)n_layers * (size_t)n_widths, sizeof *costs);
    double *omega = zq_memdup(job->sensitivity.omega, (size_t)n_layers * (size_t)n_widths * sizeof *omega);
    zq_status status = costs == NULL || omega == NULL ? zq_fail_memory(&job->error) : ZQ_OK;
    for (int i = 0; status == ZQ_OK && i < n_layers; i++)
        for (int k = 0; k < n_widths; k++) {
            const zq_layer *layer = &job->layers.items[i];
            costs[i * n_widths + k] = zq_layer_cost(&job->pricing, layer, job->rules.widths[k]);
            if (!zq_rules_allow(&job->rules, layer, k))
                omega[i * n_widths + k] = -1;
        }
    if (status == ZQ_OK)
        status = search(job, costs, omega, images);
    zq_free(costs);
    zq_free(omega);
    return status == ZQ_OK ? zq_job_end_stage(job) : status;
}

zq_status zq_job_find_frontier(zq_job *job) {
    const zq_share images = share_images(&job->images, zq_graph_images(job->graph));
    if (job->sensitivity.omega == NULL)
        ZQ_TRY(measure(job, &images));
    return find_frontier(job, &images.choose);
}

static zq_status refuse_limit(zq_job *job) {
    char limit[ZQ_COST_TEXT], least[ZQ_COST_TEXT];
    const uint64_t least_cost = zq_base_cost(&job->pricing, &job->layers) + job->frontier.points[0].bytes;
    return zq_fail(&job->error, ZQ_ERR_LIMIT,
                   "%s: the size %s means at most %s, but the fewest bits that every layer may have take %s; "
                   "ask for more",
                   job->model_path, job->options.size, zq_cost_text(job->options.cost, job->limit, limit),
                   zq_cost_text(job->options.cost, least_cost, least));
}

static zq_status add_point(zq_job *job, int point, int *bits) {
    const size_t n = (size_t)job->layers.n;
    for (size_t i = 0; i < n; i++)
        bits[i] = job->rules.widths[job->frontier.choice[(size_t)point * n + i]];
    return add_candidate(job, "pareto", bits, &job->rounding, ZQ_WEIGHT_MSE, NULL);
}

/* The best point of the frontier whose file, really packed, keeps the limit; its candidate is added. */
static zq_status find_point(zq_job *job, int *bits, int *point_out) {
    const uint64_t base = zq_base_cost(&job->pricing, &job->layers);
    uint64_t limit = job->limit > base ? job->limit - base : 0;
    for (;;) {
        *point_out = zq_frontier_at(&job->frontier, limit);
        if (*point_out < 0)
            return refuse_limit(job);
        ZQ_TRY(add_point(job, *point_out, bits));
        if (cost_of(job, &job->candidates[job->n_candidates - 1]) <= job->limit)
            return ZQ_OK;
        drop_last_candidate(job);
        limit = job->frontier.points[*point_out].bytes - 1;
    }
}

/* The widths that sensitivities say, and the same for all; each rounded as well as possible and to nearest.
 */
static zq_status allocate(zq_job *job, int *bits) {
    int point;
    ZQ_TRY(zq_job_find_frontier(job));
    ZQ_TRY(zq_job_begin_stage(job, "build"));
    ZQ_TRY(find_point(job, bits, &point));
    ZQ_TRY(add_candidate(job, "pareto", bits, NULL, ZQ_WEIGHT_MSE, NULL));
    uniform_bits(job, 4, bits);
    for (int nearest = 0; nearest < 2; nearest++) {
        ZQ_TRY(add_candidate(job, "uniform", bits, nearest ? NULL : &job->rounding, ZQ_WEIGHT_MSE, NULL));
        if (cost_of(job, &job->candidates[job->n_candidates - 1]) > job->limit)
            drop_last_candidate(job);
    }
    return zq_job_end_stage(job);
}

static zq_status judge_candidate(zq_job *job, zq_candidate *candidate, float *const *reference,
                                 const zq_images *images) {
    return zq_damage_measure(job->standard.graph, reference, candidate->simulated, images, &candidate->damage,
                             &job->error);
}

/* The best candidate once more, with its biases corrected. */
static zq_status correct_chosen(zq_job *job, const zq_images *images) {
    const zq_candidate *best = &job->candidates[job->chosen];
    zq_graph *corrected;
    ZQ_TRY(zq_correct_biases(job->standard.graph, &job->layers, best->weights, best->simulated, images,
                             &corrected, &job->error));
    const zq_status status = add_candidate(job, best->name, best->bits, best->nearest ? NULL : &job->rounding,
                                           best->range, corrected);
    zq_graph_drop(corrected);
    return status;
}

/* Corrected biases may be new ones, so the limit is asked again. */
static void take_if_better(zq_job *job, int k) {
    const zq_candidate *candidate = &job->candidates[k];
    if (cost_of(job, candidate) <= job->limit &&
        candidate->damage.kl < job->candidates[job->chosen].damage.kl)
        job->chosen = k;
}

/* The candidate with the least damage on images that no search saw, then with corrected biases if that is
 * better still. */
static zq_status choose(zq_job *job, const zq_share *images) {
    float **reference = NULL;
    ZQ_TRY(zq_outputs_run(job->standard.graph, &images->choose, &reference, &job->error));
    zq_status status = ZQ_OK;
    job->chosen = 0;
    for (int k = 0; status == ZQ_OK && k < job->n_candidates; k++) {
        status = judge_candidate(job, &job->candidates[k], reference, &images->choose);
        take_if_better(job, k);
    }
    if (status == ZQ_OK && job->graph->free_batch) /* the correction takes all images at once */
        status = correct_chosen(job, &images->search);
    if (status == ZQ_OK && job->candidates[job->n_candidates - 1].corrected) {
        status = judge_candidate(job, &job->candidates[job->n_candidates - 1], reference, &images->choose);
        take_if_better(job, job->n_candidates - 1);
    }
    zq_outputs_drop(reference, job->graph->n_outputs);
    return status;
}

static zq_status predict(zq_job *job, const zq_images *images) {
    float **reference = NULL;
    ZQ_TRY(zq_outputs_run(job->standard.graph, images, &reference, &job->error));
    const zq_status status =
        zq_damage_measure(job->standard.graph, reference, job->candidates[job->chosen].simulated, images,
                          &job->predicted, &job->error);
    job->n_judge_images = images->shape.dims[0];
    zq_outputs_drop(reference, job->graph->n_outputs);
    return status;
}

static zq_status judge(zq_job *job, const zq_share *images) {
    ZQ_TRY(zq_job_begin_stage(job, "judge"));
    ZQ_TRY(choose(job, images));
    ZQ_TRY(predict(job, &images->judge));
    return zq_job_end_stage(job);
}

/* ---- the smallest network that keeps a damage */

zq_status zq_job_settle(zq_job *job, int point, int *bits, const zq_share *images) {
    while (job->n_candidates > 0)
        drop_last_candidate(job);
    ZQ_TRY(add_point(job, point, bits));
    if (are_all_8(job, bits))
        ZQ_TRY(add_candidate(job, "pareto", bits, NULL, ZQ_WEIGHT_MINMAX, NULL));
    ZQ_TRY(choose(job, images));
    return predict(job, &images->judge);
}

static zq_status find_smallest(zq_job *job, int *bits, const zq_share *images) {
    int highest;
    ZQ_TRY(zq_job_find_frontier(job));
    ZQ_TRY(zq_job_begin_stage(job, "halve"));
    ZQ_TRY(find_point(job, bits, &highest));
    ZQ_TRY(zq_job_find_smallest(job, highest, bits, images));
    return zq_job_end_stage(job);
}

static zq_status write_model(zq_job *job, const char *path) {
    zq_candidate *chosen = &job->candidates[job->chosen];
    ZQ_TRY(zq_job_begin_stage(job, "write"));
    ZQ_TRY(write_candidate(job, chosen, path, &chosen->bytes));
    job->output_path = zq_strdup(path);
    return zq_job_end_stage(job);
}

/* An output that can't be written is refused before the work, not after it. */
static zq_status check_path(zq_job *job, const char *path) {
    zq_file probe;
    if (zq_file_same(path, job->model_path))
        return zq_fail(&job->error, ZQ_ERR_USAGE, "%s: the output is the model itself; name another file",
                       path);
    ZQ_TRY(zq_file_create(path, &probe, &job->error));
    zq_file_abandon(&probe);
    return ZQ_OK;
}

/* ZeroQ: distil images (Alg. 1), calibrate activations on them, measure sensitivities (eq. 2), allocate
 * widths on the Pareto frontier (eq. 4), and write what does best on images held out. */
static zq_status quantize(zq_job *job, const char *path, int *bits) {
    ZQ_TRY(check_path(job, path));
    ZQ_TRY(zq_job_make_images(job, job->options.recipe, job->options.seed));
    zq_share images = share_images(&job->images, zq_graph_images(job->graph));
    ZQ_TRY(calibrate(job));
    ZQ_TRY(find_limit(job, bits));
    uniform_bits(job, 8, bits);
    if (zq_job_limits_damage(job)) {
        ZQ_TRY(find_smallest(job, bits, &images));
        return write_model(job, path);
    }
    if (everything_fits_at_8(
            job, bits)) { /* no search, so its images help to choose: at small damage few tell little */
        images.choose = slice(&job->images, 0, job->images.shape.dims[0] - images.judge.shape.dims[0]);
        if (images.choose.shape.dims[0] == 0)
            images.choose = images.judge;
        ZQ_TRY(add_candidate(job, "uniform", bits, NULL, ZQ_WEIGHT_MINMAX, NULL));
        ZQ_TRY(add_candidate(job, "uniform", bits, NULL, ZQ_WEIGHT_MSE, NULL));
    } else {
        ZQ_TRY(allocate(job, bits));
    }
    ZQ_TRY(judge(job, &images));
    return write_model(job, path);
}

zq_status zq_job_check_path(zq_job *job, const char *path) {
    ZQ_TRY(zq_job_need_model(job));
    return check_path(job, path);
}

zq_status zq_job_distill(zq_job *job) {
    ZQ_TRY(zq_job_need_model(job));
    const zq_status status = zq_job_make_images(job, job->options.recipe, job->options.seed);
    if (status != ZQ_OK)
        zq_job_name_file(&job->error, job->model_path);
    return status;
}

static zq_status need_layers(zq_job *job) {
    ZQ_TRY(zq_job_need_model(job));
    return job->placements != NULL
               ? ZQ_OK
               : zq_fail(&job->error, ZQ_ERR_USAGE, "%s: was opened to be compared; open it to quantize it",
                         job->model_path);
}

static zq_status save_frontier(zq_job *job, int *bits) {
    ZQ_TRY(zq_job_make_images(job, job->options.recipe, job->options.seed));
    ZQ_TRY(calibrate(job));
    ZQ_TRY(find_limit(job, bits));
    ZQ_TRY(zq_job_find_frontier(job));
    job->saves_frontier = true;
    return ZQ_OK;
}

zq_status zq_job_pareto(zq_job *job) {
    ZQ_TRY(need_layers(job));
    forget_results(job);
    int *bits = zq_alloc((size_t)job->layers.n, sizeof *bits);
    const zq_status status = bits == NULL ? zq_fail_memory(&job->error) : save_frontier(job, bits);
    zq_free(bits);
    if (status != ZQ_OK)
        zq_job_name_file(&job->error, job->model_path);
    return status;
}

zq_status zq_job_quantize(zq_job *job, const char *path) {
    ZQ_TRY(need_layers(job));
    forget_results(job);
    int *bits = zq_alloc((size_t)job->layers.n, sizeof *bits);
    const zq_status status = bits == NULL ? zq_fail_memory(&job->error) : quantize(job, path, bits);
    zq_free(bits);
    if (status != ZQ_OK && strstr(job->error.text, path) == NULL)
        zq_job_name_file(&job->error, job->model_path);
    return status;
}
