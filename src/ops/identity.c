/* SPDX-License-Identifier: Apache-2.0 */
/* Identity. */
#include "ops/infer.h"
#include "ops/move.h"

const zq_op zq_op_identity = {
    .name = "Identity",
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .traits = ZQ_OP_UNARY | ZQ_OP_SAME_SCALE | ZQ_OP_INTEGER,
    .infer = zq_infer_same,
    .forward = zq_move_forward,
    .backward = zq_move_backward,
};
