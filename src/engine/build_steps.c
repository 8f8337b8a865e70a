/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"
#include "engine/build.h"
#include "graph/op.h"

#include <stdio.h>
#include <string.h>

static const zq_step_kind *const kinds[] = {
#define X(symbol) &zq_kind_##symbol,
    ZQ_KINDS
#undef X
};
enum { N_KINDS = sizeof kinds / sizeof kinds[0] };

zq_status zq_step_set(zq_plan *plan, zq_step *step, const zq_step_kind *kind, int node, int n_in,
                      const int *in, int n_out, const int *out, zq_error *err) {
    step->in = zq_alloc((size_t)n_in, sizeof *step->in);
    step->out = zq_alloc((size_t)n_out, sizeof *step->out);
    if (step->in == NULL || step->out == NULL)
        return zq_fail_memory(err);
    step->kind = kind;
    step->node = node;
    for (int i = 0; i < n_in; i++) {
        if (in[i] < 0 || zq_plan_is_constant(plan, in[i]))
            continue;
        step->in[step->n_in++] = in[i];
        plan->slots[in[i]].wanted = true;
    }
    for (int i = 0; i < n_out; i++)
        if (out[i] >= 0)
            step->out[step->n_out++] = out[i];
    snprintf(step->kernel, sizeof step->kernel, "%s %s", plan->graph->nodes[node].op->name, kind->name);
    return ZQ_OK;
}

void zq_plan_absorb(zq_plan *plan, int node) {
    plan->absorbed[node] = true;
}

int zq_plan_sole_producer(const zq_plan *plan, int value, const char *op) {
    if (value < 0 || plan->slots[value].n_uses != 1 || plan->slots[value].constant != NULL)
        return -1;
    const int node = plan->graph->values[value].producer;
    return node >= 0 && strcmp(plan->graph->nodes[node].op->name, op) == 0 ? node : -1;
}

static bool is_wanted(const zq_plan *plan, const zq_node *node) {
    for (int i = 0; i < node->n_outputs; i++)
        if (node->outputs[i] >= 0 && plan->slots[node->outputs[i]].wanted &&
            plan->slots[node->outputs[i]].constant == NULL)
            return true;
    return false;
}

/* The steps are found in reverse: until reverse_steps their numbers count from the end. */
static zq_status match(zq_plan *plan, int node, zq_error *err) {
    if (!zq_grow(&plan->steps, &plan->steps_capacity, (size_t)plan->n_steps + 1, sizeof *plan->steps))
        return zq_fail_memory(err);
    zq_step *step = &plan->steps[plan->n_steps];
    const int first = plan->options.reference ? N_KINDS - 1 : 0; /* the plain kind is the last */
    memset(plan->absorbed, 0, (size_t)plan->graph->n_nodes * sizeof *plan->absorbed);
    zq_status status = ZQ_OK;
    for (int kind = first; kind < N_KINDS && status == ZQ_OK && step->kind == NULL; kind++)
        status = kinds[kind]->match(plan, node, step, err);
    plan->n_steps++; /* from here on the plan owns it, half-made or not */
    if (status == ZQ_OK && step->kind == NULL)
        status = zq_fail(err, ZQ_ERR_INTERNAL, "no kind of step takes a node");
    if (status != ZQ_OK)
        return status;
    zq_plan_absorb(plan, node);
    zq_plan_absorb(plan, step->node);
    for (int i = 0; i <= node; i++)
        if (plan->absorbed[i])
            plan->step_of_node[i] = plan->n_steps - 1;
    return status;
}

static void reverse_steps(zq_plan *plan) {
    for (int lo = 0, hi = plan->n_steps - 1; lo < hi; lo++, hi--) {
        const zq_step step = plan->steps[lo];
        plan->steps[lo] = plan->steps[hi];
        plan->steps[hi] = step;
    }
    for (int node = 0; node < plan->graph->n_nodes; node++)
        if (plan->step_of_node[node] >= 0)
            plan->step_of_node[node] = plan->n_steps - 1 - plan->step_of_node[node];
}

static void link_slots(zq_plan *plan) {
    for (int i = 0; i < plan->n_steps; i++) {
        const zq_step *step = &plan->steps[i];
        bool differentiable = false;
        for (int k = 0; k < step->n_in; k++) {
            zq_slot *slot = &plan->slots[step->in[k]];
            if (slot->reader_lo < 0)
                slot->reader_lo = i;
            slot->reader_hi = i;
            differentiable = differentiable || slot->differentiable;
        }
        for (int k = 0; k < step->n_out; k++) {
            zq_slot *slot = &plan->slots[step->out[k]];
            slot->writer = i;
            slot->differentiable = differentiable && slot->dtype == ZQ_F32;
        }
    }
}

zq_status zq_build_steps(zq_plan *plan, zq_error *err) {
    const int n_nodes = plan->graph->n_nodes;
    plan->step_of_node = zq_alloc((size_t)n_nodes, sizeof *plan->step_of_node);
    plan->absorbed = zq_alloc((size_t)n_nodes, sizeof *plan->absorbed);
    if (plan->step_of_node == NULL || plan->absorbed == NULL)
        return zq_fail_memory(err);
    for (int node = 0; node < n_nodes; node++)
        plan->step_of_node[node] = -1;
    for (int node = n_nodes - 1; node >= 0; node--)
        if (plan->step_of_node[node] < 0 && is_wanted(plan, &plan->graph->nodes[node]))
            ZQ_TRY(match(plan, node, err));
    reverse_steps(plan);
    plan->slots[plan->graph->inputs[0]].differentiable = true;
    link_slots(plan);
    return ZQ_OK;
}
