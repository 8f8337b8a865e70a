/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors: dense, row-major, in logical (ONNX) order. */
#ifndef ZQ_GRAPH_TENSOR_H
#define ZQ_GRAPH_TENSOR_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The element type of ZQ_F32 data in memory. The library is built with float; tests build graph/ and ops/ a
 * second time with -DZQ_REAL=double, so that the definition of each operator can be differentiated
 * numerically in double. */
#ifndef ZQ_REAL
#define ZQ_REAL float
#endif
typedef ZQ_REAL zq_real;

enum { ZQ_MAX_RANK = 8 };

typedef enum zq_dtype {
    ZQ_NONE = 0,
    ZQ_F32, /* zq_real */
    ZQ_I64,
    ZQ_I32,
    ZQ_U8,
    ZQ_I8,
    ZQ_BOOL, /* a byte, 0 or 1 */
    ZQ_I4,   /* in memory one int8_t an element; packed only in files */
    ZQ_U4,   /* in memory one uint8_t an element */
    ZQ_I2,
    ZQ_U2,
} zq_dtype;

typedef struct zq_shape {
    int rank;                  /* 0: scalar */
    int64_t dims[ZQ_MAX_RANK]; /* unused ones are 0 */
} zq_shape;

typedef struct zq_tensor {
    zq_dtype dtype;
    zq_shape shape;
    void *data;   /* zq_shape_count elements; NULL where only the shape is known */
    int n_shared; /* owners beside the first */
} zq_tensor;

size_t zq_dtype_bytes(zq_dtype dtype);     /* of one element in memory */
const char *zq_dtype_name(zq_dtype dtype); /* as ONNX writes it: "float", "int64" ... */

zq_shape zq_shape_of(int rank, const int64_t *dims);
bool zq_shape_equal(const zq_shape *a, const zq_shape *b);

/* Product of the dimensions; -1 on a negative dimension or overflow (so a hostile shape is never a small
 * count). */
int64_t zq_shape_count(const zq_shape *shape);

/* "[1,3,224,224]" into buffer; returns buffer. */
enum { ZQ_SHAPE_TEXT = 192 };
char *zq_shape_text(const zq_shape *shape, char buffer[ZQ_SHAPE_TEXT]);

/* A tensor with its data (zeroed) in one owned object; NULL when out of memory or the count is invalid. */
zq_tensor *zq_tensor_new(zq_dtype dtype, const zq_shape *shape);
zq_tensor *zq_tensor_copy(const zq_tensor *tensor); /* owned */
zq_tensor *zq_tensor_share(zq_tensor *tensor);      /* the same one, with one more owner */
void zq_tensor_drop(zq_tensor *tensor);             /* by one of its owners; NULL is allowed */

/* The same type, shape and bytes (so NaN is equal to itself, and -0 isn't 0). Both have data. */
bool zq_tensor_equal(const zq_tensor *a, const zq_tensor *b);

/* A scalar or 1-D tensor of values, owned. */
zq_tensor *zq_tensor_new_i64(int64_t n, const int64_t *values); /* n < 0: scalar of values[0] */
zq_tensor *zq_tensor_new_f32(int64_t n, const float *values);   /* n < 0: scalar of values[0] */

/* Element i of any dtype. */
double zq_tensor_item(const zq_tensor *tensor, int64_t i);
int64_t zq_tensor_item_i64(const zq_tensor *tensor, int64_t i);

#endif
