/* SPDX-License-Identifier: Apache-2.0 */
/* Pad: input 1 holds the elements to add before each dimension, then behind each (negative: to cut off);
 * input 2 is the value of mode constant. Modes reflect, edge and wrap repeat what is there. */
#include "ops/elementwise.h"
#include "ops/infer.h"
#include "ops/move.h"

#include <inttypes.h>
#include <string.h>

typedef enum mode { CONSTANT, REFLECT, EDGE, WRAP, N_MODES } mode;

typedef struct params {
    mode mode;
} params;

static zq_status parse(const zq_node *node, void *params_out, zq_error *err) {
    static const char *const names[] = {"constant", "reflect", "edge", "wrap"};
    params *p = params_out;
    char text[ZQ_NODE_TEXT];
    const char *name;
    ZQ_TRY(zq_node_string(node, "mode", "constant", &name, err));
    for (int k = 0; k < N_MODES; k++)
        if (strcmp(name, names[k]) == 0) {
            p->mode = (mode)k;
            return ZQ_OK;
        }
    return zq_fail(err, ZQ_ERR_UNSUPPORTED,
                   "%s: mode '%.40s' is not supported, only constant, reflect, edge and wrap",
                   zq_node_text(node, text), name);
}

static zq_status check_value(const zq_io *io, zq_error *err) {
    char text[ZQ_NODE_TEXT];
    const zq_tensor *value = zq_infer_input(io, 2);
    if (value != NULL && (zq_shape_count(&value->shape) != 1 || value->dtype != io->in[0]->dtype))
        return zq_fail(err, ZQ_ERR_FORMAT, "%s: its input 2 (the value) must be one %s",
                       zq_node_text(io->node, text), zq_dtype_name(io->in[0]->dtype));
    return ZQ_OK;
}

/* pads: all beginnings, then all ends. */
static zq_status read_pads(const zq_io *io, int64_t pads[2 * ZQ_MAX_RANK], zq_error *err) {
    char text[ZQ_NODE_TEXT];
    const int rank = io->in[0]->shape.rank;
    int64_t given[2 * ZQ_MAX_RANK], axes[ZQ_MAX_RANK];
    int n, n_axes = rank, axis;
    ZQ_TRY(zq_infer_ints(io, 1, "pads", 2 * ZQ_MAX_RANK, given, &n, err));
    for (int d = 0; d < rank; d++)
        axes[d] = d;
    if (zq_infer_input(io, 3) != NULL)
        ZQ_TRY(zq_infer_ints(io, 3, "axes", ZQ_MAX_RANK, axes, &n_axes, err));
    if (n != 2 * n_axes)
        return zq_fail(err, ZQ_ERR_FORMAT, "%s: has %d pads for %d dimensions, expected %d",
                       zq_node_text(io->node, text), n, n_axes, 2 * n_axes);
    memset(pads, 0, 2 * ZQ_MAX_RANK * sizeof *pads);
    for (int k = 0; k < n_axes; k++) {
        ZQ_TRY(zq_infer_axis(io, axes[k], rank, &axis, err));
        pads[axis] = given[k];
        pads[rank + axis] = given[n_axes + k];
    }
    return ZQ_OK;
}

static int64_t cut_of(int64_t pad) {
    return pad < 0 ? -pad : 0;
}

static zq_status check_pad(const zq_io *io, int axis, int64_t before, int64_t behind, zq_error *err) {
    char text[ZQ_NODE_TEXT];
    const mode mode = ((const params *)io->node->params)->mode;
    const int64_t size = io->in[0]->shape.dims[axis];
    if (before > ZQ_MAX_ELEMENTS || behind > ZQ_MAX_ELEMENTS)
        return zq_fail(err, ZQ_ERR_LIMIT,
                       "%s: pads dimension %d by more than the %" PRId64 " elements supported",
                       zq_node_text(io->node, text), axis, ZQ_MAX_ELEMENTS);
    if (before < -size || behind < -size || before + behind < -size)
        return zq_fail(err, ZQ_ERR_FORMAT,
                       "%s: would cut more off dimension %d than its %" PRId64 " elements",
                       zq_node_text(io->node, text), axis, size);
    const int64_t left = size - cut_of(before) - cut_of(behind), more = before > behind ? before : behind;
    if (more > 0 && (mode == REFLECT ? more >= left : mode != CONSTANT && left == 0))
        return zq_fail(err, ZQ_ERR_FORMAT,
                       "%s: dimension %d has %" PRId64 " elements, too few to pad with them",
                       zq_node_text(io->node, text), axis, left);
    return ZQ_OK;
}

static zq_status infer(const zq_io *io, zq_error *err) {
    int64_t pads[2 * ZQ_MAX_RANK];
    zq_shape shape = io->in[0]->shape;
    ZQ_TRY(check_value(io, err));
    ZQ_TRY(read_pads(io, pads, err));
    for (int d = 0; d < shape.rank; d++) {
        if (shape.dims[d] > ZQ_MAX_ELEMENTS)
            return zq_infer_output(io, 0, io->in[0]->dtype, &shape, err); /* has the sentence for it */
        ZQ_TRY(check_pad(io, d, pads[d], pads[shape.rank + d], err));
        shape.dims[d] += pads[d] + pads[shape.rank + d];
    }
    return zq_infer_output(io, 0, io->in[0]->dtype, &shape, err);
}

/* ---- mode constant: a box in the middle */

/* What of src (without what negative pads cut off) lies where in dst; offsets are in elements. */
static zq_box inner_box(const zq_io *io, const int64_t *pads, int64_t *src_offset, int64_t *dst_offset) {
    const zq_shape *src = &io->in[0]->shape;
    zq_box box = zq_move_dense(src);
    zq_move_steps(&io->out[0]->shape, box.dst_steps);
    *src_offset = *dst_offset = 0;
    for (int d = 0; d < src->rank; d++) {
        const int64_t before = pads[d], behind = pads[src->rank + d];
        *src_offset += cut_of(before) * box.src_steps[d];
        *dst_offset += (before > 0 ? before : 0) * box.dst_steps[d];
        box.dims[d] -= cut_of(before) + cut_of(behind);
    }
    return box;
}

static void fill(zq_tensor *dst, const zq_tensor *value) {
    const size_t bytes = zq_dtype_bytes(dst->dtype), n = (size_t)zq_shape_count(&dst->shape);
    if (value == NULL)
        memset(dst->data, 0, n * bytes);
    else
        for (size_t i = 0; i < n; i++)
            memcpy((char *)dst->data + i * bytes, value->data, bytes);
}

/* ---- modes reflect, edge and wrap: each dimension says where its elements come from */

/* Position in 0..size-1 for a position around it. */
static int64_t source_of(mode mode, int64_t i, int64_t size) {
    if (mode == EDGE)
        return i < 0 ? 0 : i >= size ? size - 1 : i;
    if (mode == WRAP)
        return (i % size + size) % size;
    return i < 0 ? -i : i >= size ? 2 * (size - 1) - i : i;
}

typedef struct repeat {
    const zq_io *io;
    const int64_t *pads;
    int64_t src_steps[ZQ_MAX_RANK];
    mode mode;
} repeat;

/* Where element i of the output (in row-major order) comes from. */
static int64_t source_index(const repeat *r, int64_t i) {
    const zq_shape *src = &r->io->in[0]->shape, *dst = &r->io->out[0]->shape;
    int64_t index = 0;
    for (int d = dst->rank - 1; d >= 0; d--) {
        const int64_t before = r->pads[d], cut = cut_of(before); /* what is cut off isn't reflected */
        const int64_t left = src->dims[d] - cut - cut_of(r->pads[dst->rank + d]);
        const int64_t at = i % dst->dims[d] - (before > 0 ? before : 0);
        index += (cut + source_of(r->mode, at, left)) * r->src_steps[d];
        i /= dst->dims[d];
    }
    return index;
}

static zq_status forward(const zq_io *io, zq_error *err) {
    int64_t pads[2 * ZQ_MAX_RANK], src_offset, dst_offset;
    ZQ_TRY(read_pads(io, pads, err));
    const size_t bytes = zq_dtype_bytes(io->in[0]->dtype);
    const char *src = io->in[0]->data;
    char *dst = io->out[0]->data;
    repeat r = {.io = io, .pads = pads, .mode = ((const params *)io->node->params)->mode};
    if (r.mode == CONSTANT) {
        const zq_box box = inner_box(io, pads, &src_offset, &dst_offset);
        fill(io->out[0], zq_infer_input(io, 2));
        zq_move_box(&box, bytes, src + (size_t)src_offset * bytes, dst + (size_t)dst_offset * bytes);
        return ZQ_OK;
    }
    zq_move_steps(&io->in[0]->shape, r.src_steps);
    const int64_t n = zq_shape_count(&io->out[0]->shape);
#pragma omp parallel for schedule(static) if (n >= ZQ_PARALLEL_MIN)
    for (int64_t i = 0; i < n; i++)
        memcpy(dst + (size_t)i * bytes, src + (size_t)source_index(&r, i) * bytes, bytes);
    return ZQ_OK;
}

static zq_status backward(const zq_io *io, zq_error *err) {
    int64_t pads[2 * ZQ_MAX_RANK], src_offset, dst_offset;
    ZQ_TRY(read_pads(io, pads, err));
    zq_elementwise_zero_gradients(io);
    if (!zq_elementwise_has_gradient(io))
        return ZQ_OK;
    const zq_real *d_y = io->d_out[0]->data;
    zq_real *d_x = io->d_in[0]->data;
    repeat r = {.io = io, .pads = pads, .mode = ((const params *)io->node->params)->mode};
    if (r.mode == CONSTANT) {
        const zq_box box = inner_box(io, pads, &src_offset, &dst_offset), back = zq_move_reversed(&box);
        zq_move_box(&back, sizeof *d_x, d_y + dst_offset, d_x + src_offset);
        return ZQ_OK;
    }
    zq_move_steps(&io->in[0]->shape, r.src_steps);
    const int64_t n = zq_shape_count(&io->out[0]->shape);
    for (int64_t i = 0; i < n; i++) /* by one thread: elements are met several times */
        d_x[source_index(&r, i)] += d_y[i];
    return ZQ_OK;
}

const zq_op zq_op_pad = {
    .name = "Pad",
    .min_in = 2,
    .max_in = 4,
    .min_out = 1,
    .max_out = 1,
    .traits = ZQ_OP_SAME_SCALE | ZQ_OP_INTEGER,
    .params_bytes = sizeof(params),
    .parse = parse,
    .infer = infer,
    .forward = forward,
    .backward = backward,
};
