/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/memory.h"
#include "quant/pixels.h"
#include "report/markup.h"
#include "report/saved.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct zq_saved {
    char *path, *model_path;
    json_t *root, *own; /* own: "saved", borrowed from root */
    const char **keep, **exclude;
};

/* ---- one value */

zq_status zq_saved_refuse(const zq_saved *saved, const char *what, zq_error *err) {
    return zq_fail(err, ZQ_ERR_FORMAT, "%.200s: %s; make a frontier with 'zeroq pareto %.200s --json FILE'",
                   saved->path, what, saved->model_path);
}

static zq_status refuse_key(const zq_saved *saved, const char *key, const char *expected, zq_error *err) {
    char what[160];
    snprintf(what, sizeof what, "'%s' is missing or isn't %s", key, expected);
    return zq_saved_refuse(saved, what, err);
}

static zq_status need_object(const zq_saved *saved, const json_t *parent, const char *key, json_t **out,
                             zq_error *err) {
    *out = json_object_get(parent, key);
    return json_is_object(*out) ? ZQ_OK : refuse_key(saved, key, "an object", err);
}

/* n: its length; -1: any */
static zq_status need_list(const zq_saved *saved, const json_t *parent, const char *key, int64_t n,
                           json_t **out, zq_error *err) {
    char expected[48] = "a list";
    *out = json_object_get(parent, key);
    if (n >= 0)
        snprintf(expected, sizeof expected, "a list of %" PRId64, n);
    return json_is_array(*out) && (n < 0 || (int64_t)json_array_size(*out) == n)
               ? ZQ_OK
               : refuse_key(saved, key, expected, err);
}

static zq_status need_real(const zq_saved *saved, const json_t *parent, const char *key, double *out,
                           zq_error *err) {
    const json_t *value = json_object_get(parent, key);
    *out = json_number_value(value);
    return json_is_number(value) ? ZQ_OK : refuse_key(saved, key, "a number", err);
}

static zq_status need_flag(const zq_saved *saved, const json_t *parent, const char *key, bool *out,
                           zq_error *err) {
    const json_t *value = json_object_get(parent, key);
    *out = json_is_true(value);
    return json_is_boolean(value) ? ZQ_OK : refuse_key(saved, key, "true or false", err);
}

/* Null becomes NULL where that is allowed. */
static zq_status need_text(const zq_saved *saved, const json_t *parent, const char *key, bool may_be_null,
                           const char **out, zq_error *err) {
    const json_t *value = json_object_get(parent, key);
    *out = json_string_value(value);
    return *out != NULL || (may_be_null && json_is_null(value)) ? ZQ_OK
                                                                : refuse_key(saved, key, "a text", err);
}

/* Its number in names, which NULL ends. */
static zq_status need_name(const zq_saved *saved, const json_t *parent, const char *key,
                           const char *const *names, int *out, zq_error *err) {
    const char *text;
    ZQ_TRY(need_text(saved, parent, key, false, &text, err));
    for (*out = 0; names[*out] != NULL; (*out)++)
        if (strcmp(text, names[*out]) == 0)
            return ZQ_OK;
    return refuse_key(saved, key, "a name that is known", err);
}

static zq_status read_floats(const zq_saved *saved, const json_t *parent, const char *key, int64_t n,
                             float *out, zq_error *err) {
    json_t *list;
    ZQ_TRY(need_list(saved, parent, key, n, &list, err));
    for (int64_t i = 0; i < n; i++) {
        out[i] = (float)json_number_value(json_array_get(list, (size_t)i));
        if (!json_is_number(json_array_get(list, (size_t)i)) || !isfinite(out[i]))
            return refuse_key(saved, key, "a list of finite numbers", err);
    }
    return ZQ_OK;
}

/* ---- the file */

static zq_status load(zq_saved *saved, zq_error *err) {
    unsigned char *bytes;
    size_t n;
    double version;
    json_error_t reason;
    char what[JSON_ERROR_TEXT_LENGTH + 64];
    ZQ_TRY(zq_file_read(saved->path, &bytes, &n, err));
    saved->root = json_loadb((const char *)bytes, n, JSON_REJECT_DUPLICATES, &reason);
    zq_free(bytes);
    if (saved->root == NULL && json_error_code(&reason) == json_error_out_of_memory)
        return zq_fail_memory(err);
    if (saved->root == NULL) {
        snprintf(what, sizeof what, "isn't JSON: line %d: %s", reason.line, reason.text);
        return zq_saved_refuse(saved, what, err);
    }
    ZQ_TRY(need_object(saved, saved->root, "saved", &saved->own, err));
    ZQ_TRY(need_real(saved, saved->own, "version", &version, err));
    if (version == ZQ_SAVED_VERSION)
        return ZQ_OK;
    return zq_fail(err, ZQ_ERR_UNSUPPORTED,
                   "%.200s: is a frontier of version %g, but this zeroq reads version %d; make it again with "
                   "'zeroq pareto %.200s --json FILE'",
                   saved->path, version, ZQ_SAVED_VERSION, saved->model_path);
}

zq_status zq_saved_open(const char *path, const char *model_path, zq_saved **saved_out, zq_error *err) {
    zq_saved *saved = zq_alloc(1, sizeof *saved);
    if (saved == NULL)
        return zq_fail_memory(err);
    saved->path = zq_strdup(path);
    saved->model_path = zq_strdup(model_path);
    const zq_status status =
        saved->path == NULL || saved->model_path == NULL ? zq_fail_memory(err) : load(saved, err);
    if (status != ZQ_OK) {
        zq_saved_close(saved);
        return status;
    }
    *saved_out = saved;
    return ZQ_OK;
}

void zq_saved_close(zq_saved *saved) {
    if (saved == NULL)
        return;
    json_decref(saved->root);
    zq_free(saved->keep);
    zq_free(saved->exclude);
    zq_free(saved->path);
    zq_free(saved->model_path);
    zq_free(saved);
}

/* ---- options */

static zq_status read_names(const zq_saved *saved, const json_t *parent, const char *key,
                            const char ***list_out, int *n_out, zq_error *err) {
    json_t *list;
    ZQ_TRY(need_list(saved, parent, key, -1, &list, err));
    const size_t n = json_array_size(list);
    *list_out = zq_alloc(n, sizeof **list_out);
    if (*list_out == NULL || n > INT32_MAX)
        return zq_fail_memory(err);
    for (size_t i = 0; i < n; i++)
        if (((*list_out)[i] = json_string_value(json_array_get(list, i))) == NULL)
            return refuse_key(saved, key, "a list of texts", err);
    *n_out = (int)n;
    return ZQ_OK;
}

zq_status zq_saved_options(zq_saved *saved, zq_options *o, zq_error *err) {
    static const char *const costs[] = {"bytes", "bits", "bops", NULL};
    static const char *const searches[] = {"independent", "grouped", NULL};
    static const char *const schemes[] = {"symmetric", "asymmetric", NULL};
    static const char *const ranges[] = {"mse", "minmax", "percentile", NULL};
    json_t *from;
    int cost, search, scheme, range;
    double activation_bits;
    bool first_last, estimate;
    ZQ_TRY(need_object(saved, saved->own, "options", &from, err));
    ZQ_TRY(need_name(saved, from, "cost", costs, &cost, err));
    ZQ_TRY(need_name(saved, from, "search", searches, &search, err));
    ZQ_TRY(need_name(saved, from, "weights", schemes, &scheme, err));
    ZQ_TRY(need_name(saved, from, "activation_range", ranges, &range, err));
    ZQ_TRY(need_real(saved, from, "activation_bits", &activation_bits, err));
    ZQ_TRY(need_real(saved, from, "mixed_activations", &o->mixed_activations, err));
    ZQ_TRY(need_text(saved, from, "bits", true, &o->bits, err));
    ZQ_TRY(need_text(saved, from, "input_shapes", true, &o->input_shapes, err));
    ZQ_TRY(need_real(saved, from, "weight_clip", &o->weight_clip, err));
    ZQ_TRY(need_real(saved, from, "percentile", &o->percentile, err));
    ZQ_TRY(need_flag(saved, from, "keep_first_last", &first_last, err));
    ZQ_TRY(need_flag(saved, from, "estimate_bn", &estimate, err));
    ZQ_TRY(read_names(saved, from, "keep", &saved->keep, &o->n_keep, err));
    ZQ_TRY(read_names(saved, from, "exclude", &saved->exclude, &o->n_exclude, err));
    o->seed = (uint64_t)json_integer_value(json_object_get(saved->root, "seed"));
    o->keep = saved->keep;
    o->exclude = saved->exclude;
    o->cost = (zq_cost)cost;
    o->search = (zq_search)search;
    o->activation_bits = (int)fmin(fmax(activation_bits, 0), 100);
    o->weights = (zq_weight_scheme)scheme;
    o->activation_range = (zq_range_method)range;
    o->keep_first_last = first_last;
    o->estimate_bn = estimate;
    return ZQ_OK;
}

/* ---- images */

static zq_status read_shape(const zq_saved *saved, const json_t *images, const zq_graph *graph, zq_shape *out,
                            zq_error *err) {
    const int64_t batch = zq_graph_images(graph);
    json_t *list;
    *out = graph->values[graph->inputs[0]].shape;
    ZQ_TRY(need_list(saved, images, "shape", out->rank, &list, err));
    const int64_t n = json_integer_value(json_array_get(list, 0));
    bool fits = n >= 1 && n <= 4096 && n % batch == 0;
    for (int d = 1; d < out->rank; d++)
        fits = fits && json_integer_value(json_array_get(list, (size_t)d)) == out->dims[d];
    out->dims[0] = n;
    return fits ? ZQ_OK : refuse_key(saved, "shape", "that of images for this network", err);
}

static zq_status read_pixels(const zq_saved *saved, const zq_shape *shape, float *data, zq_error *err) {
    const size_t n = (size_t)zq_shape_count(shape);
    json_t *from;
    zq_pixels pixels;
    ZQ_TRY(need_object(saved, saved->own, "pixels", &from, err));
    ZQ_TRY(zq_pixels_new(shape, &pixels, err));
    const json_t *levels = json_object_get(from, "levels");
    zq_status status = read_floats(saved, from, "lo", pixels.n_channels, pixels.lo, err);
    if (status == ZQ_OK)
        status = read_floats(saved, from, "hi", pixels.n_channels, pixels.hi, err);
    if (status == ZQ_OK &&
        (!json_is_string(levels) ||
         !zq_markup_read_base64(json_string_value(levels), json_string_length(levels), n, pixels.level)))
        status = refuse_key(saved, "levels", "base64 of as many bytes as the images have pixels", err);
    if (status == ZQ_OK)
        zq_pixels_give(&pixels, data);
    zq_pixels_clear(&pixels);
    return status;
}

/* How the loss of the distillation fell, for reports. */
static zq_status read_loss(const zq_saved *saved, const json_t *from, zq_images *out, zq_error *err) {
    json_t *list;
    ZQ_TRY(need_list(saved, from, "loss", -1, &list, err));
    const size_t n = json_array_size(list);
    out->loss = zq_alloc(n, sizeof *out->loss);
    if (out->loss == NULL || n > INT32_MAX)
        return zq_fail_memory(err);
    out->n_steps = (int)n;
    for (size_t i = 0; i < n; i++)
        out->loss[i] =
            json_is_number(json_array_get(list, i)) ? json_number_value(json_array_get(list, i)) : NAN;
    return ZQ_OK;
}

static zq_status read_box(const zq_saved *saved, const json_t *images, int64_t n_channels, zq_box *out,
                          zq_error *err) {
    json_t *from;
    ZQ_TRY(need_object(saved, images, "valid_pixels", &from, err));
    ZQ_TRY(zq_box_new(n_channels, out, err));
    ZQ_TRY(need_flag(saved, from, "estimated", &out->estimated, err));
    ZQ_TRY(read_floats(saved, from, "lo", n_channels, out->lo, err));
    return read_floats(saved, from, "hi", n_channels, out->hi, err);
}

static zq_status read_images(const zq_saved *saved, const zq_graph *graph, zq_images *out, zq_box *box,
                             zq_error *err) {
    static const char *const sources[] = {"fast", "paper", "noise", "photos", NULL};
    json_t *from;
    int source;
    ZQ_TRY(need_object(saved, saved->root, "images", &from, err));
    ZQ_TRY(need_name(saved, from, "recipe", sources, &source, err));
    ZQ_TRY(read_shape(saved, from, graph, &out->shape, err));
    ZQ_TRY(need_real(saved, from, "residual", &out->residual, err));
    ZQ_TRY(read_loss(saved, from, out, err));
    ZQ_TRY(read_box(saved, from, out->shape.dims[1], box, err));
    out->source = sources[source];
    out->data = zq_alloc_raw((size_t)zq_shape_count(&out->shape), sizeof *out->data);
    return out->data == NULL ? zq_fail_memory(err) : read_pixels(saved, &out->shape, out->data, err);
}

static zq_status check_network(const zq_saved *saved, const zq_graph *graph, zq_error *err) {
    const char *text;
    char network[20];
    ZQ_TRY(need_text(saved, saved->own, "network", false, &text, err));
    snprintf(network, sizeof network, "%016" PRIx64, graph->file_hash);
    if (strcmp(text, network) == 0)
        return ZQ_OK;
    return zq_fail(
        err, ZQ_ERR_USAGE,
        "%.200s: is the frontier of another network than %.200s, or of another file of it; make one "
        "with 'zeroq pareto %.200s --json FILE'",
        saved->path, saved->model_path, saved->model_path);
}

zq_status zq_saved_images(const zq_saved *saved, const zq_graph *graph, zq_images *images_out,
                          zq_box *box_out, zq_error *err) {
    *images_out = (zq_images){0};
    *box_out = (zq_box){0};
    ZQ_TRY(check_network(saved, graph, err));
    const zq_status status = read_images(saved, graph, images_out, box_out, err);
    if (status != ZQ_OK) {
        zq_images_clear(images_out);
        zq_box_clear(box_out);
    }
    return status;
}

/* ---- sensitivities and frontier */

static zq_status read_sensitivity(const zq_saved *saved, const zq_layers *layers, const zq_rules *rules,
                                  zq_sensitivity *out, zq_error *err) {
    static const char *const methods[] = {"sampled", "exact", "fisher", NULL};
    json_t *widths, *list, *row;
    int method;
    *out = (zq_sensitivity){.n_layers = layers->n, .n_widths = rules->n_widths};
    memcpy(out->widths, rules->widths, sizeof out->widths);
    ZQ_TRY(need_name(saved, saved->root, "sensitivity_method", methods, &method, err));
    out->method = (zq_sensitivity_method)method;
    ZQ_TRY(need_list(saved, saved->root, "sensitivity_widths", out->n_widths, &widths, err));
    ZQ_TRY(need_list(saved, saved->root, "layers", layers->n, &list, err));
    for (int k = 0; k < out->n_widths; k++)
        if (json_integer_value(json_array_get(widths, (size_t)k)) != out->widths[k])
            return refuse_key(saved, "sensitivity_widths", "what the options say", err);
    out->omega = zq_alloc((size_t)layers->n * (size_t)out->n_widths, sizeof *out->omega);
    if (out->omega == NULL)
        return zq_fail_memory(err);
    for (int i = 0; i < layers->n; i++) {
        ZQ_TRY(need_list(saved, json_array_get(list, (size_t)i), "sensitivity", out->n_widths, &row, err));
        for (int k = 0; k < out->n_widths; k++) {
            const json_t *value = json_array_get(row, (size_t)k);
            out->omega[i * out->n_widths + k] = json_is_number(value) ? json_number_value(value) : INFINITY;
        }
    }
    return ZQ_OK;
}

static zq_status read_point(const zq_saved *saved, const json_t *from, const zq_layers *layers,
                            const zq_rules *rules, double *omega_out, uint8_t *choice, zq_error *err) {
    json_t *bits;
    ZQ_TRY(need_real(saved, from, "sensitivity", omega_out, err));
    ZQ_TRY(need_list(saved, from, "bits", layers->n, &bits, err));
    for (int i = 0; i < layers->n; i++) {
        int k = 0;
        while (k < rules->n_widths && json_integer_value(json_array_get(bits, (size_t)i)) != rules->widths[k])
            k++;
        if (k == rules->n_widths || !zq_rules_allow(rules, &layers->items[i], k))
            return refuse_key(saved, "bits", "a list of widths that the layers may have", err);
        choice[i] = (uint8_t)k;
    }
    return ZQ_OK;
}

static zq_status read_frontier(const zq_saved *saved, const zq_layers *layers, const zq_rules *rules,
                               zq_frontier *out, zq_error *err) {
    json_t *list;
    ZQ_TRY(need_list(saved, saved->root, "frontier", -1, &list, err));
    const size_t n = json_array_size(list), n_layers = (size_t)layers->n;
    size_t n_choices;
    if (n == 0 || n > INT32_MAX || !zq_mul_size(n, n_layers, &n_choices))
        return refuse_key(saved, "frontier", "a list of points", err);
    *out = (zq_frontier){.n_points = (int)n, .n_layers = layers->n};
    out->points = zq_alloc(n, sizeof *out->points);
    out->choice = zq_alloc(n_choices, 1);
    if (out->points == NULL || out->choice == NULL)
        return zq_fail_memory(err);
    for (size_t p = 0; p < n; p++)
        ZQ_TRY(read_point(saved, json_array_get(list, p), layers, rules, &out->points[p].omega,
                          out->choice + p * n_layers, err));
    return ZQ_OK;
}

zq_status zq_saved_search(const zq_saved *saved, const zq_layers *layers, const zq_rules *rules,
                          zq_sensitivity *sensitivity_out, zq_frontier *frontier_out, zq_error *err) {
    *frontier_out = (zq_frontier){0};
    zq_status status = read_sensitivity(saved, layers, rules, sensitivity_out, err);
    if (status == ZQ_OK)
        status = read_frontier(saved, layers, rules, frontier_out, err);
    if (status != ZQ_OK) {
        zq_sensitivity_clear(sensitivity_out);
        zq_frontier_clear(frontier_out);
    }
    return status;
}

/* ---- activations */

/* Its number among the widths. */
static zq_status read_grid_width(const zq_saved *saved, const json_t *grid, uint8_t *choice_out,
                                 zq_error *err) {
    double bits;
    ZQ_TRY(need_real(saved, grid, "bits", &bits, err));
    for (uint8_t k = 0; k < ZQ_N_GRID_WIDTHS; k++)
        if (bits == zq_grid_widths[k]) {
            *choice_out = k;
            return ZQ_OK;
        }
    return refuse_key(saved, "bits", "a width that activations may have", err);
}

zq_status zq_saved_activations(const zq_saved *saved, int n_grids, uint8_t *choice_out, double *damage_out,
                               zq_error *err) {
    json_t *from, *grids, *row;
    ZQ_TRY(need_object(saved, saved->root, "mixed_activations", &from, err));
    ZQ_TRY(need_list(saved, from, "grids", n_grids, &grids, err));
    for (int g = 0; g < n_grids; g++) {
        const json_t *grid = json_array_get(grids, (size_t)g);
        ZQ_TRY(read_grid_width(saved, grid, &choice_out[g], err));
        ZQ_TRY(need_list(saved, grid, "sensitivity", ZQ_N_GRID_WIDTHS, &row, err));
        for (size_t k = 0; k < ZQ_N_GRID_WIDTHS; k++)
            damage_out[(size_t)g * ZQ_N_GRID_WIDTHS + k] = json_number_value(json_array_get(row, k));
    }
    return ZQ_OK;
}
