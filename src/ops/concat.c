/* SPDX-License-Identifier: Apache-2.0 */
/* Concat along an axis. */
#include "ops/elementwise.h"
#include "ops/infer.h"
#include "ops/move.h"

typedef struct params {
    int64_t axis;
} params;

static zq_status parse(const zq_node *node, void *params_out, zq_error *err) {
    params *p = params_out;
    char text[ZQ_NODE_TEXT];
    if (zq_node_attr(node, "axis") == NULL)
        return zq_fail(err, ZQ_ERR_FORMAT, "%s: its attribute 'axis' is missing", zq_node_text(node, text));
    return zq_node_int(node, "axis", 0, &p->axis, err);
}

static int concat_axis(const zq_io *io) {
    const params *p = io->node->params;
    return (int)(p->axis < 0 ? p->axis + io->in[0]->shape.rank : p->axis);
}

static bool fits(const zq_shape *a, const zq_shape *b, int axis) {
    for (int d = 0; d < a->rank && a->rank == b->rank; d++)
        if (d != axis && a->dims[d] != b->dims[d])
            return false;
    return a->rank == b->rank;
}

static zq_status infer(const zq_io *io, zq_error *err) {
    char text[ZQ_NODE_TEXT], first_text[ZQ_SHAPE_TEXT], shape_text[ZQ_SHAPE_TEXT];
    const zq_tensor *first = io->in[0];
    zq_shape shape = first->shape;
    int axis;
    ZQ_TRY(zq_infer_axis(io, ((const params *)io->node->params)->axis, shape.rank, &axis, err));
    for (int i = 1; i < io->n_in; i++) {
        const zq_tensor *in = io->in[i];
        if (in == NULL)
            return zq_fail(err, ZQ_ERR_FORMAT, "%s: its input %d is empty", zq_node_text(io->node, text), i);
        if (in->dtype != first->dtype)
            return zq_fail(err, ZQ_ERR_FORMAT, "%s: its inputs are %s and %s, expected the same type",
                           zq_node_text(io->node, text), zq_dtype_name(first->dtype),
                           zq_dtype_name(in->dtype));
        if (!fits(&in->shape, &first->shape, axis))
            return zq_fail(err, ZQ_ERR_FORMAT,
                           "%s: the shapes %s and %s of its inputs can't be joined along axis %d",
                           zq_node_text(io->node, text), zq_shape_text(&first->shape, first_text),
                           zq_shape_text(&in->shape, shape_text), axis);
        if (in->shape.dims[axis] > INT64_MAX - shape.dims[axis])
            return zq_fail(err, ZQ_ERR_LIMIT, "%s: its output would be too large",
                           zq_node_text(io->node, text));
        shape.dims[axis] += in->shape.dims[axis];
    }
    return zq_infer_output(io, 0, first->dtype, &shape, err);
}

static zq_status forward(const zq_io *io, zq_error *err) {
    (void)err;
    const size_t bytes = zq_dtype_bytes(io->in[0]->dtype);
    const int axis = concat_axis(io);
    char *dst = io->out[0]->data;
    for (int i = 0; i < io->n_in; i++) {
        const zq_shape *part = &io->in[i]->shape;
        zq_box box = zq_move_dense(part);
        zq_move_steps(&io->out[0]->shape, box.dst_steps);
        zq_move_box(&box, bytes, io->in[i]->data, dst);
        dst += (size_t)(part->dims[axis] * box.dst_steps[axis]) * bytes;
    }
    return ZQ_OK;
}

static zq_status backward(const zq_io *io, zq_error *err) {
    (void)err;
    if (io->d_out[0] == NULL) {
        zq_elementwise_zero_gradients(io);
        return ZQ_OK;
    }
    const int axis = concat_axis(io);
    const zq_real *d_y = io->d_out[0]->data;
    for (int i = 0; i < io->n_in; i++) {
        const zq_shape *part = &io->in[i]->shape;
        zq_box box = zq_move_dense(part);
        zq_move_steps(&io->out[0]->shape, box.src_steps);
        if (io->d_in[i] != NULL)
            zq_move_box(&box, sizeof(zq_real), d_y, io->d_in[i]->data);
        d_y += part->dims[axis] * box.src_steps[axis];
    }
    return ZQ_OK;
}

const zq_op zq_op_concat = {
    .name = "Concat",
    .min_in = 1,
    .max_in = -1,
    .min_out = 1,
    .max_out = 1,
    .traits = ZQ_OP_INTEGER,
    .params_bytes = sizeof(params),
    .parse = parse,
    .infer = infer,
    .forward = forward,
    .backward = backward,
};
