/* SPDX-License-Identifier: Apache-2.0 */
/* Conv by oneDNN, or where that is faster by minimal filtering, with its bias and the Relu or Clip behind it.
 */
#include "base/memory.h"
#include "engine/image_gradient.h"
#include "engine/loops.h"
#include "engine/onednn/onednn.h"
#include "engine/window.h"
#include "engine/winograd.h"
#include "graph/op.h"

#include <stdio.h>
#include <string.h>

/* The convolution of a group of images, for replaced weights. */
typedef struct group {
    int n_variants; /* 0: not made yet */
    zq_window window;
    zq_dnn_conv *conv; /* NULL: by minimal filtering */
} group;

typedef struct conv_state {
    zq_window window;
    bool clamps;
    zq_clamp clamp;
    bool image_gradient; /* backward by zq_image_gradient_run instead of conv */
    zq_dnn_conv *conv;   /* NULL: by minimal filtering, both ways, with plain weights */
    zq_dnn_conv *half;   /* the same of halves, until it is settled which is taken; NULL: none */
    void *packed, *packed_backward;
    float *replaced;             /* plain weights that zq_plan_set_weights gave; NULL: the graph's */
    const float *weights, *bias; /* of the graph; bias NULL: none */
    group group;
} conv_state;

/* In the plan's scratch memory, behind the gradient that backward may write there. */
static float *room_of(const zq_plan *plan, const zq_step *step) {
    const size_t n = plan->slots[step->in[0]].n;
    return (float *)plan->scratch + (plan->options.gradient ? (n + 15) / 16 * 16 : 0);
}

static size_t room_bytes(const zq_plan *plan, const zq_step *step, const conv_state *state) {
    const size_t n = plan->options.gradient ? (plan->slots[step->in[0]].n + 15) / 16 * 16 : 0;
    size_t forward = 0, backward = 0;
    if (state->conv == NULL) {
        const zq_window back = zq_winograd_backward(&state->window);
        forward = zq_winograd_room(&state->window);
        backward = plan->options.gradient ? zq_winograd_room(&back) : 0;
    }
    return (n + (forward > backward ? forward : backward)) * sizeof(float);
}

static void drop_group(group *group) {
    zq_dnn_conv_drop(group->conv);
    *group = (struct group){0};
}

static void drop(void *memory) {
    conv_state *state = memory;
    drop_group(&state->group);
    zq_dnn_conv_drop(state->conv);
    zq_dnn_conv_drop(state->half);
    zq_free(state->packed);
    zq_free(state->packed_backward);
    zq_free(state->replaced);
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

/* The Conv that runs together with the node: itself, or the one in front of an activation. What carries
 * statistics must stay readable where gradients enter there. */
static int conv_of(const zq_plan *plan, int at, bool *clamps, zq_clamp *clamp) {
    const zq_node *node = &plan->graph->nodes[at];
    *clamps = zq_clamp_of(plan, at, clamp);
    if (!*clamps)
        return is_conv(plan, at) ? at : -1;
    const int conv = zq_plan_sole_producer(plan, node->inputs[0], "Conv");
    const bool statistics = plan->options.statistics && plan->graph->values[node->inputs[0]].stats != NULL;
    return conv >= 0 && !statistics && !plan->options.separate && is_conv(plan, conv) ? conv : -1;
}

static zq_dnn_conv_options conv_options(const zq_plan *plan, const conv_state *state) {
    return (zq_dnn_conv_options){.bias = state->bias != NULL,
                                 .clamps = state->clamps,
                                 .clamp = state->clamp,
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

static bool is_filtered(const zq_plan *plan, const zq_window *window) {
    const zq_window back = zq_winograd_backward(window);
    return zq_winograd_takes(window) && (!plan->options.gradient || zq_winograd_takes(&back));
}

static zq_status new_conv(zq_plan *plan, conv_state *state, zq_error *err) {
    state->image_gradient = plan->options.gradient && zq_image_gradient_takes(&state->window);
    const zq_dnn_conv_options options = conv_options(plan, state);
    return zq_dnn_conv_new(&state->window, &options, &state->conv, err);
}

/* *state_out is NULL when oneDNN has no good kernel. */
static zq_status new_state(zq_plan *plan, const zq_node *conv, bool clamps, zq_clamp clamp,
                           conv_state **state_out, zq_error *err) {
    conv_state *state = zq_alloc(1, sizeof *state);
    if (state == NULL)
        return zq_fail_memory(err);
    state->clamps = clamps;
    state->clamp = clamp;
    state->weights = plan->slots[conv->inputs[1]].constant->data;
    state->bias =
        conv->n_inputs > 2 && conv->inputs[2] >= 0 ? plan->slots[conv->inputs[2]].constant->data : NULL;
    zq_status status = zq_engine_window(plan, conv, &state->window, err);
    if (status == ZQ_OK && !is_filtered(plan, &state->window))
        status = new_conv(plan, state, err);
    const bool refused = status == ZQ_ERR_UNSUPPORTED;
    *state_out = state;
    if (status != ZQ_OK) {
        drop(state);
        *state_out = NULL;
    }
    return refused ? ZQ_OK : status;
}

/* With a gradient, what computes that is named, too. */
static void name_kernel(const zq_plan *plan, const conv_state *state, zq_step *step) {
    const char *const op = !state->clamps ? "Conv" : state->clamp.hi == INFINITY ? "Conv+Relu" : "Conv+Clip";
    if (state->conv == NULL) {
        snprintf(step->kernel, sizeof step->kernel, "%s winograd", op);
        return;
    }
    const char *const backward = state->image_gradient ? "loop" : zq_dnn_conv_kernel(state->conv, true);
    const char *const forward = zq_dnn_conv_kernel(state->conv, false);
    if (plan->options.gradient)
        snprintf(step->kernel, sizeof step->kernel, "%s onednn %.40s, back %.40s", op, forward, backward);
    else
        snprintf(step->kernel, sizeof step->kernel, "%s onednn %s", op, forward);
}

static zq_status match(zq_plan *plan, int at, zq_step *step, zq_error *err) {
    bool clamps;
    zq_clamp clamp;
    const int conv = conv_of(plan, at, &clamps, &clamp);
    conv_state *state = NULL;
    if (conv >= 0)
        ZQ_TRY(new_state(plan, &plan->graph->nodes[conv], clamps, clamp, &state, err));
    if (state == NULL)
        return ZQ_OK;
    step->state = state;
    step->kind = &zq_kind_conv;
    const zq_status status = zq_step_set(plan, step, &zq_kind_conv, conv, 1, plan->graph->nodes[conv].inputs,
                                         1, plan->graph->nodes[at].outputs, err);
    if (status != ZQ_OK)
        return status;
    step->forgets_in = true;
    step->forgets_out = !clamps;
    return ZQ_OK;
}

static zq_status halve(zq_plan *plan, zq_step *step, zq_error *err) {
    conv_state *state = step->state;
    zq_dnn_conv_options options = conv_options(plan, state);
    options.half = true;
    if (state->image_gradient)
        return ZQ_OK;
    const zq_status status = zq_dnn_conv_new(&state->window, &options, &state->half, err);
    step->halves = status == ZQ_OK;
    return status == ZQ_ERR_UNSUPPORTED ? ZQ_OK : status;
}

static zq_status ready(zq_plan *plan, zq_step *step, zq_error *err) {
    conv_state *state = step->state;
    const bool half = plan->slots[step->in[0]].half;
    zq_dnn_conv_drop(half ? state->conv : state->half);
    state->conv = half ? state->half : state->conv;
    state->half = NULL;
    name_kernel(plan, state, step);
    step->scratch_bytes = room_bytes(plan, step, state);
    return state->conv == NULL || plan->options.varied ? ZQ_OK : pack(plan, state, state->weights, err);
}

static const float *weights_of(const conv_state *state) {
    return state->replaced != NULL ? state->replaced : state->weights;
}

static const zq_clamp *clamp_of(const conv_state *state) {
    return state->clamps ? &state->clamp : NULL;
}

static zq_status forward(zq_plan *plan, zq_step *step, zq_error *err) {
    conv_state *state = step->state;
    const void *const x = plan->slots[step->in[0]].data;
    void *const y = plan->slots[step->out[0]].data;
    if (state->conv == NULL)
        return zq_winograd_run(&state->window, false, x, weights_of(state), state->bias, clamp_of(state),
                               room_of(plan, step), y, err);
    if (state->packed == NULL)
        ZQ_TRY(pack(plan, state, state->weights, err));
    zq_dnn_conv_forward(state->conv, x, state->packed, state->bias, y);
    return ZQ_OK;
}

static zq_status backward(zq_plan *plan, zq_step *step, zq_error *err) {
    const conv_state *state = step->state;
    const int in = step->in[0], out = step->out[0];
    void *const d_y = zq_plan_gradient(plan, out);
    if (state->clamps) /* d_y is read here for the last time: it may be changed */
        zq_loop_mask(plan->slots[out].n, zq_slot_cells(plan, out), state->clamp,
                     zq_gradient_cells(plan, out));
    void *const d_x = zq_sink_begin(plan, in, plan->scratch);
    if (d_x == NULL)
        return ZQ_OK;
    if (state->conv == NULL) {
        const zq_window window = zq_winograd_backward(&state->window);
        ZQ_TRY(zq_winograd_run(&window, true, d_y, weights_of(state), NULL, NULL, room_of(plan, step), d_x,
                               err));
    } else if (state->image_gradient)
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
    group->window = state->window;
    group->window.n_images /= n_variants;
    zq_dnn_conv_options options = conv_options(plan, state);
    options.backward = false;
    if (state->conv != NULL || !zq_winograd_takes(&group->window))
        ZQ_TRY(zq_dnn_conv_new(&group->window, &options, &group->conv, err));
    group->n_variants = n_variants;
    return ZQ_OK;
}

static zq_status override(zq_plan *plan, zq_step *step, int n_variants, const float *const *weights,
                          zq_error *err) {
    conv_state *state = step->state;
    ZQ_TRY(make_group(plan, &plan->graph->nodes[step->node], state, n_variants, err));
    zq_dnn_conv *conv = state->group.conv;
    void *packed = conv == NULL ? NULL : zq_alloc_raw(zq_dnn_conv_packed_bytes(conv), 1);
    if (conv != NULL && packed == NULL)
        return zq_fail_memory(err);
    const size_t n_src = plan->slots[step->in[0]].n / (size_t)n_variants;
    const size_t n_dst = plan->slots[step->out[0]].n / (size_t)n_variants;
    zq_status status = ZQ_OK;
    for (int k = 0; k < n_variants && status == ZQ_OK; k++) {
        const float *const x = zq_slot_floats(plan, step->in[0]) + (size_t)k * n_src;
        float *const y = zq_slot_floats(plan, step->out[0]) + (size_t)k * n_dst;
        if (conv == NULL) {
            status = zq_winograd_run(&state->group.window, false, x, weights[k], state->bias, clamp_of(state),
                                     room_of(plan, step), y, err);
            continue;
        }
        zq_dnn_conv_pack(conv, weights[k], packed);
        zq_dnn_conv_forward(conv, x, packed, state->bias, y);
    }
    zq_free(packed);
    return status;
}

static zq_status set_weights(zq_plan *plan, zq_step *step, const float *weights, zq_error *err) {
    conv_state *state = step->state;
    const size_t count = (size_t)zq_shape_count(&plan->slots[plan->graph->nodes[step->node].inputs[1]].shape);
    if (state->conv != NULL)
        return pack(plan, state, weights != NULL ? weights : state->weights, err);
    if (state->replaced == NULL)
        state->replaced = zq_plan_alloc(plan, count, sizeof *state->replaced);
    if (state->replaced == NULL)
        return zq_fail_memory(err);
    memcpy(state->replaced, weights != NULL ? weights : state->weights, count * sizeof *state->replaced);
    return ZQ_OK;
}

const zq_step_kind zq_kind_conv = {
    .name = "onednn",
    .match = match,
    .halve = halve,
    .ready = ready,
    .forward = forward,
    .backward = backward,
    .override = override,
    .set_weights = set_weights,
    .drop = drop,
};
