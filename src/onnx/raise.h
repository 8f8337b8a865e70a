/* SPDX-License-Identifier: Apache-2.0 */
/* The canonical form raised to the opset of the file written: the one place that knows how opsets differ when
 * a file is written. */
#ifndef ZQ_ONNX_RAISE_H
#define ZQ_ONNX_RAISE_H

#include "graph/graph.h"

/* The lowest opset from 13 on that can say everything in the graph: 25 for 2-bit constants, 21 for 4-bit
 * ones, 14 to 19 for what a few operators learnt there. */
int zq_raise_opset(const zq_graph *graph);

/* The IR version that a file of that opset needs. */
int zq_raise_ir_version(int opset);

/* What a node of the canonical form needs in that opset. */
typedef struct zq_raised {
    const zq_attr *attr_as_input; /* an integer list that is written as the next input; NULL: none */
    int n_outputs_attr;           /* value of a num_outputs attribute to be added; 0: none */
} zq_raised;
zq_raised zq_raise_node(const zq_node *node, int opset);

#endif
