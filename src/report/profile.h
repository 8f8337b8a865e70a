/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine makes of a network, measured: each step of a plan with its kernel and its times. */
#ifndef ZQ_REPORT_PROFILE_H
#define ZQ_REPORT_PROFILE_H

#include "engine/plan.h"
#include "quant/distill.h"

typedef struct zq_profile_step {
    int node;           /* that names the step; fused ones aren't listed */
    zq_shape shape;     /* of its output */
    const char *layout; /* of its output in memory, static */
    char kernel[112];
    double flop;                    /* of a round; a multiply-accumulate counts as two */
    double forward_ms, backward_ms; /* best of all rounds */
} zq_profile_step;

typedef struct zq_profile {
    int64_t n_images;
    bool gradient, half;
    int n_threads, n_rounds;
    size_t plan_bytes;
    double flop;            /* of all steps */
    double best_ms;         /* a whole round: with input, statistics and everything between the steps */
    double best_cpu_ms;     /* processor time of a round, the sum of all threads */
    int n_steps;            /* 0: nothing has been measured */
    zq_profile_step *steps; /* [n_steps] in running order, owned */
} zq_profile;

/* Runs rounds for about a second on random images: forward, or with gradient what one step of the
 * distillation computes (without statistics in the network: the gradient of the first output). half: as
 * zq_plan_options has it. callback:
 * called after each round, may cancel. Clear with zq_profile_clear. */
zq_status zq_profile_measure(zq_graph *graph, int64_t n_images, bool gradient, bool half,
                             zq_step_callback callback, void *user, zq_profile *profile_out, zq_error *err);
void zq_profile_clear(zq_profile *profile);

#endif
