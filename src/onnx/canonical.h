/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes of opsets 7 to 25 brought to the canonical form of graph.h: the one place that knows how opsets
 * differ when a file is read. */
#ifndef ZQ_ONNX_CANONICAL_H
#define ZQ_ONNX_CANONICAL_H

#include "graph/graph.h"

/* The operator that stands for op_type, or NULL when zeroq has none. */
const zq_op *zq_canonical_op(const char *op_type);

/* Changes the node just added (the last one) from the form of that opset to the canonical one; may append
 * nodes. Notes in each output's shape what is known of its rank: dims -1; rank 0: unknown. */
zq_status zq_canonical_node(zq_graph *graph, const char *op_type, int opset, zq_error *err);

#endif
