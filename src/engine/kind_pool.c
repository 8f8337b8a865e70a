/* SPDX-License-Identifier: Apache-2.0 */
/* MaxPool and AveragePool by oneDNN. */
#include "base/memory.h"
#include "engine/window.h"
#include "graph/op.h"
#include "ops/window.h"

#include <stdio.h>
#include <string.h>

typedef struct pool_state {
    zq_window window;
    zq_pool_kind kind;
    zq_dnn_pool *pool;
    zq_dnn_pool *half; /* the same of halves, until it is settled which is taken; NULL: none */
    void *workspace;   /* from forward to backward; NULL: none */
} pool_state;

static void drop(void *memory) {
    pool_state *state = memory;
    zq_dnn_pool_drop(state->pool);
    zq_dnn_pool_drop(state->half);
    zq_free(state->workspace);
    zq_free(state);
}

static bool is_pool(const zq_plan *plan, const zq_node *node, zq_pool_kind *kind) {
    const zq_window_params *params = node->params;
    const bool max = strcmp(node->op->name, "MaxPool") == 0;
    if (!max && strcmp(node->op->name, "AveragePool") != 0)
        return false;
    *kind = max ? ZQ_POOL_MAX : params->count_padding ? ZQ_POOL_AVERAGE_PADDED : ZQ_POOL_AVERAGE;
    const bool indices = node->n_outputs > 1 && node->outputs[1] >= 0;
    return !indices && !zq_plan_is_constant(plan, node->inputs[0]) &&
           plan->slots[node->inputs[0]].dtype == ZQ_F32;
}

static zq_status match(zq_plan *plan, int at, zq_step *step, zq_error *err) {
    const zq_node *node = &plan->graph->nodes[at];
    zq_pool_kind kind;
    zq_window window;
    zq_dnn_pool *pool;
    if (!is_pool(plan, node, &kind))
        return ZQ_OK;
    ZQ_TRY(zq_engine_window(plan, node, &window, err));
    zq_status status = zq_dnn_pool_new(&window, kind, plan->options.gradient, false, &pool, err);
    if (status != ZQ_OK)
        return status == ZQ_ERR_UNSUPPORTED ? ZQ_OK : status;
    pool_state *state = zq_alloc(1, sizeof *state);
    if (state == NULL) {
        zq_dnn_pool_drop(pool);
        return zq_fail_memory(err);
    }
    *state = (pool_state){.window = window, .kind = kind, .pool = pool};
    step->state = state;
    step->kind = &zq_kind_pool;
    ZQ_TRY(zq_step_set(plan, step, &zq_kind_pool, at, 1, node->inputs, 1, node->outputs, err));
    step->forgets_in = step->forgets_out = true;
    if (plan->options.gradient)
        step->scratch_bytes = plan->slots[step->in[0]].n * sizeof(float);
    return ZQ_OK;
}

static zq_status halve(zq_plan *plan, zq_step *step, zq_error *err) {
    pool_state *state = step->state;
    const zq_status status =
        zq_dnn_pool_new(&state->window, state->kind, plan->options.gradient, true, &state->half, err);
    step->halves = status == ZQ_OK;
    return status == ZQ_ERR_UNSUPPORTED ? ZQ_OK : status;
}

static zq_status ready(zq_plan *plan, zq_step *step, zq_error *err) {
    pool_state *state = step->state;
    const bool half = plan->slots[step->in[0]].half;
    zq_dnn_pool_drop(half ? state->pool : state->half);
    state->pool = half ? state->half : state->pool;
    state->half = NULL;
    const size_t bytes = zq_dnn_pool_workspace_bytes(state->pool);
    if (bytes > 0)
        state->workspace = zq_plan_alloc(plan, bytes, 1);
    snprintf(step->kernel, sizeof step->kernel, "%s onednn %s%s", plan->graph->nodes[step->node].op->name,
             zq_dnn_pool_kernel(state->pool), half ? " bf16" : "");
    return bytes > 0 && state->workspace == NULL ? zq_fail_memory(err) : ZQ_OK;
}

static zq_status forward(zq_plan *plan, zq_step *step, zq_error *err) {
    (void)err;
    const pool_state *state = step->state;
    zq_dnn_pool_forward(state->pool, plan->slots[step->in[0]].data, plan->slots[step->out[0]].data,
                        state->workspace);
    return ZQ_OK;
}

static zq_status backward(zq_plan *plan, zq_step *step, zq_error *err) {
    (void)err;
    const pool_state *state = step->state;
    void *const d_x = zq_sink_begin(plan, step->in[0], plan->scratch);
    if (d_x == NULL)
        return ZQ_OK;
    zq_dnn_pool_backward(state->pool, zq_plan_gradient(plan, step->out[0]), state->workspace, d_x);
    zq_sink_end(plan, step->in[0], d_x);
    return ZQ_OK;
}

const zq_step_kind zq_kind_pool = {
    .name = "onednn",
    .match = match,
    .halve = halve,
    .ready = ready,
    .forward = forward,
    .backward = backward,
    .drop = drop,
};
