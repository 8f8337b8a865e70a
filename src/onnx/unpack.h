/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes to protobuf-c's structures, through zq_alloc_raw: a failing allocation can be tested, and told from a
 * damaged file. */
#ifndef ZQ_ONNX_UNPACK_H
#define ZQ_ONNX_UNPACK_H

#include "base/error.h"
#include "onnx/onnx.pb-c.h"

/* The bytes have passed zq_scan_message, or were packed by us. Owned by the caller: zq_unpack_drop. */
zq_status zq_unpack_model(const void *bytes, size_t n_bytes, Onnx__ModelProto **model_out, zq_error *err);
void zq_unpack_drop(Onnx__ModelProto *model); /* NULL is allowed */

#endif
