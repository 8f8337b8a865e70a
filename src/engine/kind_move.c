/* SPDX-License-Identifier: Apache-2.0 */
/* Operators that only move elements, in any memory order: Concat, Split, Slice, Gather of one index, Pad with
 * a constant, and chains of Reshape, Transpose and the like as one step (a channel shuffle is Reshape,
 * Transpose, Reshape). */
#include "base/memory.h"
#include "engine/strided.h"
#include "graph/op.h"

#include <string.h>

/* A part of step->in[in] that becomes a part of step->out[out]. */
typedef struct part {
    int in, out;
    zq_copy copy, back;
} part;

typedef struct move_state {
    int n_parts;
    part *parts; /* owned */
    bool fills;  /* the outputs hold elements of no input */
    float fill;
    bool reaches_all; /* every element of every input goes somewhere */
} move_state;

static void drop(void *memory) {
    move_state *state = memory;
    zq_free(state->parts);
    zq_free(state);
}

static bool is_op(const zq_node *node, const char *op) {
    return strcmp(node->op->name, op) == 0;
}

static bool is_movable(const zq_plan *plan, int value) {
    const zq_slot *slot = value >= 0 ? &plan->slots[value] : NULL;
    return slot != NULL && slot->constant == NULL &&
           (slot->dtype == ZQ_F32 || slot->dtype == ZQ_U8 || slot->dtype == ZQ_I8);
}

static move_state *new_state(zq_step *step, int n_parts) {
    move_state *state = zq_alloc(1, sizeof *state);
    if (state == NULL)
        return NULL;
    state->parts = zq_alloc((size_t)n_parts, sizeof *state->parts);
    state->reaches_all = true;
    step->state = state;
    step->kind = &zq_kind_move;
    return state->parts != NULL ? state : NULL;
}

static bool add_part(move_state *state, int in, int out, const zq_view *src, const zq_view *dst) {
    part *part = &state->parts[state->n_parts];
    if (!zq_copy_make(src, dst, &part->copy))
        return false;
    part->in = in;
    part->out = out;
    part->back = zq_copy_reversed(&part->copy);
    state->n_parts++;
    return true;
}

/* ---- views: Reshape, Transpose ... */

static bool keeps_order(const zq_node *node) {
    return is_op(node, "Reshape") || is_op(node, "Flatten") || is_op(node, "Squeeze") ||
           is_op(node, "Unsqueeze") || is_op(node, "Identity");
}

/* The view's dimensions come from refining; those of dims lie in groups of them. */
static bool find_groups(const zq_view *view, const zq_shape *shape, int *groups) {
    int at = 0;
    for (int i = 0; i < shape->rank; i++) {
        int64_t extent = 1;
        groups[i] = at;
        while (at < view->rank && extent < shape->dims[i])
            extent *= view->extent[at++];
        if (extent != shape->dims[i])
            return false;
    }
    groups[shape->rank] = at;
    return at == view->rank;
}

static bool transpose(const zq_plan *plan, const zq_node *node, zq_view *view) {
    const zq_shape *shape = &plan->slots[node->inputs[0]].shape;
    int64_t perm[ZQ_MAX_RANK];
    int n, groups[ZQ_MAX_RANK + 1];
    if (zq_node_ints(node, "perm", ZQ_MAX_RANK, perm, &n, NULL) != ZQ_OK)
        return false;
    for (int i = 0; n == 0 && i < shape->rank; i++)
        perm[i] = shape->rank - 1 - i;
    if (!zq_view_reshape(view, shape->rank, shape->dims) || !find_groups(view, shape, groups))
        return false;
    zq_view_transpose(view, shape->rank, groups, perm);
    return true;
}

/* Applies the nodes from the source down to at. */
static bool follow(const zq_plan *plan, int at, int source, zq_view *view) {
    const zq_node *node = &plan->graph->nodes[at];
    if (node->inputs[0] != source &&
        !follow(plan, plan->graph->values[node->inputs[0]].producer, source, view))
        return false;
    if (is_op(node, "Transpose"))
        return transpose(plan, node, view);
    const zq_shape *shape = &plan->slots[node->outputs[0]].shape;
    return zq_view_reshape(view, shape->rank, shape->dims);
}

static bool is_view_node(const zq_plan *plan, const zq_node *node) {
    return (keeps_order(node) || is_op(node, "Transpose")) && is_movable(plan, node->inputs[0]) &&
           plan->slots[node->inputs[0]].n > 0;
}

static bool match_view(zq_plan *plan, int at, zq_step *step, int *in_out, bool *matched) {
    int source = plan->graph->nodes[at].inputs[0];
    for (;;) { /* as far up as nobody else looks */
        const int producer = plan->graph->values[source].producer;
        if (producer < 0 || plan->slots[source].n_uses != 1 || plan->step_of_node[producer] >= 0 ||
            !is_view_node(plan, &plan->graph->nodes[producer]) || plan->graph->values[source].stats != NULL)
            break;
        source = plan->graph->nodes[producer].inputs[0];
    }
    zq_view src = zq_view_of(&plan->slots[source]);
    const zq_view dst = zq_view_of(&plan->slots[plan->graph->nodes[at].outputs[0]]);
    move_state *state = new_state(step, 1);
    if (state == NULL)
        return false;
    *in_out = source;
    *matched = follow(plan, at, source, &src) && add_part(state, 0, 0, &src, &dst);
    for (int node = at; *matched && plan->graph->nodes[node].inputs[0] != source;) {
        node = plan->graph->values[plan->graph->nodes[node].inputs[0]].producer;
        zq_plan_absorb(plan, node);
    }
    return true;
}

/* ---- Concat and Split */

static bool axis_of(const zq_node *node, int rank, int64_t fallback, int64_t *axis) {
    if (zq_node_int(node, "axis", fallback, axis, NULL) != ZQ_OK)
        return false;
    *axis += *axis < 0 ? rank : 0;
    return *axis >= 0 && *axis < rank;
}

/* parts: values that lie one behind the other along an axis of whole; joins: they are the step's inputs. */
static bool match_parts(zq_plan *plan, zq_step *step, int64_t axis, int whole, int n_parts, const int *parts,
                        bool joins, bool *matched) {
    zq_view whole_view = zq_view_of(&plan->slots[whole]);
    move_state *state = new_state(step, n_parts);
    int64_t at = 0;
    if (state == NULL)
        return false;
    *matched = true;
    int n_out = 0;
    for (int i = 0; i < n_parts && *matched; i++) {
        if (!joins && parts[i] < 0) { /* an output that nobody wants: its size isn't known here */
            *matched = false;
            break;
        }
        const zq_view part = zq_view_of(&plan->slots[parts[i]]);
        zq_view piece = whole_view;
        piece.extent[axis] = part.extent[axis];
        piece.offset = at * whole_view.stride[axis];
        at += part.extent[axis];
        *matched = plan->slots[parts[i]].n == 0 ||
                   (joins ? add_part(state, i, 0, &part, &piece) : add_part(state, 0, n_out, &piece, &part));
        n_out++;
    }
    return true;
}

/* ---- Slice, Gather and Pad */

static const zq_tensor *constant_input(const zq_plan *plan, const zq_node *node, int i) {
    return i < node->n_inputs && node->inputs[i] >= 0 ? plan->slots[node->inputs[i]].constant : NULL;
}

static int64_t clamped(int64_t x, int64_t lo, int64_t hi) {
    return x < lo ? lo : x > hi ? hi : x;
}

/* Steps must be positive. */
static bool slice_view(const zq_plan *plan, const zq_node *node, zq_view *view) {
    const zq_tensor *starts = constant_input(plan, node, 1), *axes = constant_input(plan, node, 3);
    const zq_tensor *steps = constant_input(plan, node, 4);
    const int rank = view->rank;
    if (starts == NULL || (node->n_inputs > 3 && node->inputs[3] >= 0 && axes == NULL) ||
        (node->n_inputs > 4 && node->inputs[4] >= 0 && steps == NULL))
        return false;
    const zq_shape *dst = &plan->slots[node->outputs[0]].shape;
    for (int64_t i = 0; i < zq_shape_count(&starts->shape); i++) {
        int64_t axis = axes != NULL ? zq_tensor_item_i64(axes, i) : i;
        axis += axis < 0 ? rank : 0;
        const int64_t step = steps != NULL ? zq_tensor_item_i64(steps, i) : 1;
        int64_t start = zq_tensor_item_i64(starts, i);
        if (axis < 0 || axis >= rank || step < 1)
            return false;
        start = clamped(start < 0 ? start + view->extent[axis] : start, 0, view->extent[axis]);
        view->offset += start * view->stride[axis];
        view->extent[axis] = dst->dims[axis];
        view->stride[axis] *= step;
    }
    return true;
}

/* Gather of one index: a slice without its dimension. */
static bool gather_view(const zq_plan *plan, const zq_node *node, zq_view *view) {
    const zq_tensor *index = constant_input(plan, node, 1);
    int64_t axis;
    if (index == NULL || zq_shape_count(&index->shape) != 1 || !axis_of(node, view->rank, 0, &axis))
        return false;
    int64_t at = zq_tensor_item_i64(index, 0);
    at += at < 0 ? view->extent[axis] : 0;
    if (at < 0 || at >= view->extent[axis])
        return false;
    view->offset += at * view->stride[axis];
    view->extent[axis] = 1;
    return true;
}

/* Slice or Gather */
static bool match_slice(zq_plan *plan, const zq_node *node, zq_step *step, bool *matched) {
    zq_view src = zq_view_of(&plan->slots[node->inputs[0]]);
    const zq_view dst = zq_view_of(&plan->slots[node->outputs[0]]);
    *matched = plan->slots[node->outputs[0]].n > 0 &&
               (is_op(node, "Slice") ? slice_view(plan, node, &src) : gather_view(plan, node, &src));
    if (!*matched)
        return true;
    move_state *state = new_state(step, 1);
    if (state == NULL)
        return false;
    state->reaches_all = plan->slots[node->outputs[0]].n == plan->slots[node->inputs[0]].n;
    *matched = add_part(state, 0, 0, &src, &dst);
    return true;
}

/* Constant padding; what negative pads cut off isn't handled. */
static bool pad_view(const zq_plan *plan, const zq_node *node, zq_view *view, float *fill) {
    const zq_tensor *pads = constant_input(plan, node, 1), *value = constant_input(plan, node, 2);
    const char *mode;
    const int rank = view->rank;
    if (pads == NULL || (node->n_inputs > 2 && node->inputs[2] >= 0 && value == NULL) ||
        (node->n_inputs > 3 && node->inputs[3] >= 0) || zq_shape_count(&pads->shape) != 2 * rank ||
        zq_node_string(node, "mode", "constant", &mode, NULL) != ZQ_OK || strcmp(mode, "constant") != 0)
        return false;
    *fill = value != NULL ? (float)zq_tensor_item(value, 0) : 0;
    for (int i = 0; i < rank; i++) {
        const int64_t lo = zq_tensor_item_i64(pads, i), hi = zq_tensor_item_i64(pads, i + rank);
        if (lo < 0 || hi < 0)
            return false;
        view->offset += lo * view->stride[i];
        view->extent[i] -= lo + hi;
    }
    return true;
}

static bool match_pad(zq_plan *plan, const zq_node *node, zq_step *step, bool *matched) {
    const zq_view src = zq_view_of(&plan->slots[node->inputs[0]]);
    zq_view dst = zq_view_of(&plan->slots[node->outputs[0]]);
    float fill = 0;
    *matched = plan->slots[node->inputs[0]].n > 0 && pad_view(plan, node, &dst, &fill);
    if (!*matched)
        return true;
    move_state *state = new_state(step, 1);
    if (state == NULL)
        return false;
    state->fills = true;
    state->fill = fill;
    *matched = add_part(state, 0, 0, &src, &dst);
    return true;
}

/* ---- the kind */

static bool movable_all(const zq_plan *plan, int n, const int *values) {
    bool all = n > 0;
    for (int i = 0; i < n; i++)
        all = all && is_movable(plan, values[i]);
    return all;
}

/* Returns false when out of memory. */
static bool try_match(zq_plan *plan, int at, zq_step *step, int *view_source, bool *matched) {
    const zq_node *node = &plan->graph->nodes[at];
    int64_t axis;
    *matched = false;
    if (node->n_inputs < 1 || !movable_all(plan, 1, node->inputs) || !movable_all(plan, 1, node->outputs))
        return true;
    const int rank = plan->slots[node->inputs[0]].shape.rank;
    if (is_view_node(plan, node))
        return match_view(plan, at, step, view_source, matched);
    if (is_op(node, "Slice") || is_op(node, "Gather"))
        return match_slice(plan, node, step, matched);
    if (is_op(node, "Pad"))
        return match_pad(plan, node, step, matched);
    if (is_op(node, "Concat") && movable_all(plan, node->n_inputs, node->inputs) &&
        axis_of(node, rank, 0, &axis))
        return match_parts(plan, step, axis, node->outputs[0], node->n_inputs, node->inputs, true, matched);
    if (is_op(node, "Split") && movable_all(plan, node->n_outputs, node->outputs) &&
        axis_of(node, rank, 0, &axis))
        return match_parts(plan, step, axis, node->inputs[0], node->n_outputs, node->outputs, false, matched);
    return true;
}

static zq_status match(zq_plan *plan, int at, zq_step *step, zq_error *err) {
    const zq_node *node = &plan->graph->nodes[at];
    int source = -1;
    bool matched;
    if (!try_match(plan, at, step, &source, &matched))
        return zq_fail_memory(err);
    if (!matched) {
        if (step->state != NULL)
            drop(step->state);
        step->state = NULL;
        step->kind = NULL;
        return ZQ_OK;
    }
    step->forgets_in = step->forgets_out = true;
    const int n_in = is_op(node, "Concat") ? node->n_inputs : 1;
    return zq_step_set(plan, step, &zq_kind_move, at, n_in, source >= 0 ? &source : node->inputs,
                       node->n_outputs, node->outputs, err);
}

static void fill(size_t n, float value, float *dst) {
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < n; i++)
        dst[i] = value;
}

static zq_status forward(zq_plan *plan, zq_step *step, zq_error *err) {
    (void)err;
    const move_state *state = step->state;
    if (state->fills)
        fill(plan->slots[step->out[0]].n, state->fill, zq_slot_floats(plan, step->out[0]));
    for (int i = 0; i < state->n_parts; i++) {
        const part *part = &state->parts[i];
        zq_copy_run(&part->copy, zq_slot_floats(plan, step->in[part->in]), false,
                    zq_slot_floats(plan, step->out[part->out]));
    }
    return ZQ_OK;
}

/* Whether the parts with a gradient write all of the (single) input's. */
static bool covers_input(const zq_plan *plan, const zq_step *step, const move_state *state) {
    bool all = state->reaches_all;
    for (int i = 0; i < step->n_out; i++)
        all = all && zq_plan_gradient(plan, step->out[i]) != NULL;
    return all;
}

static zq_status backward(zq_plan *plan, zq_step *step, zq_error *err) {
    (void)err;
    const move_state *state = step->state;
    zq_sink sink = {0};
    const bool joins = step->n_in > 1;
    if (!joins) {
        if (!zq_sink_open_unseeded(plan, step->in[0], &sink))
            return ZQ_OK;
        if (!sink.add && !covers_input(plan, step, state))
            fill(plan->slots[step->in[0]].n, 0, sink.dst);
    }
    for (int i = 0; i < state->n_parts; i++) {
        const part *part = &state->parts[i];
        const float *const d_out = zq_plan_gradient(plan, step->out[part->out]);
        if (d_out == NULL || (joins && !zq_sink_open_unseeded(plan, step->in[part->in], &sink)))
            continue;
        zq_copy_run(&part->back, d_out, sink.add, sink.dst);
    }
    return ZQ_OK;
}

const zq_step_kind zq_kind_move = {
    .name = "copy",
    .match = match,
    .forward = forward,
    .backward = backward,
    .drop = drop,
};
