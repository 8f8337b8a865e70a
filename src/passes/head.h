/* SPDX-License-Identifier: Apache-2.0 */
/* Classifier heads. */
#ifndef ZQ_PASSES_HEAD_H
#define ZQ_PASSES_HEAD_H

#include "graph/graph.h"

/* A classifier written as a 1x1 convolution on pooled features, or pooled behind it, becomes
 * GlobalAveragePool, Flatten, Gemm, which is the same map: the pool and the convolution commute. A Gemm may
 * give float scores, whereas a convolution runs on integers only when its output is quantized, with a range
 * that images without classes tell badly. Needs the shapes of all values; *changed_out tells whether they are
 * to be settled anew. */
zq_status zq_head_rewrite(zq_graph *graph, bool *changed_out, zq_error *err);

#endif
