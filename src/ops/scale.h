/* SPDX-License-Identifier: Apache-2.0 */
/* What QuantizeLinear and DequantizeLinear share: the scale and zero point of each element. */
#ifndef ZQ_OPS_SCALE_H
#define ZQ_OPS_SCALE_H

#include "graph/op.h"

typedef struct zq_scale_params {
    int64_t axis;         /* of a vector of scales */
    int64_t output_dtype; /* QuantizeLinear without a zero point; ONNX type, 0: uint8 */
} zq_scale_params;

/* op->parse of both. */
zq_status zq_scale_parse(const zq_node *node, void *params, zq_error *err);

/* Checks inputs 1 (scale: a float scalar or one for each element of the axis) and 2 (zero point, optional:
 * the same shape, of the quantized type). */
zq_status zq_scale_check(const zq_io *io, zq_dtype quantized, zq_error *err);

/* Whether the engine has the integer type that a quantized value can have, and its range. */
bool zq_scale_range(zq_dtype dtype, int64_t *low_out, int64_t *high_out);

/* The data as rows of n elements that have one scale: row r has number r % n_scales. A tensor with one scale
 * is cut into rows that threads can share; the last one is shorter: total elements in all. */
typedef struct zq_scale_rows {
    int64_t n_rows, n, n_scales, total;
} zq_scale_rows;

zq_scale_rows zq_scale_split(const zq_io *io);

/* Elements of row r. */
int64_t zq_scale_row_size(const zq_scale_rows *rows, int64_t r);

/* Scale and zero point of row r. */
zq_real zq_scale_of(const zq_io *io, const zq_scale_rows *rows, int64_t r, int64_t *zero_point_out);

#endif
