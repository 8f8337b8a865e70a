/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double real_at(const json_t *json, const char *key) {
    return json_number_value(json_object_get(json, key));
}

static void print_stages(const json_t *report) {
    const json_t *stages = json_object_get(report, "stages");
    size_t index;
    json_t *stage;
    printf("  time         ");
    json_array_foreach(stages, index, stage) {
        printf("%s %s %.2f s", index > 0 ? "," : "", json_string_value(json_object_get(stage, "stage")),
               real_at(stage, "seconds"));
    }
    printf("\n");
}

static void print_widths(const json_t *report) {
    int n_layers[9] = {0};
    double n_weights[9] = {0}, total = 0;
    size_t index;
    json_t *layer;
    json_array_foreach(json_object_get(report, "layers"), index, layer) {
        const json_int_t bits = json_integer_value(json_object_get(layer, "bits"));
        if (bits < 1 || bits > 8)
            continue;
        n_layers[bits]++;
        n_weights[bits] += real_at(layer, "weights");
        total += real_at(layer, "weights");
    }
    printf("  weights      ");
    const char *separator = " ";
    for (int bits = 8; bits >= 1; bits--)
        if (n_layers[bits] > 0) {
            printf("%s%d bits in %d layer%s (%.0f %% of weights)", separator, bits, n_layers[bits],
                   n_layers[bits] == 1 ? "" : "s", 100 * n_weights[bits] / total);
            separator = ", ";
        }
    const double mean = real_at(json_object_get(report, "summary"), "activation_bits");
    const bool mixed = json_object_get(report, "mixed_activations") != NULL;
    printf("; activations %.3g bits%s\n", mean, mixed ? " in the mean" : "");
}

static long long bn_count(const json_t *report, const char *key) {
    const json_t *bn = json_object_get(json_object_get(report, "model"), "batch_normalization");
    return json_integer_value(json_object_get(bn, key));
}

static bool are_photos(const json_t *report) {
    const char *recipe = json_string_value(json_object_get(json_object_get(report, "images"), "recipe"));
    return recipe != NULL && strcmp(recipe, "photos") == 0;
}

static void print_damage(const json_t *report) {
    const json_t *predicted = json_object_get(json_object_get(report, "summary"), "predicted");
    const bool expected = json_is_true(json_object_get(predicted, "agreement_expected"));
    printf("  predicted     KL %.4f +- %.4f nats, same top-1 on %.0f +- %.0f %%%s, SNR %.1f +- %.1f dB, from "
           "%lld held-out %s\n",
           real_at(predicted, "kl"), real_at(predicted, "kl_spread"), 100 * real_at(predicted, "agreement"),
           100 * real_at(predicted, "agreement_spread"), expected ? " of photos" : "",
           real_at(predicted, "snr_db"), real_at(predicted, "snr_db_spread"),
           (long long)json_integer_value(json_object_get(report, "judged_on_images")),
           are_photos(report) ? "photos" : "distilled images");
}

static const char *pixels_text(const json_t *report) {
    const json_t *box = json_object_get(json_object_get(report, "images"), "valid_pixels");
    if (!json_is_true(json_object_get(box, "estimated")))
        return "as given";
    return bn_count(report, "nodes") > 0
               ? "estimated from the first layer (--input-max, --input-mean, --input-std say them exactly)"
               : "assumed to lie between -2.5 and 2.5 (--input-max, --input-mean, --input-std say them)";
}

/* Statistics that nobody measured are named as such. */
static void print_estimated(const json_t *report) {
    const long long n = bn_count(report, "estimated");
    if (n > 0)
        printf(
            "  statistics    ESTIMATED for %lld layers, since BatchNormalization was folded away; an export "
            "that keeps it gives a better network\n",
            n);
}

static void print_images(const json_t *report) {
    const json_t *images = json_object_get(report, "images");
    if (are_photos(report)) {
        printf("  images        %lld photos\n",
               (long long)json_integer_value(json_array_get(json_object_get(images, "shape"), 0)));
        return;
    }
    printf("  images        %lld distilled in %lld steps, residual %.3f of sigma^2; valid pixels %s\n",
           (long long)json_integer_value(json_array_get(json_object_get(images, "shape"), 0)),
           (long long)json_integer_value(json_object_get(images, "steps")), real_at(images, "residual"),
           pixels_text(report));
}

static void print_summary(zq_job *job, const char *output) {
    zq_summary summary;
    char before[32], after[32], peak[32];
    char *text = zq_job_json(job);
    json_t *report = text == NULL ? NULL : json_loads(text, 0, NULL);
    zq_job_summary(job, &summary);
    printf("%s\n", output);
    printf("  size          %s, FP32 %s: %.2f times smaller (%.1f %%)\n",
           cli_bytes((double)summary.quantized_bytes, after), cli_bytes((double)summary.fp32_bytes, before),
           (double)summary.fp32_bytes / (double)summary.quantized_bytes,
           100 * (double)summary.quantized_bytes / (double)summary.fp32_bytes);
    if (report != NULL) {
        print_widths(report);
        cli_print_copied("  copied        ", report);
        print_damage(report);
        print_estimated(report);
        print_images(report);
        print_stages(report);
    }
    printf("  in all        %.2f s, peak memory %s\n", summary.seconds,
           cli_bytes((double)summary.peak_bytes, peak));
    json_decref(report);
    free(text);
}

static zq_status run(zq_job *job, const cli_arguments *arguments) {
    zq_status status = zq_job_open(job, arguments->model);
    if (status == ZQ_OK)
        status = cli_check_outputs(job, arguments);
    if (status == ZQ_OK)
        status = zq_job_quantize(job, arguments->output);
    if (status == ZQ_OK && arguments->png != NULL)
        status = zq_job_write_sheet(job, arguments->png);
    if (status == ZQ_OK && arguments->report != NULL)
        status = zq_job_write_report(job, arguments->report);
    cli_progress_clear();
    if (status == ZQ_OK && !arguments->quiet)
        print_summary(job, arguments->output);
    return status;
}

const cli_command cli_quantize = {
    .name = "quantize",
    .usage = "zeroq quantize MODEL.onnx -o OUTPUT.onnx [--size SIZE] [options]",
    .summary = "writes a quantized model",
    .description =
        "Distils images from the model's BatchNormalization statistics, calibrates "
        "activations on them,\n"
        "measures how much every layer suffers at 2 to 8 bits, chooses widths for the size asked for, "
        "and writes an\n"
        "ONNX file that ONNX Runtime executes on integers. Needs no data. Weights of 4 to 6 bits "
        "need ONNX Runtime\n"
        "1.23 or newer, of 2 and 3 bits 1.24.",
    .groups = CLI_ALL | CLI_OUTPUT | CLI_IMAGES | CLI_QUANTIZE | CLI_SEARCH | CLI_PICTURE | CLI_PHOTOS,
    .needs_output = true,
    .run = run,
};
