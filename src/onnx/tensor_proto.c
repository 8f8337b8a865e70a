/* SPDX-License-Identifier: Apache-2.0 */
#include "onnx/tensor_proto.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "ONNX's raw_data is little endian; reading it on a big-endian machine isn't written yet"
#endif
_Static_assert(sizeof(zq_real) == sizeof(float), "onnx/ is built for float only");

typedef struct data_type {
    const char *name;
    zq_dtype dtype; /* in memory; ZQ_NONE: unsupported */
    int bits;       /* in a file */
} data_type;

static const data_type types[] = {
    [1] = {"FLOAT", ZQ_F32, 32},
    [2] = {"UINT8", ZQ_U8, 8},
    [3] = {"INT8", ZQ_I8, 8},
    [4] = {"UINT16", ZQ_I32, 16},
    [5] = {"INT16", ZQ_I32, 16},
    [6] = {"INT32", ZQ_I32, 32},
    [7] = {"INT64", ZQ_I64, 64},
    [8] = {"STRING", ZQ_NONE, 0},
    [9] = {"BOOL", ZQ_BOOL, 8},
    [10] = {"FLOAT16", ZQ_F32, 16},
    [11] = {"DOUBLE", ZQ_F32, 64},
    [12] = {"UINT32", ZQ_I64, 32},
    [13] = {"UINT64", ZQ_I64, 64},
    [14] = {"COMPLEX64", ZQ_NONE, 0},
    [15] = {"COMPLEX128", ZQ_NONE, 0},
    [16] = {"BFLOAT16", ZQ_F32, 16},
    [17] = {"FLOAT8E4M3FN", ZQ_NONE, 0},
    [18] = {"FLOAT8E4M3FNUZ", ZQ_NONE, 0},
    [19] = {"FLOAT8E5M2", ZQ_NONE, 0},
    [20] = {"FLOAT8E5M2FNUZ", ZQ_NONE, 0},
    [21] = {"UINT4", ZQ_U4, 4},
    [22] = {"INT4", ZQ_I4, 4},
    [23] = {"FLOAT4E2M1", ZQ_NONE, 0},
    [24] = {"FLOAT8E8M0", ZQ_NONE, 0},
    [25] = {"UINT2", ZQ_U2, 2},
    [26] = {"INT2", ZQ_I2, 2},
};
enum { N_TYPES = sizeof types / sizeof types[0] };

static const data_type *find_type(int number) {
    return number > 0 && number < N_TYPES && types[number].name != NULL ? &types[number] : NULL;
}

const char *zq_data_type_text(int number, char buffer[ZQ_DATA_TYPE_TEXT]) {
    const data_type *type = find_type(number);
    if (type != NULL)
        return type->name;
    snprintf(buffer, ZQ_DATA_TYPE_TEXT, "type %d", number);
    return buffer;
}

int zq_data_type_of(zq_dtype dtype) {
    static const int numbers[] = {
        [ZQ_F32] = ZQ_DATA_FLOAT, [ZQ_I64] = ZQ_DATA_INT64, [ZQ_I32] = ZQ_DATA_INT32, [ZQ_U8] = ZQ_DATA_UINT8,
        [ZQ_I8] = ZQ_DATA_INT8,   [ZQ_BOOL] = ZQ_DATA_BOOL, [ZQ_I4] = ZQ_DATA_INT4,   [ZQ_U4] = ZQ_DATA_UINT4,
        [ZQ_I2] = ZQ_DATA_INT2,   [ZQ_U2] = ZQ_DATA_UINT2,
    };
    return numbers[dtype];
}

zq_dtype zq_data_type_exact(int number) {
    const data_type *type = find_type(number);
    return type != NULL && zq_data_type_of(type->dtype) == number ? type->dtype : ZQ_NONE;
}

/* ---- reading */

static zq_status fail_count(const Onnx__TensorProto *proto, const zq_shape *shape, const char *unit,
                            size_t found, size_t expected, zq_error *err) {
    char text[ZQ_SHAPE_TEXT], type[ZQ_DATA_TYPE_TEXT];
    return zq_fail(err, ZQ_ERR_FORMAT, "tensor '%.200s', %s %s, holds %zu %s, expected %zu",
                   proto->name != NULL ? proto->name : "", zq_data_type_text(proto->data_type, type),
                   zq_shape_text(shape, text), found, unit, expected);
}

static zq_status read_shape(const Onnx__TensorProto *proto, zq_shape *shape, zq_error *err) {
    const char *name = proto->name != NULL ? proto->name : "";
    char text[ZQ_SHAPE_TEXT];
    if (proto->n_dims > ZQ_MAX_RANK)
        return zq_fail(err, ZQ_ERR_UNSUPPORTED, "tensor '%.200s' has %zu dimensions, zeroq takes at most %d",
                       name, proto->n_dims, ZQ_MAX_RANK);
    *shape = zq_shape_of((int)proto->n_dims, proto->dims);
    if (zq_shape_count(shape) < 0)
        return zq_fail(err, ZQ_ERR_FORMAT, "tensor '%.200s' has the impossible shape %s", name,
                       zq_shape_text(shape, text));
    return ZQ_OK;
}

/* Bytes of count elements in a file; false on overflow. */
static bool packed_bytes(int64_t count, int bits, size_t *out) {
    int64_t n_bits;
    if (!zq_mul_i64(count, bits, &n_bits) || n_bits > INT64_MAX - 7)
        return false;
    *out = (size_t)((n_bits + 7) / 8);
    return true;
}

/* The typed fields hold elements (or bytes of packed ones) of n_bytes / width each in wider integers. Their
 * low bytes are what raw_data would hold. */
static zq_status gather_typed(const Onnx__TensorProto *proto, const zq_shape *shape, int bits, size_t n_bytes,
                              unsigned char *bytes, zq_error *err) {
    const size_t width = bits < 8 ? 1 : (size_t)bits / 8;
    const void *field = proto->int32_data;
    size_t found = proto->n_int32_data, stride = sizeof(int32_t);
    switch (proto->data_type) {
    case ZQ_DATA_FLOAT:
        field = proto->float_data, found = proto->n_float_data, stride = sizeof(float);
        break;
    case ZQ_DATA_DOUBLE:
        field = proto->double_data, found = proto->n_double_data, stride = sizeof(double);
        break;
    case ZQ_DATA_INT64:
        field = proto->int64_data, found = proto->n_int64_data, stride = sizeof(int64_t);
        break;
    case ZQ_DATA_UINT32:
    case ZQ_DATA_UINT64:
        field = proto->uint64_data, found = proto->n_uint64_data, stride = sizeof(uint64_t);
        break;
    default:
        break;
    }
    if (found != n_bytes / width)
        return fail_count(proto, shape, "values", found, n_bytes / width, err);
    for (size_t i = 0; i < found; i++)
        memcpy(bytes + i * width, (const unsigned char *)field + i * stride, width);
    return ZQ_OK;
}

/* IEEE 754 binary16; a subnormal becomes a normal float. */
static float float_of_half(uint16_t half) {
    const uint32_t sign = (uint32_t)(half >> 15) << 31, exponent = half >> 10 & 31, fraction = half & 1023;
    if (exponent == 0) {
        const float magnitude = (float)fraction * 0x1p-24f;
        return sign != 0 ? -magnitude : magnitude;
    }
    const uint32_t bits = sign | (exponent == 31 ? 255 : exponent + 112) << 23 | fraction << 13;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float float_of_bfloat(uint16_t upper) {
    const uint32_t bits = (uint32_t)upper << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static int unpack(const unsigned char *bytes, size_t i, int bits, bool is_signed) {
    const unsigned per_byte = 8 / (unsigned)bits, mask = (1u << bits) - 1;
    const int value = (int)(bytes[i / per_byte] >> (i % per_byte * (unsigned)bits) & mask);
    return is_signed && value >> (bits - 1) != 0 ? value - (1 << bits) : value;
}

#define LOAD(type, bytes, i) load_##type(bytes, i)
#define DEFINE_LOAD(type)                                                                                    \
    static type load_##type(const unsigned char *bytes, size_t i) {                                          \
        type value;                                                                                          \
        memcpy(&value, bytes + i * sizeof value, sizeof value);                                              \
        return value;                                                                                        \
    }
DEFINE_LOAD(uint16_t)
DEFINE_LOAD(int16_t)
DEFINE_LOAD(uint32_t)
DEFINE_LOAD(int64_t)
DEFINE_LOAD(double)

/* Elements that change their type on the way; false when one doesn't fit. */
static bool convert(int data_type, const unsigned char *bytes, size_t n, zq_tensor *tensor) {
    float *floats = tensor->data;
    int32_t *ints = tensor->data;
    int64_t *longs = tensor->data;
    unsigned char *small = tensor->data;
    const int bits = types[data_type].bits;
    bool fits = true;
    for (size_t i = 0; i < n; i++)
        switch (data_type) {
        case ZQ_DATA_FLOAT16:
            floats[i] = float_of_half(LOAD(uint16_t, bytes, i));
            break;
        case ZQ_DATA_BFLOAT16:
            floats[i] = float_of_bfloat(LOAD(uint16_t, bytes, i));
            break;
        case ZQ_DATA_DOUBLE:
            floats[i] = (float)LOAD(double, bytes, i);
            break;
        case ZQ_DATA_UINT16:
            ints[i] = LOAD(uint16_t, bytes, i);
            break;
        case ZQ_DATA_INT16:
            ints[i] = LOAD(int16_t, bytes, i);
            break;
        case ZQ_DATA_UINT32:
            longs[i] = LOAD(uint32_t, bytes, i);
            break;
        case ZQ_DATA_UINT64:
            longs[i] = LOAD(int64_t, bytes, i);
            fits = fits && longs[i] >= 0;
            break;
        case ZQ_DATA_BOOL:
            small[i] = bytes[i] != 0;
            break;
        default: /* 4 and 2 bits */
            small[i] =
                (unsigned char)unpack(bytes, i, bits, data_type == ZQ_DATA_INT4 || data_type == ZQ_DATA_INT2);
        }
    return fits;
}

static zq_status decode(const Onnx__TensorProto *proto, const unsigned char *bytes, size_t n_bytes,
                        zq_tensor *tensor, zq_error *err) {
    switch (proto->data_type) {
    case ZQ_DATA_FLOAT:
    case ZQ_DATA_INT64:
    case ZQ_DATA_INT32:
    case ZQ_DATA_UINT8:
    case ZQ_DATA_INT8:
        if (n_bytes > 0)
            memcpy(tensor->data, bytes, n_bytes);
        return ZQ_OK;
    default:
        if (convert(proto->data_type, bytes, (size_t)zq_shape_count(&tensor->shape), tensor))
            return ZQ_OK;
        return zq_fail(err, ZQ_ERR_UNSUPPORTED, "tensor '%.200s' holds a value beyond %" PRId64,
                       proto->name != NULL ? proto->name : "", INT64_MAX);
    }
}

/* *bytes_out: the tensor's n_bytes as raw_data has them; *owned_out is to be freed. */
static zq_status find_bytes(const Onnx__TensorProto *proto, const zq_shape *shape, int bits, size_t n_bytes,
                            zq_external *external, const unsigned char **bytes_out, unsigned char **owned_out,
                            zq_error *err) {
    if (proto->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL) {
        const zq_status status = zq_external_read(external, proto, n_bytes, owned_out, err);
        *bytes_out = *owned_out;
        return status;
    }
    if (proto->has_raw_data && proto->raw_data.len > 0) {
        *bytes_out = proto->raw_data.data;
        return proto->raw_data.len == n_bytes
                   ? ZQ_OK
                   : fail_count(proto, shape, "bytes", proto->raw_data.len, n_bytes, err);
    }
    /* Nothing is allocated for a shape before the file has been seen to hold that much. */
    const size_t n_typed = proto->n_float_data + proto->n_double_data + proto->n_int32_data +
                           proto->n_int64_data + proto->n_uint64_data;
    if (n_bytes / 8 > n_typed)
        return fail_count(proto, shape, "bytes", 0, n_bytes, err);
    *owned_out = zq_alloc(n_bytes, 1);
    *bytes_out = *owned_out;
    if (*owned_out == NULL)
        return zq_fail_memory(err);
    return gather_typed(proto, shape, bits, n_bytes, *owned_out, err);
}

zq_status zq_tensor_proto_read(const Onnx__TensorProto *proto, zq_external *external, zq_tensor **tensor_out,
                               zq_error *err) {
    const data_type *type = find_type(proto->data_type);
    char text[ZQ_DATA_TYPE_TEXT];
    if (type == NULL || type->dtype == ZQ_NONE || proto->segment != NULL)
        return zq_fail(err, ZQ_ERR_UNSUPPORTED, "tensor '%.200s' is %s, which zeroq does not support",
                       proto->name != NULL ? proto->name : "",
                       proto->segment != NULL ? "cut into segments"
                                              : zq_data_type_text(proto->data_type, text));
    zq_shape shape;
    ZQ_TRY(read_shape(proto, &shape, err));
    size_t n_bytes;
    if (!packed_bytes(zq_shape_count(&shape), type->bits, &n_bytes))
        return fail_count(proto, &shape, "bytes", proto->raw_data.len, SIZE_MAX, err);
    const unsigned char *bytes = NULL;
    unsigned char *owned = NULL;
    zq_tensor *tensor = NULL;
    zq_status status = find_bytes(proto, &shape, type->bits, n_bytes, external, &bytes, &owned, err);
    if (status == ZQ_OK && (tensor = zq_tensor_new(type->dtype, &shape)) == NULL)
        status = zq_fail_memory(err);
    if (status == ZQ_OK)
        status = decode(proto, bytes, n_bytes, tensor, err);
    zq_free(owned);
    if (status != ZQ_OK) {
        zq_tensor_drop(tensor);
        return status;
    }
    *tensor_out = tensor;
    return ZQ_OK;
}

/* ---- writing */

size_t zq_tensor_proto_bytes(const zq_tensor *tensor) {
    const size_t count = (size_t)zq_shape_count(&tensor->shape);
    const size_t bits = (size_t)types[zq_data_type_of(tensor->dtype)].bits;
    return bits < 8 ? (count * bits + 7) / 8 : count * (bits / 8);
}

void zq_tensor_proto_pack(const zq_tensor *tensor, unsigned char *bytes) {
    const unsigned bits = (unsigned)types[zq_data_type_of(tensor->dtype)].bits, per_byte = 8 / bits;
    const unsigned char *values = tensor->data;
    const size_t count = (size_t)zq_shape_count(&tensor->shape);
    for (size_t i = 0; i < count; i++)
        bytes[i / per_byte] |= (unsigned char)((values[i] & ((1u << bits) - 1)) << (i % per_byte * bits));
}
