/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/grids.h"

#include "base/memory.h"
#include "quant/allocate.h"

#include <math.h>
#include <string.h>

const int zq_grid_widths[ZQ_N_GRID_WIDTHS] = {4, 5, 6, 7, 8};

/* Of one image. */
static uint64_t elements_of(const zq_graph *graph, int value) {
    zq_shape shape = graph->values[value].shape;
    if (shape.rank > 0 && shape.dims[0] < 0)
        shape.dims[0] = 1; /* a free batch */
    const int64_t count = zq_shape_count(&shape);
    return count > 0 ? (uint64_t)(count / zq_graph_images(graph)) : 0;
}

/* The value joins the grid of the one whose scale it takes. number: [n_values] of the grid that a value gave
 * its scale to; -1: none yet. */
static void add_value(zq_grids *grids, const zq_graph *graph, const zq_activation *activations,
                      const int *scale_of, int value, int *number) {
    if (value < 0 || !activations[value].used || activations[value].wide)
        return;
    int *const grid = &number[scale_of[value]];
    if (*grid < 0)
        *grid = grids->n++;
    grids->of_value[value] = *grid;
    grids->elements[*grid] += elements_of(graph, value);
}

zq_status zq_grids_new(const zq_graph *graph, const zq_activation *activations, const int *scale_of,
                       zq_grids *out, zq_error *err) {
    const size_t n_values = (size_t)graph->n_values;
    *out = (zq_grids){.n_values = graph->n_values};
    out->of_value = zq_alloc_raw(n_values, sizeof *out->of_value);
    out->elements = zq_alloc(n_values, sizeof *out->elements);
    int *number = zq_alloc_raw(n_values, sizeof *number);
    if (out->of_value == NULL || out->elements == NULL || number == NULL) {
        zq_free(number);
        zq_grids_clear(out);
        return zq_fail_memory(err);
    }
    for (size_t v = 0; v < n_values; v++)
        out->of_value[v] = number[v] = -1;
    for (int i = 0; i < graph->n_inputs; i++)
        add_value(out, graph, activations, scale_of, graph->inputs[i], number);
    for (int n = 0; n < graph->n_nodes; n++)
        for (int o = 0; o < graph->nodes[n].n_outputs; o++)
            add_value(out, graph, activations, scale_of, graph->nodes[n].outputs[o], number);
    zq_free(number);
    return ZQ_OK;
}

void zq_grids_clear(zq_grids *grids) {
    zq_free(grids->of_value);
    zq_free(grids->elements);
    *grids = (zq_grids){0};
}

/* costs: bits of an image. */
static zq_status allocate(const zq_grids *grids, const uint64_t *costs, const double *omega, uint64_t limit,
                          uint8_t *choice_out, zq_error *err) {
    zq_frontier frontier;
    ZQ_TRY(zq_allocate(grids->n, ZQ_N_GRID_WIDTHS, costs, omega, 0, &frontier, err));
    const int point = zq_frontier_at(&frontier, limit);
    if (point >= 0)
        memcpy(choice_out, frontier.choice + (size_t)point * (size_t)grids->n, (size_t)grids->n);
    zq_frontier_clear(&frontier);
    return point >= 0
               ? ZQ_OK
               : zq_fail(err, ZQ_ERR_LIMIT, "no activation can have fewer than %d bits", zq_grid_widths[0]);
}

zq_status zq_grids_allocate(const zq_grids *grids, const double *omega, double mean_bits, uint8_t *choice_out,
                            zq_error *err) {
    uint64_t *costs = zq_alloc((size_t)grids->n, ZQ_N_GRID_WIDTHS * sizeof *costs), total = 0;
    if (costs == NULL)
        return zq_fail_memory(err);
    for (int g = 0; g < grids->n; g++) {
        total += grids->elements[g];
        for (int k = 0; k < ZQ_N_GRID_WIDTHS; k++)
            costs[g * ZQ_N_GRID_WIDTHS + k] = grids->elements[g] * (uint64_t)zq_grid_widths[k];
    }
    const zq_status status =
        allocate(grids, costs, omega, (uint64_t)floor((double)total * mean_bits), choice_out, err);
    zq_free(costs);
    return status;
}

void zq_grids_choose(const zq_grids *grids, zq_activation *const *activations, const uint8_t *choice,
                     zq_activation *activations_out) {
    for (int v = 0; v < grids->n_values; v++)
        activations_out[v] = activations[grids->of_value[v] < 0 ? 0 : choice[grids->of_value[v]]][v];
}

int zq_activation_bits(const zq_activation *activation) {
    int bits = 1;
    while (activation->q_max >> bits != 0)
        bits++;
    return bits;
}

double zq_activations_mean_bits(const zq_graph *graph, const zq_activation *activations) {
    double bits = 0, total = 0;
    for (int v = 0; v < graph->n_values; v++)
        if (activations[v].used && !activations[v].wide) {
            bits += (double)elements_of(graph, v) * zq_activation_bits(&activations[v]);
            total += (double)elements_of(graph, v);
        }
    return total > 0 ? bits / total : 0;
}
