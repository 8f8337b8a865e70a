/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/infer.h"

#include "base/memory.h"

#include <inttypes.h>

const zq_tensor *zq_infer_input(const zq_io *io, int i) {
    return i < io->n_in ? io->in[i] : NULL;
}

zq_status zq_infer_output(const zq_io *io, int o, zq_dtype dtype, const zq_shape *shape, zq_error *err) {
    char text[ZQ_NODE_TEXT], shape_text[ZQ_SHAPE_TEXT];
    int64_t count = 1; /* a dimension of 0 counts as 1, so that no partial product overflows later */
    for (int d = 0; d < shape->rank; d++) {
        if (shape->dims[d] < 0)
            return zq_fail(err, ZQ_ERR_FORMAT,
                           "%s: its output would have the shape %s, with a negative dimension",
                           zq_node_text(io->node, text), zq_shape_text(shape, shape_text));
        if (shape->dims[d] > 0 && (!zq_mul_i64(count, shape->dims[d], &count) || count > ZQ_MAX_ELEMENTS))
            return zq_fail(err, ZQ_ERR_LIMIT,
                           "%s: its output would have the shape %s, more than the %" PRId64
                           " elements supported",
                           zq_node_text(io->node, text), zq_shape_text(shape, shape_text), ZQ_MAX_ELEMENTS);
    }
    if (o < io->n_out && io->out[o] != NULL) {
        io->out[o]->dtype = dtype;
        io->out[o]->shape = *shape;
    }
    return ZQ_OK;
}

zq_status zq_infer_same(const zq_io *io, zq_error *err) {
    return zq_infer_output(io, 0, io->in[0]->dtype, &io->in[0]->shape, err);
}

zq_status zq_infer_float(const zq_io *io, zq_error *err) {
    if (io->in[0]->dtype != ZQ_F32)
        return zq_infer_refuse_dtype(io, io->in[0]->dtype, "float", err);
    return zq_infer_same(io, err);
}

zq_status zq_infer_axis(const zq_io *io, int64_t axis, int rank, int *axis_out, zq_error *err) {
    char text[ZQ_NODE_TEXT];
    if (axis < -rank || axis >= rank)
        return zq_fail(err, ZQ_ERR_FORMAT, "%s: axis %" PRId64 " doesn't exist in a tensor of %d dimensions",
                       zq_node_text(io->node, text), axis, rank);
    *axis_out = (int)(axis < 0 ? axis + rank : axis);
    return ZQ_OK;
}

zq_status zq_infer_vector(const zq_io *io, int i, const char *what, const zq_tensor **vector_out,
                          zq_error *err) {
    char text[ZQ_NODE_TEXT], shape_text[ZQ_SHAPE_TEXT];
    const zq_tensor *in = zq_infer_input(io, i);
    if (in == NULL)
        return zq_fail(err, ZQ_ERR_FORMAT, "%s: its input %d (%s) is missing", zq_node_text(io->node, text),
                       i, what);
    if (in->dtype != ZQ_I64 && in->dtype != ZQ_I32)
        return zq_fail(err, ZQ_ERR_FORMAT, "%s: its input %d (%s) is %s, expected int64",
                       zq_node_text(io->node, text), i, what, zq_dtype_name(in->dtype));
    if (in->shape.rank > 1)
        return zq_fail(err, ZQ_ERR_FORMAT, "%s: its input %d (%s) has the shape %s, expected one dimension",
                       zq_node_text(io->node, text), i, what, zq_shape_text(&in->shape, shape_text));
    if (in->data == NULL)
        return zq_fail(
            err, ZQ_ERR_UNSUPPORTED,
            "%s: its input %d (%s) is computed at run time from the data; only shapes that follow from the "
            "input size are supported",
            zq_node_text(io->node, text), i, what);
    *vector_out = in;
    return ZQ_OK;
}

zq_status zq_infer_ints(const zq_io *io, int i, const char *what, int max, int64_t *values, int *n_out,
                        zq_error *err) {
    char text[ZQ_NODE_TEXT];
    const zq_tensor *vector;
    *n_out = 0;
    ZQ_TRY(zq_infer_vector(io, i, what, &vector, err));
    const int64_t n = zq_shape_count(&vector->shape);
    if (n > max)
        return zq_fail(err, ZQ_ERR_FORMAT,
                       "%s: its input %d (%s) has %" PRId64 " values, expected at most %d",
                       zq_node_text(io->node, text), i, what, n, max);
    for (int64_t k = 0; k < n; k++)
        values[k] = zq_tensor_item_i64(vector, k);
    *n_out = (int)n;
    return ZQ_OK;
}

zq_status zq_infer_refuse_dtype(const zq_io *io, zq_dtype found, const char *expected, zq_error *err) {
    char text[ZQ_NODE_TEXT];
    return zq_fail(err, ZQ_ERR_UNSUPPORTED, "%s: takes %s, but was given %s", zq_node_text(io->node, text),
                   expected, zq_dtype_name(found));
}
