/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/tensor.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

size_t zq_dtype_bytes(zq_dtype dtype) {
    switch (dtype) {
    case ZQ_F32:
        return sizeof(zq_real);
    case ZQ_I64:
        return 8;
    case ZQ_I32:
        return 4;
    case ZQ_U8:
    case ZQ_I8:
    case ZQ_BOOL:
    case ZQ_I4:
    case ZQ_U4:
    case ZQ_I2:
    case ZQ_U2:
        return 1;
    case ZQ_NONE:
        break;
    }
    return 0;
}

const char *zq_dtype_name(zq_dtype dtype) {
    static const char *const names[] = {"none", "float", "int64", "int32", "uint8", "int8",
                                        "bool", "int4",  "uint4", "int2",  "uint2"};
    return (unsigned)dtype < sizeof names / sizeof names[0] ? names[dtype] : "unknown";
}

zq_shape zq_shape_of(int rank, const int64_t *dims) {
    zq_shape shape = {.rank = rank};
    for (int d = 0; d < rank && d < ZQ_MAX_RANK; d++)
        shape.dims[d] = dims[d];
    return shape;
}

bool zq_shape_equal(const zq_shape *a, const zq_shape *b) {
    return a->rank == b->rank && memcmp(a->dims, b->dims, (size_t)a->rank * sizeof a->dims[0]) == 0;
}

int64_t zq_shape_count(const zq_shape *shape) {
    int64_t count = 1;
    for (int d = 0; d < shape->rank; d++)
        if (shape->dims[d] < 0 || !zq_mul_i64(count, shape->dims[d], &count))
            return -1;
    return count;
}

char *zq_shape_text(const zq_shape *shape, char buffer[ZQ_SHAPE_TEXT]) {
    size_t used = (size_t)snprintf(buffer, ZQ_SHAPE_TEXT, "[");
    for (int d = 0; d < shape->rank && used < ZQ_SHAPE_TEXT; d++)
        used += (size_t)snprintf(buffer + used, ZQ_SHAPE_TEXT - used, "%s%" PRId64, d > 0 ? "," : "",
                                 shape->dims[d]);
    if (used < ZQ_SHAPE_TEXT)
        snprintf(buffer + used, ZQ_SHAPE_TEXT - used, "]");
    return buffer;
}

zq_tensor *zq_tensor_new(zq_dtype dtype, const zq_shape *shape) {
    const int64_t count = zq_shape_count(shape);
    zq_tensor *tensor = count < 0 ? NULL : zq_alloc(1, sizeof *tensor);
    if (tensor == NULL)
        return NULL;
    tensor->dtype = dtype;
    tensor->shape = *shape;
    tensor->data = zq_alloc((size_t)count, zq_dtype_bytes(dtype));
    if (tensor->data == NULL) {
        zq_free(tensor);
        return NULL;
    }
    return tensor;
}

zq_tensor *zq_tensor_copy(const zq_tensor *tensor) {
    zq_tensor *copy = zq_tensor_new(tensor->dtype, &tensor->shape);
    if (copy != NULL)
        memcpy(copy->data, tensor->data,
               (size_t)zq_shape_count(&tensor->shape) * zq_dtype_bytes(tensor->dtype));
    return copy;
}

zq_tensor *zq_tensor_share(zq_tensor *tensor) {
    tensor->n_shared++;
    return tensor;
}

void zq_tensor_drop(zq_tensor *tensor) {
    if (tensor != NULL && tensor->n_shared-- == 0) {
        zq_free(tensor->data);
        zq_free(tensor);
    }
}

static zq_tensor *new_vector(zq_dtype dtype, int64_t n) {
    const zq_shape shape = n < 0 ? zq_shape_of(0, NULL) : zq_shape_of(1, &n);
    return zq_tensor_new(dtype, &shape);
}

bool zq_tensor_equal(const zq_tensor *a, const zq_tensor *b) {
    return a->dtype == b->dtype && zq_shape_equal(&a->shape, &b->shape) &&
           memcmp(a->data, b->data, (size_t)zq_shape_count(&a->shape) * zq_dtype_bytes(a->dtype)) == 0;
}

zq_tensor *zq_tensor_new_i64(int64_t n, const int64_t *values) {
    zq_tensor *tensor = new_vector(ZQ_I64, n);
    for (int64_t i = 0; tensor != NULL && i < (n < 0 ? 1 : n); i++)
        ((int64_t *)tensor->data)[i] = values[i];
    return tensor;
}

zq_tensor *zq_tensor_new_f32(int64_t n, const float *values) {
    zq_tensor *tensor = new_vector(ZQ_F32, n);
    for (int64_t i = 0; tensor != NULL && i < (n < 0 ? 1 : n); i++)
        ((zq_real *)tensor->data)[i] = (zq_real)values[i];
    return tensor;
}

double zq_tensor_item(const zq_tensor *tensor, int64_t i) {
    return tensor->dtype == ZQ_F32 ? (double)((const zq_real *)tensor->data)[i]
                                   : (double)zq_tensor_item_i64(tensor, i);
}

int64_t zq_tensor_item_i64(const zq_tensor *tensor, int64_t i) {
    switch (tensor->dtype) {
    case ZQ_I64:
        return ((const int64_t *)tensor->data)[i];
    case ZQ_I32:
        return ((const int32_t *)tensor->data)[i];
    case ZQ_U8:
    case ZQ_BOOL:
    case ZQ_U4:
    case ZQ_U2:
        return ((const uint8_t *)tensor->data)[i];
    case ZQ_I8:
    case ZQ_I4:
    case ZQ_I2:
        return ((const int8_t *)tensor->data)[i];
    case ZQ_F32:
        return (int64_t)((const zq_real *)tensor->data)[i];
    case ZQ_NONE:
        break;
    }
    return 0;
}
