/* SPDX-License-Identifier: Apache-2.0 */
/* Add, Sub, Mul and Div where the second operand has the shape of the first or broadcasts over positions:
 * one number, one for each channel, or one for each image and channel (the gates of squeeze-and-excite). */
#include "base/memory.h"
#include "engine/loops.h"
#include "graph/op.h"

#include <string.h>

typedef enum pair_op { ADD, SUB, MUL, DIV } pair_op;

typedef struct pair_state {
    pair_op op;
    int a, b; /* values; a has the result's shape */
    bool same;
    int64_t image_stride, channel_stride; /* of b, when not same */
} pair_state;

static bool op_of(const char *name, pair_op *op) {
    static const char *const names[] = {"Add", "Sub", "Mul", "Div"};
    for (int i = 0; i < 4; i++) {
        *op = (pair_op)i;
        if (strcmp(name, names[i]) == 0)
            return true;
    }
    return false;
}

/* b's shape against [N, C, spatial...]: every spatial dimension must be 1. */
static bool broadcasts(const zq_slot *a, const zq_slot *b, pair_state *state) {
    const zq_shape *shape = &b->shape;
    const int lead = a->shape.rank - shape->rank;
    if (lead < 0 || a->shape.rank < 2)
        return false;
    int64_t dims[2] = {1, 1};
    for (int i = 0; i < shape->rank; i++) {
        if (i + lead < 2)
            dims[i + lead] = shape->dims[i];
        else if (shape->dims[i] != 1)
            return false;
    }
    if ((dims[0] != 1 && dims[0] != a->images) || (dims[1] != 1 && dims[1] != a->channels))
        return false;
    state->channel_stride = dims[1] != 1;
    state->image_stride = dims[0] != 1 ? dims[1] : 0;
    return true;
}

static bool takes(const zq_plan *plan, const zq_node *node, pair_state *state) {
    const zq_slot *dst = &plan->slots[node->outputs[0]];
    zq_rows rows;
    if (!op_of(node->op->name, &state->op) || dst->dtype != ZQ_F32 || dst->shape.rank > 5 || dst->n == 0 ||
        !zq_rows_of(dst, &rows))
        return false;
    const bool commutes = state->op == ADD || state->op == MUL;
    for (int order = 0; order < (commutes ? 2 : 1); order++) {
        state->a = node->inputs[order];
        state->b = node->inputs[1 - order];
        const zq_slot *a = &plan->slots[state->a], *b = &plan->slots[state->b];
        if (a->constant != NULL || !zq_shape_equal(&a->shape, &dst->shape))
            continue;
        state->same = b->constant == NULL && zq_shape_equal(&b->shape, &dst->shape);
        if (state->same || broadcasts(a, b, state))
            return true;
    }
    return false;
}

static zq_status match(zq_plan *plan, int at, zq_step *step, zq_error *err) {
    const zq_node *node = &plan->graph->nodes[at];
    pair_state found = {0};
    if (!takes(plan, node, &found))
        return ZQ_OK;
    const int in[] = {found.a, found.b};
    ZQ_TRY(zq_step_set(plan, step, &zq_kind_pair, at, 2, in, 1, node->outputs, err));
    pair_state *state = step->state = zq_alloc(1, sizeof *state);
    if (state == NULL)
        return zq_fail_memory(err);
    *state = found;
    step->forgets_in = found.op == ADD || found.op == SUB;
    step->forgets_out = true;
    return ZQ_OK;
}

static const float *operand(const zq_plan *plan, int value) {
    const zq_slot *slot = &plan->slots[value];
    return slot->constant != NULL ? slot->constant->data : slot->data;
}

/* ---- forward */

#define ROW(expression)                                                                                      \
    do {                                                                                                     \
        _Pragma("omp simd") for (int64_t i = 0; i < n; i++) {                                                \
            const float x = a[i], y = b[i * step];                                                           \
            dst[i] = (expression);                                                                           \
        }                                                                                                    \
    } while (0)

/* step: 1, or 0 where b is one number */
static inline void forward_row(pair_op op, int64_t n, const float *a, const float *b, int64_t step,
                               float *dst) {
    switch (op) {
    case ADD:
        ROW(x + y);
        break;
    case SUB:
        ROW(x - y);
        break;
    case MUL:
        ROW(x * y);
        break;
    case DIV:
        ROW(x / y);
        break;
    }
}

enum { FLAT_ROW = 4096 };

static int64_t row_end(int64_t at, int64_t n) {
    return n - at < FLAT_ROW ? n - at : FLAT_ROW;
}

static zq_status forward(zq_plan *plan, zq_step *step, zq_error *err) {
    (void)err;
    const pair_state *s = step->state;
    const zq_slot *slot = &plan->slots[step->out[0]];
    const float *const a = operand(plan, s->a), *const b = operand(plan, s->b);
    float *const dst = slot->data;
    const int64_t n = (int64_t)slot->n, n_channels = slot->channels;
    if (s->same) {
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < n; i += FLAT_ROW)
            forward_row(s->op, row_end(i, n), a + i, b + i, 1, dst + i);
        return ZQ_OK;
    }
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < slot->images * slot->positions; row++) {
        const int64_t image = row / slot->positions;
        forward_row(s->op, n_channels, a + row * n_channels, b + image * s->image_stride, s->channel_stride,
                    dst + row * n_channels);
    }
    return ZQ_OK;
}

/* ---- backward: with y = a op b and d = d_y,
 *   Add: d, d   Sub: d, -d   Mul: d b, d a   Div: d / b, -d y / b */

#define SLOPE(expression)                                                                                    \
    do {                                                                                                     \
        if (add)                                                                                             \
            _Pragma("omp simd") for (int64_t i = 0; i < n; i++) {                                            \
                const float y = b[i * step];                                                                 \
                (void)y;                                                                                     \
                dst[i] += (expression);                                                                      \
            }                                                                                                \
        else                                                                                                 \
            _Pragma("omp simd") for (int64_t i = 0; i < n; i++) {                                            \
                const float y = b[i * step];                                                                 \
                (void)y;                                                                                     \
                dst[i] = (expression);                                                                       \
            }                                                                                                \
    } while (0)

static void slope_a_row(pair_op op, int64_t n, const float *d, const float *b, int64_t step, bool add,
                        float *dst) {
    switch (op) {
    case ADD:
    case SUB:
        SLOPE(d[i]);
        break;
    case MUL:
        SLOPE(d[i] * y);
        break;
    case DIV:
        SLOPE(d[i] / y);
        break;
    }
}

/* One element of d_b's part, before sums over what b broadcasts to. */
static inline float slope_b(pair_op op, float d, float a, float b) {
    switch (op) {
    case ADD:
        return d;
    case SUB:
        return -d;
    case MUL:
        return d * a;
    case DIV:
        return -d * a / (b * b);
    }
    return 0;
}

static void backward_a(zq_plan *plan, const pair_state *s, const zq_slot *slot, const float *d) {
    zq_sink sink;
    const float *const b = operand(plan, s->b);
    const int64_t n = (int64_t)slot->n, n_channels = slot->channels;
    if (!zq_sink_open_unseeded(plan, s->a, &sink))
        return;
    if (s->same) {
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < n; i += FLAT_ROW)
            slope_a_row(s->op, row_end(i, n), d + i, b + i, 1, sink.add, sink.dst + i);
        return;
    }
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < slot->images * slot->positions; row++)
        slope_a_row(s->op, n_channels, d + row * n_channels, b + row / slot->positions * s->image_stride,
                    s->channel_stride, sink.add, sink.dst + row * n_channels);
}

static void backward_same(zq_plan *plan, const pair_state *s, const zq_slot *slot, const float *d) {
    zq_sink sink;
    const float *const a = operand(plan, s->a), *const b = operand(plan, s->b);
    if (!zq_sink_open_unseeded(plan, s->b, &sink))
        return;
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < slot->n; i++) {
        const float part = slope_b(s->op, d[i], a[i], b[i]);
        sink.dst[i] = sink.add ? sink.dst[i] + part : part;
    }
}

/* Sums over positions, and over images and channels where b has one for all of them. Channels are shared
 * among threads, so the order of the sums is fixed. */
static void backward_gate(zq_plan *plan, const pair_state *s, const zq_slot *slot, const float *d) {
    zq_sink sink;
    const float *const a = operand(plan, s->a), *const b = operand(plan, s->b);
    if (!zq_sink_open_unseeded(plan, s->b, &sink))
        return;
    if (!sink.add)
        memset(sink.dst, 0, plan->slots[s->b].n * sizeof *sink.dst);
    const int64_t n_channels = slot->channels, n_positions = slot->positions;
    const bool together = s->image_stride == 0 || s->channel_stride == 0; /* sums across images or channels */
    const int64_t n_groups = together ? 1 : slot->images, group = slot->images / n_groups;
#pragma omp parallel for schedule(static)
    for (int64_t g = 0; g < n_groups; g++)
        for (int64_t row = g * group * n_positions; row < (g + 1) * group * n_positions; row++) {
            const int64_t at = row / n_positions * s->image_stride;
            for (int64_t c = 0; c < n_channels; c++)
                sink.dst[at + c * s->channel_stride] += slope_b(
                    s->op, d[row * n_channels + c], a[row * n_channels + c], b[at + c * s->channel_stride]);
        }
}

static zq_status backward(zq_plan *plan, zq_step *step, zq_error *err) {
    (void)err;
    const pair_state *s = step->state;
    const zq_slot *slot = &plan->slots[step->out[0]];
    const float *const d = zq_plan_gradient(plan, step->out[0]);
    backward_a(plan, s, slot, d);
    if (s->same)
        backward_same(plan, s, slot, d);
    else if (plan->slots[s->b].constant == NULL)
        backward_gate(plan, s, slot, d);
    return ZQ_OK;
}

const zq_step_kind zq_kind_pair = {
    .name = "loop",
    .in_place = true,
    .match = match,
    .forward = forward,
    .backward = backward,
};
