/* SPDX-License-Identifier: Apache-2.0 */
/* A look at protobuf's wire format before protobuf-c unpacks it: protobuf-c recurses without a limit, and a
 * few bytes of an empty message become hundreds of bytes of memory. */
#ifndef ZQ_ONNX_SCAN_H
#define ZQ_ONNX_SCAN_H

#include "base/error.h"

#include <protobuf-c/protobuf-c.h>

/* Checks that bytes are a well-formed message of that type: nested at most ZQ_SCAN_DEPTH deep, and not
 * needing memory out of proportion to its size. */
enum { ZQ_SCAN_DEPTH = 32 };
zq_status zq_scan_message(const ProtobufCMessageDescriptor *type, const unsigned char *bytes, size_t n_bytes,
                          zq_error *err);

#endif
