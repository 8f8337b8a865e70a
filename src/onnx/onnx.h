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

/* What follows the graph in a file and is copied as it is: nodes that zeroq can't read and all that depend on
 * them, down to the outputs, are its tail. */

/* The same for a file whose last nodes can't be read, provided that no layers worth quantizing are among
 * them: what they take from the rest are then outputs of the graph, and *tail_out is owned by the caller
 * (NULL: all was read). graph->tail borrows it, and zq_onnx_write puts both together again. */
zq_status zq_onnx_read_part(const char *path, zq_graph **graph_out, zq_tail **tail_out, zq_error *err);
void zq_tail_drop(zq_tail *tail); /* NULL is allowed */

/* For NULL: 0 and "". */
int zq_tail_nodes(const zq_tail *tail);
const char *zq_tail_reason(const zq_tail *tail); /* a sentence about the first node, without full stop */

/* Whether the tail can stand in a file of that opset: refuses it where an operator means something else
 * there. */
zq_status zq_tail_check(const zq_tail *tail, int opset, zq_error *err);

/* The same as zq_onnx_read from memory. folder: where external data files lie; NULL: external data is
 * refused. name: for messages. */
zq_status zq_onnx_read_bytes(const void *bytes, size_t n_bytes, const char *folder, const char *name,
                             zq_graph **graph_out, zq_tail **tail_out, zq_error *err);

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
