/* SPDX-License-Identifier: Apache-2.0 */
/* AveragePool between DequantizeLinear and QuantizeLinear as ONNX Runtime's QLinearAveragePool: it averages
 * the dequantized numbers in single precision, row by row, and adds the zero point before it rounds. */
#include "base/memory.h"
#include "engine/quantized.h"
#include "engine/window.h"
#include "graph/op.h"
#include "ops/window.h"

#include <string.h>

typedef struct average_state {
    zq_window window; /* two spatial axes */
    bool count_padding;
    zq_scale source;
    zq_requantizer requantizer;
} average_state;

static zq_status match(zq_plan *plan, int at, zq_step *step, zq_error *err) {
    average_state found;
    int core, integers;
    zq_rows rows;
    if (!zq_quantized_tail(plan, at, &found.requantizer, &core) ||
        strcmp(plan->graph->nodes[core].op->name, "AveragePool") != 0)
        return ZQ_OK;
    const zq_node *node = &plan->graph->nodes[core];
    if (!zq_quantized_source(plan, node->inputs[0], &integers, &found.source) ||
        !zq_rows_of(&plan->slots[integers], &rows))
        return ZQ_OK;
    ZQ_TRY(zq_engine_window(plan, node, &found.window, err));
    found.count_padding = ((const zq_window_params *)node->params)->count_padding;
    if (found.window.n_spatial != 2 || found.window.dilation[0] != 1 || found.window.dilation[1] != 1)
        return ZQ_OK;
    ZQ_TRY(zq_step_set(plan, step, &zq_kind_integer_average, core, 1, &integers, 1,
                       plan->graph->nodes[at].outputs, err));
    zq_quantized_absorb(plan, at, core);
    average_state *state = step->state = zq_alloc(1, sizeof *state);
    if (state == NULL)
        return zq_fail_memory(err);
    *state = found;
    return ZQ_OK;
}

/* The part of a window that lies inside the input. */
static void clip_window(const zq_window *w, int axis, int64_t out, int64_t *lo, int64_t *hi) {
    const int64_t start = out * w->stride[axis] - w->pad_lo[axis], end = start + w->kernel[axis];
    *lo = start > 0 ? start : 0;
    *hi = end < w->in[axis] ? end : w->in[axis];
}

/* x: [height, width, channels] of one image */
static void average(const average_state *s, const float *x, int64_t row, int64_t column, float *restrict y) {
    const int64_t n_channels = s->window.c_in, width = s->window.in[1];
    const zq_requantizer *r = &s->requantizer;
    int64_t i0, i1, j0, j1;
    clip_window(&s->window, 0, row, &i0, &i1);
    clip_window(&s->window, 1, column, &j0, &j1);
    memset(y, 0, (size_t)n_channels * sizeof *y);
    for (int64_t i = i0; i < i1; i++)
        for (int64_t j = j0; j < j1; j++)
            for (int64_t c = 0; c < n_channels; c++) {
                const float item =
                    s->source.scale * (x[(i * width + j) * n_channels + c] - s->source.zero_point);
                y[c] += item;
            }
    const float count = s->count_padding ? (float)(s->window.kernel[0] * s->window.kernel[1])
                                         : (float)((i1 - i0) * (j1 - j0));
    const float zero_point = r->scale.zero_point;
    for (int64_t c = 0; c < n_channels; c++) {
        const float mean = y[c] / count;
        const float q = rintf(mean / r->scale.scale + zero_point);
        y[c] = q < r->lo + zero_point ? r->lo + zero_point : q > r->hi + zero_point ? r->hi + zero_point : q;
    }
}

static zq_status forward(zq_plan *plan, zq_step *step, zq_error *err) {
    (void)err;
    const average_state *s = step->state;
    const zq_window *w = &s->window;
    const float *const x = zq_slot_floats(plan, step->in[0]);
    float *const y = zq_slot_floats(plan, step->out[0]);
    const int64_t n_src = w->in[0] * w->in[1] * w->c_in, n_rows = w->n_images * w->out[0];
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < n_rows; row++)
        for (int64_t column = 0; column < w->out[1]; column++)
            average(s, x + row / w->out[0] * n_src, row % w->out[0], column,
                    y + (row * w->out[1] + column) * w->c_in);
    return ZQ_OK;
}

const zq_step_kind zq_kind_integer_average = {
    .name = "loop",
    .match = match,
    .forward = forward,
};
