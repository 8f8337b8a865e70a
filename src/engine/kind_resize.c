/* SPDX-License-Identifier: Apache-2.0 */
/* Resize of height and width: every output position has up to two taps along each axis. They are found by
 * resizing coordinates with the operator itself, so its many modes are defined in one place only. */
#include "base/memory.h"
#include "engine/loops.h"
#include "graph/op.h"

#include <string.h>

/* Positions lo and lo + 1 with weights 1 - share and share; lo + 1 is inside wherever share isn't 0. */
typedef struct tap {
    int64_t lo;
    float share;
} tap;

typedef struct resize_state {
    int64_t in[2], out[2];
    tap *taps[2]; /* [out], owned */
} resize_state;

static void drop(void *memory) {
    resize_state *state = memory;
    zq_free(state->taps[0]);
    zq_free(state->taps[1]);
    zq_free(state);
}

/* The operator on one channel that holds the coordinates along an axis. */
static zq_status resize_coordinates(const zq_plan *plan, const zq_node *node, int axis, const resize_state *s,
                                    float *x, float *y, zq_error *err) {
    zq_tensor src = {
        .dtype = ZQ_F32, .shape = zq_shape_of(4, (const int64_t[]){1, 1, s->in[0], s->in[1]}), .data = x};
    zq_tensor dst = {
        .dtype = ZQ_F32, .shape = zq_shape_of(4, (const int64_t[]){1, 1, s->out[0], s->out[1]}), .data = y};
    zq_tensor *out = &dst;
    const zq_tensor *in[ZQ_MAX_RANK] = {&src};
    for (int i = 1; i < node->n_inputs; i++)
        in[i] = node->inputs[i] >= 0 ? plan->slots[node->inputs[i]].constant : NULL;
    for (int64_t i = 0; i < s->in[0] * s->in[1]; i++)
        x[i] = (float)(axis == 0 ? i / s->in[1] : i % s->in[1]);
    const zq_io io = {.node = node, .n_in = node->n_inputs, .n_out = 1, .in = in, .out = &out};
    return node->op->forward(&io, err);
}

static zq_status find_taps(const zq_plan *plan, const zq_node *node, resize_state *s, zq_error *err) {
    float *x = zq_alloc((size_t)(s->in[0] * s->in[1]), sizeof *x);
    float *y = zq_alloc((size_t)(s->out[0] * s->out[1]), sizeof *y);
    zq_status status = x == NULL || y == NULL ? zq_fail_memory(err) : ZQ_OK;
    for (int axis = 0; axis < 2 && status == ZQ_OK; axis++) {
        s->taps[axis] = zq_alloc((size_t)s->out[axis], sizeof *s->taps[axis]);
        if (s->taps[axis] == NULL) {
            status = zq_fail_memory(err);
            break;
        }
        status = resize_coordinates(plan, node, axis, s, x, y, err);
        for (int64_t i = 0; i < s->out[axis]; i++) {
            const float at = axis == 0 ? y[i * s->out[1]] : y[i];
            const float lo = fminf(fmaxf(floorf(at), 0), (float)(s->in[axis] - 1));
            s->taps[axis][i] = (tap){(int64_t)lo, (int64_t)lo + 1 < s->in[axis] ? at - lo : 0};
        }
    }
    zq_free(x);
    zq_free(y);
    return status;
}

static bool takes(const zq_plan *plan, const zq_node *node) {
    if (strcmp(node->op->name, "Resize") != 0 || node->n_inputs > ZQ_MAX_RANK)
        return false;
    for (int i = 1; i < node->n_inputs; i++)
        if (node->inputs[i] >= 0 && !zq_plan_is_constant(plan, node->inputs[i]))
            return false;
    const zq_slot *src = &plan->slots[node->inputs[0]], *dst = &plan->slots[node->outputs[0]];
    zq_rows rows;
    return src->constant == NULL && src->dtype == ZQ_F32 && src->shape.rank == 4 && dst->n > 0 &&
           src->n > 0 && src->images == dst->images && src->channels == dst->channels && src->positions > 1 &&
           dst->positions > 1 && zq_rows_of(src, &rows);
}

static zq_status match(zq_plan *plan, int at, zq_step *step, zq_error *err) {
    const zq_node *node = &plan->graph->nodes[at];
    if (!takes(plan, node))
        return ZQ_OK;
    ZQ_TRY(zq_step_set(plan, step, &zq_kind_resize, at, 1, node->inputs, 1, node->outputs, err));
    resize_state *state = step->state = zq_alloc(1, sizeof *state);
    if (state == NULL)
        return zq_fail_memory(err);
    step->forgets_in = step->forgets_out = true;
    for (int axis = 0; axis < 2; axis++) {
        state->in[axis] = plan->slots[node->inputs[0]].shape.dims[2 + axis];
        state->out[axis] = plan->slots[node->outputs[0]].shape.dims[2 + axis];
    }
    return find_taps(plan, node, state, err);
}

/* The four corners of an output position: offsets in rows of channels, and weights. */
typedef struct corners {
    int n;
    int64_t row[4];
    float weight[4];
} corners;

static corners corners_of(const resize_state *s, int64_t i, int64_t j) {
    const tap *h = &s->taps[0][i], *w = &s->taps[1][j];
    corners found = {0};
    for (int k = 0; k < 4; k++) {
        const float weight = (k / 2 == 0 ? 1 - h->share : h->share) * (k % 2 == 0 ? 1 - w->share : w->share);
        if (weight == 0)
            continue;
        found.row[found.n] = (h->lo + k / 2) * s->in[1] + w->lo + k % 2;
        found.weight[found.n++] = weight;
    }
    return found;
}

static zq_status forward(zq_plan *plan, zq_step *step, zq_error *err) {
    (void)err;
    const resize_state *s = step->state;
    const zq_slot *src = &plan->slots[step->in[0]], *dst = &plan->slots[step->out[0]];
    const int64_t n_channels = src->channels;
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < dst->images * s->out[0]; row++) {
        const float *const x = (const float *)src->data + row / s->out[0] * src->positions * n_channels;
        for (int64_t j = 0; j < s->out[1]; j++) {
            const corners corners = corners_of(s, row % s->out[0], j);
            float *const y = (float *)dst->data + (row * s->out[1] + j) * n_channels;
            for (int k = 0; k < corners.n; k++) {
                const float *const from = x + corners.row[k] * n_channels;
                for (int64_t c = 0; c < n_channels; c++)
                    y[c] = k == 0 ? corners.weight[0] * from[c] : y[c] + corners.weight[k] * from[c];
            }
        }
    }
    return ZQ_OK;
}

static zq_status backward(zq_plan *plan, zq_step *step, zq_error *err) {
    (void)err;
    const resize_state *s = step->state;
    const zq_slot *src = &plan->slots[step->in[0]], *dst = &plan->slots[step->out[0]];
    const int64_t n_channels = src->channels;
    const float *const d_y = zq_plan_gradient(plan, step->out[0]);
    zq_sink sink;
    if (!zq_sink_open_unseeded(plan, step->in[0], &sink))
        return ZQ_OK;
    if (!sink.add)
        memset(sink.dst, 0, src->n * sizeof *sink.dst);
#pragma omp parallel for schedule(static)
    for (int64_t image = 0; image < dst->images; image++) {
        float *const d_x = sink.dst + image * src->positions * n_channels;
        for (int64_t at = 0; at < dst->positions; at++) {
            const corners corners = corners_of(s, at / s->out[1], at % s->out[1]);
            const float *const d = d_y + (image * dst->positions + at) * n_channels;
            for (int k = 0; k < corners.n; k++)
                for (int64_t c = 0; c < n_channels; c++)
                    d_x[corners.row[k] * n_channels + c] += corners.weight[k] * d[c];
        }
    }
    return ZQ_OK;
}

const zq_step_kind zq_kind_resize = {
    .name = "loop",
    .match = match,
    .forward = forward,
    .backward = backward,
    .drop = drop,
};
