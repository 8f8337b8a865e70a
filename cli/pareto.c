/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>

enum { ROWS = 12 };

/* The last point of at most that size; the points are sorted. */
static size_t point_at(const json_t *frontier, double bytes) {
    size_t p = 0;
    while (p + 1 < json_array_size(frontier) &&
           json_number_value(json_object_get(json_array_get(frontier, p + 1), "bytes")) <= bytes)
        p++;
    return p;
}

static double mean_bits(const json_t *layers, const json_t *point) {
    double bits = 0, total = 0;
    size_t i;
    json_t *layer;
    json_array_foreach(layers, i, layer) {
        const double n = json_number_value(json_object_get(layer, "weights"));
        bits += n * json_number_value(json_array_get(json_object_get(point, "bits"), i));
        total += n;
    }
    return bits / total;
}

static void print_points(const json_t *report, double fp32_bytes) {
    const json_t *frontier = json_object_get(report, "frontier"), *layers = json_object_get(report, "layers");
    const size_t n = json_array_size(frontier);
    const double least = json_number_value(json_object_get(json_array_get(frontier, 0), "bytes")),
                 most = json_number_value(json_object_get(json_array_get(frontier, n - 1), "bytes"));
    const bool known = json_is_real(json_object_get(json_array_get(frontier, 0), "joint"));
    printf("  frontier      %zu points\n\n      size      of FP32   bits a weight   summed sensitivity%s\n",
           n, known ? "   all layers together" : "");
    for (int row = 0, last = -1; row < ROWS; row++) {
        const size_t p = point_at(frontier, least + (most - least) * row / (ROWS - 1));
        const json_t *point = json_array_get(frontier, p);
        const double bytes = json_number_value(json_object_get(point, "bytes"));
        char size[32];
        if ((int)p == last)
            continue;
        last = (int)p;
        printf("%12s%10.1f %%%13.2f%21.4g", cli_bytes(bytes, size), 100 * bytes / fp32_bytes,
               mean_bits(layers, point), json_number_value(json_object_get(point, "sensitivity")));
        if (known)
            printf("%22.4g", json_number_value(json_object_get(point, "joint")));
        printf("\n");
    }
}

static zq_status print_summary(zq_job *job, const char *model) {
    zq_summary summary;
    char *text = zq_job_json(job);
    json_t *report = text == NULL ? NULL : json_loads(text, 0, NULL);
    free(text);
    if (report == NULL)
        return ZQ_ERR_MEMORY;
    zq_job_summary(job, &summary);
    printf("%s\n", model);
    print_points(report, (double)summary.fp32_bytes);
    printf("\n  in all        %.2f s\n", summary.seconds);
    json_decref(report);
    return ZQ_OK;
}

static zq_status run(zq_job *job, const cli_arguments *arguments) {
    zq_status status = zq_job_open(job, arguments->model);
    if (status == ZQ_OK)
        status = cli_check_outputs(job, arguments);
    if (status == ZQ_OK)
        status = zq_job_pareto(job);
    if (status == ZQ_OK && arguments->csv != NULL)
        status = zq_job_write_csv(job, arguments->csv);
    cli_progress_clear();
    return status == ZQ_OK && !arguments->quiet ? print_summary(job, arguments->model) : status;
}

const cli_command cli_pareto = {
    .name = "pareto",
    .usage = "zeroq pareto MODEL.onnx [--json FILE] [--csv FILE] [options]",
    .summary = "measures the frontier of size against damage once",
    .description =
        "Measures how much every layer suffers at every width and finds the best widths for every "
        "size. From\n"
        "the JSON file, 'zeroq quantize MODEL.onnx -o OUTPUT.onnx --from FILE --size SIZE' writes any of "
        "them in little time.",
    .groups = CLI_ALL | CLI_IMAGES | CLI_SEARCH | CLI_PHOTOS | CLI_TABLE,
    .run = run,
};
