/* SPDX-License-Identifier: Apache-2.0 */
/* QuantizeLinear and DequantizeLinear with one scale, where no integer operator takes them in. */
#include "base/memory.h"
#include "engine/quantized.h"

static zq_status match_quantize(zq_plan *plan, int at, zq_step *step, zq_error *err) {
    zq_requantizer found;
    int value;
    if (!zq_quantized_end(plan, at, &found, &value) || plan->slots[value].dtype != ZQ_F32)
        return ZQ_OK;
    const zq_node *node = &plan->graph->nodes[at];
    const int quantize = node->inputs[0] == value ? at : plan->graph->values[node->inputs[0]].producer;
    ZQ_TRY(zq_step_set(plan, step, &zq_kind_quantize, quantize, 1, &value, 1, node->outputs, err));
    zq_requantizer *state = step->state = zq_alloc(1, sizeof *state);
    if (state == NULL)
        return zq_fail_memory(err);
    *state = found;
    return ZQ_OK;
}

static zq_status quantize(zq_plan *plan, zq_step *step, zq_error *err) {
    (void)err;
    zq_quantized_quantize(plan->slots[step->out[0]].n, zq_slot_floats(plan, step->in[0]), step->state,
                          zq_slot_floats(plan, step->out[0]));
    return ZQ_OK;
}

static zq_status match_dequantize(zq_plan *plan, int at, zq_step *step, zq_error *err) {
    const zq_node *node = &plan->graph->nodes[at];
    zq_scale found;
    int integers;
    if (!zq_quantized_source(plan, node->outputs[0], &integers, &found))
        return ZQ_OK;
    ZQ_TRY(zq_step_set(plan, step, &zq_kind_dequantize, at, 1, &integers, 1, node->outputs, err));
    zq_scale *state = step->state = zq_alloc(1, sizeof *state);
    if (state == NULL)
        return zq_fail_memory(err);
    *state = found;
    return ZQ_OK;
}

static zq_status dequantize(zq_plan *plan, zq_step *step, zq_error *err) {
    (void)err;
    const zq_scale scale = *(const zq_scale *)step->state;
    const float *const q = zq_slot_floats(plan, step->in[0]);
    float *const x = zq_slot_floats(plan, step->out[0]);
    const size_t n = plan->slots[step->out[0]].n;
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < n; i++)
        x[i] = (q[i] - scale.zero_point) * scale.scale;
    return ZQ_OK;
}

const zq_step_kind zq_kind_quantize = {
    .name = "loop",
    .in_place = true,
    .match = match_quantize,
    .forward = quantize,
};

const zq_step_kind zq_kind_dequantize = {
    .name = "loop",
    .in_place = true,
    .match = match_dequantize,
    .forward = dequantize,
};
