/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/window.h"
#include "graph/op.h"
#include "ops/window.h"

zq_status zq_engine_window(const zq_plan *plan, const zq_node *node, zq_window *out, zq_error *err) {
    const bool weighted = (node->op->traits & ZQ_OP_WEIGHTED) != 0;
    zq_geometry from;
    ZQ_TRY(zq_window_resolve(node, &plan->slots[node->inputs[0]].shape,
                             weighted ? &plan->slots[node->inputs[1]].shape : NULL, &from, err));
    *out = (zq_window){.n_spatial = from.n_spatial,
                       .n_images = from.n_images,
                       .c_in = from.c_in,
                       .c_out = from.c_out,
                       .groups = from.groups};
    for (int i = 0; i < from.n_spatial; i++) {
        out->in[i] = from.in[i];
        out->out[i] = from.out[i];
        out->kernel[i] = from.kernel[i];
        out->stride[i] = from.stride[i];
        out->dilation[i] = from.dilation[i];
        out->pad_lo[i] = from.pad_lo[i];
        out->pad_hi[i] = from.pad_hi[i];
    }
    return ZQ_OK;
}
