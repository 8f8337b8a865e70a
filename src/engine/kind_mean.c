/* SPDX-License-Identifier: Apache-2.0 */
/* GlobalAveragePool, and ReduceMean over all positions. */
#include "base/memory.h"
#include "engine/loops.h"
#include "graph/op.h"

#include <string.h>

/* ReduceMean's axes are exactly the spatial ones. */
static bool reduces_positions(const zq_plan *plan, const zq_node *node) {
    const int rank = plan->slots[node->inputs[0]].shape.rank;
    int64_t axes[ZQ_MAX_RANK];
    int n, n_spatial = 0;
    if (zq_node_ints(node, "axes", ZQ_MAX_RANK, axes, &n, NULL) != ZQ_OK || n != rank - 2 ||
        node->n_inputs > 1)
        return false;
    for (int axis = 2; axis < rank; axis++)
        for (int i = 0; i < n; i++)
            n_spatial += axes[i] == axis || axes[i] == axis - rank;
    return n_spatial == n;
}

static zq_status match(zq_plan *plan, int at, zq_step *step, zq_error *err) {
    const zq_node *node = &plan->graph->nodes[at];
    zq_rows rows;
    const bool mean = strcmp(node->op->name, "GlobalAveragePool") == 0 ||
                      (strcmp(node->op->name, "ReduceMean") == 0 && reduces_positions(plan, node));
    if (!mean || plan->slots[node->inputs[0]].dtype != ZQ_F32 ||
        plan->slots[node->inputs[0]].shape.rank < 3 || plan->slots[node->inputs[0]].n == 0 ||
        !zq_rows_of(&plan->slots[node->inputs[0]], &rows))
        return ZQ_OK;
    step->forgets_in = step->forgets_out = true;
    return zq_step_set(plan, step, &zq_kind_mean, at, 1, node->inputs, 1, node->outputs, err);
}

/* In double: a plain sum in float of thousands of positions loses digits. */
static void mean_channels(const zq_slot *slot, int64_t image, int64_t c0, int64_t n, float *dst) {
    const zq_cells cells = {slot->data, slot->half};
    double sums[64] = {0};
    float buffer[64];
    for (int64_t i = 0; i < slot->positions; i++) {
        const int64_t at = (image * slot->positions + i) * slot->channels + c0;
        const float *const x = zq_cells_read(cells, (size_t)at, (size_t)n, buffer);
        for (int64_t c = 0; c < n; c++)
            sums[c] += (double)x[c];
    }
    for (int64_t c = 0; c < n; c++)
        dst[c] = (float)(sums[c] / (double)slot->positions);
}

static zq_status forward(zq_plan *plan, zq_step *step, zq_error *err) {
    (void)err;
    const zq_slot *slot = &plan->slots[step->in[0]];
    float *const y = zq_slot_floats(plan, step->out[0]);
    const int64_t n_channels = slot->channels, n_bands = (n_channels + 63) / 64;
#pragma omp parallel for schedule(static)
    for (int64_t item = 0; item < slot->images * n_bands; item++) {
        const int64_t image = item / n_bands, c0 = item % n_bands * 64;
        const int64_t n = n_channels - c0 < 64 ? n_channels - c0 : 64;
        mean_channels(slot, image, c0, n, y + image * n_channels + c0);
    }
    return ZQ_OK;
}

/* One position: a share of the gradient d of each channel. */
static void spread_row(int64_t n_channels, const float *d, float share, int64_t at, const zq_sink *sink) {
    float buffer[ZQ_PIECE];
    for (int64_t first = 0; first < n_channels; first += ZQ_PIECE) {
        const int64_t n = n_channels - first < ZQ_PIECE ? n_channels - first : ZQ_PIECE;
        float *const d_x = zq_cells_open(sink->cells, sink->add, (size_t)(at + first), (size_t)n, buffer);
        for (int64_t c = 0; c < n; c++)
            d_x[c] = sink->add ? d_x[c] + d[first + c] * share : d[first + c] * share;
        zq_cells_end(sink->cells, (size_t)(at + first), (size_t)n, d_x);
    }
}

static zq_status backward(zq_plan *plan, zq_step *step, zq_error *err) {
    (void)err;
    const zq_slot *slot = &plan->slots[step->in[0]];
    const float *const d_y = zq_plan_gradient(plan, step->out[0]);
    zq_sink sink;
    if (!zq_sink_open_unseeded(plan, step->in[0], &sink))
        return ZQ_OK;
    const int64_t n_channels = slot->channels;
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < slot->images * slot->positions; row++)
        spread_row(n_channels, d_y + row / slot->positions * n_channels, 1 / (float)slot->positions,
                   row * n_channels, &sink);
    return ZQ_OK;
}

const zq_step_kind zq_kind_mean = {
    .name = "loop",
    .cells = true,
    .match = match,
    .forward = forward,
    .backward = backward,
};
