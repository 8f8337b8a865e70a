/* SPDX-License-Identifier: Apache-2.0 */
/* Constant: one of its attributes as a tensor. Nothing is kept in params: a copy of the node has copies of
 * them. */
#include "ops/infer.h"

#include <string.h>

/* The attribute's data seen as a tensor of type dtype; float data is not yet zq_real. */
typedef struct view {
    zq_dtype dtype;
    zq_shape shape;
    const void *data;
    const float *floats; /* instead of data */
} view;

static zq_status view_value(const zq_io *io, view *out, zq_error *err) {
    char text[ZQ_NODE_TEXT];
    static const struct {
        const char *name;
        zq_attr_kind kind;
    } choices[] = {{"value", ZQ_ATTR_TENSOR},
                   {"value_float", ZQ_ATTR_FLOAT},
                   {"value_floats", ZQ_ATTR_FLOATS},
                   {"value_int", ZQ_ATTR_INT},
                   {"value_ints", ZQ_ATTR_INTS}};
    const zq_attr *attr = NULL;
    for (size_t k = 0; attr == NULL && k < sizeof choices / sizeof choices[0]; k++) {
        attr = zq_node_attr(io->node, choices[k].name);
        if (attr != NULL && attr->kind != choices[k].kind)
            attr = NULL;
    }
    if (attr == NULL)
        return zq_fail(err, ZQ_ERR_UNSUPPORTED,
                       "%s: holds no value that is supported (value, value_float(s) or value_int(s))",
                       zq_node_text(io->node, text));
    const int64_t n = (int64_t)attr->n;
    const zq_shape vector = zq_shape_of(1, &n), scalar = zq_shape_of(0, NULL);
    switch (attr->kind) {
    case ZQ_ATTR_TENSOR:
        *out = (view){attr->tensor->dtype, attr->tensor->shape, attr->tensor->data, NULL};
        break;
    case ZQ_ATTR_FLOAT:
        *out = (view){ZQ_F32, scalar, NULL, &attr->f};
        break;
    case ZQ_ATTR_FLOATS:
        *out = (view){ZQ_F32, vector, NULL, attr->floats};
        break;
    case ZQ_ATTR_INT:
        *out = (view){ZQ_I64, scalar, &attr->i, NULL};
        break;
    default:
        *out = (view){ZQ_I64, vector, attr->ints, NULL};
        break;
    }
    return ZQ_OK;
}

static zq_status infer(const zq_io *io, zq_error *err) {
    view v;
    ZQ_TRY(view_value(io, &v, err));
    return zq_infer_output(io, 0, v.dtype, &v.shape, err);
}

static zq_status forward(const zq_io *io, zq_error *err) {
    view v;
    ZQ_TRY(view_value(io, &v, err));
    const int64_t n = zq_shape_count(&v.shape);
    if (v.floats == NULL && n > 0)
        memcpy(io->out[0]->data, v.data, (size_t)n * zq_dtype_bytes(v.dtype));
    for (int64_t i = 0; v.floats != NULL && i < n; i++)
        ((zq_real *)io->out[0]->data)[i] = (zq_real)v.floats[i];
    return ZQ_OK;
}

const zq_op zq_op_constant = {
    .name = "Constant",
    .min_in = 0,
    .max_in = 0,
    .min_out = 1,
    .max_out = 1,
    .infer = infer,
    .forward = forward,
};
