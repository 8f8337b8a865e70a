/* SPDX-License-Identifier: Apache-2.0 */
/* Any operator by its definition in ops/: values in channels-last order are brought to plain order first. */
#include "base/memory.h"
#include "engine/layout.h"
#include "engine/step.h"
#include "graph/op.h"

#include <string.h>

/* A copy of a value in the form that operators take, at offset (bytes) in the scratch memory. */
typedef struct place {
    bool copied;
    size_t offset, d_offset; /* of the value, of its gradient */
} place;

typedef struct plain_state {
    int n_in, n_out; /* of the node */
    bool flat;       /* element by element: any order serves */
    place *in, *out;
    zq_tensor *tensors; /* [2 (n_in + n_out)]: in, out, d_in, d_out */
    const zq_tensor **in_list, **d_out_list;
    zq_tensor **out_list, **d_in_list;
    float *weights; /* in place of input 1; owned; NULL: the graph's own */
} plain_state;

static void drop(void *state) {
    plain_state *plain = state;
    zq_free(plain->in);
    zq_free(plain->out);
    zq_free(plain->tensors);
    zq_free(plain->in_list);
    zq_free(plain->d_out_list);
    zq_free(plain->out_list);
    zq_free(plain->d_in_list);
    zq_free(plain->weights);
    zq_free(plain);
}

static bool is_quantized(const zq_slot *slot) {
    return slot->constant == NULL && (slot->dtype == ZQ_U8 || slot->dtype == ZQ_I8);
}

static size_t rounded(size_t bytes) {
    return (bytes + 63) / 64 * 64;
}

static void reserve(const zq_plan *plan, bool flat, int value, place *place, size_t *bytes) {
    if (value < 0 || zq_plan_is_constant(plan, value))
        return;
    const zq_slot *slot = &plan->slots[value];
    place->copied = (slot->last && !flat) || is_quantized(slot);
    place->offset = *bytes;
    if (place->copied)
        *bytes += rounded(slot->n * sizeof(float));
    place->d_offset = *bytes;
    if (plan->options.gradient)
        *bytes += rounded(slot->n * sizeof(float));
}

static zq_status match(zq_plan *plan, int at, zq_step *step, zq_error *err) {
    const zq_node *node = &plan->graph->nodes[at];
    ZQ_TRY(zq_step_set(plan, step, &zq_kind_plain, at, node->n_inputs, node->inputs, node->n_outputs,
                       node->outputs, err));
    plain_state *plain = step->state = zq_alloc(1, sizeof *plain);
    if (plain == NULL)
        return zq_fail_memory(err);
    const size_t n_in = (size_t)node->n_inputs, n_out = (size_t)node->n_outputs;
    plain->n_in = node->n_inputs;
    plain->n_out = node->n_outputs;
    plain->flat = (node->op->traits & ZQ_OP_UNARY) != 0;
    plain->in = zq_alloc(n_in, sizeof *plain->in);
    plain->out = zq_alloc(n_out, sizeof *plain->out);
    plain->tensors = zq_alloc(2 * (n_in + n_out), sizeof *plain->tensors);
    plain->in_list = zq_alloc(n_in, sizeof *plain->in_list);
    plain->d_in_list = zq_alloc(n_in, sizeof *plain->d_in_list);
    plain->out_list = zq_alloc(n_out, sizeof *plain->out_list);
    plain->d_out_list = zq_alloc(n_out, sizeof *plain->d_out_list);
    if (plain->in == NULL || plain->out == NULL || plain->tensors == NULL || plain->in_list == NULL ||
        plain->d_in_list == NULL || plain->out_list == NULL || plain->d_out_list == NULL)
        return zq_fail_memory(err);
    for (int i = 0; i < plain->n_in; i++)
        reserve(plan, plain->flat, node->inputs[i], &plain->in[i], &step->scratch_bytes);
    for (int i = 0; i < plain->n_out; i++)
        reserve(plan, plain->flat, node->outputs[i], &plain->out[i], &step->scratch_bytes);
    return ZQ_OK;
}

/* In place: an integer is never wider than a float. */
static void floats_to_integers(zq_dtype dtype, size_t n, void *data) {
    const unsigned char *src = data;
    unsigned char *dst = data;
    for (size_t i = 0; i < n; i++) {
        float value;
        memcpy(&value, src + i * sizeof value, sizeof value);
        dst[i] = dtype == ZQ_U8 ? (unsigned char)value : (unsigned char)(signed char)value;
    }
}

/* In place, from the end. */
static void integers_to_floats(zq_dtype dtype, size_t n, void *data) {
    const unsigned char *src = data;
    unsigned char *dst = data;
    for (size_t i = n; i-- > 0;) {
        const float value = dtype == ZQ_U8 ? (float)src[i] : (float)(signed char)src[i];
        memcpy(dst + i * sizeof value, &value, sizeof value);
    }
}

static void *scratch_at(const zq_plan *plan, size_t offset) {
    return (char *)plan->scratch + offset;
}

/* The value as the operator takes it; without load the memory only. */
static void *plain_data(const zq_plan *plan, const plain_state *plain, int value, const place *place,
                        bool load) {
    const zq_slot *slot = &plan->slots[value];
    if (!place->copied)
        return slot->data;
    float *const copy = scratch_at(plan, place->offset);
    if (!load)
        return copy;
    if (slot->last && !plain->flat)
        zq_layout_to_plain(slot->images, slot->channels, slot->positions, slot->data, copy);
    else
        memcpy(copy, slot->data, slot->n * sizeof *copy);
    if (is_quantized(slot))
        floats_to_integers(slot->dtype, slot->n, copy);
    return copy;
}

static void store(zq_plan *plan, const plain_state *plain, int value, const place *place) {
    const zq_slot *slot = &plan->slots[value];
    if (!place->copied)
        return;
    float *const copy = scratch_at(plan, place->offset);
    if (is_quantized(slot))
        integers_to_floats(slot->dtype, slot->n, copy);
    if (slot->last && !plain->flat)
        zq_layout_to_last(slot->images, slot->channels, slot->positions, copy, false, slot->data);
    else
        memcpy(slot->data, copy, slot->n * sizeof *copy);
}

/* Points the tensors to the data; load_outputs: they hold results already. */
static zq_io bind(zq_plan *plan, const zq_step *step, bool load_outputs) {
    plain_state *plain = step->state;
    const zq_node *node = &plan->graph->nodes[step->node];
    for (int i = 0; i < plain->n_in; i++) {
        const int value = node->inputs[i];
        if (value < 0 || zq_plan_is_constant(plan, value)) {
            plain->in_list[i] = value < 0 ? NULL : plan->slots[value].constant;
            if (i == 1 && plain->weights != NULL) {
                plain->tensors[1] = *plan->slots[value].constant;
                plain->tensors[1].data = plain->weights;
                plain->in_list[1] = &plain->tensors[1];
            }
            continue;
        }
        const zq_slot *slot = &plan->slots[value];
        zq_tensor *const tensor = &plain->tensors[i];
        *tensor = (zq_tensor){.dtype = slot->dtype,
                              .shape = slot->shape,
                              .data = plain_data(plan, plain, value, &plain->in[i], true)};
        plain->in_list[i] = tensor;
    }
    for (int i = 0; i < plain->n_out; i++) {
        const int value = node->outputs[i];
        plain->out_list[i] = NULL;
        if (value < 0)
            continue;
        const zq_slot *slot = &plan->slots[value];
        zq_tensor *const tensor = &plain->tensors[plain->n_in + i];
        *tensor = (zq_tensor){.dtype = slot->dtype,
                              .shape = slot->shape,
                              .data = plain_data(plan, plain, value, &plain->out[i], load_outputs)};
        plain->out_list[i] = tensor;
    }
    return (zq_io){.node = node,
                   .n_in = plain->n_in,
                   .n_out = plain->n_out,
                   .in = plain->in_list,
                   .out = plain->out_list,
                   .d_out = plain->d_out_list,
                   .d_in = plain->d_in_list};
}

static void store_outputs(zq_plan *plan, const zq_step *step) {
    const plain_state *plain = step->state;
    const zq_node *node = &plan->graph->nodes[step->node];
    for (int i = 0; i < plain->n_out; i++)
        if (node->outputs[i] >= 0)
            store(plan, plain, node->outputs[i], &plain->out[i]);
}

static zq_status forward(zq_plan *plan, zq_step *step, zq_error *err) {
    const zq_io io = bind(plan, step, false);
    ZQ_TRY(io.node->op->forward(&io, err));
    store_outputs(plan, step);
    return ZQ_OK;
}

/* Points d_out to the gradients in plain order. */
static void bind_d_out(zq_plan *plan, const zq_step *step, const zq_io *io) {
    plain_state *plain = step->state;
    zq_tensor *const tensors = plain->tensors + 2 * plain->n_in + plain->n_out;
    for (int i = 0; i < plain->n_out; i++) {
        const int value = io->node->outputs[i];
        float *d_out = value < 0 ? NULL : zq_plan_gradient(plan, value);
        plain->d_out_list[i] = NULL;
        if (d_out == NULL)
            continue;
        const zq_slot *slot = &plan->slots[value];
        if (slot->last && !plain->flat) {
            float *const copy = scratch_at(plan, plain->out[i].d_offset);
            zq_layout_to_plain(slot->images, slot->channels, slot->positions, d_out, copy);
            d_out = copy;
        }
        tensors[i] = (zq_tensor){.dtype = ZQ_F32, .shape = slot->shape, .data = d_out};
        plain->d_out_list[i] = &tensors[i];
    }
}

static void bind_d_in(zq_plan *plan, const zq_step *step, const zq_io *io) {
    plain_state *plain = step->state;
    zq_tensor *const tensors = plain->tensors + plain->n_in + plain->n_out;
    for (int i = 0; i < plain->n_in; i++) {
        const int value = io->node->inputs[i];
        plain->d_in_list[i] = NULL;
        if (value < 0 || plan->slots[value].gradient == NULL)
            continue;
        const zq_slot *slot = &plan->slots[value];
        float *d_in = scratch_at(plan, plain->in[i].d_offset);
        if (!slot->last || plain->flat)
            d_in = zq_sink_begin(plan, value, d_in);
        tensors[i] = (zq_tensor){.dtype = ZQ_F32, .shape = slot->shape, .data = d_in};
        plain->d_in_list[i] = &tensors[i];
    }
}

static zq_status backward(zq_plan *plan, zq_step *step, zq_error *err) {
    plain_state *plain = step->state;
    char text[ZQ_NODE_TEXT];
    const zq_io io = bind(plan, step, true);
    if (io.node->op->backward == NULL)
        return zq_fail(err, ZQ_ERR_UNSUPPORTED, "%s has no gradient", zq_node_text(io.node, text));
    bind_d_out(plan, step, &io);
    bind_d_in(plan, step, &io);
    ZQ_TRY(io.node->op->backward(&io, err));
    for (int i = 0; i < plain->n_in; i++) {
        const int value = io.node->inputs[i];
        if (plain->d_in_list[i] == NULL)
            continue;
        if (!plan->slots[value].last || plain->flat)
            zq_sink_end(plan, value, plain->d_in_list[i]->data);
        else
            zq_sink_put_plain(plan, value, plain->d_in_list[i]->data);
    }
    return ZQ_OK;
}

/* ---- replaced weights: input 1 is the weight, the images of input 0 and of the output are taken in groups
 */

static void take_group(zq_tensor *tensor, const zq_shape *shape, void *data, int k, int n_groups) {
    const size_t bytes = (size_t)zq_shape_count(shape) * sizeof(float) / (size_t)n_groups;
    tensor->shape.dims[0] = shape->dims[0] / n_groups;
    tensor->data = (char *)data + (size_t)k * bytes;
}

static zq_status run_variants(zq_plan *plan, zq_step *step, int n_variants, const float *const *weights,
                              zq_error *err) {
    const zq_io io = bind(plan, step, false);
    plain_state *plain = step->state;
    const zq_shape src_shape = io.in[0]->shape, dst_shape = io.out[0]->shape;
    char text[ZQ_NODE_TEXT];
    if (src_shape.rank < 1 || dst_shape.rank < 1 || src_shape.dims[0] % n_variants != 0 ||
        dst_shape.dims[0] % n_variants != 0 || plain->in_list[0] != &plain->tensors[0])
        return zq_fail(err, ZQ_ERR_UNSUPPORTED,
                       "%s doesn't keep its images apart: variants can't share a batch",
                       zq_node_text(io.node, text));
    void *const src = io.in[0]->data, *const dst = io.out[0]->data;
    zq_tensor weight = *plan->slots[io.node->inputs[1]].constant;
    plain->in_list[1] = &weight;
    for (int k = 0; k < n_variants; k++) {
        take_group(&plain->tensors[0], &src_shape, src, k, n_variants);
        take_group(&plain->tensors[plain->n_in], &dst_shape, dst, k, n_variants);
        weight.data = (void *)weights[k];
        ZQ_TRY(io.node->op->forward(&io, err));
    }
    store_outputs(plan, step);
    return ZQ_OK;
}

static bool has_weights(const zq_plan *plan, const zq_node *node) {
    return (node->op->traits & ZQ_OP_WEIGHTED) != 0 && node->n_inputs > 1 &&
           zq_plan_is_constant(plan, node->inputs[1]) && plan->slots[node->inputs[1]].dtype == ZQ_F32;
}

static zq_status check_weights(const zq_plan *plan, const zq_step *step, zq_error *err) {
    const zq_node *node = &plan->graph->nodes[step->node];
    char text[ZQ_NODE_TEXT];
    if (!has_weights(plan, node))
        return zq_fail(err, ZQ_ERR_USAGE, "%s has no constant weights that can be replaced",
                       zq_node_text(node, text));
    return ZQ_OK;
}

static zq_status override(zq_plan *plan, zq_step *step, int n_variants, const float *const *weights,
                          zq_error *err) {
    ZQ_TRY(check_weights(plan, step, err));
    return run_variants(plan, step, n_variants, weights, err);
}

static zq_status set_weights(zq_plan *plan, zq_step *step, const float *weights, zq_error *err) {
    plain_state *plain = step->state;
    ZQ_TRY(check_weights(plan, step, err));
    const size_t n = plan->slots[plan->graph->nodes[step->node].inputs[1]].n;
    if (weights == NULL) {
        zq_free(plain->weights);
        plain->weights = NULL;
        return ZQ_OK;
    }
    if (plain->weights == NULL)
        plain->weights = zq_plan_alloc(plan, n, sizeof *weights);
    if (plain->weights == NULL)
        return zq_fail_memory(err);
    memcpy(plain->weights, weights, n * sizeof *weights);
    return ZQ_OK;
}

const zq_step_kind zq_kind_plain = {
    .name = "plain",
    .match = match,
    .forward = forward,
    .backward = backward,
    .override = override,
    .set_weights = set_weights,
    .drop = drop,
};
