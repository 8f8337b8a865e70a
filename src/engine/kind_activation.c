/* SPDX-License-Identifier: Apache-2.0 */
/* Relu and Clip. Backward is the hot loop of distillation: d_z = slope(z) d_y + c1[c] + c2[c] (z - mean[c]),
 * all in one pass. */
#include "base/memory.h"
#include "engine/loops.h"

static zq_status match(zq_plan *plan, int at, zq_step *step, zq_error *err) {
    const zq_node *node = &plan->graph->nodes[at];
    zq_clamp clamp;
    zq_rows rows;
    if (!zq_clamp_of(plan, at, &clamp) || !zq_rows_of(&plan->slots[node->inputs[0]], &rows))
        return ZQ_OK;
    ZQ_TRY(zq_step_set(plan, step, &zq_kind_activation, at, 1, node->inputs, 1, node->outputs, err));
    zq_clamp *state = step->state = zq_alloc(1, sizeof *state);
    if (state == NULL)
        return zq_fail_memory(err);
    *state = clamp;
    step->forgets_out = true;
    return ZQ_OK;
}

static zq_status forward(zq_plan *plan, zq_step *step, zq_error *err) {
    (void)err;
    const zq_clamp *clamp = step->state;
    zq_loop_clamp(plan->slots[step->in[0]].n, zq_slot_floats(plan, step->in[0]), *clamp,
                  zq_slot_floats(plan, step->out[0]));
    return ZQ_OK;
}

static zq_status backward(zq_plan *plan, zq_step *step, zq_error *err) {
    (void)err;
    const zq_clamp *clamp = step->state;
    const float *const x = zq_slot_floats(plan, step->in[0]);
    zq_rows rows;
    zq_sink sink;
    zq_rows_of(&plan->slots[step->in[0]], &rows);
    if (zq_sink_open(plan, step->in[0], &sink))
        zq_loop_slope(rows, x, *clamp, zq_plan_gradient(plan, step->out[0]), x, &sink);
    return ZQ_OK;
}

const zq_step_kind zq_kind_activation = {
    .name = "loop",
    .in_place = true,
    .in_place_backward = true,
    .match = match,
    .forward = forward,
    .backward = backward,
};
