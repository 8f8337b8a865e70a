/* SPDX-License-Identifier: Apache-2.0 */
/* A value is half when everything that writes or reads it can take it so: loops over cells take each value
 * for itself, convolutions and poolings all of theirs or none. What enters and leaves the network is float.
 */
#include "engine/build.h"

static bool may_be_half(const zq_plan *plan, int value) {
    const zq_slot *slot = &plan->slots[value];
    return slot->differentiable && slot->last && slot->writer >= 0 && slot->constant == NULL &&
           !zq_graph_is_output(plan->graph, value);
}

/* False: one of its values isn't half. */
static bool all_half(const zq_plan *plan, const zq_step *step) {
    bool all = true;
    for (int i = 0; i < step->n_in; i++)
        all = all && plan->slots[step->in[i]].half;
    for (int i = 0; i < step->n_out; i++)
        all = all && plan->slots[step->out[i]].half;
    return all;
}

/* Whether any of them was half. */
static bool make_float(zq_plan *plan, int n, const int *values) {
    bool any = false;
    for (int i = 0; i < n; i++) {
        any = any || plan->slots[values[i]].half;
        plan->slots[values[i]].half = false;
    }
    return any;
}

static bool settle(zq_plan *plan) {
    bool changed = false;
    for (int i = 0; i < plan->n_steps; i++) {
        const zq_step *step = &plan->steps[i];
        if (step->kind->cells || (step->halves && all_half(plan, step)))
            continue;
        changed = make_float(plan, step->n_in, step->in) || changed;
        changed = make_float(plan, step->n_out, step->out) || changed;
    }
    return changed;
}

zq_status zq_build_halves(zq_plan *plan, zq_error *err) {
    if (plan->options.half) {
        for (int value = 0; value < plan->graph->n_values; value++)
            plan->slots[value].half = may_be_half(plan, value);
        for (int i = 0; i < plan->n_steps; i++)
            if (plan->steps[i].kind->halve != NULL && all_half(plan, &plan->steps[i]))
                ZQ_TRY(plan->steps[i].kind->halve(plan, &plan->steps[i], err));
        while (settle(plan))
            continue;
    }
    for (int i = 0; i < plan->n_steps; i++)
        if (plan->steps[i].kind->ready != NULL)
            ZQ_TRY(plan->steps[i].kind->ready(plan, &plan->steps[i], err));
    return ZQ_OK;
}
