/* SPDX-License-Identifier: Apache-2.0 */
/* Slice: inputs 1 to 4 are starts, ends, axes and steps. Negative steps go backwards. */
#include "ops/elementwise.h"
#include "ops/infer.h"
#include "ops/move.h"

/* What is taken of each dimension: count elements from start on, step apart. */
typedef struct ranges {
    int64_t start[ZQ_MAX_RANK], step[ZQ_MAX_RANK], count[ZQ_MAX_RANK];
} ranges;

static int64_t limit(int64_t x, int64_t low, int64_t high) {
    return x < low ? low : x > high ? high : x;
}

/* Resolves one start, end and step for a dimension, as numpy does: from the end when negative, cut to what
 * exists. */
static void resolve(int64_t size, int64_t start, int64_t end, int64_t step, ranges *r, int axis) {
    const int64_t first = step > 0 ? 0 : -1, last = step > 0 ? size : size - 1;
    step = limit(step, -size - 1, size + 1); /* larger ones take one element, too */
    start = limit(start < 0 ? start + size : start, 0, last);
    end = limit(end < 0 ? end + size : end, first, last);
    const int64_t distance = step > 0 ? end - start : start - end, stride = step > 0 ? step : -step;
    r->start[axis] = start;
    r->step[axis] = step;
    r->count[axis] = distance > 0 ? (distance - 1) / stride + 1 : 0;
}

static zq_status read_ranges(const zq_io *io, ranges *r, zq_error *err) {
    char text[ZQ_NODE_TEXT];
    const zq_shape *src = &io->in[0]->shape;
    int64_t starts[ZQ_MAX_RANK], ends[ZQ_MAX_RANK], axes[ZQ_MAX_RANK], steps[ZQ_MAX_RANK];
    bool seen[ZQ_MAX_RANK] = {false};
    int n, n_ends, n_axes, n_steps, axis;
    ZQ_TRY(zq_infer_ints(io, 1, "starts", ZQ_MAX_RANK, starts, &n, err));
    ZQ_TRY(zq_infer_ints(io, 2, "ends", ZQ_MAX_RANK, ends, &n_ends, err));
    n_axes = n_steps = n;
    for (int k = 0; k < n; k++) {
        axes[k] = k;
        steps[k] = 1;
    }
    if (zq_infer_input(io, 3) != NULL)
        ZQ_TRY(zq_infer_ints(io, 3, "axes", ZQ_MAX_RANK, axes, &n_axes, err));
    if (zq_infer_input(io, 4) != NULL)
        ZQ_TRY(zq_infer_ints(io, 4, "steps", ZQ_MAX_RANK, steps, &n_steps, err));
    if (n_ends != n || n_axes != n || n_steps != n)
        return zq_fail(err, ZQ_ERR_FORMAT,
                       "%s: has %d starts, %d ends, %d axes and %d steps, expected as many of each",
                       zq_node_text(io->node, text), n, n_ends, n_axes, n_steps);
    for (int d = 0; d < src->rank; d++) {
        r->start[d] = 0;
        r->step[d] = 1;
        r->count[d] = src->dims[d];
    }
    for (int k = 0; k < n; k++) {
        ZQ_TRY(zq_infer_axis(io, axes[k], src->rank, &axis, err));
        if (seen[axis] || steps[k] == 0)
            return zq_fail(err, ZQ_ERR_FORMAT,
                           seen[axis] ? "%s: axis %d is named twice" : "%s: the step of axis %d is 0",
                           zq_node_text(io->node, text), axis);
        seen[axis] = true;
        resolve(src->dims[axis], starts[k], ends[k], steps[k], r, axis);
    }
    return ZQ_OK;
}

static zq_status infer(const zq_io *io, zq_error *err) {
    ranges r;
    ZQ_TRY(read_ranges(io, &r, err));
    const zq_shape shape = zq_shape_of(io->in[0]->shape.rank, r.count);
    return zq_infer_output(io, 0, io->in[0]->dtype, &shape, err);
}

/* The box that is taken: strided in src, whose first element *offset_out says, dense in dst. */
static zq_status taken_box(const zq_io *io, zq_box *box_out, int64_t *offset_out, zq_error *err) {
    ranges r;
    ZQ_TRY(read_ranges(io, &r, err));
    zq_box box = zq_move_dense(&io->out[0]->shape);
    zq_move_steps(&io->in[0]->shape, box.src_steps);
    *offset_out = 0;
    for (int d = 0; d < box.rank; d++) {
        *offset_out += r.start[d] * box.src_steps[d];
        box.src_steps[d] *= r.step[d];
    }
    *box_out = box;
    return ZQ_OK;
}

static zq_status forward(const zq_io *io, zq_error *err) {
    zq_box box;
    int64_t offset;
    ZQ_TRY(taken_box(io, &box, &offset, err));
    const size_t bytes = zq_dtype_bytes(io->in[0]->dtype);
    zq_move_box(&box, bytes, (const char *)io->in[0]->data + (size_t)offset * bytes, io->out[0]->data);
    return ZQ_OK;
}

static zq_status backward(const zq_io *io, zq_error *err) {
    zq_box box;
    int64_t offset;
    ZQ_TRY(taken_box(io, &box, &offset, err));
    zq_elementwise_zero_gradients(io);
    if (zq_elementwise_has_gradient(io)) {
        box = zq_move_reversed(&box);
        zq_move_box(&box, sizeof(zq_real), io->d_out[0]->data, (zq_real *)io->d_in[0]->data + offset);
    }
    return ZQ_OK;
}

const zq_op zq_op_slice = {
    .name = "Slice",
    .min_in = 3,
    .max_in = 5,
    .min_out = 1,
    .max_out = 1,
    .traits = ZQ_OP_SAME_SCALE | ZQ_OP_INTEGER,
    .infer = infer,
    .forward = forward,
    .backward = backward,
};
