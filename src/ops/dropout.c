/* SPDX-License-Identifier: Apache-2.0 */
/* Dropout of a trained network: the identity, whatever ratio and mode it was trained with. */
#include "ops/infer.h"
#include "ops/move.h"

static zq_status infer(const zq_io *io, zq_error *err) {
    char text[ZQ_NODE_TEXT];
    if (io->n_out > 1 && io->out[1] != NULL)
        return zq_fail(err, ZQ_ERR_UNSUPPORTED,
                       "%s: its second output, the mask, is used; that is a network in training: export it "
                       "for inference",
                       zq_node_text(io->node, text));
    return zq_infer_same(io, err);
}

const zq_op zq_op_dropout = {
    .name = "Dropout",
    .min_in = 1,
    .max_in = 3,
    .min_out = 1,
    .max_out = 2,
    .traits = ZQ_OP_UNARY | ZQ_OP_SAME_SCALE | ZQ_OP_INTEGER,
    .infer = infer,
    .forward = zq_move_forward,
    .backward = zq_move_backward,
};
