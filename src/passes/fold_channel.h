/* SPDX-License-Identifier: Apache-2.0 */
/* Constant arithmetic per channel becomes weights. */
#ifndef ZQ_PASSES_FOLD_CHANNEL_H
#define ZQ_PASSES_FOLD_CHANNEL_H

#include "passes/affine.h"

/* Folds an Add, Sub, Mul or Div of a constant per channel (or scalar) into the Conv, Gemm or 2-D MatMul
 * before it, when it is the only reader; leaves any other node alone. Stats move along. */
zq_status zq_channel_fold(zq_graph *graph, zq_uses *uses, int node, zq_error *err);

#endif
