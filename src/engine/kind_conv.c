/* SPDX-License-Identifier: Apache-2.0 */
/* Conv by oneDNN, with its bias and the Relu behind it. */
#include "base/memory.h"
#include "engine/image_gradient.h"
#include "engine/loops.h"
#include "engine/onednn/onednn.h"
#include "engine/window.h"
#include "graph/op.h"

#include <stdio.h>
#include <string.h>

/* The convolution of a group of images, for replaced weights. */
typedef struct group {
    int n_variants; /* 0: not made yet */
    zq_dnn_conv *conv;
} group;

typedef struct conv_state {
    zq_window window;
    bool relu;
    bool image_gradient; /* backward by zq_image_gradient_run instead of conv */
    zq_dnn_conv *conv;
    void *packed, *packed_backward;
    const float *weights, *bias; /* of the graph; bias NULL: none */
    group group;
} conv_state;

static void drop_group(group *group) {
    zq_dnn_conv_drop(group->conv);
    *group = (struct group){0};
}

static void drop(void *memory) {
    conv_state *state = memory;
    drop_group(&state->group);
    zq_dnn_conv_drop(state->conv);
    zq_free(state->packed);
    zq_free(state->packed_backward);
    zq_free(state);
}

static bool is_float_constant(const zq_plan *plan, int value) {
    return zq_plan_is_constant(plan, value) && plan->slots[value].dtype == ZQ_F32;
}

static bool is_conv(const zq_plan *plan, int at) {
    const zq_node *node = &plan->graph->nodes[at];
    const bool bias = node->n_inputs > 2 && node->inputs[2] >= 0;
    return strcmp(node->op->name, "Conv") == 0 && !zq_plan_is_constant(plan, node->inputs[0]) &&
           is_float_constant(plan, node->inputs[1]) && (!bias || is_float_constant(plan, node->inputs[2]));
}

/* The Conv that runs together with the node: itself, or the one in front of a Relu. What carries statistics
 * must stay readable where gradients enter there. */
static int conv_of(const zq_plan *plan, int at, bool *relu) {
    const zq_node *node = &plan->graph->nodes[at];
    *relu = strcmp(node->op->name, "Relu") == 0;
    if (!*relu)
        return is_conv(plan, at) ? at : -1;
    const int conv = zq_plan_sole_producer(plan, node->inputs[0], "Conv");
    const bool statistics = plan->options.statistics && plan->graph->values[node->inputs[0]].stats != NULL;
    return conv >= 0 && !statistics && !plan->options.separate && is_conv(plan, conv) ? conv : -1;
}

static zq_dnn_conv_options conv_options(const zq_plan *plan, const conv_state *state) {
    return (zq_dnn_conv_options){.bias = state->bias != NULL,
                                 .relu = state->relu,
                                 .backward = plan->options.gradient && !state->image_gradient};
}

static size_t packed_backward_bytes(const conv_state *state) {
    return state->image_gradient ? zq_image_gradient_packed_count(&state->window) * sizeof(float)
                                 : zq_dnn_conv_packed_backward_bytes(state->conv);
}

static zq_status pack(zq_plan *plan, conv_state *state, const float *weights, zq_error *err) {
    if (state->packed == NULL)
        state->packed = zq_plan_alloc(plan, zq_dnn_conv_packed_bytes(state->conv), 1);
    if (state->packed_backward == NULL && plan->options.gradient)
        state->packed_backward = zq_plan_alloc(plan, packed_backward_bytes(state), 1);
    if (state->packed == NULL || (plan->options.gradient && state->packed_backward == NULL))
        return zq_fail_memory(err);
    zq_dnn_conv_pack(state->conv, weights, state->packed);
    if (state->image_gradient)
        zq_image_gradient_pack(&state->window, weights, state->packed_backward);
    else if (plan->options.gradient)
        zq_dnn_conv_pack_backward(state->conv, weights, state->packed_backward);
    return ZQ_OK;
}

/* *state_out is NULL when oneDNN has no good kernel. */
static zq_status new_state(zq_plan *plan, const zq_node *conv, bool relu, conv_state **state_out,
                           zq_error *err) {
    conv_state *state = zq_alloc(1, sizeof *state);
    if (state == NULL)
        return zq_fail_memory(err);
    state->relu = relu;
    state->weights = plan->slots[conv->inputs[1]].constant->data;
    state->bias =
        conv->n_inputs > 2 && conv->inputs[2] >= 0 ? plan->slots[conv->inputs[2]].constant->data : NULL;
    zq_status status = zq_engine_window(plan, conv, &state->window, err);
    if (status == ZQ_OK) {
        state->image_gradient = plan->options.gradient && zq_image_gradient_takes(&state->window);
        const zq_dnn_conv_options options = conv_options(plan, state);
        status = zq_dnn_conv_new(&state->window, &options, &state->conv, err);
    }
    const bool refused = status == ZQ_ERR_UNSUPPORTED;
    if (status == ZQ_OK && !plan->options.varied)
        status = pack(plan, state, state->weights, err);
    *state_out = state;
    if (status != ZQ_OK) {
        drop(state);
        *state_out = NULL;
    }
    return refused ? ZQ_OK : status;
}

/* With a gradient, what computes that is named, too. */
static void name_kernel(const zq_plan *plan, const conv_state *state, zq_step *step) {
    const char *const backward = state->image_gradient ? "loop" : zq_dnn_conv_kernel(state->conv, true);
    const char *const op = state->relu ? "Conv+Relu" : "Conv",
                      *forward = zq_dnn_conv_kernel(state->conv, false);
    if (plan->options.gradient)
        snprintf(step->kernel, sizeof step->kernel, "%s onednn %.40s, back %.40s", op, forward, backward);
    else
        snprintf(step->kernel, sizeof step->kernel, "%s onednn %s", op, forward);
}

static zq_status match(zq_plan *plan, int at, zq_step *step, zq_error *err) {
    bool relu;
    const int conv = conv_of(plan, at, &relu);
    conv_state *state = NULL;
    if (conv >= 0)
        ZQ_TRY(new_state(plan, &plan->graph->nodes[conv], relu, &state, err));
    if (state == NULL)
        return ZQ_OK;
    step->state = state;
    step->kind = &zq_kind_conv;
    const zq_status status = zq_step_set(plan, step, &zq_kind_conv, conv, 1, plan->graph->nodes[conv].inputs,
                                         1, plan->graph->nodes[at].outputs, err);
    if (status != ZQ_OK)
        return status;
    name_kernel(plan, state, step);
    step->forgets_in = true;
    step->forgets_out = !relu;
    if (plan->options.gradient)
        step->scratch_bytes = plan->slots[step->in[0]].n * sizeof(float);
    return ZQ_OK;
}

static zq_status forward(zq_plan *plan, zq_step *step, zq_error *err) {
    conv_state *state = step->state;
    if (state->packed == NULL)
        ZQ_TRY(pack(plan, state, state->weights, err));
    zq_dnn_conv_forward(state->conv, zq_slot_floats(plan, step->in[0]), state->packed, state->bias,
                        zq_slot_floats(plan, step->out[0]));
    return ZQ_OK;
}

static zq_status backward(zq_plan *plan, zq_step *step, zq_error *err) {
    (void)err;
    const conv_state *state = step->state;
    const int in = step->in[0], out = step->out[0];
    float *const d_y = zq_plan_gradient(plan, out);
    if (state->relu) /* d_y is read here for the last time: it may be changed */
        zq_loop_mask(plan->slots[out].n, zq_slot_floats(plan, out), (zq_clamp){0, INFINITY}, d_y);
    float *const d_x = zq_sink_begin(plan, in, plan->scratch);
    if (d_x == NULL)
        return ZQ_OK;
    if (state->image_gradient)
        zq_image_gradient_run(&state->window, d_y, state->packed_backward, d_x);
    else
        zq_dnn_conv_backward(state->conv, d_y, state->packed_backward, d_x);
    zq_sink_end(plan, in, d_x);
    return ZQ_OK;
}

/* The group's convolution is kept: sensitivities ask for the same number of variants again and again. */
static zq_status make_group(zq_plan *plan, const zq_node *node, conv_state *state, int n_variants,
                            zq_error *err) {
    group *group = &state->group;
    char text[ZQ_NODE_TEXT];
    if (group->n_variants == n_variants)
        return ZQ_OK;
    if (state->window.n_images % n_variants != 0)
        return zq_fail(err, ZQ_ERR_UNSUPPORTED, "%s takes %lld images, which %d variants can't share",
                       zq_node_text(node, text), (long long)state->window.n_images, n_variants);
    drop_group(group);
    zq_window window = state->window;
    zq_dnn_conv_options options = conv_options(plan, state);
    window.n_images /= n_variants;
    options.backward = false;
    ZQ_TRY(zq_dnn_conv_new(&window, &options, &group->conv, err));
    group->n_variants = n_variants;
    return ZQ_OK;
}

static zq_status override(zq_plan *plan, zq_step *step, int n_variants, const float *const *weights,
                          zq_error *err) {
    conv_state *state = step->state;
    ZQ_TRY(make_group(plan, &plan->graph->nodes[step->node], state, n_variants, err));
    zq_dnn_conv *conv = state->group.conv;
    void *packed = zq_alloc_raw(zq_dnn_conv_packed_bytes(conv), 1);
    if (packed == NULL)
        return zq_fail_memory(err);
    const size_t n_src = plan->slots[step->in[0]].n / (size_t)n_variants;
    const size_t n_dst = plan->slots[step->out[0]].n / (size_t)n_variants;
    for (int k = 0; k < n_variants; k++) {
        zq_dnn_conv_pack(conv, weights[k], packed);
        zq_dnn_conv_forward(conv, zq_slot_floats(plan, step->in[0]) + (size_t)k * n_src, packed, state->bias,
                            zq_slot_floats(plan, step->out[0]) + (size_t)k * n_dst);
    }
    zq_free(packed);
    return ZQ_OK;
}

static zq_status set_weights(zq_plan *plan, zq_step *step, const float *weights, zq_error *err) {
    conv_state *state = step->state;
    return pack(plan, state, weights != NULL ? weights : state->weights, err);
}

const zq_step_kind zq_kind_conv = {
    .name = "onednn",
    .match = match,
    .forward = forward,
    .backward = backward,
    .override = override,
    .set_weights = set_weights,
    .drop = drop,
};
