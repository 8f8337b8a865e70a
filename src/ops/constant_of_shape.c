/* SPDX-License-Identifier: Apache-2.0 */
/* ConstantOfShape: a tensor of the shape in input 0, filled with the one element of attribute value (default
 * 0.0). */
#include "ops/infer.h"

#include <string.h>

static zq_status find_value(const zq_node *node, const zq_tensor **out, zq_error *err) {
    char text[ZQ_NODE_TEXT];
    const zq_attr *attr = zq_node_attr(node, "value");
    *out = NULL;
    if (attr == NULL)
        return ZQ_OK;
    if (attr->kind != ZQ_ATTR_TENSOR || zq_shape_count(&attr->tensor->shape) != 1)
        return zq_fail(err, ZQ_ERR_FORMAT, "%s: its value is not a tensor of one element",
                       zq_node_text(node, text));
    *out = attr->tensor;
    return ZQ_OK;
}

static zq_status infer(const zq_io *io, zq_error *err) {
    const zq_tensor *value;
    zq_shape shape = {0};
    ZQ_TRY(find_value(io->node, &value, err));
    ZQ_TRY(zq_infer_ints(io, 0, "shape", ZQ_MAX_RANK, shape.dims, &shape.rank, err));
    return zq_infer_output(io, 0, value != NULL ? value->dtype : ZQ_F32, &shape, err);
}

static zq_status forward(const zq_io *io, zq_error *err) {
    const zq_tensor *value;
    ZQ_TRY(find_value(io->node, &value, err));
    const zq_tensor *dst = io->out[0];
    const size_t bytes = zq_dtype_bytes(dst->dtype), n = (size_t)zq_shape_count(&dst->shape);
    if (value == NULL)
        memset(dst->data, 0, n * bytes);
    for (size_t i = 0; value != NULL && i < n; i++)
        memcpy((char *)dst->data + i * bytes, value->data, bytes);
    return ZQ_OK;
}

const zq_op zq_op_constant_of_shape = {
    .name = "ConstantOfShape",
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .infer = infer,
    .forward = forward,
};
