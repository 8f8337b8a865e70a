/* SPDX-License-Identifier: Apache-2.0 */
/* DequantizeLinear -> Gemm or MatMul (-> QuantizeLinear) as ONNX Runtime's QGemm; without QuantizeLinear the
 * result is float. */
#include "base/memory.h"
#include "engine/onednn/onednn.h"
#include "engine/quantized.h"
#include "graph/op.h"

#include <string.h>

typedef struct gemm_state {
    int64_t m, n, k;
    bool transposed; /* weights are [n, k] */
    float zero_point;
    zq_quantized_weights weights;
    float *factor; /* [n] */
    bool requantizes;
    zq_requantizer requantizer;
} gemm_state;

static void drop(void *memory) {
    gemm_state *state = memory;
    zq_quantized_weights_clear(&state->weights);
    zq_free(state->factor);
    zq_free(state);
}

static bool takes(const zq_plan *plan, const zq_node *node, gemm_state *state) {
    int64_t trans_a = 0, trans_b = 0;
    float alpha = 1, beta = 1;
    const bool gemm = strcmp(node->op->name, "Gemm") == 0;
    if (!gemm && strcmp(node->op->name, "MatMul") != 0)
        return false;
    if (gemm && (zq_node_int(node, "transA", 0, &trans_a, NULL) != ZQ_OK ||
                 zq_node_int(node, "transB", 0, &trans_b, NULL) != ZQ_OK ||
                 zq_node_float(node, "alpha", 1, &alpha, NULL) != ZQ_OK ||
                 zq_node_float(node, "beta", 1, &beta, NULL) != ZQ_OK))
        return false;
    const zq_shape *a = &plan->slots[node->inputs[0]].shape, *c = &plan->slots[node->outputs[0]].shape;
    if (a->rank != 2 || c->rank != 2 || plan->slots[node->inputs[1]].shape.rank != 2)
        return false;
    state->transposed = trans_b != 0;
    state->m = c->dims[0];
    state->n = c->dims[1];
    state->k = a->dims[1];
    return trans_a == 0 && alpha == 1 && beta == 1;
}

static zq_status make_factors(zq_plan *plan, float source_scale, gemm_state *state, zq_error *err) {
    state->factor = zq_plan_alloc(plan, (size_t)state->n, sizeof *state->factor);
    if (state->factor == NULL)
        return zq_fail_memory(err);
    for (int64_t c = 0; c < state->n; c++) {
        state->factor[c] = source_scale * state->weights.scale[c];
        if (state->requantizes)
            state->factor[c] /= state->requantizer.scale.scale;
    }
    return ZQ_OK;
}

static zq_status match(zq_plan *plan, int at, zq_step *step, zq_error *err) {
    gemm_state found = {0};
    zq_scale source;
    int core = at, integers;
    bool constant;
    found.requantizes = zq_quantized_tail(plan, at, &found.requantizer, &core);
    const zq_node *node = &plan->graph->nodes[found.requantizes ? core : at];
    core = found.requantizes ? core : at;
    if (!takes(plan, node, &found) || !zq_quantized_source(plan, node->inputs[0], &integers, &source))
        return ZQ_OK;
    found.zero_point = source.zero_point;
    ZQ_TRY(zq_quantized_weights_find(plan, node, found.transposed ? 0 : 1, source.scale, &found.weights,
                                     &constant, err));
    if (!constant)
        return ZQ_OK;
    gemm_state *state = zq_alloc(1, sizeof *state);
    if (state == NULL) {
        zq_quantized_weights_clear(&found.weights);
        return zq_fail_memory(err);
    }
    *state = found;
    step->state = state;
    step->kind = &zq_kind_integer_gemm;
    ZQ_TRY(make_factors(plan, source.scale, state, err));
    ZQ_TRY(zq_step_set(plan, step, &zq_kind_integer_gemm, core, 1, &integers, 1,
                       plan->graph->nodes[at].outputs, err));
    zq_quantized_absorb(plan, at, core);
    zq_quantized_weights_release(plan, node);
    if (state->zero_point != 0)
        step->scratch_bytes = plan->slots[integers].n * sizeof(float);
    return ZQ_OK;
}

static zq_status forward(zq_plan *plan, zq_step *step, zq_error *err) {
    const gemm_state *state = step->state;
    const zq_slot *src = &plan->slots[step->in[0]];
    const float *x = src->data;
    float *const y = zq_slot_floats(plan, step->out[0]);
    if (state->zero_point != 0) {
        zq_quantized_center(src->n, x, state->zero_point, plan->scratch);
        x = plan->scratch;
    }
    const float *const bias = state->weights.bias;
    for (int64_t row = 0; row < state->m && bias != NULL; row++)
        memcpy(y + row * state->n, bias, (size_t)state->n * sizeof *y);
    ZQ_TRY(zq_dnn_gemm(state->transposed, state->m, state->n, state->k, x, state->weights.weights,
                       bias != NULL, y, err));
    if (state->requantizes) {
        zq_quantized_requantize((zq_rows){state->m, state->n}, &state->requantizer, state->n, state->factor,
                                y);
        return ZQ_OK;
    }
    for (int64_t row = 0; row < state->m; row++)
        for (int64_t c = 0; c < state->n; c++)
            y[row * state->n + c] *= state->factor[c];
    return ZQ_OK;
}

static float *bias_of(zq_step *step) {
    return ((gemm_state *)step->state)->weights.bias;
}

const zq_step_kind zq_kind_integer_gemm = {
    .name = "onednn",
    .match = match,
    .forward = forward,
    .bias = bias_of,
    .drop = drop,
};
