/* SPDX-License-Identifier: Apache-2.0 */
/* tool_simulate MODEL.q.onnx IMAGES.f32 N OUT: runs an exported file in the engine and writes the integers
 * of every quantized value: lines "NAME COUNT" on stdout, the bytes in the same order in OUT; then every
 * graph output as float32 in OUT.f32 likewise ("= NAME COUNT"). */
#include "base/file.h"
#include "base/memory.h"
#include "engine/plan.h"
#include "onnx/onnx.h"
#include "passes/passes.h"

#include <stdio.h>
#include <stdlib.h>

static int fail(const zq_error *err) {
    fprintf(stderr, "tool_simulate: %s\n", err->text);
    return (int)err->status;
}

static void dump(zq_graph *graph, zq_plan *plan, int value, FILE *bytes, FILE *floats) {
    const size_t n = (size_t)zq_shape_count(zq_plan_shape(plan, value));
    float *data = zq_alloc(n, sizeof *data);
    zq_plan_read(plan, value, data);
    if (bytes != NULL) {
        printf("%s %zu\n", graph->values[value].name, n);
        for (size_t i = 0; i < n; i++)
            fputc((int)data[i], bytes);
    } else {
        printf("= %s %zu\n", graph->values[value].name, n);
        fwrite(data, sizeof *data, n, floats);
    }
    zq_free(data);
}

int main(int argc, char **argv) {
    zq_error err = {0};
    zq_graph *graph;
    zq_tail *tail;
    zq_plan *plan;
    unsigned char *images;
    size_t n_bytes;
    char path[4096];
    if (argc != 5)
        return ZQ_ERR_USAGE;
    if (zq_onnx_read_part(argv[1], &graph, &tail, &err) != ZQ_OK ||
        zq_fold_constants(graph, NULL, &err) != ZQ_OK ||
        zq_file_read(argv[2], &images, &n_bytes, &err) != ZQ_OK)
        return fail(&err);
    const zq_plan_options options = {.n_images = atoll(argv[3]), .keep_values = true};
    if (zq_plan_new(graph, &options, &plan, &err) != ZQ_OK)
        return fail(&err);
    zq_plan_set_input(plan, 0, (const float *)(const void *)images);
    if (zq_plan_forward(plan, &err) != ZQ_OK)
        return fail(&err);
    snprintf(path, sizeof path, "%s.f32", argv[4]);
    FILE *bytes = fopen(argv[4], "wb"), *floats = fopen(path, "wb");
    if (bytes == NULL || floats == NULL)
        return ZQ_ERR_IO;
    for (int v = 0; v < graph->n_values; v++)
        if (graph->values[v].constant == NULL &&
            (graph->values[v].dtype == ZQ_U8 || graph->values[v].dtype == ZQ_I8))
            dump(graph, plan, v, bytes, NULL);
    for (int o = 0; o < graph->n_outputs; o++)
        dump(graph, plan, graph->outputs[o], NULL, floats);
    fclose(bytes);
    fclose(floats);
    zq_free(images);
    zq_plan_drop(plan);
    zq_graph_drop(graph);
    zq_tail_drop(tail);
    return ZQ_OK;
}
