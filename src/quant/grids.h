/* SPDX-License-Identifier: Apache-2.0 */
/* Which activations have a grid (scale, zero point, levels) in common, and what narrowing each grid does:
 * what layers and their widths are to weights, grids are to activations. */
#ifndef ZQ_QUANT_GRIDS_H
#define ZQ_QUANT_GRIDS_H

#include "quant/distill.h"
#include "quant/quantizer.h"

#include <zeroq/zeroq.h>

/* The widths that a grid may have. */
enum { ZQ_N_GRID_WIDTHS = 5 };
extern const int zq_grid_widths[ZQ_N_GRID_WIDTHS]; /* bits, increasing */

typedef struct zq_grids {
    int n, n_values;
    int *of_value;      /* [n_values] number of the value's grid, in the order in which they are computed; -1:
                           the value stays float, or is wide; owned */
    uint64_t *elements; /* [n] of one image, of all its values together; owned */
} zq_grids;

/* From what zq_place decided: activations, scale_of [graph->n_values]. Free with zq_grids_clear. */
zq_status zq_grids_new(const zq_graph *graph, const zq_activation *activations, const int *scale_of,
                       zq_grids *out, zq_error *err);
void zq_grids_clear(zq_grids *grids);

/* Equation 2 for activations: the damage with one grid quantized at each width and all else float. graph: the
 * calibration network; activations: [ZQ_N_GRID_WIDTHS][n_values]; exact: on all images, or on as many as it
 * takes to tell grids apart. omega_out: [n, ZQ_N_GRID_WIDTHS], written. [grids_measure.c] */
zq_status zq_grids_measure(zq_graph *graph, const zq_grids *grids, zq_activation *const *activations,
                           const zq_images *images, bool exact, zq_step_callback callback, void *user,
                           double *omega_out, zq_error *err);

/* Equation 4 for activations: the width of each grid (an index), with the least summed damage among those
 * whose mean over the elements of an image is at most mean_bits, which is at least the narrowest. choice_out:
 * [n], written. */
zq_status zq_grids_allocate(const zq_grids *grids, const double *omega, double mean_bits, uint8_t *choice_out,
                            zq_error *err);

/* The activations [n_values] of that choice. */
void zq_grids_choose(const zq_grids *grids, zq_activation *const *activations, const uint8_t *choice,
                     zq_activation *activations_out);

/* Bits of an activation; and of the elements of all quantized values of an image that aren't wide, on
 * the average. */
int zq_activation_bits(const zq_activation *activation);
double zq_activations_mean_bits(const zq_graph *graph, const zq_activation *activations);

#endif
