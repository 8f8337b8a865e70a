/* SPDX-License-Identifier: Apache-2.0 */
/* What the operators on images ask of their float inputs, with the sentence that refuses them. */
#ifndef ZQ_OPS_CHECK_H
#define ZQ_OPS_CHECK_H

#include "graph/op.h"

/* Input `input` is ZQ_F32, holds elements and has min_rank <= rank <= max_rank. */
zq_status zq_check_float(const zq_io *io, int input, int min_rank, int max_rank, zq_error *err);

/* Input `input` is ZQ_F32 of shape [n]; what names it in the sentence ("scale", "bias"). */
zq_status zq_check_vector(const zq_io *io, int input, int64_t n, const char *what, zq_error *err);

/* No output but the first is wanted; what names the others ("the indices"). */
zq_status zq_check_single_output(const zq_node *node, const char *what, zq_error *err);

/* Output 0 becomes ZQ_F32 of that shape; refuses one without elements. */
zq_status zq_check_result(const zq_io *io, const zq_shape *shape, zq_error *err);

/* For backward: whether output 0 has a gradient. Where it has none, every wanted gradient is set to zero. */
bool zq_check_gradient(const zq_io *io);

#endif
