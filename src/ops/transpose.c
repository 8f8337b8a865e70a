/* SPDX-License-Identifier: Apache-2.0 */
/* Transpose: output dimension d is input dimension perm[d]; without perm, dimensions in reverse. */
#include "ops/elementwise.h"
#include "ops/infer.h"
#include "ops/move.h"

typedef struct params {
    int n; /* 0: reverse */
    int perm[ZQ_MAX_RANK];
} params;

static zq_status parse(const zq_node *node, void *params_out, zq_error *err) {
    params *p = params_out;
    char text[ZQ_NODE_TEXT];
    int64_t perm[ZQ_MAX_RANK];
    bool seen[ZQ_MAX_RANK] = {false};
    ZQ_TRY(zq_node_ints(node, "perm", ZQ_MAX_RANK, perm, &p->n, err));
    for (int d = 0; d < p->n; d++) {
        if (perm[d] < 0 || perm[d] >= p->n || seen[perm[d]])
            return zq_fail(err, ZQ_ERR_FORMAT, "%s: its perm is not a permutation of 0 to %d",
                           zq_node_text(node, text), p->n - 1);
        seen[perm[d]] = true;
        p->perm[d] = (int)perm[d];
    }
    return ZQ_OK;
}

static int source_axis(const zq_io *io, int d) {
    const params *p = io->node->params;
    return p->n > 0 ? p->perm[d] : io->in[0]->shape.rank - 1 - d;
}

static zq_status infer(const zq_io *io, zq_error *err) {
    char text[ZQ_NODE_TEXT], shape_text[ZQ_SHAPE_TEXT];
    const params *p = io->node->params;
    const zq_shape *src = &io->in[0]->shape;
    zq_shape shape = {.rank = src->rank};
    if (p->n > 0 && p->n != src->rank)
        return zq_fail(err, ZQ_ERR_FORMAT, "%s: its perm has %d entries, but its input is %s",
                       zq_node_text(io->node, text), p->n, zq_shape_text(src, shape_text));
    for (int d = 0; d < shape.rank; d++)
        shape.dims[d] = src->dims[source_axis(io, d)];
    return zq_infer_output(io, 0, io->in[0]->dtype, &shape, err);
}

/* Dense on the side of dst, permuted on the side of src. */
static zq_box permuted(const zq_io *io) {
    zq_box box = zq_move_dense(&io->out[0]->shape);
    int64_t steps[ZQ_MAX_RANK];
    zq_move_steps(&io->in[0]->shape, steps);
    for (int d = 0; d < box.rank; d++)
        box.src_steps[d] = steps[source_axis(io, d)];
    return box;
}

static zq_status forward(const zq_io *io, zq_error *err) {
    (void)err;
    const zq_box box = permuted(io);
    zq_move_box(&box, zq_dtype_bytes(io->in[0]->dtype), io->in[0]->data, io->out[0]->data);
    return ZQ_OK;
}

static zq_status backward(const zq_io *io, zq_error *err) {
    (void)err;
    const zq_box box = permuted(io), back = zq_move_reversed(&box);
    if (zq_elementwise_has_gradient(io))
        zq_move_box(&back, sizeof(zq_real), io->d_out[0]->data, io->d_in[0]->data);
    return ZQ_OK;
}

const zq_op zq_op_transpose = {
    .name = "Transpose",
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .traits = ZQ_OP_SAME_SCALE | ZQ_OP_INTEGER,
    .params_bytes = sizeof(params),
    .parse = parse,
    .infer = infer,
    .forward = forward,
    .backward = backward,
};
