/* SPDX-License-Identifier: Apache-2.0 */
/* DequantizeLinear -> Conv -> (Relu or Clip) -> QuantizeLinear as ONNX Runtime's QLinearConv. */
#include "base/memory.h"
#include "engine/onednn/onednn.h"
#include "engine/quantized.h"
#include "engine/window.h"
#include "graph/op.h"

#include <stdio.h>
#include <string.h>

typedef struct conv_state {
    zq_dnn_conv *conv;
    void *packed;
    float zero_point; /* of the source */
    zq_quantized_weights weights;
    float *factor; /* [c_out] from sums of products to the result */
    zq_requantizer requantizer;
} conv_state;

static void drop(void *memory) {
    conv_state *state = memory;
    zq_dnn_conv_drop(state->conv);
    zq_quantized_weights_clear(&state->weights);
    zq_free(state->packed);
    zq_free(state->factor);
    zq_free(state);
}

static zq_status make_conv(zq_plan *plan, const zq_node *node, conv_state *state, zq_error *err) {
    zq_window window;
    const zq_dnn_conv_options options = {.bias = state->weights.bias != NULL};
    ZQ_TRY(zq_engine_window(plan, node, &window, err));
    ZQ_TRY(zq_dnn_conv_new(&window, &options, &state->conv, err));
    state->packed = zq_plan_alloc(plan, zq_dnn_conv_packed_bytes(state->conv), 1);
    if (state->packed == NULL)
        return zq_fail_memory(err);
    zq_dnn_conv_pack(state->conv, state->weights.weights, state->packed);
    zq_free(state->weights.weights);
    state->weights.weights = NULL;
    return ZQ_OK;
}

/* In single precision and in this order, as MLAS does it. */
static zq_status make_factors(zq_plan *plan, float source_scale, conv_state *state, zq_error *err) {
    const zq_quantized_weights *w = &state->weights;
    state->factor = zq_plan_alloc(plan, (size_t)w->n_channels, sizeof *state->factor);
    if (state->factor == NULL)
        return zq_fail_memory(err);
    for (int64_t c = 0; c < w->n_channels; c++)
        state->factor[c] = source_scale * w->scale[c] / state->requantizer.scale.scale;
    return ZQ_OK;
}

static zq_status match(zq_plan *plan, int at, zq_step *step, zq_error *err) {
    zq_requantizer requantizer;
    zq_scale source;
    int core, integers;
    bool found;
    if (!zq_quantized_tail(plan, at, &requantizer, &core) ||
        strcmp(plan->graph->nodes[core].op->name, "Conv") != 0)
        return ZQ_OK;
    const zq_node *node = &plan->graph->nodes[core];
    if (!zq_quantized_source(plan, node->inputs[0], &integers, &source))
        return ZQ_OK;
    conv_state *state = zq_alloc(1, sizeof *state);
    if (state == NULL)
        return zq_fail_memory(err);
    state->requantizer = requantizer;
    state->zero_point = source.zero_point;
    zq_status status = zq_quantized_weights_find(plan, node, 0, source.scale, &state->weights, &found, err);
    if (status == ZQ_OK && found)
        status = make_conv(plan, node, state, err);
    if (status == ZQ_OK && found)
        status = make_factors(plan, source.scale, state, err);
    if (status != ZQ_OK || !found) { /* without a good kernel it runs as floats */
        drop(state);
        return status == ZQ_ERR_UNSUPPORTED ? ZQ_OK : status;
    }
    step->state = state;
    step->kind = &zq_kind_integer_conv;
    ZQ_TRY(zq_step_set(plan, step, &zq_kind_integer_conv, core, 1, &integers, 1,
                       plan->graph->nodes[at].outputs, err));
    zq_quantized_absorb(plan, at, core);
    zq_quantized_weights_release(plan, node);
    snprintf(step->kernel, sizeof step->kernel, "QLinearConv onednn %s",
             zq_dnn_conv_kernel(state->conv, false));
    if (state->zero_point != 0)
        step->scratch_bytes = plan->slots[integers].n * sizeof(float);
    return ZQ_OK;
}

static zq_status forward(zq_plan *plan, zq_step *step, zq_error *err) {
    (void)err;
    const conv_state *state = step->state;
    const zq_slot *src = &plan->slots[step->in[0]], *dst = &plan->slots[step->out[0]];
    const float *x = src->data;
    if (state->zero_point != 0) { /* padding is 0 then */
        zq_quantized_center(src->n, x, state->zero_point, plan->scratch);
        x = plan->scratch;
    }
    zq_dnn_conv_forward(state->conv, x, state->packed, state->weights.bias, dst->data);
    zq_rows rows;
    zq_rows_of(dst, &rows);
    zq_quantized_requantize(rows, &state->requantizer, state->weights.n_channels, state->factor, dst->data);
    return ZQ_OK;
}

static float *bias_of(zq_step *step) {
    return ((conv_state *)step->state)->weights.bias;
}

const zq_step_kind zq_kind_integer_conv = {
    .name = "onednn",
    .match = match,
    .forward = forward,
    .bias = bias_of,
    .drop = drop,
};
