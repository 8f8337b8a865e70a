/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"
#include "engine/build.h"
#include "graph/op.h"

static bool reads_constants_only(const zq_plan *plan, const zq_node *node) {
    for (int i = 0; i < node->n_inputs; i++)
        if (node->inputs[i] >= 0 && !zq_plan_is_constant(plan, node->inputs[i]))
            return false;
    return true;
}

static zq_status compute(zq_plan *plan, const zq_node *node, zq_error *err) {
    const zq_tensor **in = zq_alloc((size_t)node->n_inputs, sizeof *in);
    zq_tensor **out = zq_alloc((size_t)node->n_outputs, sizeof *out);
    zq_status status = ZQ_OK;
    if (in == NULL || out == NULL) {
        status = zq_fail_memory(err);
        goto done;
    }
    for (int i = 0; i < node->n_inputs; i++)
        in[i] = node->inputs[i] >= 0 ? plan->slots[node->inputs[i]].constant : NULL;
    for (int i = 0; i < node->n_outputs; i++) {
        const int value = node->outputs[i];
        if (value < 0)
            continue;
        zq_slot *slot = &plan->slots[value];
        out[i] = zq_tensor_new(slot->dtype, &slot->shape);
        if (out[i] == NULL) {
            status = zq_fail_memory(err);
            goto done;
        }
        slot->constant = out[i];
        slot->owns_constant = true;
        slot->last = false;
        plan->bytes += slot->n * zq_dtype_bytes(slot->dtype);
    }
    const zq_io io = {.node = node, .n_in = node->n_inputs, .n_out = node->n_outputs, .in = in, .out = out};
    status = node->op->forward(&io, err);
done:
    zq_free(in);
    zq_free(out);
    return status;
}

zq_status zq_build_constants(zq_plan *plan, zq_error *err) {
    for (int i = 0; i < plan->graph->n_nodes; i++) {
        const zq_node *node = &plan->graph->nodes[i];
        if (reads_constants_only(plan, node))
            ZQ_TRY(compute(plan, node, err));
    }
    return ZQ_OK;
}
