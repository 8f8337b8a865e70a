/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"
#include "engine/build.h"
#include "graph/op.h"
#include "passes/passes.h"

static zq_status check_graph(const zq_graph *graph, zq_error *err) {
    if (graph->n_inputs < 1 || graph->n_outputs < 1)
        return zq_fail(err, ZQ_ERR_UNSUPPORTED, "the graph has %d inputs and %d outputs: nothing to run",
                       graph->n_inputs, graph->n_outputs);
    for (int i = 0; i < graph->n_inputs; i++) {
        const zq_value *input = &graph->values[graph->inputs[i]];
        if (input->dtype != ZQ_F32)
            return zq_fail(
                err, ZQ_ERR_UNSUPPORTED,
                "input '%s' holds %s; only float inputs can be run: move the conversion out of the "
                "network",
                input->name, zq_dtype_name(input->dtype));
    }
    for (int i = 0; i < graph->n_nodes; i++) {
        const zq_node *node = &graph->nodes[i];
        char text[ZQ_NODE_TEXT];
        if (node->op == NULL || node->op->forward == NULL)
            return zq_fail(err, ZQ_ERR_UNSUPPORTED,
                           "%s can't be run: its operator has no implementation here",
                           node->op == NULL ? "a removed node" : zq_node_text(node, text));
    }
    return ZQ_OK;
}

static bool is_held_as_float(zq_dtype dtype) {
    return dtype == ZQ_F32 || dtype == ZQ_U8 || dtype == ZQ_I8;
}

static zq_status set_slot(zq_plan *plan, int value, const zq_shape *shape, zq_error *err) {
    const zq_value *from = &plan->graph->values[value];
    zq_slot *slot = &plan->slots[value];
    slot->dtype = from->dtype;
    slot->shape = *shape;
    slot->constant = from->constant;
    slot->writer = slot->reader_lo = slot->reader_hi = -1;
    slot->root = slot->gradient_root = value;
    const int64_t count = zq_shape_count(shape);
    char text[ZQ_SHAPE_TEXT];
    if (count < 0 || (uint64_t)count > PTRDIFF_MAX / sizeof(double))
        return zq_fail(err, ZQ_ERR_LIMIT, "value '%s' of shape %s is too large to be held in memory",
                       from->name, zq_shape_text(shape, text));
    slot->n = (size_t)count;
    slot->images = shape->rank >= 2 ? shape->dims[0] : 1;
    slot->channels = shape->rank >= 2 ? shape->dims[1] : count;
    slot->positions = 1;
    for (int i = 2; i < shape->rank; i++)
        slot->positions *= shape->dims[i];
    slot->last = !plan->options.reference && slot->constant == NULL && is_held_as_float(slot->dtype) &&
                 shape->rank >= 3 && shape->rank <= 5 && slot->channels > 1 && slot->positions > 1;
    return ZQ_OK;
}

zq_status zq_build_slots(zq_plan *plan, zq_error *err) {
    zq_graph *graph = plan->graph;
    ZQ_TRY(check_graph(graph, err));
    zq_shape *shapes = zq_alloc((size_t)graph->n_values, sizeof *shapes);
    plan->slots = zq_alloc((size_t)graph->n_values, sizeof *plan->slots);
    zq_status status = ZQ_OK;
    if (shapes == NULL || plan->slots == NULL) {
        status = zq_fail_memory(err);
        goto done;
    }
    const zq_plan_options *options = &plan->options;
    status = zq_infer_batch(graph, options->n_images, shapes, err);
    for (int value = 0; value < graph->n_values && status == ZQ_OK; value++)
        status = set_slot(plan, value, &shapes[value], err);
    if (status != ZQ_OK)
        goto done;
    for (int i = 0; i < graph->n_nodes; i++)
        for (int k = 0; k < graph->nodes[i].n_inputs; k++)
            if (graph->nodes[i].inputs[k] >= 0)
                plan->slots[graph->nodes[i].inputs[k]].n_uses++;
    for (int i = 0; i < graph->n_outputs; i++) {
        plan->slots[graph->outputs[i]].n_uses++;
        plan->slots[graph->outputs[i]].wanted = true;
    }
done:
    zq_free(shapes);
    return status;
}
