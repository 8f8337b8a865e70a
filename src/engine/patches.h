/* SPDX-License-Identifier: Apache-2.0 */
/* Where the inputs of a weighted node lie in the memory of a plan. */
#ifndef ZQ_ENGINE_PATCHES_H
#define ZQ_ENGINE_PATCHES_H

#include "engine/window.h"

/* Distances in memory between channels and between spatial positions of an image of [channels, positions]. */
typedef struct zq_strides {
    int64_t image, channel, position;
} zq_strides;

zq_strides zq_strides_of(const zq_slot *slot);

/* Where a cell of the window at an output position (of all images) lies in the memory of channel 0, -1:
 * outside. */
int64_t zq_patch_cell(const zq_window *window, const zq_strides *strides, int64_t position, int64_t cell);

/* Cells of the window. */
int64_t zq_patch_cells(const zq_window *window);

/* A Gemm without transA, or a MatMul. */
bool zq_is_matrix_product(const zq_node *node);

#endif
