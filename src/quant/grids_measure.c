/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"
#include "engine/plan.h"
#include "quant/grids.h"
#include "quant/sampling.h"
#include "quant/sensitivity.h"

#include <string.h>

/* Measured where not all widths are: the narrowest, where damage is large, and one at which it is so small
 * that it grows with the square of the errors; the others follow from the last of these. */
static const int sampled_widths[] = {0, 2}; /* 4 and 6 bits */
enum { N_SAMPLED = sizeof sampled_widths / sizeof sampled_widths[0] };
static const int all_widths[] = {0, 1, 2, 3, 4};
_Static_assert(sizeof all_widths / sizeof all_widths[0] == ZQ_N_GRID_WIDTHS, "each width once");

/* All that one measurement needs. The plan holds `variants` groups of `micro` images: the same images in
 * every group, so that one run measures as many widths of a grid. */
typedef struct session {
    zq_graph *graph;
    const zq_grids *grids;
    zq_activation *const *activations;
    const zq_images *images;
    bool exact;
    zq_plan *plan; /* owned, like all below */
    int64_t n_images, micro;
    int n_measured;
    const int *measured;         /* [n_measured] the widths that are, increasing */
    int variants, first;         /* of the measured ones, those that run now: how many, from which on */
    double *error;               /* [n, ZQ_N_GRID_WIDTHS] sums of squares, of the values' own */
    int *values;                 /* [n_values], of the grid that is measured */
    double *halves[2];           /* [n, ZQ_N_GRID_WIDTHS] sums over every other batch */
    float *input;                /* [variants * micro images] */
    float **reference, **output; /* [n_outputs], each of variants * micro images */
    const float **group;         /* [n_outputs] into output */
    double *distance;            /* [micro] */
    zq_step_callback callback;
    void *user;
    int done, total; /* grids times batches */
} session;

/* All widths in one run, or where there is no room for that one at a time. */
static zq_status make_plan(session *s, zq_error *err) {
    const int64_t n_given = s->images->shape.dims[0];
    s->n_images = s->exact ? n_given : zq_sample_images(s->graph, s->grids->n, n_given);
    s->variants = s->graph->free_batch ? s->n_measured : 1;
    for (;; s->variants = 1) {
        zq_plan_options options = {
            .n_images = s->graph->free_batch
                            ? (s->n_images < ZQ_SAMPLED_TOGETHER ? s->n_images : ZQ_SAMPLED_TOGETHER)
                            : zq_graph_images(s->graph),
            .keep_values = true};
        while (s->n_images % options.n_images != 0)
            options.n_images--;
        const zq_plan_room room = {.divides = s->n_images,
                                   .copies = s->variants,
                                   .per_image =
                                       (size_t)(zq_shape_count(&s->images->shape) / n_given) * sizeof(float)};
        const zq_status status = zq_plan_fit(s->graph, &options, &room, &s->plan, err);
        s->micro = options.n_images;
        if (s->variants == 1 || status != ZQ_ERR_MEMORY)
            return status;
    }
}

static zq_status make_room(session *s, zq_error *err) {
    const size_t copies = (size_t)s->variants * (size_t)s->micro, n_outputs = (size_t)s->graph->n_outputs;
    const size_t image = (size_t)(zq_shape_count(&s->images->shape) / s->images->shape.dims[0]);
    s->values = zq_alloc((size_t)s->grids->n_values, sizeof *s->values);
    s->input = zq_alloc_raw(copies * image, sizeof *s->input);
    s->distance = zq_alloc((size_t)s->micro, sizeof *s->distance);
    s->reference = zq_alloc(n_outputs, sizeof *s->reference);
    s->output = zq_alloc(n_outputs, sizeof *s->output);
    s->group = zq_alloc(n_outputs, sizeof *s->group);
    bool ok = s->values != NULL && s->input != NULL && s->distance != NULL && s->reference != NULL &&
              s->output != NULL && s->group != NULL;
    double **const sums[] = {&s->halves[0], &s->halves[1], &s->error};
    for (int i = 0; i < 3 && ok; i++)
        ok = (*sums[i] = zq_alloc((size_t)s->grids->n, ZQ_N_GRID_WIDTHS * sizeof(double))) != NULL;
    for (size_t o = 0; o < n_outputs && ok; o++) {
        const size_t n = (size_t)zq_shape_count(zq_plan_shape(s->plan, s->graph->outputs[o]));
        s->reference[o] = zq_alloc_raw(n, sizeof(float));
        s->output[o] = zq_alloc_raw(n, sizeof(float));
        ok = s->reference[o] != NULL && s->output[o] != NULL;
    }
    return ok ? ZQ_OK : zq_fail_memory(err);
}

static void session_clear(session *s) {
    for (int o = 0; o < s->graph->n_outputs; o++) {
        if (s->reference != NULL)
            zq_free(s->reference[o]);
        if (s->output != NULL)
            zq_free(s->output[o]);
    }
    zq_free(s->values);
    zq_free(s->input);
    zq_free(s->distance);
    zq_free(s->reference);
    zq_free(s->output);
    zq_free((void *)s->group);
    zq_free(s->halves[0]);
    zq_free(s->halves[1]);
    zq_free(s->error);
    zq_plan_drop(s->plan);
}

static void read_outputs(const session *s, float **dst) {
    for (int o = 0; o < s->graph->n_outputs; o++)
        zq_plan_read(s->plan, s->graph->outputs[o], dst[o]);
}

static double squared_error(const zq_activation *activation, size_t n, const float *x) {
    enum { BLOCK = 256 };
    float rounded[BLOCK];
    double sum = 0;
    for (size_t at = 0; at < n; at += BLOCK) {
        const size_t here = n - at < BLOCK ? n - at : BLOCK;
        float part = 0;
        zq_activation_apply(activation, here, x + at, rounded);
        for (size_t i = 0; i < here; i++)
            part += (rounded[i] - x[at + i]) * (rounded[i] - x[at + i]);
        sum += (double)part;
    }
    return sum;
}

/* n: elements of the images that are the same in all groups. */
static void add_errors(const session *s, int value, size_t n, const float *x) {
    double *const error = s->error + s->grids->of_value[value] * ZQ_N_GRID_WIDTHS;
#pragma omp parallel for schedule(dynamic, 1)
    for (int k = 0; k < ZQ_N_GRID_WIDTHS; k++)
        error[k] += squared_error(&s->activations[k][value], n, x);
}

/* Each group of images gets its width. What the engine fused away only moves elements that lie on the grid.
 */
static zq_status quantize(void *user, zq_plan *plan, int value, zq_error *err) {
    const session *s = user;
    size_t n;
    float *x = zq_plan_poke(plan, value, &n);
    (void)err;
    if (x == NULL)
        return ZQ_OK;
    n /= (size_t)s->variants;
    if (s->first == 0)
        add_errors(s, value, n, x);
    for (int v = 0; v < s->variants; v++)
        zq_activation_apply(&s->activations[s->measured[s->first + v]][value], n, x + (size_t)v * n,
                            x + (size_t)v * n);
    return ZQ_OK;
}

/* Adds the distances of the images in group number group of the output to sum. */
static void add_distance(session *s, int group, double *sum) {
    for (int o = 0; o < s->graph->n_outputs; o++) {
        const int64_t n = zq_shape_count(zq_plan_shape(s->plan, s->graph->outputs[o])) / s->variants;
        s->group[o] = s->output[o] + group * n;
    }
    zq_output_distance(s->graph, s->micro, (const float *const *)s->reference, s->group, s->distance, NULL);
    for (int64_t i = 0; i < s->micro; i++)
        *sum += s->distance[i];
}

static zq_status measure_grid(session *s, int grid, double *sums, zq_error *err) {
    int n = 0;
    for (int v = 0; v < s->grids->n_values; v++)
        if (s->grids->of_value[v] == grid)
            s->values[n++] = v;
    for (s->first = 0; s->first < s->n_measured; s->first += s->variants) {
        if (s->grids->of_value[s->graph->inputs[0]] == grid)
            zq_plan_set_input(s->plan, 0, s->input); /* it may have been narrowed */
        ZQ_TRY(zq_plan_forward_changing(s->plan, n, s->values, quantize, s, err));
        read_outputs(s, s->output);
        for (int v = 0; v < s->variants; v++)
            add_distance(s, v, &sums[s->measured[s->first + v]]);
    }
    s->done++;
    if (s->callback != NULL && s->callback(s->user, s->done, s->total) != 0)
        return zq_fail(err, ZQ_ERR_CANCELLED, "cancelled after %d of %d sensitivities of activations",
                       s->done, s->total);
    return ZQ_OK;
}

/* All grids, from the last to the first: what one disturbs is then behind the next one as well. */
static zq_status measure_batch(session *s, int64_t first, double *half, zq_error *err) {
    const int64_t image = zq_shape_count(&s->images->shape) / s->images->shape.dims[0];
    for (int v = 0; v < s->variants; v++)
        memcpy(s->input + v * s->micro * image, s->images->data + first * image,
               (size_t)(s->micro * image) * sizeof(float));
    zq_plan_set_input(s->plan, 0, s->input);
    ZQ_TRY(zq_plan_forward(s->plan, err));
    read_outputs(s, s->reference);
    for (int g = s->grids->n - 1; g >= 0; g--)
        ZQ_TRY(measure_grid(s, g, half + g * ZQ_N_GRID_WIDTHS, err));
    return ZQ_OK;
}

/* Means of what was measured, and the widths that weren't. */
static void conclude(const session *s, int64_t n_images, double *omega) {
    const int last = s->measured[s->n_measured - 1];
    for (int i = 0; i < s->grids->n * ZQ_N_GRID_WIDTHS; i++)
        omega[i] = (s->halves[0][i] + s->halves[1][i]) / (double)n_images;
    for (int g = 0; g < s->grids->n && s->n_measured < ZQ_N_GRID_WIDTHS; g++) {
        const double *const error = s->error + g * ZQ_N_GRID_WIDTHS;
        for (int k = 1; k < ZQ_N_GRID_WIDTHS; k++)
            if (k != last)
                omega[g * ZQ_N_GRID_WIDTHS + k] =
                    error[last] > 0 ? omega[g * ZQ_N_GRID_WIDTHS + last] * error[k] / error[last] : 0;
    }
}

zq_status zq_grids_measure(zq_graph *graph, const zq_grids *grids, zq_activation *const *activations,
                           const zq_images *images, bool exact, zq_step_callback callback, void *user,
                           double *omega_out, zq_error *err) {
    const size_t n = (size_t)grids->n * ZQ_N_GRID_WIDTHS;
    session s = {.graph = graph,
                 .grids = grids,
                 .activations = activations,
                 .images = images,
                 .exact = exact,
                 .n_measured = exact ? ZQ_N_GRID_WIDTHS : N_SAMPLED,
                 .measured = exact ? all_widths : sampled_widths,
                 .callback = callback,
                 .user = user};
    zq_status status = make_plan(&s, err);
    const int64_t n_batches = status == ZQ_OK ? s.n_images / s.micro : 0;
    s.total = (int)n_batches * grids->n;
    if (status == ZQ_OK)
        status = make_room(&s, err);
    int64_t b = 0;
    for (bool enough = false; b < n_batches && status == ZQ_OK && !enough; b++) {
        status = measure_batch(&s, b * s.micro, s.halves[b % 2], err);
        enough = !exact && b % 2 == 1 && zq_sample_agrees(n, s.halves[0], s.halves[1]);
    }
    if (status == ZQ_OK)
        conclude(&s, b * s.micro, omega_out);
    session_clear(&s);
    return status;
}
