/* SPDX-License-Identifier: Apache-2.0 */
#include "report/profile.h"

#include "base/memory.h"
#include "base/random.h"
#include "quant/layers.h"
#include "quant/matching.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { LEAST_ROUNDS = 3, MOST_ROUNDS = 100 };
static const double wanted_ms = 1000;

typedef struct profiler {
    zq_graph *graph;
    zq_plan *plan;
    zq_matching matching;
    zq_profile *profile;
    int64_t image_size;
    float *pixels, *d_pixels; /* d_pixels NULL: forward alone */
    float *dense;             /* gradient of the first output where there are no statistics; else NULL */
} profiler;

static double now_ms(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return 1e3 * (double)time.tv_sec + 1e-6 * (double)time.tv_nsec;
}

void zq_profile_clear(zq_profile *profile) {
    zq_free(profile->steps);
    *profile = (zq_profile){0};
}

static void profiler_clear(profiler *p) {
    zq_plan_drop(p->plan);
    zq_matching_clear(&p->matching);
    zq_free(p->pixels);
    zq_free(p->d_pixels);
    zq_free(p->dense);
}

static size_t count(const profiler *p, int value) {
    return (size_t)zq_shape_count(zq_plan_shape(p->plan, value));
}

static zq_status prepare(profiler *p, zq_error *err) {
    const zq_graph *graph = p->graph;
    const zq_plan_options options = {
        .n_images = p->profile->n_images, .gradient = p->profile->gradient, .half = p->profile->half};
    ZQ_TRY(zq_matching_init(graph, &p->matching, err));
    ZQ_TRY(zq_plan_new(p->graph, &options, &p->plan, err));
    const size_t n = count(p, graph->inputs[0]);
    p->image_size = (int64_t)n / options.n_images;
    p->pixels = zq_alloc_raw(n, sizeof *p->pixels);
    if (options.gradient)
        p->d_pixels = zq_alloc_raw(n, sizeof *p->d_pixels);
    if (options.gradient && p->matching.n_targets == 0)
        p->dense = zq_alloc_raw(count(p, graph->outputs[0]), sizeof *p->dense);
    p->profile->steps = zq_alloc((size_t)graph->n_nodes, sizeof *p->profile->steps);
    if (p->pixels == NULL || (options.gradient && p->d_pixels == NULL) || p->profile->steps == NULL ||
        (options.gradient && p->matching.n_targets == 0 && p->dense == NULL))
        return zq_fail_memory(err);
    for (size_t i = 0; i < n; i++)
        p->pixels[i] = (float)zq_random_normal(0, i);
    for (size_t i = 0; p->dense != NULL && i < count(p, graph->outputs[0]); i++)
        p->dense[i] = 1;
    return ZQ_OK;
}

static zq_status run_round(profiler *p, zq_error *err) {
    const zq_profile *profile = p->profile;
    double loss;
    if (profile->gradient && p->matching.n_targets > 0)
        return zq_matching_evaluate(&p->matching, p->plan, profile->n_images, ZQ_MATCH_RELATIVE,
                                    profile->n_images, p->image_size, p->pixels, p->d_pixels, &loss, err);
    zq_plan_set_input(p->plan, 0, p->pixels);
    ZQ_TRY(zq_plan_forward(p->plan, err));
    if (!profile->gradient)
        return ZQ_OK;
    const zq_plan_seed seed = {.value = p->graph->outputs[0], .dense = p->dense};
    return zq_plan_backward(p->plan, 1, &seed, p->d_pixels, err);
}

/* The steps, found by the nodes that name them: those that have taken time. */
static zq_status list_steps(profiler *p, zq_error *err) {
    zq_profile *profile = p->profile;
    for (int at = 0; at < p->graph->n_nodes; at++) {
        const zq_node *node = &p->graph->nodes[at];
        if (zq_plan_node_ms(p->plan, at) <= 0)
            continue;
        double macs;
        zq_profile_step *step = &profile->steps[profile->n_steps++];
        *step = (zq_profile_step){.node = at,
                                  .shape = *zq_plan_shape(p->plan, node->outputs[0]),
                                  .layout = zq_plan_layout(p->plan, node->outputs[0]),
                                  .forward_ms = INFINITY,
                                  .backward_ms = profile->gradient ? INFINITY : 0};
        snprintf(step->kernel, sizeof step->kernel, "%s", zq_plan_kernel(p->plan, at));
        ZQ_TRY(zq_layer_node_macs(p->graph, node, &macs, err));
        const double n_passes = zq_plan_node_backward_ms(p->plan, at) > 0 ? 2 : 1;
        step->flop = n_passes * 2 * macs * (double)profile->n_images / (double)zq_graph_images(p->graph);
        profile->flop += step->flop;
    }
    return ZQ_OK;
}

/* Other programs disturb some rounds, so the best of each step counts. */
static void keep_best(const zq_plan *plan, zq_profile *profile, double ms, double cpu_ms) {
    profile->best_ms = fmin(profile->best_ms, ms);
    profile->best_cpu_ms = fmin(profile->best_cpu_ms, cpu_ms);
    for (int i = 0; i < profile->n_steps; i++) {
        zq_profile_step *step = &profile->steps[i];
        step->forward_ms = fmin(step->forward_ms, zq_plan_node_ms(plan, step->node));
        step->backward_ms = fmin(step->backward_ms, zq_plan_node_backward_ms(plan, step->node));
    }
}

static zq_status measure(profiler *p, zq_step_callback callback, void *user, zq_error *err) {
    zq_profile *profile = p->profile;
    ZQ_TRY(prepare(p, err));
    ZQ_TRY(run_round(p, err)); /* the first one touches the memory */
    ZQ_TRY(list_steps(p, err));
    profile->best_ms = profile->best_cpu_ms = INFINITY;
    const double start = now_ms(CLOCK_MONOTONIC);
    double end = start;
    while (profile->n_rounds < LEAST_ROUNDS || (profile->n_rounds < MOST_ROUNDS && end - start < wanted_ms)) {
        const double begin = end, cpu_begin = now_ms(CLOCK_PROCESS_CPUTIME_ID);
        ZQ_TRY(run_round(p, err));
        end = now_ms(CLOCK_MONOTONIC);
        keep_best(p->plan, profile, end - begin, now_ms(CLOCK_PROCESS_CPUTIME_ID) - cpu_begin);
        profile->n_rounds++;
        if (callback != NULL && callback(user, profile->n_rounds, MOST_ROUNDS) != 0)
            return zq_fail(err, ZQ_ERR_CANCELLED, "cancelled while steps were timed");
    }
    profile->plan_bytes = zq_plan_bytes(p->plan);
    return ZQ_OK;
}

zq_status zq_profile_measure(zq_graph *graph, int64_t n_images, bool gradient, bool half,
                             zq_step_callback callback, void *user, zq_profile *profile_out, zq_error *err) {
    profiler p = {.graph = graph, .profile = profile_out};
    *profile_out = (zq_profile){
        .n_images = n_images, .gradient = gradient, .half = half, .n_threads = omp_get_max_threads()};
    const zq_status status = measure(&p, callback, user, err);
    profiler_clear(&p);
    if (status != ZQ_OK)
        zq_profile_clear(profile_out);
    return status;
}
