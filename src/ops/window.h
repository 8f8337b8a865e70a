/* SPDX-License-Identifier: Apache-2.0 */
/* The sliding window of Conv, MaxPool and AveragePool: one set of attributes, one geometry. */
#ifndef ZQ_OPS_WINDOW_H
#define ZQ_OPS_WINDOW_H

#include "graph/op.h"

enum { ZQ_WINDOW_SPATIAL = 3 }; /* most spatial dimensions of a window */

typedef enum zq_auto_pad {
    ZQ_PAD_EXPLICIT, /* NOTSET: the pads attribute */
    ZQ_PAD_VALID,
    ZQ_PAD_SAME_UPPER,
    ZQ_PAD_SAME_LOWER,
} zq_auto_pad;

/* Parameters of a Conv, MaxPool or AveragePool node, as written: node->params after zq_node_parse. A count is
 * 0 where the attribute is absent. */
typedef struct zq_window_params {
    zq_auto_pad auto_pad;
    int n_kernel, n_strides, n_dilations, n_pads;
    int64_t kernel[ZQ_WINDOW_SPATIAL], strides[ZQ_WINDOW_SPATIAL], dilations[ZQ_WINDOW_SPATIAL];
    int64_t pads[2 * ZQ_WINDOW_SPATIAL]; /* all beginnings, then all ends */
    int64_t groups;                      /* 1 for pooling */
    bool ceil_mode;                      /* pooling only: round the output size up */
    bool count_padding; /* AveragePool only: padding counts in the divisor (count_include_pad) */
} zq_window_params;

/* A window with every choice made for given shapes. Spatial arrays hold n_spatial (1..3) entries. Output
 * position o along an axis covers input positions o * stride - pad_lo + k * dilation, k = 0 .. kernel - 1, of
 * which those outside 0 .. in - 1 are padding. */
typedef struct zq_geometry {
    int n_spatial;
    int64_t n_images, c_in, c_out, groups;
    int64_t in[ZQ_WINDOW_SPATIAL], out[ZQ_WINDOW_SPATIAL];
    int64_t kernel[ZQ_WINDOW_SPATIAL], stride[ZQ_WINDOW_SPATIAL];
    int64_t dilation[ZQ_WINDOW_SPATIAL]; /* 1: dense */
    /* As the node asks for it. The last window may end before in + pad_hi (the division left a rest) or, with
     * ceil_mode, behind it: zq_geometry_reach says where it ends. */
    int64_t pad_lo[ZQ_WINDOW_SPATIAL], pad_hi[ZQ_WINDOW_SPATIAL];
    bool count_padding; /* AveragePool: divide by all cells up to in + pad_hi instead of those in the input */
} zq_geometry;

/* op->parse of the three operators: params is a zq_window_params. Checks all that needs no shape. */
zq_status zq_window_parse(const zq_node *node, void *params, zq_error *err);

/* The geometry of a parsed Conv, MaxPool or AveragePool node for a source [N, C, spatial...] and, for Conv, a
 * weight [C_out, C / groups, kernel...] (NULL for pooling: then c_out is c_in). Refuses, with a sentence that
 * names the node, shapes that contradict each other or the attributes, and outputs without elements. */
zq_status zq_window_resolve(const zq_node *node, const zq_shape *src, const zq_shape *weight,
                            zq_geometry *out, zq_error *err);

/* The output shape [n_images, c_out, out...]. */
zq_shape zq_geometry_shape(const zq_geometry *geometry);

/* Cells behind the end of the input that the last window along an axis reaches: the pad_hi that gives the
 * same output size by exact division. Negative where it ends before the input does. */
int64_t zq_geometry_reach(const zq_geometry *geometry, int axis);

/* ---- for the plain operators: loops over three spatial axes, whatever n_spatial is */

/* Elements of one channel of the input and of the output. */
int64_t zq_geometry_cells_in(const zq_geometry *geometry);
int64_t zq_geometry_cells_out(const zq_geometry *geometry);

/* The same geometry with n_spatial 3: axes of size 1 come first, so the memory order is the same. */
zq_geometry zq_geometry_3d(const zq_geometry *geometry);

/* Cells first .. end - 1 of the window at output position out lie in the input along axis; returns the input
 * position of cell 0 (it may be in the padding). */
static inline int64_t zq_geometry_clip(const zq_geometry *geometry, int axis, int64_t out, int64_t *first,
                                       int64_t *end) {
    const int64_t at = out * geometry->stride[axis] - geometry->pad_lo[axis],
                  dilation = geometry->dilation[axis];
    const int64_t last = geometry->in[axis] - 1 - at;
    *first = at < 0 ? (-at + dilation - 1) / dilation : 0;
    *end = last < 0 ? 0 : last / dilation + 1;
    if (*end > geometry->kernel[axis])
        *end = geometry->kernel[axis];
    return at;
}

/* Index in row-major order to position in a box of three axes. */
static inline void zq_geometry_unravel(const int64_t size[ZQ_WINDOW_SPATIAL], int64_t index,
                                       int64_t position[ZQ_WINDOW_SPATIAL]) {
    for (int k = ZQ_WINDOW_SPATIAL - 1; k >= 0; k--) {
        position[k] = index % size[k];
        index /= size[k];
    }
}

#endif
