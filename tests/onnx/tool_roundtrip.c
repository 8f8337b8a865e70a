/* SPDX-License-Identifier: Apache-2.0 */
/* tool_roundtrip IN OUT [fold]: reads a model and writes it again, folded and simplified in between when
 * asked. On failure the exit status is the zq_status and the sentence goes to stderr. For
 * tests/onnx/roundtrip.py. */
#include "onnx/onnx.h"
#include "passes/passes.h"

#include <stdio.h>

static zq_status roundtrip(const char *from, const char *to, bool fold, zq_graph **graph, zq_error *err) {
    const zq_onnx_property property = {"zeroq.test", "roundtrip"};
    zq_simplify_counts counts;
    uint64_t n_bytes, n_measured;
    ZQ_TRY(zq_onnx_read(from, graph, err));
    if (fold) {
        ZQ_TRY(zq_fold_constants(*graph, NULL, err));
        ZQ_TRY(zq_simplify(*graph, &counts, err));
    }
    ZQ_TRY(zq_onnx_size(*graph, 1, &property, &n_measured, err));
    ZQ_TRY(zq_onnx_write(*graph, to, 1, &property, &n_bytes, err));
    return n_bytes == n_measured
               ? ZQ_OK
               : zq_fail(err, ZQ_ERR_INTERNAL, "zq_onnx_size said %llu bytes, zq_onnx_write wrote %llu",
                         (unsigned long long)n_measured, (unsigned long long)n_bytes);
}

int main(int argc, char **argv) {
    zq_graph *graph = NULL;
    zq_error err = {0};
    if (argc < 3)
        return ZQ_ERR_USAGE;
    const zq_status status = roundtrip(argv[1], argv[2], argc > 3, &graph, &err);
    if (status != ZQ_OK)
        fprintf(stderr, "%s\n", err.text);
    zq_graph_drop(graph);
    return (int)status;
}
