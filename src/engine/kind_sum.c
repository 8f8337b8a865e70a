/* SPDX-License-Identifier: Apache-2.0 */
/* Add of two values of one shape, with the Relu or Clip behind it: the joins of residual networks. */
#include "base/memory.h"
#include "engine/loops.h"
#include "graph/op.h"

#include <string.h>

typedef struct sum_state {
    bool clamps;
    zq_clamp clamp;
    uint8_t *passed; /* where the clamp lets gradients through, from forward to backward; owned; NULL:
                        everywhere */
} sum_state;

static void drop(void *memory) {
    sum_state *state = memory;
    zq_free(state->passed);
    zq_free(state);
}

static bool is_sum(const zq_plan *plan, int at) {
    const zq_node *node = &plan->graph->nodes[at];
    if (strcmp(node->op->name, "Add") != 0)
        return false;
    const zq_slot *a = &plan->slots[node->inputs[0]], *b = &plan->slots[node->inputs[1]];
    zq_rows rows;
    return a->constant == NULL && b->constant == NULL && a->dtype == ZQ_F32 &&
           zq_shape_equal(&a->shape, &b->shape) && zq_rows_of(a, &rows);
}

/* The Add in front of an activation that may be fused with it; -1: none. */
static int add_before(const zq_plan *plan, int activation) {
    const int sum = plan->graph->nodes[activation].inputs[0];
    const int add = zq_plan_sole_producer(plan, sum, "Add");
    const bool statistics = plan->options.statistics && plan->graph->values[sum].stats != NULL;
    return add >= 0 && is_sum(plan, add) && !statistics ? add : -1;
}

static zq_status match(zq_plan *plan, int at, zq_step *step, zq_error *err) {
    sum_state found = {0};
    found.clamps = zq_clamp_of(plan, at, &found.clamp);
    const int add = found.clamps ? add_before(plan, at) : is_sum(plan, at) ? at : -1;
    if (add < 0)
        return ZQ_OK;
    const zq_node *node = &plan->graph->nodes[add];
    ZQ_TRY(
        zq_step_set(plan, step, &zq_kind_sum, add, 2, node->inputs, 1, plan->graph->nodes[at].outputs, err));
    sum_state *state = step->state = zq_alloc(1, sizeof *state);
    if (state == NULL)
        return zq_fail_memory(err);
    *state = found;
    step->forgets_in = step->forgets_out = true;
    if (found.clamps && plan->options.gradient)
        state->passed = zq_plan_alloc(plan, plan->slots[step->out[0]].n, sizeof *state->passed);
    return found.clamps && plan->options.gradient && state->passed == NULL ? zq_fail_memory(err) : ZQ_OK;
}

static zq_status forward(zq_plan *plan, zq_step *step, zq_error *err) {
    (void)err;
    const sum_state *state = step->state;
    zq_loop_add(plan->slots[step->out[0]].n, zq_slot_cells(plan, step->in[0]),
                zq_slot_cells(plan, step->in[1]), state->clamps ? state->clamp : ZQ_NO_CLAMP,
                zq_slot_cells(plan, step->out[0]), state->passed);
    return ZQ_OK;
}

static zq_status backward(zq_plan *plan, zq_step *step, zq_error *err) {
    (void)err;
    const sum_state *state = step->state;
    zq_branch branches[2];
    int n_branches = 0;
    zq_rows rows;
    zq_rows_of(&plan->slots[step->out[0]], &rows);
    for (int k = 0; k < 2; k++) {
        zq_branch *branch = &branches[n_branches];
        branch->z = zq_slot_cells(plan, step->in[k]);
        n_branches += zq_sink_open(plan, step->in[k], &branch->sink);
    }
    zq_loop_fork(rows, state->passed, zq_gradient_cells(plan, step->out[0]), n_branches, branches);
    return ZQ_OK;
}

const zq_step_kind zq_kind_sum = {
    .name = "loop",
    .cells = true,
    .in_place = true,
    .in_place_backward = true,
    .match = match,
    .forward = forward,
    .backward = backward,
    .drop = drop,
};
