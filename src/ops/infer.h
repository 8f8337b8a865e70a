/* SPDX-License-Identifier: Apache-2.0 */
/* What shape rules share: every number that comes from a model is hostile until one of these has checked it.
 */
#ifndef ZQ_OPS_INFER_H
#define ZQ_OPS_INFER_H

#include "graph/op.h"

/* Values with more elements are refused (8 GiB of float): a hostile file can ask for any number. */
#define ZQ_MAX_ELEMENTS ((int64_t)1 << 31)

/* Input i, or NULL where it is omitted. */
const zq_tensor *zq_infer_input(const zq_io *io, int i);

/* Sets output o; refuses a negative dimension and more than ZQ_MAX_ELEMENTS elements. An output that nobody
 * wants (NULL) is skipped. */
zq_status zq_infer_output(const zq_io *io, int o, zq_dtype dtype, const zq_shape *shape, zq_error *err);

/* Output 0 has dtype and shape of input 0. */
zq_status zq_infer_same(const zq_io *io, zq_error *err);

/* The same, for operators that are defined on float only. */
zq_status zq_infer_float(const zq_io *io, zq_error *err);

/* An axis of -rank..rank-1 as 0..rank-1. */
zq_status zq_infer_axis(const zq_io *io, int64_t axis, int rank, int *axis_out, zq_error *err);

/* Input i, a scalar or vector of int64 or int32 that decides a shape (what: its name in messages, such as
 * "shape"), borrowed. Refused when it isn't a constant. */
zq_status zq_infer_vector(const zq_io *io, int i, const char *what, const zq_tensor **vector_out,
                          zq_error *err);

/* The values of such an input, at most max. */
zq_status zq_infer_ints(const zq_io *io, int i, const char *what, int max, int64_t *values, int *n_out,
                        zq_error *err);

/* The sentence for an element type that the operator doesn't take. */
zq_status zq_infer_refuse_dtype(const zq_io *io, zq_dtype found, const char *expected, zq_error *err);

#endif
