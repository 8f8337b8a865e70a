/* SPDX-License-Identifier: Apache-2.0 */
/* The recipes: where images start and how they descend. The loss itself is in quant/matching.h.
 *
 * Pixels are optimised in units of the box, (pixel - mean) / std, so that one rate serves networks that take
 * 0..1 and networks that take 0..255; a network whose input is normalised sees the paper's N(0, 1). */
#include "quant/distill.h"

#include "base/memory.h"
#include "base/random.h"
#include "quant/adam.h"
#include "quant/leaves.h"
#include "quant/matching.h"
#include "quant/noise.h"

#include <math.h>
#include <string.h>

enum { DEFAULT_IMAGES = 64, PAPER_STEPS = 500, PAPER_PATIENCE = 100 };

/* Images whose statistics are matched together (fast recipe): so many promise as much as all, and take the
 * gradient in one run, where several runs for one gradient would have to be repeated. */
enum { LEAST_GROUP = 8, MOST_GROUP = 16 };

/* What a plan may hold. */
static const size_t memory_limit_bytes = 1250000000;

typedef struct solver {
    zq_graph *graph;
    const zq_box *box;
    const zq_distill_options *options;
    zq_shape shape; /* of x: [N, C, H, W] */
    float *x;       /* pixels in units of the box, (pixel - mean) / std; owned */
    float *d_x;     /* its gradient, for one group; owned */
    float *pixels;  /* of a group, as the network takes them; owned */
    zq_matching matching;
    zq_labels labels;
    zq_plan *plan; /* of micro images, owned */
    int64_t group; /* images whose statistics are matched together, divides N */
    int64_t micro; /* divides group */
    double *loss;  /* [n_steps], owned */
    int n_steps, step;
} solver;

/* ---- loss and gradient in units of the box */

static int64_t image_size(const solver *solver) {
    return zq_shape_count(&solver->shape) / solver->shape.dims[0];
}

/* Pixels of n images as the network takes them. dst may be their x. */
static void to_pixels(const solver *solver, int64_t first, int64_t n, float *dst) {
    const int64_t n_channels = solver->shape.dims[1], area = solver->shape.dims[2] * solver->shape.dims[3];
    const float *const x = solver->x + first * image_size(solver);
#pragma omp parallel for
    for (int64_t plane = 0; plane < n * n_channels; plane++) {
        const float mean = solver->box->mean[plane % n_channels], std = solver->box->std[plane % n_channels];
        for (int64_t i = plane * area; i < (plane + 1) * area; i++)
            dst[i] = mean + std * x[i];
    }
}

/* The loss of the group that begins with image first, and its gradient in d_x. */
static zq_status evaluate(solver *solver, zq_matching_loss loss, int64_t first, double *loss_out,
                          zq_error *err) {
    const int64_t n_channels = solver->shape.dims[1], area = solver->shape.dims[2] * solver->shape.dims[3];
    to_pixels(solver, first, solver->group, solver->pixels);
    solver->labels.first = first;
    ZQ_TRY(zq_matching_evaluate(&solver->matching, solver->plan, solver->micro, loss, solver->group,
                                image_size(solver), solver->pixels, solver->d_x, loss_out, err));
#pragma omp parallel for
    for (int64_t plane = 0; plane < solver->group * n_channels; plane++)
        for (int64_t i = plane * area; i < (plane + 1) * area; i++)
            solver->d_x[i] *= solver->box->std[plane % n_channels];
    return ZQ_OK;
}

/* The paper's term i = 0: mean 0 and deviation 1 of the input itself. */
static double add_input_term(solver *solver) {
    const int64_t n_images = solver->shape.dims[0], n_channels = solver->shape.dims[1];
    const int64_t area = solver->shape.dims[2] * solver->shape.dims[3];
    const double elements = (double)(n_images * area);
    double loss = 0;
    for (int64_t c = 0; c < n_channels; c++) {
        double sum = 0, square = 0;
        for (int64_t n = 0; n < n_images; n++)
            for (int64_t i = 0; i < area; i++) {
                const double x = solver->x[(n * n_channels + c) * area + i];
                sum += x;
                square += x * x;
            }
        const double m = sum / elements, s = sqrt(fmax(square / elements - m * m, 1e-12));
        loss += m * m + (s - 1) * (s - 1);
        for (int64_t n = 0; n < n_images; n++)
            for (int64_t i = 0; i < area; i++) {
                const int64_t at = (n * n_channels + c) * area + i;
                solver->d_x[at] +=
                    (float)(2 * m / elements + 2 * (s - 1) * (solver->x[at] - m) / (elements * s));
            }
    }
    return loss;
}

static float clamped(float x, float lo, float hi) {
    return x < lo ? lo : x > hi ? hi : x;
}

static void clamp_to_box(solver *solver, int64_t first, int64_t n) {
    const int64_t n_channels = solver->shape.dims[1], area = solver->shape.dims[2] * solver->shape.dims[3];
    const zq_box *box = solver->box;
    float *const x = solver->x + first * image_size(solver);
#pragma omp parallel for
    for (int64_t plane = 0; plane < n * n_channels; plane++) {
        const int64_t c = plane % n_channels;
        const float lo = (box->lo[c] - box->mean[c]) / box->std[c];
        const float hi = (box->hi[c] - box->mean[c]) / box->std[c];
        for (int64_t i = 0; i < area; i++)
            x[plane * area + i] = clamped(x[plane * area + i], lo, hi);
    }
}

/* ---- plans */

/* The next smaller divisor of n; 0: none. */
static int64_t smaller_divisor(int64_t n, int64_t than) {
    for (than--; than > 0 && n % than != 0;)
        than--;
    return than;
}

/* A plan for the most images of a group that keep the memory limit. */
static zq_status plan_for(solver *solver, zq_error *err) {
    const zq_graph *graph = solver->graph;
    zq_plan_options options = {.n_images = graph->free_batch ? solver->group
                                                             : graph->values[graph->inputs[0]].shape.dims[0],
                               .gradient = true,
                               .half = solver->options->half};
    const zq_plan_room room = {.divides = solver->group,
                               .most = memory_limit_bytes,
                               .spare = 2 * (size_t)(solver->group * image_size(solver)) * sizeof(float)};
    const zq_status status = zq_plan_fit(solver->graph, &options, &room, &solver->plan, err);
    solver->micro = options.n_images;
    return status;
}

/* ---- recipes */

static zq_status report(const solver *solver, int done, zq_error *err) {
    const zq_distill_options *o = solver->options;
    const int n_groups = (int)(solver->shape.dims[0] / solver->group);
    if (o->callback != NULL && o->callback(o->user, done, solver->n_steps * n_groups) != 0)
        return zq_fail(err, ZQ_ERR_CANCELLED, "cancelled after %d of %d distillation steps", done / n_groups,
                       solver->n_steps);
    return ZQ_OK;
}

/* n steps of one group, as below. */
static zq_status descend_group(solver *solver, int64_t first, int n, double rate, zq_error *err) {
    const int64_t n_groups = solver->shape.dims[0] / solver->group;
    float *const x = solver->x + first * image_size(solver);
    zq_adam adam;
    ZQ_TRY(zq_adam_init((size_t)(solver->group * image_size(solver)), 1e-8, &adam, err));
    zq_status status = ZQ_OK;
    for (int i = 0; status == ZQ_OK && i < n; i++) {
        double loss;
        status = evaluate(solver, ZQ_MATCH_RELATIVE, first, &loss, err);
        if (status != ZQ_OK)
            break;
        solver->loss[solver->step + i] += loss / (double)n_groups;
        zq_adam_step(&adam, zq_cosine_rate(rate, i, n), solver->d_x, x);
        clamp_to_box(solver, first, solver->group);
        status = report(solver, (int)(solver->step * n_groups + first / solver->group * n + i + 1), err);
    }
    zq_adam_clear(&adam);
    return status;
}

/* n steps of ZQ_DISTILL_FAST at rates that fall to 0: one group after the other, since none knows of another.
 */
static zq_status descend_fast(solver *solver, int n, double rate, zq_error *err) {
    for (int64_t first = 0; first < solver->shape.dims[0]; first += solver->group)
        ZQ_TRY(descend_group(solver, first, n, rate, err));
    solver->step += n;
    return ZQ_OK;
}

/* Images with edges, surfaces and more or less contrast, and a little photo-like noise. Statistics of
 * channels ask for none of these, and a few steps don't make them; but without them second moments of
 * features are those of one even texture: too much alike from image to image and from place to place. */
static zq_status start(solver *solver, zq_error *err) {
    static const double smallest_leaf = 1.0 / 8, noise_variance = 0.09, log_contrast = 0.5;
    static const double most = 0.7; /* deviations: more, and black and white spoil ranges */
    const int64_t n_channels = solver->shape.dims[1], area = solver->shape.dims[2] * solver->shape.dims[3];
    const uint64_t seed = zq_random_seed(solver->options->seed, "contrast");
    const zq_box *box = solver->box;
    zq_leaves_draw(solver->options->seed, &solver->shape, smallest_leaf, solver->x);
#pragma omp parallel for
    for (int64_t plane = 0; plane < solver->shape.dims[0] * n_channels; plane++) {
        const int64_t c = plane % n_channels;
        const float lo = (box->lo[c] - box->mean[c]) / box->std[c];
        const float hi = (box->hi[c] - box->mean[c]) / box->std[c];
        for (int64_t i = plane * area; i < (plane + 1) * area; i++)
            solver->x[i] = lo + (hi - lo) * solver->x[i];
    }
    ZQ_TRY(zq_noise_add_photo(solver->options->seed, &solver->shape, 0, noise_variance, solver->x, err));
#pragma omp parallel for
    for (int64_t image = 0; image < solver->shape.dims[0]; image++) {
        const double z = fmin(zq_random_normal(seed, (uint64_t)image), most);
        const double contrast = exp(log_contrast * z);
        for (int64_t i = image * n_channels * area; i < (image + 1) * n_channels * area; i++)
            solver->x[i] *= (float)contrast;
    }
    clamp_to_box(solver, 0, solver->shape.dims[0]);
    return ZQ_OK;
}

static zq_status distill_fast(solver *solver, zq_error *err) {
    ZQ_TRY(start(solver, err));
    ZQ_TRY(plan_for(solver, err));
    return descend_fast(solver, solver->n_steps, 0.1, err);
}

static zq_status distill_paper(solver *solver, zq_error *err) {
    zq_adam adam;
    zq_plateau plateau = zq_plateau_start(0.5, PAPER_PATIENCE);
    zq_noise_white(solver->options->seed, &solver->shape, solver->x);
    ZQ_TRY(plan_for(solver, err));
    ZQ_TRY(zq_adam_init((size_t)zq_shape_count(&solver->shape), 1e-8, &adam, err));
    zq_status status = ZQ_OK;
    while (solver->step < solver->n_steps) {
        double *loss = &solver->loss[solver->step];
        if ((status = evaluate(solver, ZQ_MATCH_ABSOLUTE, 0, loss, err)) != ZQ_OK)
            break;
        *loss += add_input_term(solver);
        zq_adam_step(&adam, plateau.rate, solver->d_x, solver->x);
        zq_plateau_update(&plateau, *loss);
        solver->step++;
        if ((status = report(solver, solver->step, err)) != ZQ_OK)
            break;
    }
    zq_adam_clear(&adam);
    return status;
}

/* ---- public */

static zq_status check(const zq_graph *graph, const zq_box *box, zq_error *err) {
    const char *file = graph->file == NULL ? "the model" : graph->file;
    char text[ZQ_SHAPE_TEXT];
    if (graph->n_inputs != 1)
        return zq_fail(err, ZQ_ERR_UNSUPPORTED,
                       "%s has %d inputs; images can be distilled for a network with exactly one", file,
                       graph->n_inputs);
    const zq_value *input = &graph->values[graph->inputs[0]];
    const zq_shape *shape = &input->shape;
    if (shape->rank != 4 || shape->dims[1] <= 0 || shape->dims[2] <= 0 || shape->dims[3] <= 0)
        return zq_fail(err, ZQ_ERR_UNSUPPORTED,
                       "%s: input '%s' is %s; expected images [N,C,H,W] of known size", file, input->name,
                       zq_shape_text(shape, text));
    if (shape->dims[1] != box->n_channels)
        return zq_fail(err, ZQ_ERR_USAGE,
                       "%s: input '%s' is %s, but the pixel range is given for %lld channels", file,
                       input->name, zq_shape_text(shape, text), (long long)box->n_channels);
    return ZQ_OK;
}

int zq_distill_steps(const zq_graph *graph) {
    enum { LARGE = 96, FEW = 4, MANY = 10 };
    const zq_shape *shape = &graph->values[graph->inputs[0]].shape;
    return shape->rank == 4 && shape->dims[2] >= LARGE && shape->dims[3] >= LARGE ? FEW : MANY;
}

/* All of few images, or of a number that can't be shared out. */
int64_t zq_distill_group(const zq_graph *graph, const zq_distill_options *options, int64_t *n_images_out) {
    const int64_t fixed = zq_graph_images(graph);
    int64_t n_images = options->n_images > 0 ? options->n_images : DEFAULT_IMAGES;
    n_images = (n_images + fixed - 1) / fixed * fixed;
    *n_images_out = n_images;
    int64_t group = n_images;
    while (group > 0 && (group > MOST_GROUP || group % fixed != 0))
        group = smaller_divisor(n_images, group);
    return group >= LEAST_GROUP && options->recipe != ZQ_DISTILL_PAPER ? group : n_images;
}

/* Numbers of images and steps, and room for them. */
static zq_status prepare(solver *solver, zq_error *err) {
    const zq_distill_options *o = solver->options;
    solver->shape = solver->graph->values[solver->graph->inputs[0]].shape;
    const int64_t fixed = solver->graph->free_batch ? 1 : solver->shape.dims[0];
    int64_t n_images;
    if (fixed < 1 || fixed > 4096)
        return zq_fail(err, ZQ_ERR_UNSUPPORTED, "the network takes %lld images at once; expected 1 to 4096",
                       (long long)fixed);
    solver->group = zq_distill_group(solver->graph, o, &n_images);
    solver->shape.dims[0] = n_images;
    solver->n_steps = o->recipe == ZQ_DISTILL_NOISE   ? 0
                      : o->n_steps > 0                ? o->n_steps
                      : o->recipe == ZQ_DISTILL_PAPER ? PAPER_STEPS
                                                      : zq_distill_steps(solver->graph);
    const int64_t count = zq_shape_count(&solver->shape);
    if (count < 0)
        return zq_fail_memory(err);
    const size_t of_group = (size_t)(count / n_images * solver->group);
    solver->x = zq_alloc_raw((size_t)count, sizeof(float));
    solver->d_x = zq_alloc_raw(of_group, sizeof(float));
    solver->pixels = zq_alloc_raw(of_group, sizeof(float));
    solver->loss = zq_alloc((size_t)solver->n_steps, sizeof(double));
    if (solver->x == NULL || solver->d_x == NULL || solver->pixels == NULL || solver->loss == NULL)
        return zq_fail_memory(err);
    ZQ_TRY(zq_matching_init(solver->graph, &solver->matching, err));
    zq_labels_init(solver->graph, o->seed, &solver->labels);
    if (o->recipe == ZQ_DISTILL_FAST)
        solver->matching.labels = &solver->labels;
    return ZQ_OK;
}

static void solver_clear(solver *solver) {
    zq_matching_clear(&solver->matching);
    zq_labels_clear(&solver->labels);
    zq_free(solver->x);
    zq_free(solver->d_x);
    zq_free(solver->pixels);
    zq_free(solver->loss);
    zq_plan_drop(solver->plan);
}

static zq_status make_images(solver *solver, zq_error *err) {
    switch (solver->options->recipe) {
    case ZQ_DISTILL_FAST:
        return distill_fast(solver, err);
    case ZQ_DISTILL_PAPER:
        return distill_paper(solver, err);
    case ZQ_DISTILL_NOISE:
        ZQ_TRY(start(solver, err));
        return ZQ_OK;
    }
    return zq_fail(err, ZQ_ERR_USAGE, "unknown recipe %d", (int)solver->options->recipe);
}

/* The normalised residual of the finished images, whose x are pixels by now, in all and by value; 0 where no
 * statistics are known. */
static zq_status measure_residual(solver *solver, zq_images *images, zq_error *err) {
    const zq_matching *matching = &solver->matching;
    images->residual = 0;
    if (matching->n_targets == 0)
        return ZQ_OK;
    if (solver->plan == NULL)
        ZQ_TRY(plan_for(solver, err));
    ZQ_TRY(zq_matching_evaluate(&solver->matching, solver->plan, solver->micro, ZQ_MATCH_RELATIVE,
                                solver->shape.dims[0], image_size(solver), solver->x, NULL, &images->residual,
                                err));
    images->matches = zq_alloc((size_t)matching->n_targets, sizeof *images->matches);
    if (images->matches == NULL)
        return zq_fail_memory(err);
    for (; images->n_matches < matching->n_targets; images->n_matches++)
        ZQ_TRY(zq_matching_describe(&matching->targets[images->n_matches],
                                    &images->matches[images->n_matches], err));
    return ZQ_OK;
}

static const char *const recipe_names[] = {"fast", "paper", "noise"};

zq_status zq_distill(zq_graph *graph, const zq_box *box, const zq_distill_options *options,
                     zq_images *images_out, zq_error *err) {
    solver solver = {.graph = graph, .box = box, .options = options};
    *images_out = (zq_images){0};
    ZQ_TRY(check(graph, box, err));
    zq_status status = prepare(&solver, err);
    if (status == ZQ_OK && solver.matching.n_targets == 0 && options->recipe != ZQ_DISTILL_NOISE)
        status =
            zq_fail(err, ZQ_ERR_STATISTICS,
                    "%s: no BatchNormalization statistics were found, so there is nothing to distil "
                    "images from. They were folded away when the model was exported: keep them with "
                    "torch.onnx.export(..., training=torch.onnx.TrainingMode.PRESERVE) on a model in "
                    "eval() (with dynamo=True: optimize=False), or have them estimated with --estimate-bn",
                    graph->file == NULL ? "the model" : graph->file);
    if (status == ZQ_OK)
        status = make_images(&solver, err);
    if (status == ZQ_OK) {
        to_pixels(&solver, 0, solver.shape.dims[0], solver.x);
        status = measure_residual(&solver, images_out, err);
    }
    if (status == ZQ_OK) {
        images_out->shape = solver.shape;
        images_out->data = solver.x;
        images_out->loss = solver.loss;
        images_out->n_steps = solver.n_steps;
        images_out->half = options->half && solver.n_steps > 0 && zq_plan_takes_half();
        images_out->source = recipe_names[options->recipe];
        solver.x = NULL;
        solver.loss = NULL;
    } else
        zq_images_clear(images_out);
    solver_clear(&solver);
    return status;
}

void zq_images_clear(zq_images *images) {
    zq_free(images->data);
    zq_free(images->loss);
    zq_free(images->matches);
    memset(images, 0, sizeof *images);
}
