/* SPDX-License-Identifier: Apache-2.0 */
/* What the nodes read so far say about ranks, before there are shapes: a few old forms of operators can't be
 * brought to the canonical one without it. */
#ifndef ZQ_ONNX_RANK_H
#define ZQ_ONNX_RANK_H

#include "graph/graph.h"

/* Sets the shape of each output of the node to the known rank with dims -1; rank 0: unknown. */
void zq_rank_note(zq_graph *graph, int node);

#endif
