/* SPDX-License-Identifier: Apache-2.0 */
/* From a file to a simplified graph: whatever can be refused is refused here. */
#include "base/memory.h"
#include "graph/op.h"
#include "job.h"
#include "onnx/onnx.h"

#include <omp.h>
#include <stdio.h>
#include <string.h>

/* Distances are measured image by image. */
static zq_status check_outputs(zq_job *job) {
    const zq_graph *graph = job->graph;
    const int64_t n_images = zq_graph_images(graph);
    for (int o = 0; o < graph->n_outputs; o++) {
        const zq_value *output = &graph->values[graph->outputs[o]];
        char text[ZQ_SHAPE_TEXT];
        if (graph->outputs[o] == graph->inputs[0])
            return zq_fail(&job->error, ZQ_ERR_UNSUPPORTED,
                           "%s: its output '%s' is the input as it is; export the model without that output",
                           job->model_path, output->name);
        if (n_images > 1 && (output->shape.rank == 0 || output->shape.dims[0] != n_images))
            return zq_fail(&job->error, ZQ_ERR_UNSUPPORTED,
                           "%s: takes %lld images at once, but output '%s' is %s; export the model for one "
                           "image, or with a free batch",
                           job->model_path, (long long)n_images, output->name,
                           zq_shape_text(&output->shape, text));
    }
    return ZQ_OK;
}

zq_status zq_job_check_input(zq_job *job, const char *path, const zq_graph *graph) {
    if (graph->n_inputs != 1)
        return zq_fail(&job->error, ZQ_ERR_UNSUPPORTED,
                       "%s: has %d inputs; networks with exactly one image input are supported", path,
                       graph->n_inputs);
    const zq_value *input = &graph->values[graph->inputs[0]];
    if (input->dtype != ZQ_F32 || input->shape.rank != 4)
        return zq_fail(&job->error, ZQ_ERR_UNSUPPORTED,
                       "%s: input '%s' is %s of rank %d; expected float images [N, channels, height, width]",
                       path, input->name, zq_dtype_name(input->dtype), input->shape.rank);
    return ZQ_OK;
}

static bool is_quantized(const zq_graph *graph) {
    for (int n = 0; n < graph->n_nodes; n++)
        if (strcmp(graph->nodes[n].op->name, "QuantizeLinear") == 0)
            return true;
    return false;
}

static zq_status check_layers(zq_job *job) {
    if (job->layers.n > 0)
        return ZQ_OK;
    return zq_fail(&job->error, ZQ_ERR_UNSUPPORTED,
                   is_quantized(job->graph)
                       ? "%s: is quantized already: give the FP32 network it was made of"
                       : "%s: holds no convolution or matrix product with constant weights, so there is "
                         "nothing to quantize",
                   job->model_path);
}

/* Eight bits need opset 13, fewer up to 25. */
static zq_status check_tail(zq_job *job) {
    const bool is_w8 = job->target.kind == ZQ_TARGET_BITS && job->target.value >= 8;
    return zq_tail_check(job->tail, is_w8 ? 13 : 25, &job->error);
}

/* What would run as integers is known before anything is measured. */
static zq_status preview_placement(zq_job *job) {
    zq_activation *any = zq_alloc((size_t)job->graph->n_values, sizeof *any);
    job->placements = zq_alloc((size_t)job->graph->n_nodes, sizeof *job->placements);
    zq_status status = any == NULL || job->placements == NULL ? zq_fail_memory(&job->error) : ZQ_OK;
    for (int v = 0; status == ZQ_OK && v < job->graph->n_values; v++)
        any[v] = (zq_activation){.used = true, .scale = 1, .q_max = 255};
    if (status == ZQ_OK)
        status = zq_place(job->graph, zq_job_form(job), any, job->placements, NULL, &job->error);
    zq_free(any);
    return status;
}

/* Between Q and DQ nodes stands exactly what is computed: nothing is simplified there. */
zq_status zq_job_read_graph(zq_job *job, const char *path, zq_graph **graph_out, zq_tail **tail_out,
                            zq_simplify_counts *bn_out) {
    zq_error *err = &job->error;
    ZQ_TRY(zq_onnx_read_part(path, graph_out, tail_out, err));
    ZQ_TRY(zq_fold_constants(*graph_out, job->options.input_shapes, err));
    ZQ_TRY(zq_free_batch(*graph_out, err));
    return is_quantized(*graph_out) ? ZQ_OK : zq_simplify(*graph_out, bn_out, err);
}

static zq_status open_model(zq_job *job, const char *path) {
    zq_error *err = &job->error;
    ZQ_TRY(zq_job_open_saved(job, path));
    ZQ_TRY(zq_job_check_options(job));
    ZQ_TRY(zq_job_begin_stage(job, "read"));
    job->model_path = zq_strdup(path);
    if (job->model_path == NULL)
        return zq_fail_memory(err);
    ZQ_TRY(zq_job_read_graph(job, path, &job->graph, &job->tail, &job->bn));
    ZQ_TRY(check_tail(job));
    ZQ_TRY(zq_layers_find(job->graph, &job->layers, err));
    ZQ_TRY(zq_job_check_input(job, path, job->graph));
    ZQ_TRY(check_layers(job));
    ZQ_TRY(zq_job_take_images(job));
    ZQ_TRY(zq_job_estimate_stats(job));
    ZQ_TRY(zq_equalize(job->graph, err));
    ZQ_TRY(zq_rules_apply(&job->options, job->graph, &job->layers, &job->rules, err));
    ZQ_TRY(check_outputs(job));
    ZQ_TRY(zq_job_check_saved(job));
    ZQ_TRY(preview_placement(job));
    ZQ_TRY(zq_job_end_stage(job));
    job->n_kept_stages = job->n_stages;
    return ZQ_OK;
}

/* The sentence begins with the file, unless it does already. */
void zq_job_name_file(zq_error *error, const char *path) {
    char text[sizeof error->text];
    if (error->status == ZQ_ERR_USAGE || error->status == ZQ_ERR_CANCELLED ||
        strstr(error->text, path) != NULL)
        return;
    snprintf(text, sizeof text, "%.300s: %.700s", path, error->text);
    memcpy(error->text, text, sizeof text);
}

static void use_resources(const zq_job *job) {
    omp_set_num_threads(job->options.n_threads > 0 ? job->options.n_threads : omp_get_num_procs());
    zq_job_limit_memory(job);
}

zq_status zq_job_open(zq_job *job, const char *path) {
    zq_job_forget_model(job);
    job->error = (zq_error){0};
    use_resources(job);
    const zq_status status = zq_job_explain_memory(job, path, open_model(job, path));
    if (status != ZQ_OK) {
        zq_job_name_file(&job->error, path);
        zq_job_forget_model(job);
    }
    return status;
}

zq_status zq_job_need_model(zq_job *job) {
    job->error = (zq_error){0};
    use_resources(job);
    return job->graph != NULL ? ZQ_OK : zq_fail(&job->error, ZQ_ERR_USAGE, "no model has been opened");
}
