/* SPDX-License-Identifier: Apache-2.0 */
/* Gemm and MatMul with constant weights on a matrix [rows, k], by oneDNN. */
#include "base/memory.h"
#include "engine/onednn/onednn.h"
#include "engine/step.h"
#include "graph/op.h"

#include <string.h>

typedef struct gemm_state {
    int64_t m, n, k;
    bool transposed;      /* weights are [n, k] */
    const float *weights; /* the graph's, or replaced */
    float *replaced;      /* owned; NULL: none */
    const float *bias;    /* [n] or one number; NULL: none */
    bool scalar_bias;
} gemm_state;

static void drop(void *memory) {
    gemm_state *state = memory;
    zq_free(state->replaced);
    zq_free(state);
}

/* alpha = beta = 1 and a bias along the columns: what networks have. */
static bool takes_attributes(const zq_plan *plan, const zq_node *node, gemm_state *state) {
    int64_t trans_a = 0, trans_b = 0;
    float alpha = 1, beta = 1;
    if (strcmp(node->op->name, "MatMul") == 0)
        return true;
    if (zq_node_int(node, "transA", 0, &trans_a, NULL) != ZQ_OK ||
        zq_node_int(node, "transB", 0, &trans_b, NULL) != ZQ_OK ||
        zq_node_float(node, "alpha", 1, &alpha, NULL) != ZQ_OK ||
        zq_node_float(node, "beta", 1, &beta, NULL) != ZQ_OK || trans_a != 0 || alpha != 1 || beta != 1)
        return false;
    state->transposed = trans_b != 0;
    if (node->n_inputs < 3 || node->inputs[2] < 0)
        return true;
    const zq_slot *bias = &plan->slots[node->inputs[2]];
    if (bias->constant == NULL || bias->dtype != ZQ_F32)
        return false;
    state->bias = bias->constant->data;
    state->scalar_bias = bias->n == 1;
    return bias->n == 1 ||
           ((int64_t)bias->n == state->n && bias->shape.dims[bias->shape.rank - 1] == state->n);
}

static bool takes(const zq_plan *plan, const zq_node *node, gemm_state *state) {
    if (strcmp(node->op->name, "Gemm") != 0 && strcmp(node->op->name, "MatMul") != 0)
        return false;
    const zq_slot *a = &plan->slots[node->inputs[0]], *b = &plan->slots[node->inputs[1]];
    const zq_slot *c = &plan->slots[node->outputs[0]];
    if (a->constant != NULL || b->constant == NULL || a->dtype != ZQ_F32 || b->dtype != ZQ_F32 ||
        a->shape.rank != 2 || b->shape.rank != 2)
        return false;
    state->m = c->shape.dims[0];
    state->n = c->shape.dims[1];
    state->k = a->shape.dims[1];
    state->weights = b->constant->data;
    return takes_attributes(plan, node, state);
}

static zq_status match(zq_plan *plan, int at, zq_step *step, zq_error *err) {
    const zq_node *node = &plan->graph->nodes[at];
    gemm_state found = {0};
    if (!takes(plan, node, &found))
        return ZQ_OK;
    ZQ_TRY(zq_step_set(plan, step, &zq_kind_gemm, at, 1, node->inputs, 1, node->outputs, err));
    gemm_state *state = step->state = zq_alloc(1, sizeof *state);
    if (state == NULL)
        return zq_fail_memory(err);
    *state = found;
    step->forgets_in = step->forgets_out = true;
    return ZQ_OK;
}

static zq_status multiply(const gemm_state *state, int64_t m, const float *src, const float *weights,
                          float *dst, zq_error *err) {
    for (int64_t row = 0; row < m && state->bias != NULL; row++)
        for (int64_t c = 0; c < state->n; c++)
            dst[row * state->n + c] = state->bias[state->scalar_bias ? 0 : c];
    return zq_dnn_gemm(state->transposed, m, state->n, state->k, src, weights, state->bias != NULL, dst, err);
}

static zq_status forward(zq_plan *plan, zq_step *step, zq_error *err) {
    const gemm_state *state = step->state;
    return multiply(state, state->m, zq_slot_floats(plan, step->in[0]), state->weights,
                    zq_slot_floats(plan, step->out[0]), err);
}

static zq_status backward(zq_plan *plan, zq_step *step, zq_error *err) {
    const gemm_state *state = step->state;
    zq_sink sink;
    if (!zq_sink_open_unseeded(plan, step->in[0], &sink))
        return ZQ_OK;
    return zq_dnn_gemm(!state->transposed, state->m, state->k, state->n, zq_plan_gradient(plan, step->out[0]),
                       state->weights, sink.add, sink.dst, err);
}

static zq_status override(zq_plan *plan, zq_step *step, int n_variants, const float *const *weights,
                          zq_error *err) {
    const gemm_state *state = step->state;
    char text[ZQ_NODE_TEXT];
    if (state->m % n_variants != 0)
        return zq_fail(err, ZQ_ERR_UNSUPPORTED, "%s has %lld rows, which %d variants can't share",
                       zq_node_text(&plan->graph->nodes[step->node], text), (long long)state->m, n_variants);
    const int64_t m = state->m / n_variants;
    for (int k = 0; k < n_variants; k++)
        ZQ_TRY(multiply(state, m, zq_slot_floats(plan, step->in[0]) + k * m * state->k, weights[k],
                        zq_slot_floats(plan, step->out[0]) + k * m * state->n, err));
    return ZQ_OK;
}

static zq_status set_weights(zq_plan *plan, zq_step *step, const float *weights, zq_error *err) {
    gemm_state *state = step->state;
    const size_t n = (size_t)(state->n * state->k);
    if (weights == NULL) {
        state->weights = plan->slots[plan->graph->nodes[step->node].inputs[1]].constant->data;
        return ZQ_OK;
    }
    if (state->replaced == NULL)
        state->replaced = zq_plan_alloc(plan, n, sizeof *weights);
    if (state->replaced == NULL)
        return zq_fail_memory(err);
    memcpy(state->replaced, weights, n * sizeof *weights);
    state->weights = state->replaced;
    return ZQ_OK;
}

const zq_step_kind zq_kind_gemm = {
    .name = "onednn",
    .match = match,
    .forward = forward,
    .backward = backward,
    .override = override,
    .set_weights = set_weights,
    .drop = drop,
};
