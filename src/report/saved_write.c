/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"
#include "quant/pixels.h"
#include "report/markup.h"
#include "report/saved.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

static json_t *strings(int n, const char *const *items) {
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(list, json_string(items[i]));
    return list;
}

static json_t *text_or_null(const char *text) {
    return text == NULL ? json_null() : json_string(text);
}

static json_t *options_json(const zq_options *options) {
    static const char *const ranges[] = {"mse", "minmax", "percentile"};
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:b, s:b, s:o, s:s, s:f, s:i, s:f, s:s, s:f}", "cost",
                     zq_cost_name(options->cost), "search",
                     options->search == ZQ_SEARCH_GROUPED ? "grouped" : "independent", "bits",
                     text_or_null(options->bits), "keep", strings(options->n_keep, options->keep), "exclude",
                     strings(options->n_exclude, options->exclude), "keep_first_last",
                     options->keep_first_last, "estimate_bn", options->estimate_bn, "input_shapes",
                     text_or_null(options->input_shapes), "weights",
                     options->weights == ZQ_WEIGHTS_ASYMMETRIC ? "asymmetric" : "symmetric", "weight_clip",
                     options->weight_clip, "activation_bits", options->activation_bits, "mixed_activations",
                     options->mixed_activations, "activation_range", ranges[options->activation_range],
                     "percentile", options->percentile);
}

static json_t *ends(int64_t n, const float *x) {
    json_t *list = json_array();
    for (int64_t c = 0; c < n; c++)
        json_array_append_new(list, json_real(x[c]));
    return list;
}

static json_t *levels(const zq_pixels *pixels) {
    char *text = NULL;
    size_t n;
    FILE *stream = open_memstream(&text, &n);
    if (stream == NULL)
        return NULL;
    zq_markup_base64(stream, (size_t)(pixels->n_images * pixels->n_channels * pixels->area), pixels->level);
    json_t *json = fclose(stream) == 0 ? json_stringn_nocheck(text, n) : NULL;
    free(text);
    return json;
}

json_t *zq_saved_json(const zq_record *record) {
    char network[20];
    zq_pixels pixels;
    if (zq_pixels_take(record->images, record->box, &pixels, NULL) != ZQ_OK)
        return NULL;
    snprintf(network, sizeof network, "%016" PRIx64, record->graph->file_hash);
    json_t *json = json_pack("{s:i, s:s, s:o, s:{s:o, s:o, s:o}}", "version", ZQ_SAVED_VERSION, "network",
                             network, "options", options_json(record->options), "pixels", "lo",
                             ends(pixels.n_channels, pixels.lo), "hi", ends(pixels.n_channels, pixels.hi),
                             "levels", levels(&pixels));
    zq_pixels_clear(&pixels);
    return json;
}
