/* SPDX-License-Identifier: Apache-2.0 */
/* tool_run ops: prints the operators, one a line.
 * tool_run MODEL OUT INPUT...: runs a model in the engine on one file of float32 for each of its inputs, once
 * with the plain operators and once with the kernels. Every output is written as float64 to OUT, the plain
 * ones first; stdout says "NAME TYPE DIMENSION..." for each. On failure the exit status is the zq_status and
 * the sentence goes to stderr. For tests/engine/conformance.py. */
#include "base/file.h"
#include "base/memory.h"
#include "engine/plan.h"
#include "graph/op.h"
#include "onnx/onnx.h"
#include "passes/passes.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static zq_status set_input(zq_plan *plan, const zq_graph *graph, int i, const char *path, zq_error *err) {
    unsigned char *bytes;
    size_t n_bytes;
    ZQ_TRY(zq_file_read(path, &bytes, &n_bytes, err));
    const size_t expected = (size_t)zq_shape_count(zq_plan_shape(plan, graph->inputs[i])) * sizeof(float);
    zq_status status = n_bytes == expected ? ZQ_OK
                                           : zq_fail(err, ZQ_ERR_USAGE, "%s has %zu bytes, expected %zu",
                                                     path, n_bytes, expected);
    if (status == ZQ_OK)
        zq_plan_set_input(plan, i, (const float *)(const void *)bytes);
    zq_free(bytes);
    return status;
}

static zq_status dump(const zq_graph *graph, const zq_plan *plan_or_none, int value, FILE *out,
                      zq_error *err) {
    const zq_value *v = &graph->values[value];
    const zq_shape *shape = v->constant != NULL ? &v->constant->shape : zq_plan_shape(plan_or_none, value);
    const size_t n = (size_t)zq_shape_count(shape);
    printf("%s %s", v->name, zq_dtype_name(v->constant != NULL ? v->constant->dtype : v->dtype));
    for (int d = 0; d < shape->rank; d++)
        printf(" %" PRId64, shape->dims[d]);
    printf("\n");
    float *data = zq_alloc(n, sizeof *data);
    if (data == NULL)
        return zq_fail_memory(err);
    if (v->constant == NULL)
        zq_plan_read((zq_plan *)plan_or_none, value, data);
    for (size_t i = 0; i < n; i++) {
        const double x = v->constant != NULL ? zq_tensor_item(v->constant, (int64_t)i) : data[i];
        fwrite(&x, sizeof x, 1, out);
    }
    zq_free(data);
    return ZQ_OK;
}

static zq_status run(zq_graph *graph, bool reference, int n_inputs, char **inputs, FILE *out, zq_error *err) {
    zq_plan *plan = NULL;
    bool computed = false;
    for (int o = 0; o < graph->n_outputs; o++)
        computed = computed || graph->values[graph->outputs[o]].constant == NULL;
    const zq_plan_options options = {.n_images = zq_graph_images(graph), .reference = reference};
    zq_status status = computed ? zq_plan_new(graph, &options, &plan, err) : ZQ_OK;
    for (int i = 0; status == ZQ_OK && computed && i < graph->n_inputs && i < n_inputs; i++)
        status = set_input(plan, graph, i, inputs[i], err);
    if (status == ZQ_OK && computed)
        status = zq_plan_forward(plan, err);
    for (int o = 0; status == ZQ_OK && o < graph->n_outputs; o++)
        status = dump(graph, plan, graph->outputs[o], out, err);
    zq_plan_drop(plan);
    return status;
}

int main(int argc, char **argv) {
    zq_graph *graph = NULL;
    zq_error err = {0};
    if (argc == 2 && strcmp(argv[1], "ops") == 0) {
        for (int n = 0; zq_op_at(n) != NULL; n++)
            puts(zq_op_at(n)->name);
        return ZQ_OK;
    }
    if (argc < 3)
        return ZQ_ERR_USAGE;
    FILE *out = fopen(argv[2], "wb");
    zq_status status = out == NULL ? ZQ_ERR_IO : zq_onnx_read(argv[1], &graph, &err);
    if (status == ZQ_OK)
        status = zq_fold_constants(graph, NULL, &err);
    for (int reference = 1; status == ZQ_OK && reference >= 0; reference--)
        status = run(graph, reference != 0, argc - 3, argv + 3, out, &err);
    if (status != ZQ_OK)
        fprintf(stderr, "%s\n", err.text);
    if (out != NULL)
        fclose(out);
    zq_graph_drop(graph);
    return (int)status;
}
