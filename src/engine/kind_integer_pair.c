/* SPDX-License-Identifier: Apache-2.0 */
/* Add and Mul of two quantized values of one shape, quantized again: ONNX Runtime's QLinearAdd and
 * QLinearMul, in the order of operations of MLAS. */
#include "base/memory.h"
#include "engine/quantized.h"
#include "graph/op.h"

#include <string.h>

typedef struct pair_state {
    bool multiplies;
    zq_scale a, b;
    zq_requantizer requantizer;
} pair_state;

static zq_status match(zq_plan *plan, int at, zq_step *step, zq_error *err) {
    pair_state found;
    int core, integers[2];
    if (!zq_quantized_tail(plan, at, &found.requantizer, &core))
        return ZQ_OK;
    const zq_node *node = &plan->graph->nodes[core];
    found.multiplies = strcmp(node->op->name, "Mul") == 0;
    if ((!found.multiplies && strcmp(node->op->name, "Add") != 0) ||
        !zq_quantized_source(plan, node->inputs[0], &integers[0], &found.a) ||
        !zq_quantized_source(plan, node->inputs[1], &integers[1], &found.b) ||
        !zq_shape_equal(&plan->slots[integers[0]].shape, &plan->slots[integers[1]].shape))
        return ZQ_OK;
    ZQ_TRY(zq_step_set(plan, step, &zq_kind_integer_pair, core, 2, integers, 1,
                       plan->graph->nodes[at].outputs, err));
    zq_quantized_absorb(plan, at, core);
    pair_state *state = step->state = zq_alloc(1, sizeof *state);
    if (state == NULL)
        return zq_fail_memory(err);
    *state = found;
    return ZQ_OK;
}

static void add(const pair_state *s, size_t n, const float *a, const float *b, float *dst) {
    const zq_requantizer r = s->requantizer;
    const float a_ratio = s->a.scale / r.scale.scale, b_ratio = s->b.scale / r.scale.scale;
    const float fixed = r.scale.zero_point - (a_ratio * s->a.zero_point + b_ratio * s->b.zero_point);
    const float lo = r.lo + r.scale.zero_point, hi = r.hi + r.scale.zero_point;
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < n; i++) {
        const float y = rintf(fmaf(a[i], a_ratio, fmaf(b[i], b_ratio, fixed)));
        dst[i] = y < lo ? lo : y > hi ? hi : y;
    }
}

static void multiply(const pair_state *s, size_t n, const float *a, const float *b, float *dst) {
    const zq_requantizer r = s->requantizer;
    const float factor = s->a.scale * s->b.scale / r.scale.scale;
    const float a_zero = s->a.zero_point, b_zero = s->b.zero_point;
    const float lo = r.lo + r.scale.zero_point, hi = r.hi + r.scale.zero_point;
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < n; i++) {
        const float product = (a[i] - a_zero) * (b[i] - b_zero);
        const float scaled = product * factor; /* a statement of its own: it is rounded */
        const float y = rintf(scaled + r.scale.zero_point);
        dst[i] = y < lo ? lo : y > hi ? hi : y;
    }
}

static zq_status forward(zq_plan *plan, zq_step *step, zq_error *err) {
    (void)err;
    const pair_state *state = step->state;
    (state->multiplies ? multiply : add)(state, plan->slots[step->out[0]].n,
                                         zq_slot_floats(plan, step->in[0]), zq_slot_floats(plan, step->in[1]),
                                         zq_slot_floats(plan, step->out[0]));
    return ZQ_OK;
}

const zq_step_kind zq_kind_integer_pair = {
    .name = "loop",
    .in_place = true,
    .match = match,
    .forward = forward,
};
