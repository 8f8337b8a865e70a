/* SPDX-License-Identifier: Apache-2.0 */
/* GlobalAveragePool between DequantizeLinear and QuantizeLinear: ONNX Runtime's QLinearGlobalAveragePool. */
#include "base/memory.h"
#include "engine/quantized.h"
#include "graph/op.h"

#include <string.h>

typedef struct mean_state {
    zq_scale source;
    zq_requantizer requantizer;
} mean_state;

static zq_status match(zq_plan *plan, int at, zq_step *step, zq_error *err) {
    mean_state found;
    int core, integers;
    if (!zq_quantized_tail(plan, at, &found.requantizer, &core))
        return ZQ_OK;
    const zq_node *node = &plan->graph->nodes[core];
    zq_rows rows;
    if (strcmp(node->op->name, "GlobalAveragePool") != 0 ||
        !zq_quantized_source(plan, node->inputs[0], &integers, &found.source) ||
        !zq_rows_of(&plan->slots[integers], &rows))
        return ZQ_OK;
    ZQ_TRY(zq_step_set(plan, step, &zq_kind_integer_mean, core, 1, &integers, 1,
                       plan->graph->nodes[at].outputs, err));
    zq_quantized_absorb(plan, at, core);
    mean_state *state = step->state = zq_alloc(1, sizeof *state);
    if (state == NULL)
        return zq_fail_memory(err);
    *state = found;
    return ZQ_OK;
}

static zq_status forward(zq_plan *plan, zq_step *step, zq_error *err) {
    (void)err;
    const mean_state *state = step->state;
    const zq_slot *src = &plan->slots[step->in[0]];
    const int64_t n_channels = src->channels, n_positions = src->positions;
    const float n = (float)n_positions;
    const float factor = state->source.scale / (state->requantizer.scale.scale * n);
    const float bias = -state->source.zero_point * n;
    float *const y = zq_slot_floats(plan, step->out[0]);
    for (int64_t image = 0; image < src->images; image++) {
        const float *x = (const float *)src->data + image * n_channels * n_positions;
        float *const sum = y + image * n_channels;
        for (int64_t c = 0; c < n_channels; c++)
            sum[c] = bias;
        for (int64_t i = 0; i < n_positions; i++)
            for (int64_t c = 0; c < n_channels; c++)
                sum[c] += x[i * n_channels + c];
    }
    zq_quantized_requantize((zq_rows){src->images, n_channels}, &state->requantizer, 1, &factor, y);
    return ZQ_OK;
}

const zq_step_kind zq_kind_integer_mean = {
    .name = "loop",
    .match = match,
    .forward = forward,
};
