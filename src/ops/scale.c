/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/scale.h"

#include "ops/infer.h"
#include "ops/move.h"

enum { ROW = 4096 };

zq_status zq_scale_parse(const zq_node *node, void *params, zq_error *err) {
    zq_scale_params *p = params;
    char text[ZQ_NODE_TEXT];
    int64_t block_size;
    ZQ_TRY(zq_node_int(node, "axis", 1, &p->axis, err));
    ZQ_TRY(zq_node_int(node, "output_dtype", 0, &p->output_dtype, err));
    ZQ_TRY(zq_node_int(node, "block_size", 0, &block_size, err));
    if (block_size != 0)
        return zq_fail(err, ZQ_ERR_UNSUPPORTED, "%s: scales for blocks of elements are not supported",
                       zq_node_text(node, text));
    return ZQ_OK;
}

bool zq_scale_range(zq_dtype dtype, int64_t *low_out, int64_t *high_out) {
    static const struct {
        zq_dtype dtype;
        int64_t low, high;
    } ranges[] = {{ZQ_U8, 0, 255}, {ZQ_I8, -128, 127}, {ZQ_I32, INT32_MIN, INT32_MAX},
                  {ZQ_I4, -8, 7},  {ZQ_U4, 0, 15},     {ZQ_I2, -2, 1},
                  {ZQ_U2, 0, 3}};
    for (size_t k = 0; k < sizeof ranges / sizeof ranges[0]; k++)
        if (ranges[k].dtype == dtype) {
            *low_out = ranges[k].low;
            *high_out = ranges[k].high;
            return true;
        }
    return false;
}

static bool is_vector(const zq_shape *shape) {
    return shape->rank == 1 && shape->dims[0] != 1;
}

zq_status zq_scale_check(const zq_io *io, zq_dtype quantized, zq_error *err) {
    char text[ZQ_NODE_TEXT], shape_text[ZQ_SHAPE_TEXT], scale_text[ZQ_SHAPE_TEXT];
    const zq_tensor *scale = io->in[1], *zero_point = zq_infer_input(io, 2);
    int axis = 0;
    if (scale->dtype != ZQ_F32)
        return zq_infer_refuse_dtype(io, scale->dtype, "a float scale", err);
    if (is_vector(&scale->shape))
        ZQ_TRY(zq_infer_axis(io, ((const zq_scale_params *)io->node->params)->axis, io->in[0]->shape.rank,
                             &axis, err));
    if (is_vector(&scale->shape) ? scale->shape.dims[0] != io->in[0]->shape.dims[axis]
                                 : zq_shape_count(&scale->shape) != 1)
        return zq_fail(err, ZQ_ERR_FORMAT, "%s: scales of shape %s don't go with axis %d of data of shape %s",
                       zq_node_text(io->node, text), zq_shape_text(&scale->shape, scale_text), axis,
                       zq_shape_text(&io->in[0]->shape, shape_text));
    if (zero_point == NULL)
        return ZQ_OK;
    if (zero_point->dtype != quantized)
        return zq_fail(err, ZQ_ERR_FORMAT, "%s: its zero point is %s, but its data is %s",
                       zq_node_text(io->node, text), zq_dtype_name(zero_point->dtype),
                       zq_dtype_name(quantized));
    if (zq_shape_count(&zero_point->shape) != zq_shape_count(&scale->shape))
        return zq_fail(err, ZQ_ERR_FORMAT, "%s: its zero point has the shape %s, but its scale %s",
                       zq_node_text(io->node, text), zq_shape_text(&zero_point->shape, shape_text),
                       zq_shape_text(&scale->shape, scale_text));
    return ZQ_OK;
}

zq_scale_rows zq_scale_split(const zq_io *io) {
    const zq_shape *shape = &io->in[0]->shape;
    const int64_t total = zq_shape_count(shape);
    zq_scale_rows rows = {.n_rows = (total + ROW - 1) / ROW, .n = ROW, .n_scales = 1, .total = total};
    if (is_vector(&io->in[1]->shape) && total > 0) {
        const int64_t given = ((const zq_scale_params *)io->node->params)->axis;
        const int axis = (int)(given < 0 ? given + shape->rank : given);
        rows.n = zq_move_count(shape, axis + 1, shape->rank);
        rows.n_rows = total / rows.n;
        rows.n_scales = shape->dims[axis];
    }
    return rows;
}

int64_t zq_scale_row_size(const zq_scale_rows *rows, int64_t r) {
    const int64_t rest = rows->total - r * rows->n;
    return rest < rows->n ? rest : rows->n;
}

zq_real zq_scale_of(const zq_io *io, const zq_scale_rows *rows, int64_t r, int64_t *zero_point_out) {
    const zq_tensor *zero_point = zq_infer_input(io, 2);
    const int64_t k = r % rows->n_scales;
    *zero_point_out = zero_point != NULL ? zq_tensor_item_i64(zero_point, k) : 0;
    return ((const zq_real *)io->in[1]->data)[k];
}
