/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *string_at(const json_t *json, const char *key) {
    const char *text = json_string_value(json_object_get(json, key));
    return text != NULL ? text : "";
}

static long long integer_at(const json_t *json, const char *key) {
    return (long long)json_integer_value(json_object_get(json, key));
}

char *cli_shape(const json_t *shape, char *buffer, size_t n) {
    size_t used = 0, index;
    json_t *dim;
    buffer[0] = '\0';
    json_array_foreach(shape, index, dim) {
        const char *separator = index > 0 ? "x" : "";
        if (used < n && json_is_string(dim))
            used += (size_t)snprintf(buffer + used, n - used, "%s%s", separator, json_string_value(dim));
        else if (used < n)
            used += (size_t)snprintf(buffer + used, n - used, "%s%lld", separator,
                                     (long long)json_integer_value(dim));
    }
    return buffer;
}

static void print_model(const json_t *model) {
    const json_t *bn = json_object_get(model, "batch_normalization");
    char bytes[32];
    printf("%s: %s, opset %lld, %lld weighted layers, %.1f M multiply-accumulates an image\n",
           string_at(model, "file"), cli_bytes((double)integer_at(model, "bytes"), bytes),
           integer_at(model, "opset"), integer_at(model, "weighted_layers"),
           json_number_value(json_object_get(model, "macs")) / 1e6);
    printf("BatchNormalization: %lld found; %lld folded into the layer before them, %lld kept as a "
           "per-channel affine "
           "(of these %lld folded into the layer behind)\n",
           integer_at(bn, "nodes"), integer_at(bn, "folded"), integer_at(bn, "kept_as_affine"),
           integer_at(bn, "of_these_absorbed"));
    if (integer_at(bn, "nodes") == 0)
        printf(
            "No statistics to distil images from: export the network with BatchNormalization kept (PyTorch: "
            "torch.onnx.export(model.eval(), ..., training=torch.onnx.TrainingMode.PRESERVE)), or have them "
            "estimated (zeroq quantize --estimate-bn).\n");
}

/* What follows the part that zeroq reads. */
void cli_print_copied(const char *indent, const json_t *report) {
    const json_t *copied = json_object_get(json_object_get(report, "model"), "copied");
    const long long n_nodes = integer_at(copied, "nodes");
    if (n_nodes > 0)
        printf("%s%lld nodes at the end are copied as they are: %s\n", indent, n_nodes,
               string_at(copied, "reason"));
}

static void print_node(const json_t *node, const json_t *layers) {
    char shape[128], weights[32] = "", macs[32] = "";
    const json_t *index = json_object_get(node, "layer");
    if (index != NULL) {
        const json_t *layer = json_array_get(layers, (size_t)json_integer_value(index));
        snprintf(weights, sizeof weights, "%lld", integer_at(layer, "weights"));
        snprintf(macs, sizeof macs, "%.3f", json_number_value(json_object_get(layer, "macs")) / 1e6);
    }
    const char *name = string_at(node, "name");
    if (name[0] == '\0')
        name = string_at(node, "output");
    printf("%-20s %-18s %10s %9s  %-3s %-22s %s\n", string_at(node, "op"),
           cli_shape(json_object_get(node, "shape"), shape, sizeof shape), weights, macs,
           json_is_true(json_object_get(node, "statistics_known")) ? "yes" : "", string_at(node, "runs_as"),
           name);
}

static void print_nodes(const json_t *report) {
    const json_t *layers = json_object_get(report, "layers");
    printf("\n%-20s %-18s %10s %9s  %-3s %-22s %s\n", "operator", "output", "weights", "M MAC", "BN",
           "runs as", "name");
    size_t index;
    json_t *node;
    json_array_foreach(json_object_get(report, "nodes"), index, node) print_node(node, layers);
}

static zq_status run(zq_job *job, const cli_arguments *arguments) {
    zq_status status = zq_job_open(job, arguments->model);
    if (status == ZQ_OK)
        status = cli_check_outputs(job, arguments);
    if (status == ZQ_OK && arguments->plan)
        status = zq_job_profile(job, arguments->plan_images, arguments->gradient);
    if (status != ZQ_OK)
        return status;
    cli_progress_clear();
    char *text = zq_job_json(job);
    json_t *report = text == NULL ? NULL : json_loads(text, 0, NULL);
    bool complete = report != NULL;
    if (complete) {
        print_model(json_object_get(report, "model"));
        cli_print_copied("", report);
        if (arguments->plan)
            complete = cli_plan_print(report);
        else
            print_nodes(report);
    }
    json_decref(report);
    free(text);
    return complete ? ZQ_OK : ZQ_ERR_MEMORY;
}

const cli_command cli_inspect = {
    .name = "inspect",
    .usage = "zeroq inspect MODEL.onnx [options]",
    .summary = "shows layers, statistics found, and what would be quantized",
    .description =
        "Reads and checks a model and shows every node as it would be quantized: output shape, weights,\n"
        "multiply-accumulates of one image, whether its statistics are known (BN), and whether ONNX Runtime\n"
        "would run it on integers or why not. With --plan it runs the model here and shows where time goes.",
    .groups = CLI_ALL | CLI_PLAN,
    .run = run,
};
