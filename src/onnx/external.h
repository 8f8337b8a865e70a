/* SPDX-License-Identifier: Apache-2.0 */
/* Weights that lie in files beside the model (TensorProto.external_data). */
#ifndef ZQ_ONNX_EXTERNAL_H
#define ZQ_ONNX_EXTERNAL_H

#include "base/error.h"
#include "onnx/onnx.pb-c.h"

typedef struct zq_external_file {
    char *location;
    uint64_t bytes;
} zq_external_file;

typedef struct zq_external {
    const char *folder; /* where the files lie; NULL: external data is refused */
    size_t n_files, files_capacity;
    zq_external_file *files; /* those read so far */
    uint64_t file_bytes;     /* of all of them */
    uint64_t read_bytes;
    uint64_t hash; /* of all that was read */
} zq_external;

/* The n_bytes of a tensor's data, owned by the caller (zq_free). The file must lie inside the folder. */
zq_status zq_external_read(zq_external *external, const Onnx__TensorProto *proto, size_t n_bytes,
                           unsigned char **bytes_out, zq_error *err);

void zq_external_clear(zq_external *external);

#endif
