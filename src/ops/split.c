/* SPDX-License-Identifier: Apache-2.0 */
/* Split along an axis into parts of the sizes in input 1, or into equal parts; with num_outputs (opset 18)
 * the last one may be smaller. */
#include "ops/elementwise.h"
#include "ops/infer.h"
#include "ops/move.h"

#include <inttypes.h>

typedef struct params {
    int64_t axis, num_outputs; /* num_outputs 0: absent */
} params;

static zq_status parse(const zq_node *node, void *params_out, zq_error *err) {
    params *p = params_out;
    ZQ_TRY(zq_node_int(node, "num_outputs", 0, &p->num_outputs, err));
    return zq_node_int(node, "axis", 0, &p->axis, err);
}

/* Size of part k, from the constant that infer has checked. */
static int64_t part_size(const zq_io *io, int axis, int k) {
    const zq_tensor *sizes = zq_infer_input(io, 1);
    if (sizes != NULL)
        return zq_tensor_item_i64(sizes, k);
    const int64_t whole = io->in[0]->shape.dims[axis], part = whole / io->n_out + (whole % io->n_out != 0);
    return k < io->n_out - 1 ? part : whole - part * (io->n_out - 1);
}

static zq_status check_sizes(const zq_io *io, int axis, zq_error *err) {
    char text[ZQ_NODE_TEXT];
    const zq_tensor *sizes;
    int64_t rest = io->in[0]->shape.dims[axis];
    ZQ_TRY(zq_infer_vector(io, 1, "split", &sizes, err));
    if (zq_shape_count(&sizes->shape) != io->n_out)
        return zq_fail(err, ZQ_ERR_FORMAT, "%s: has %d outputs, but its input 1 gives %" PRId64 " sizes",
                       zq_node_text(io->node, text), io->n_out, zq_shape_count(&sizes->shape));
    for (int k = 0; k < io->n_out && rest >= 0; k++) {
        const int64_t part = part_size(io, axis, k);
        rest = part >= 0 && part <= rest ? rest - part : -1;
    }
    if (rest != 0)
        return zq_fail(err, ZQ_ERR_FORMAT, "%s: its sizes don't add up to dimension %d, which is %" PRId64,
                       zq_node_text(io->node, text), axis, io->in[0]->shape.dims[axis]);
    return ZQ_OK;
}

static zq_status check_equal(const zq_io *io, int axis, zq_error *err) {
    char text[ZQ_NODE_TEXT];
    const params *p = io->node->params;
    const int64_t size = io->in[0]->shape.dims[axis];
    if (p->num_outputs == 0 ? size % io->n_out != 0 : part_size(io, axis, io->n_out - 1) < 0)
        return zq_fail(err, ZQ_ERR_FORMAT,
                       "%s: dimension %d of size %" PRId64 " can't be cut into %d equal parts",
                       zq_node_text(io->node, text), axis, size, io->n_out);
    return ZQ_OK;
}

static zq_status infer(const zq_io *io, zq_error *err) {
    zq_shape shape = io->in[0]->shape;
    int axis;
    ZQ_TRY(zq_infer_axis(io, ((const params *)io->node->params)->axis, shape.rank, &axis, err));
    ZQ_TRY(zq_infer_input(io, 1) != NULL ? check_sizes(io, axis, err) : check_equal(io, axis, err));
    for (int k = 0; k < io->n_out; k++) {
        shape.dims[axis] = part_size(io, axis, k);
        ZQ_TRY(zq_infer_output(io, k, io->in[0]->dtype, &shape, err));
    }
    return ZQ_OK;
}

/* The box of one part (dst) in the whole (src). */
static zq_box part_box(const zq_io *io, int axis, int k) {
    zq_shape shape = io->in[0]->shape;
    shape.dims[axis] = part_size(io, axis, k);
    zq_box box = zq_move_dense(&shape);
    zq_move_steps(&io->in[0]->shape, box.src_steps);
    return box;
}

static int split_axis(const zq_io *io) {
    const params *p = io->node->params;
    return (int)(p->axis < 0 ? p->axis + io->in[0]->shape.rank : p->axis);
}

static zq_status forward(const zq_io *io, zq_error *err) {
    (void)err;
    const size_t bytes = zq_dtype_bytes(io->in[0]->dtype);
    const int axis = split_axis(io);
    const char *src = io->in[0]->data;
    for (int k = 0; k < io->n_out; k++) {
        const zq_box box = part_box(io, axis, k);
        if (io->out[k] != NULL)
            zq_move_box(&box, bytes, src, io->out[k]->data);
        src += (size_t)(box.dims[axis] * box.src_steps[axis]) * bytes;
    }
    return ZQ_OK;
}

static zq_status backward(const zq_io *io, zq_error *err) {
    (void)err;
    const int axis = split_axis(io);
    if (io->d_in[0] == NULL)
        return ZQ_OK;
    zq_elementwise_zero_gradients(io); /* for parts without a gradient */
    zq_real *d_x = io->d_in[0]->data;
    for (int k = 0; k < io->n_out; k++) {
        const zq_box box = part_box(io, axis, k), back = zq_move_reversed(&box);
        if (io->d_out[k] != NULL)
            zq_move_box(&back, sizeof(zq_real), io->d_out[k]->data, d_x);
        d_x += box.dims[axis] * box.src_steps[axis];
    }
    return ZQ_OK;
}

const zq_op zq_op_split = {
    .name = "Split",
    .min_in = 1,
    .max_in = 2,
    .min_out = 1,
    .max_out = -1,
    .traits = ZQ_OP_SAME_SCALE | ZQ_OP_INTEGER,
    .params_bytes = sizeof(params),
    .parse = parse,
    .infer = infer,
    .forward = forward,
    .backward = backward,
};
