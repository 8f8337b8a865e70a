/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer target: any bytes as a model file, read, folded, simplified and measured. It must end with a
 * status and a sentence. */
#include "onnx/onnx.h"
#include "passes/passes.h"

#include <stdlib.h>

/* A small file may ask for large values; that isn't a fault, but it would only test the machine. */
static bool is_small(const zq_graph *graph) {
    for (int i = 0; i < graph->n_inputs; i++) {
        const zq_shape *shape = &graph->values[graph->inputs[i]].shape;
        for (int d = 0; d < shape->rank; d++)
            if (shape->dims[d] > 4096)
                return false;
    }
    return true;
}

static void use(zq_graph *graph) {
    zq_error err = {0};
    zq_simplify_counts counts;
    uint64_t bytes;
    if (is_small(graph) && zq_fold_constants(graph, NULL, &err) == ZQ_OK &&
        zq_simplify(graph, &counts, &err) == ZQ_OK)
        zq_onnx_size(graph, 0, NULL, &bytes, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes) {
    zq_graph *graph = NULL;
    zq_tail *tail = NULL;
    zq_error err = {0};
    const zq_status status = zq_onnx_read_bytes(bytes, n_bytes, NULL, "fuzz.onnx", &graph, &tail, &err);
    if (status == ZQ_OK)
        use(graph);
    else if (status == ZQ_ERR_INTERNAL || err.text[0] == '\0')
        abort();
    zq_graph_drop(graph);
    zq_tail_drop(tail);
    return 0;
}
