/* SPDX-License-Identifier: Apache-2.0 */
/* Forward passes. */
#include "engine/step.h"
#include "graph/op.h"

#include <string.h>
#include <time.h>

double zq_plan_now_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec * 1e-6;
}

static zq_status run(zq_plan *plan, zq_step *step, const zq_plan_override *override, zq_error *err) {
    const double start = zq_plan_now_ms();
    for (int o = 0; o < step->n_out; o++)
        plan->slots[step->out[o]].summed = false;
    const zq_status status =
        override == NULL ? step->kind->forward(plan, step, err)
                         : step->kind->override(plan, step, override->n_variants, override->weights, err);
    step->ms = zq_plan_now_ms() - start;
    return status;
}

zq_status zq_plan_forward(zq_plan *plan, zq_error *err) {
    return zq_plan_forward_hooked(plan, NULL, NULL, err);
}

zq_status zq_plan_forward_hooked(zq_plan *plan, zq_bias_hook hook, void *user, zq_error *err) {
    plan->ran = false;
    for (int i = 0; i < plan->n_steps; i++) {
        zq_step *step = &plan->steps[i];
        float *const bias = hook != NULL && step->kind->bias != NULL ? step->kind->bias(step) : NULL;
        if (bias != NULL)
            hook(user, plan, step->node, bias);
        ZQ_TRY(run(plan, &plan->steps[i], NULL, err));
        plan->steps[i].disturbed = false;
    }
    plan->ran = true;
    return ZQ_OK;
}

zq_status zq_plan_forward_visited(zq_plan *plan, const zq_plan_visitor *visitor, zq_error *err) {
    plan->ran = false;
    for (int i = 0; i < plan->n_steps; i++) {
        zq_step *step = &plan->steps[i];
        if (visitor->before != NULL)
            ZQ_TRY(visitor->before(visitor->user, plan, step->node, err));
        const zq_plan_override *const varied = plan->varied;
        plan->varied = NULL;
        ZQ_TRY(run(plan, step, varied, err));
        step->disturbed = false;
        if (visitor->after != NULL)
            ZQ_TRY(visitor->after(visitor->user, plan, step->node, err));
    }
    plan->ran = true;
    return ZQ_OK;
}

static zq_step *weighted_step(zq_plan *plan, int node, zq_error *err) {
    const int at = node >= 0 && node < plan->graph->n_nodes ? plan->step_of_node[node] : -1;
    char text[ZQ_NODE_TEXT];
    if (at < 0 || plan->steps[at].node != node || plan->steps[at].kind->override == NULL) {
        zq_fail(err, ZQ_ERR_USAGE, "%s has no weights that can be replaced",
                node >= 0 && node < plan->graph->n_nodes ? zq_node_text(&plan->graph->nodes[node], text)
                                                         : "a node that doesn't exist");
        return NULL;
    }
    return &plan->steps[at];
}

static zq_status check_variants(const zq_plan *plan, const zq_plan_override *override, zq_error *err) {
    if (override->n_variants < 1 || plan->options.n_images % override->n_variants != 0)
        return zq_fail(err, ZQ_ERR_USAGE, "%lld images can't be shared among %d variants of weights",
                       (long long)plan->options.n_images, override->n_variants);
    return ZQ_OK;
}

static zq_status check_override(const zq_plan *plan, const zq_plan_override *override, zq_error *err) {
    return !plan->options.keep_values || !plan->ran
               ? zq_fail(err, ZQ_ERR_INTERNAL,
                         "replacing weights needs a plan that keeps its values and has run forward")
               : check_variants(plan, override, err);
}

static bool reads_affected(const zq_plan *plan, const zq_step *step, const bool *affected) {
    for (int i = 0; i < step->n_in; i++)
        if (plan->slots[step->in[i]].writer >= 0 && affected[plan->slots[step->in[i]].writer])
            return true;
    return false;
}

zq_status zq_plan_forward_override(zq_plan *plan, const zq_plan_override *override, zq_error *err) {
    ZQ_TRY(check_override(plan, override, err));
    zq_step *weighted = weighted_step(plan, override->node, err);
    if (weighted == NULL)
        return ZQ_ERR_USAGE;
    bool *affected = plan->affected;
    plan->ran = false; /* until all of it went well */
    for (int i = 0; i < plan->n_steps; i++) {
        zq_step *step = &plan->steps[i];
        affected[i] = step == weighted || reads_affected(plan, step, affected);
        if (affected[i] || step->disturbed)
            ZQ_TRY(run(plan, step, step == weighted ? override : NULL, err));
        step->disturbed = affected[i];
    }
    plan->ran = true;
    return ZQ_OK;
}

static bool holds(int n, const int *values, int value) {
    for (int i = 0; i < n; i++)
        if (values[i] == value)
            return true;
    return false;
}

static bool reads_input(const zq_plan *plan, const zq_step *step, int n, const int *values) {
    for (int i = 0; i < step->n_in; i++)
        if (plan->slots[step->in[i]].writer < 0 && holds(n, values, step->in[i]))
            return true;
    return false;
}

zq_status zq_plan_forward_changing(zq_plan *plan, int n, const int *values, zq_value_hook hook, void *user,
                                   zq_error *err) {
    bool *affected = plan->affected;
    if (!plan->options.keep_values || !plan->ran)
        return zq_fail(err, ZQ_ERR_INTERNAL,
                       "changing values needs a plan that keeps them and has run forward");
    plan->ran = false; /* until all of it went well */
    for (int k = 0; k < n; k++)
        if (plan->slots[values[k]].writer < 0)
            ZQ_TRY(hook(user, plan, values[k], err));
    for (int i = 0; i < plan->n_steps; i++) {
        zq_step *step = &plan->steps[i];
        affected[i] = reads_affected(plan, step, affected) || reads_input(plan, step, n, values);
        for (int o = 0; o < step->n_out; o++)
            affected[i] = affected[i] || holds(n, values, step->out[o]);
        if (affected[i] || step->disturbed)
            ZQ_TRY(run(plan, step, NULL, err));
        for (int o = 0; o < step->n_out; o++)
            if (holds(n, values, step->out[o]))
                ZQ_TRY(hook(user, plan, step->out[o], err));
        step->disturbed = affected[i];
    }
    plan->ran = true;
    return ZQ_OK;
}

/* data, which holds what changed, gets dst back; dst gets the change. */
static void restore(size_t n, float *restrict data, float *restrict dst) {
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < n; i++) {
        const float changed = data[i];
        data[i] = dst[i];
        dst[i] = changed - dst[i];
    }
}

zq_status zq_plan_response(zq_plan *plan, int node, const float *weights, float *dst, zq_error *err) {
    const zq_plan_override override = {.node = node, .n_variants = 1, .weights = &weights};
    ZQ_TRY(check_override(plan, &override, err));
    zq_step *step = weighted_step(plan, node, err);
    if (step == NULL)
        return ZQ_ERR_USAGE;
    const zq_slot *slot = &plan->slots[step->out[0]];
    memcpy(dst, slot->data, slot->n * sizeof *dst);
    const zq_status status = step->kind->override(plan, step, 1, &weights, err);
    restore(slot->n, slot->data, dst);
    return status;
}

zq_status zq_plan_vary(zq_plan *plan, const zq_plan_override *override, zq_error *err) {
    if (weighted_step(plan, override->node, err) == NULL)
        return ZQ_ERR_USAGE;
    ZQ_TRY(check_variants(plan, override, err));
    plan->varied = override;
    return ZQ_OK;
}

zq_status zq_plan_set_weights(zq_plan *plan, int node, const float *weights, zq_error *err) {
    zq_step *step = weighted_step(plan, node, err);
    if (step == NULL)
        return ZQ_ERR_USAGE;
    plan->ran = false;
    step->disturbed = true;
    return step->kind->set_weights(plan, step, weights, err);
}

zq_status zq_plan_forward_changed(zq_plan *plan, zq_error *err) {
    bool *affected = plan->affected;
    if (!plan->options.keep_values)
        return zq_fail(err, ZQ_ERR_INTERNAL, "running a part needs a plan that keeps its values");
    plan->ran = false;
    for (int i = 0; i < plan->n_steps; i++) {
        zq_step *step = &plan->steps[i];
        affected[i] = step->disturbed || reads_affected(plan, step, affected);
        if (affected[i])
            ZQ_TRY(run(plan, step, NULL, err));
        step->disturbed = false;
    }
    plan->ran = true;
    return ZQ_OK;
}
