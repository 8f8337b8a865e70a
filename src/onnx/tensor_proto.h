/* SPDX-License-Identifier: Apache-2.0 */
/* ONNX's tensors and element types to ours and back. */
#ifndef ZQ_ONNX_TENSOR_PROTO_H
#define ZQ_ONNX_TENSOR_PROTO_H

#include "graph/tensor.h"
#include "onnx/external.h"

/* TensorProto.DataType as plain numbers: an older onnx.proto lacks the last ones. */
enum zq_data_type {
    ZQ_DATA_FLOAT = 1,
    ZQ_DATA_UINT8 = 2,
    ZQ_DATA_INT8 = 3,
    ZQ_DATA_UINT16 = 4,
    ZQ_DATA_INT16 = 5,
    ZQ_DATA_INT32 = 6,
    ZQ_DATA_INT64 = 7,
    ZQ_DATA_BOOL = 9,
    ZQ_DATA_FLOAT16 = 10,
    ZQ_DATA_DOUBLE = 11,
    ZQ_DATA_UINT32 = 12,
    ZQ_DATA_UINT64 = 13,
    ZQ_DATA_BFLOAT16 = 16,
    ZQ_DATA_UINT4 = 21,
    ZQ_DATA_INT4 = 22,
    ZQ_DATA_UINT2 = 25,
    ZQ_DATA_INT2 = 26,
};

/* "FLOAT16", or "type 99". Static or in buffer. */
enum { ZQ_DATA_TYPE_TEXT = 32 };
const char *zq_data_type_text(int data_type, char buffer[ZQ_DATA_TYPE_TEXT]);

zq_dtype zq_data_type_exact(int data_type); /* our type of the same values, or ZQ_NONE */
int zq_data_type_of(zq_dtype dtype);        /* 0 for ZQ_NONE */

/* A constant: FLOAT16, BFLOAT16 and DOUBLE become ZQ_F32, 16-bit integers ZQ_I32, UINT32 and UINT64 ZQ_I64;
 * other types stay. 4- and 2-bit values are unpacked to a byte each. *tensor_out is owned by the caller. */
zq_status zq_tensor_proto_read(const Onnx__TensorProto *proto, zq_external *external, zq_tensor **tensor_out,
                               zq_error *err);

/* Bytes of the tensor's raw_data in a file. */
size_t zq_tensor_proto_bytes(const zq_tensor *tensor);

/* Packs 4- or 2-bit values, lowest bits first, into zq_tensor_proto_bytes bytes (zeroed before). */
void zq_tensor_proto_pack(const zq_tensor *tensor, unsigned char *bytes);

#endif
