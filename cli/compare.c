/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double real_at(const json_t *json, const char *key) {
    return json_number_value(json_object_get(json, key));
}

static const char *name_of_images(const json_t *report) {
    const char *recipe = json_string_value(json_object_get(json_object_get(report, "images"), "recipe"));
    return recipe == NULL ? "photos" : strcmp(recipe, "noise") == 0 ? "random images" : "distilled images";
}

static void print(const json_t *report, const cli_arguments *arguments) {
    const json_t *model = json_object_get(report, "model");
    const json_t *comparison = json_object_get(report, "comparison");
    const json_t *damage = json_object_get(comparison, "damage");
    char a[32], b[32];
    printf("%s, compared with %s\n", arguments->other, arguments->model);
    printf("  size          %s, reference %s\n", cli_bytes(real_at(comparison, "bytes"), a),
           cli_bytes(real_at(model, "bytes"), b));
    printf("  images        %.0f %s\n", real_at(comparison, "images"), name_of_images(report));
    if (real_at(damage, "snr_db") > 1000)
        printf("  outputs       the same\n");
    else
        printf("  outputs       KL %.4f +- %.4f nats, same top-1 on %.1f %%, SNR %.1f dB\n",
               real_at(damage, "kl"), real_at(damage, "kl_spread"), 100 * real_at(damage, "agreement"),
               real_at(damage, "snr_db"));
    printf(
        "  time          %.3f ms an image, reference %.3f ms, in zeroq's engine (batch %.0f, %.0f threads)\n",
        real_at(comparison, "ms"), real_at(comparison, "reference_ms"), real_at(comparison, "batch"),
        real_at(comparison, "threads"));
}

static zq_status run(zq_job *job, const cli_arguments *arguments) {
    const zq_status status = zq_job_compare(job, arguments->model, arguments->other);
    cli_progress_clear();
    if (status != ZQ_OK || arguments->quiet)
        return status;
    char *text = zq_job_json(job);
    json_t *report = text == NULL ? NULL : json_loads(text, 0, NULL);
    if (report != NULL)
        print(report, arguments);
    json_decref(report);
    free(text);
    return report != NULL ? ZQ_OK : ZQ_ERR_MEMORY;
}

const cli_command cli_compare = {
    .name = "compare",
    .usage = "zeroq compare REFERENCE.onnx OTHER.onnx [--images DIR] [options]",
    .summary = "runs two models on the same images: how far apart, how fast",
    .description =
        "Runs both models in zeroq's engine, quantized ones on integers as ONNX Runtime does, and shows "
        "how far\n"
        "their outputs are apart: on photos of DIR, or else on images distilled from the reference that "
        "no\n"
        "quantization has seen, random ones where it has no BatchNormalization.",
    .groups = CLI_ALL | CLI_IMAGES | CLI_PHOTOS,
    .two_models = true,
    .run = run,
};
