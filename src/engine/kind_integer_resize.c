/* SPDX-License-Identifier: Apache-2.0 */
/* Resize between DequantizeLinear and QuantizeLinear of one scale: ONNX Runtime interpolates the integers
 * themselves and truncates the result. */
#include "engine/layout.h"
#include "engine/quantized.h"
#include "graph/op.h"

#include <string.h>

static bool same_scale(const zq_scale *a, const zq_scale *b) {
    return a->scale == b->scale && a->zero_point == b->zero_point;
}

static zq_status match(zq_plan *plan, int at, zq_step *step, zq_error *err) {
    zq_requantizer requantizer;
    zq_scale source;
    int core, integers;
    if (!zq_quantized_tail(plan, at, &requantizer, &core) ||
        strcmp(plan->graph->nodes[core].op->name, "Resize") != 0)
        return ZQ_OK;
    const zq_node *node = &plan->graph->nodes[core];
    if (!zq_quantized_source(plan, node->inputs[0], &integers, &source) || node->n_inputs > ZQ_MAX_RANK ||
        !same_scale(&source, &requantizer.scale) || strcmp(plan->graph->nodes[at].op->name, "Clip") == 0)
        return ZQ_OK;
    for (int i = 1; i < node->n_inputs; i++)
        if (node->inputs[i] >= 0 && !zq_plan_is_constant(plan, node->inputs[i]))
            return ZQ_OK;
    ZQ_TRY(zq_step_set(plan, step, &zq_kind_integer_resize, core, 1, &integers, 1,
                       plan->graph->nodes[at].outputs, err));
    zq_quantized_absorb(plan, at, core);
    step->scratch_bytes = (plan->slots[integers].n + plan->slots[step->out[0]].n) * sizeof(float);
    return ZQ_OK;
}

static zq_status forward(zq_plan *plan, zq_step *step, zq_error *err) {
    const zq_node *node = &plan->graph->nodes[step->node];
    const zq_slot *src = &plan->slots[step->in[0]], *dst = &plan->slots[step->out[0]];
    float *const x = plan->scratch, *const y = x + src->n;
    zq_tensor x_tensor = {.dtype = ZQ_F32, .shape = src->shape, .data = x};
    zq_tensor y_tensor = {.dtype = ZQ_F32, .shape = dst->shape, .data = y}, *out = &y_tensor;
    const zq_tensor *in[ZQ_MAX_RANK] = {&x_tensor};
    for (int i = 1; i < node->n_inputs; i++)
        in[i] = node->inputs[i] >= 0 ? plan->slots[node->inputs[i]].constant : NULL;
    zq_plan_read(plan, step->in[0], x);
    const zq_io io = {.node = node, .n_in = node->n_inputs, .n_out = 1, .in = in, .out = &out};
    ZQ_TRY(node->op->forward(&io, err));
    for (size_t i = 0; i < dst->n; i++)
        y[i] = truncf(y[i]);
    if (dst->last)
        zq_layout_to_last(dst->images, dst->channels, dst->positions, y, false, dst->data);
    else
        memcpy(dst->data, y, dst->n * sizeof *y);
    return ZQ_OK;
}

const zq_step_kind zq_kind_integer_resize = {
    .name = "plain",
    .match = match,
    .forward = forward,
};
