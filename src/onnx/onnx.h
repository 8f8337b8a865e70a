/* SPDX-License-Identifier: Apache-2.0 */
/* ONNX files to graphs and back. Reading brings opsets 7 to 28 to the canonical
 * form of graph.h; writing raises it to the opset that the content needs: 13, 21 with a 4-bit constant, 25
 * with a 2-bit one. */
#ifndef ZQ_ONNX_ONNX_H
#define ZQ_ONNX_ONNX_H

#include "graph/graph.h"

/* Reads a model file. Everything in it is hostile until checked. On success *graph_out is owned by the
 * caller; the graph is sorted, all nodes are parsed, nothing is folded yet. */
zq_status zq_onnx_read(const char *path, zq_graph **graph_out, zq_error *err);

/* The same from memory. folder: where external data files lie; NULL: external data is refused. name: for
 * messages. */
zq_status zq_onnx_read_bytes(const void *bytes, size_t n_bytes, const char *folder, const char *name,
                             zq_graph **graph_out, zq_error *err);

typedef struct zq_onnx_property {
    const char *key, *value;
} zq_onnx_property;

/* Writes the graph; properties become metadata_props. Whole or not at all (temporary name in the same folder,
 * fsync, rename). *bytes_out (NULL is allowed): size of the file. */
zq_status zq_onnx_write(const zq_graph *graph, const char *path, int n_properties,
                        const zq_onnx_property *properties, uint64_t *bytes_out, zq_error *err);

/* Size in bytes of the file that zq_onnx_write would make. */
zq_status zq_onnx_size(const zq_graph *graph, int n_properties, const zq_onnx_property *properties,
                       uint64_t *bytes_out, zq_error *err);

#endif
