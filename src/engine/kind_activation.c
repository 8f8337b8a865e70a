/* SPDX-License-Identifier: Apache-2.0 */
/* Relu and Clip. Forward sums what statistics need where backward keeps the input for them: a pass over
 * memory less. Backward is the hot loop of distillation: d_z = slope(z) d_y + c1[c] + c2[c] (z - mean[c]),
 * all in one pass. */
#include "base/memory.h"
#include "engine/loops.h"

typedef struct activation {
    zq_clamp clamp;
    double *sums; /* of the input; NULL: none wanted */
} activation;

static void drop(void *state) {
    zq_free(((activation *)state)->sums);
    zq_free(state);
}

static bool wants_sums(const zq_plan *plan, int value) {
    const zq_slot *slot = &plan->slots[value];
    return plan->options.gradient && plan->graph->values[value].stats != NULL && slot->last &&
           slot->sums == NULL;
}

static zq_status match(zq_plan *plan, int at, zq_step *step, zq_error *err) {
    const zq_node *node = &plan->graph->nodes[at];
    zq_clamp clamp;
    zq_rows rows;
    if (!zq_clamp_of(plan, at, &clamp) || !zq_rows_of(&plan->slots[node->inputs[0]], &rows))
        return ZQ_OK;
    ZQ_TRY(zq_step_set(plan, step, &zq_kind_activation, at, 1, node->inputs, 1, node->outputs, err));
    activation *state = step->state = zq_alloc(1, sizeof *state);
    if (state == NULL)
        return zq_fail_memory(err);
    state->clamp = clamp;
    if (wants_sums(plan, step->in[0])) {
        zq_slot *slot = &plan->slots[step->in[0]];
        slot->sums = state->sums =
            zq_plan_alloc(plan, 2 * (size_t)(slot->images * slot->channels), sizeof *slot->sums);
        if (slot->sums == NULL)
            return zq_fail_memory(err);
    }
    step->forgets_out = true;
    return ZQ_OK;
}

static zq_status forward(zq_plan *plan, zq_step *step, zq_error *err) {
    (void)err;
    const activation *state = step->state;
    zq_slot *slot = &plan->slots[step->in[0]];
    const zq_cells dst = zq_slot_cells(plan, step->out[0]);
    if (state->sums == NULL) {
        zq_loop_clamp(slot->n, zq_slot_cells(plan, step->in[0]), state->clamp, dst);
        return ZQ_OK;
    }
    zq_loop_clamp_sum(slot, state->clamp, dst, state->sums);
    slot->summed = true;
    return ZQ_OK;
}

static zq_status backward(zq_plan *plan, zq_step *step, zq_error *err) {
    (void)err;
    const activation *state = step->state;
    const zq_cells x = zq_slot_cells(plan, step->in[0]);
    zq_rows rows;
    zq_sink sink;
    zq_rows_of(&plan->slots[step->in[0]], &rows);
    if (zq_sink_open(plan, step->in[0], &sink))
        zq_loop_slope(rows, x, state->clamp, zq_gradient_cells(plan, step->out[0]), x, &sink);
    return ZQ_OK;
}

const zq_step_kind zq_kind_activation = {
    .name = "loop",
    .cells = true,
    .in_place = true,
    .in_place_backward = true,
    .match = match,
    .forward = forward,
    .backward = backward,
    .drop = drop,
};
