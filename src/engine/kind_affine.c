/* SPDX-License-Identifier: Apache-2.0 */
/* A depthwise 1x1 convolution, y = w[c] x + b[c], with the Relu or Clip behind it: what is left of a
 * BatchNormalization that no convolution could take in. Its input carries the statistics, so a seed enters
 * here: d_x = w[c] slope(y) d_y + c1[c] + c2[c] (x - mean[c]) in one pass. */
#include "base/memory.h"
#include "engine/loops.h"
#include "engine/window.h"
#include "graph/op.h"

#include <stdio.h>
#include <string.h>

typedef struct affine_state {
    const float *weights, *bias; /* [c], the graph's; bias NULL: none */
    float *replaced;             /* owned; NULL: none */
    zq_clamp clamp;
    bool clamps;
} affine_state;

static void drop(void *memory) {
    affine_state *state = memory;
    zq_free(state->replaced);
    zq_free(state);
}

static const float *float_constant(const zq_plan *plan, int value) {
    const zq_slot *slot = value >= 0 ? &plan->slots[value] : NULL;
    return slot != NULL && slot->constant != NULL && slot->dtype == ZQ_F32 ? slot->constant->data : NULL;
}

static bool is_affine(const zq_plan *plan, const zq_node *node) {
    zq_window w;
    if (strcmp(node->op->name, "Conv") != 0 || plan->slots[node->inputs[0]].constant != NULL ||
        float_constant(plan, node->inputs[1]) == NULL || zq_engine_window(plan, node, &w, NULL) != ZQ_OK ||
        w.groups != w.c_in || w.c_in != w.c_out || plan->slots[node->outputs[0]].n == 0)
        return false;
    for (int i = 0; i < w.n_spatial; i++)
        if (w.kernel[i] != 1 || w.stride[i] != 1 || w.pad_lo[i] != 0 || w.pad_hi[i] != 0)
            return false;
    zq_rows rows;
    const bool bias = node->n_inputs > 2 && node->inputs[2] >= 0;
    return (!bias || float_constant(plan, node->inputs[2]) != NULL) &&
           zq_rows_of(&plan->slots[node->inputs[0]], &rows);
}

static int conv_of(const zq_plan *plan, int at, affine_state *state) {
    int conv = at;
    state->clamps = zq_clamp_of(plan, at, &state->clamp);
    if (state->clamps) {
        const int inner = plan->graph->nodes[at].inputs[0];
        conv = zq_plan_sole_producer(plan, inner, "Conv");
        if ((plan->options.statistics && plan->graph->values[inner].stats != NULL) || plan->options.separate)
            return -1;
    }
    return conv >= 0 && is_affine(plan, &plan->graph->nodes[conv]) ? conv : -1;
}

static zq_status match(zq_plan *plan, int at, zq_step *step, zq_error *err) {
    affine_state found = {0};
    const int conv = conv_of(plan, at, &found);
    if (conv < 0)
        return ZQ_OK;
    const zq_node *node = &plan->graph->nodes[conv];
    found.weights = float_constant(plan, node->inputs[1]);
    found.bias = node->n_inputs > 2 ? float_constant(plan, node->inputs[2]) : NULL;
    ZQ_TRY(zq_step_set(plan, step, &zq_kind_affine, conv, 1, node->inputs, 1, plan->graph->nodes[at].outputs,
                       err));
    affine_state *state = step->state = zq_alloc(1, sizeof *state);
    if (state == NULL)
        return zq_fail_memory(err);
    *state = found;
    step->forgets_in = found.clamps;
    step->forgets_out = !found.clamps;
    snprintf(step->kernel, sizeof step->kernel, "Conv affine%s loop", found.clamps ? "+clamp" : "");
    return ZQ_OK;
}

/* Channels first .. first + n of a row. */
static void run_row(const affine_state *s, int64_t first, int64_t n, const float *weights, const float *x,
                    float *y) {
    const zq_clamp clamp = s->clamps ? s->clamp : ZQ_NO_CLAMP;
    const float *const bias = s->bias;
#pragma omp simd
    for (int64_t c = 0; c < n; c++) {
        float z = x[c] * weights[first + c] + (bias != NULL ? bias[first + c] : 0);
        z = z < clamp.lo ? clamp.lo : z;
        y[c] = z > clamp.hi ? clamp.hi : z;
    }
}

static int64_t piece_of(int64_t first, int64_t n) {
    return n - first < ZQ_PIECE ? n - first : ZQ_PIECE;
}

/* n_rows rows of x and y from row first on. */
static void run_rows(const affine_state *s, int64_t first, int64_t n_rows, int64_t n_channels,
                     const float *weights, zq_cells x, zq_cells y) {
#pragma omp parallel for schedule(static)
    for (int64_t row = first; row < first + n_rows; row++) {
        float buffers[2][ZQ_PIECE];
        for (int64_t c = 0; c < n_channels; c += ZQ_PIECE) {
            const size_t at = (size_t)(row * n_channels + c), n = (size_t)piece_of(c, n_channels);
            float *const to = zq_cells_begin(y, at, buffers[1]);
            run_row(s, c, (int64_t)n, weights, zq_cells_read(x, at, n, buffers[0]), to);
            zq_cells_end(y, at, n, to);
        }
    }
}

static const float *weights_of(const affine_state *s) {
    return s->replaced != NULL ? s->replaced : s->weights;
}

static zq_status forward(zq_plan *plan, zq_step *step, zq_error *err) {
    (void)err;
    const affine_state *s = step->state;
    zq_rows rows;
    zq_rows_of(&plan->slots[step->in[0]], &rows);
    run_rows(s, 0, rows.n_rows, rows.n_channels, weights_of(s), zq_slot_cells(plan, step->in[0]),
             zq_slot_cells(plan, step->out[0]));
    return ZQ_OK;
}

/* Channels first .. first + n of a row. at tells the slope of the activation: y, or any row that is read
 * anyway where there is none. */
static void backward_row(const affine_state *s, int64_t first, int64_t n, const float *x, const float *at,
                         const float *d_y, const zq_sink *sink, float *dst) {
    const float *const weights = weights_of(s) + first;
    const zq_clamp clamp = s->clamps ? s->clamp : ZQ_NO_CLAMP;
    const bool add = sink->add;
    if (sink->seed == NULL) {
#pragma omp simd
        for (int64_t c = 0; c < n; c++) {
            const float d = at[c] > clamp.lo && at[c] < clamp.hi ? weights[c] * d_y[c] : 0;
            dst[c] = add ? dst[c] + d : d;
        }
        return;
    }
    const float *const c1 = sink->seed->c1 + first, *const c2 = sink->seed->c2 + first;
    const float *const mean = sink->seed->mean + first;
#pragma omp simd
    for (int64_t c = 0; c < n; c++) {
        const float slope = at[c] > clamp.lo && at[c] < clamp.hi ? weights[c] * d_y[c] : 0;
        const float d = slope + (c1[c] + c2[c] * (x[c] - mean[c]));
        dst[c] = add ? dst[c] + d : d;
    }
}

static zq_status backward(zq_plan *plan, zq_step *step, zq_error *err) {
    (void)err;
    const affine_state *s = step->state;
    const zq_cells x = zq_slot_cells(plan, step->in[0]), d_y = zq_gradient_cells(plan, step->out[0]);
    const zq_cells slope_at = s->clamps ? zq_slot_cells(plan, step->out[0]) : x;
    zq_rows rows;
    zq_sink sink;
    zq_rows_of(&plan->slots[step->in[0]], &rows);
    if (!zq_sink_open(plan, step->in[0], &sink))
        return ZQ_OK;
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows.n_rows; row++) {
        float buffers[4][ZQ_PIECE];
        for (int64_t c = 0; c < rows.n_channels; c += ZQ_PIECE) {
            const size_t at = (size_t)(row * rows.n_channels + c), n = (size_t)piece_of(c, rows.n_channels);
            float *const to = zq_cells_open(sink.cells, sink.add, at, n, buffers[3]);
            backward_row(s, c, (int64_t)n, zq_cells_read(x, at, n, buffers[0]),
                         zq_cells_read(slope_at, at, n, buffers[1]), zq_cells_read(d_y, at, n, buffers[2]),
                         &sink, to);
            zq_cells_end(sink.cells, at, n, to);
        }
    }
    return ZQ_OK;
}

static zq_status override(zq_plan *plan, zq_step *step, int n_variants, const float *const *weights,
                          zq_error *err) {
    char text[ZQ_NODE_TEXT];
    zq_rows rows;
    zq_rows_of(&plan->slots[step->in[0]], &rows);
    if (plan->slots[step->in[0]].images % n_variants != 0)
        return zq_fail(err, ZQ_ERR_UNSUPPORTED, "%s takes %lld images, which %d variants can't share",
                       zq_node_text(&plan->graph->nodes[step->node], text),
                       (long long)plan->slots[step->in[0]].images, n_variants);
    const int64_t n_rows = rows.n_rows / n_variants;
    for (int k = 0; k < n_variants; k++)
        run_rows(step->state, k * n_rows, n_rows, rows.n_channels, weights[k],
                 zq_slot_cells(plan, step->in[0]), zq_slot_cells(plan, step->out[0]));
    return ZQ_OK;
}

static zq_status set_weights(zq_plan *plan, zq_step *step, const float *weights, zq_error *err) {
    affine_state *s = step->state;
    const size_t n = (size_t)plan->slots[step->in[0]].channels;
    zq_free(s->replaced);
    s->replaced = weights != NULL ? zq_memdup(weights, n * sizeof *weights) : NULL;
    return weights != NULL && s->replaced == NULL ? zq_fail_memory(err) : ZQ_OK;
}

const zq_step_kind zq_kind_affine = {
    .name = "loop",
    .cells = true,
    .in_place = true,
    .in_place_backward = true,
    .match = match,
    .forward = forward,
    .backward = backward,
    .override = override,
    .set_weights = set_weights,
    .drop = drop,
};
