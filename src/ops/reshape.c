/* SPDX-License-Identifier: Apache-2.0 */
/* Reshape to the shape in input 1, where 0 keeps a dimension (unless allowzero) and one -1 takes what is
 * left. */
#include "base/memory.h"
#include "ops/infer.h"
#include "ops/move.h"

typedef struct params {
    int64_t allowzero;
} params;

static zq_status parse(const zq_node *node, void *params_out, zq_error *err) {
    params *p = params_out;
    return zq_node_int(node, "allowzero", 0, &p->allowzero, err);
}

static zq_status mismatch(const zq_io *io, const zq_shape *wanted, zq_error *err) {
    char text[ZQ_NODE_TEXT], from[ZQ_SHAPE_TEXT], to[ZQ_SHAPE_TEXT];
    return zq_fail(err, ZQ_ERR_FORMAT, "%s: %s can't be reshaped to %s", zq_node_text(io->node, text),
                   zq_shape_text(&io->in[0]->shape, from), zq_shape_text(wanted, to));
}

static zq_status infer(const zq_io *io, zq_error *err) {
    const params *p = io->node->params;
    const zq_shape *src = &io->in[0]->shape;
    zq_shape wanted = {0};
    ZQ_TRY(zq_infer_ints(io, 1, "shape", ZQ_MAX_RANK, wanted.dims, &wanted.rank, err));
    zq_shape shape = wanted;
    int64_t known = 1;
    int rest = -1;
    for (int d = 0; d < shape.rank; d++) {
        if (shape.dims[d] == 0 && !p->allowzero) {
            if (d >= src->rank)
                return mismatch(io, &wanted, err);
            shape.dims[d] = src->dims[d];
        }
        if (shape.dims[d] == -1 && rest < 0)
            rest = d;
        else if (shape.dims[d] < 0 || !zq_mul_i64(known, shape.dims[d], &known))
            return mismatch(io, &wanted, err);
    }
    const int64_t count = zq_shape_count(src);
    if (rest >= 0) {
        if (known == 0 || count % known != 0)
            return mismatch(io, &wanted, err);
        shape.dims[rest] = count / known;
    } else if (known != count) {
        return mismatch(io, &wanted, err);
    }
    return zq_infer_output(io, 0, io->in[0]->dtype, &shape, err);
}

const zq_op zq_op_reshape = {
    .name = "Reshape",
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .traits = ZQ_OP_SAME_SCALE | ZQ_OP_INTEGER,
    .params_bytes = sizeof(params),
    .parse = parse,
    .infer = infer,
    .forward = zq_move_forward,
    .backward = zq_move_backward,
};
