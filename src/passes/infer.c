/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"
#include "passes/passes.h"
#include "passes/walk.h"

#include <inttypes.h>

zq_status zq_infer(zq_graph *graph, const zq_shape *input_shapes, zq_shape *shapes, zq_error *err) {
    zq_walk walk;
    zq_status status = zq_walk_start(&walk, graph, input_shapes, err);
    for (int n = 0; n < graph->n_nodes && status == ZQ_OK; n++)
        status = zq_walk_infer(&walk, n, err);
    for (int v = 0; v < graph->n_values && status == ZQ_OK; v++) {
        shapes[v] = walk.values[v].shape;
        if (walk.values[v].dtype != ZQ_NONE)
            graph->values[v].dtype = walk.values[v].dtype;
    }
    zq_walk_clear(&walk);
    return status;
}

static zq_status check_fixed_batch(const zq_graph *graph, int64_t n_images, zq_error *err) {
    const zq_value *input = graph->n_inputs > 0 ? &graph->values[graph->inputs[0]] : NULL;
    if (input == NULL || input->shape.rank == 0 || input->shape.dims[0] == n_images)
        return ZQ_OK;
    char text[ZQ_SHAPE_TEXT];
    return zq_fail(err, ZQ_ERR_UNSUPPORTED,
                   "input '%s' has the fixed shape %s, so it can't take %" PRId64
                   " images at a time; export the model with a free batch dimension",
                   input->name, zq_shape_text(&input->shape, text), n_images);
}

zq_status zq_infer_batch(zq_graph *graph, int64_t n_images, zq_shape *shapes, zq_error *err) {
    if (!graph->free_batch)
        ZQ_TRY(check_fixed_batch(graph, n_images, err));
    zq_shape *input_shapes = zq_alloc((size_t)graph->n_inputs, sizeof *input_shapes);
    if (input_shapes == NULL)
        return zq_fail_memory(err);
    for (int i = 0; i < graph->n_inputs; i++) {
        zq_shape *shape = &input_shapes[i];
        *shape = graph->values[graph->inputs[i]].shape;
        if (graph->free_batch)
            shape->dims[0] = n_images;
    }
    const zq_status status = zq_infer(graph, input_shapes, shapes, err);
    zq_free(input_shapes);
    return status;
}

zq_status zq_walk_settle(zq_graph *graph, zq_error *err) {
    const bool has_batch = graph->n_inputs > 0 && graph->values[graph->inputs[0]].shape.rank > 0;
    const int64_t n_images =
        graph->free_batch || !has_batch ? 1 : graph->values[graph->inputs[0]].shape.dims[0];
    zq_shape *shapes = zq_alloc((size_t)graph->n_values, sizeof *shapes);
    zq_shape *declared = zq_alloc((size_t)graph->n_inputs, sizeof *declared);
    zq_status status = shapes == NULL || declared == NULL ? zq_fail_memory(err)
                                                          : zq_infer_batch(graph, n_images, shapes, err);
    if (status == ZQ_OK) {
        for (int i = 0; i < graph->n_inputs; i++)
            declared[i] = graph->values[graph->inputs[i]].shape;
        for (int v = 0; v < graph->n_values; v++)
            graph->values[v].shape = shapes[v];
        for (int i = 0; i < graph->n_inputs; i++)
            graph->values[graph->inputs[i]].shape = declared[i];
    }
    zq_free(shapes);
    zq_free(declared);
    return status;
}
