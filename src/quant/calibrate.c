/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/calibrate.h"

#include "base/memory.h"
#include "engine/plan.h"
#include "graph/op.h"
#include "quant/density.h"
#include "quant/prior.h"
#include "quant/wide.h"

#include <string.h>

/* What the values of one run may take; the plan needs about as much again. */
static const double values_bytes = 1e9;

/* The work of one zq_calibrate. */
typedef struct calibration {
    zq_graph *graph;
    const zq_images *images;
    zq_plan *plan;
    int64_t n_batch;           /* images in a run */
    size_t image_size;         /* elements */
    float *batch;              /* [n_batch, image_size], only where a run wraps around; else NULL */
    zq_histogram **histograms; /* [n_values]; NULL for constants and integers */
    const float **data;        /* [n_values], of the last run; NULL: not kept */
    size_t *n_data;            /* [n_values] */
} calibration;

static bool is_wanted(const zq_graph *graph, int value) {
    const zq_value *v = &graph->values[value];
    if (v->dtype != ZQ_F32 || v->constant != NULL)
        return false;
    return v->producer >= 0 || (graph->n_inputs > 0 && graph->inputs[0] == value);
}

/* The most images at a time whose values fit, as a divisor of their number so that one plan serves all runs.
 * A fixed batch is what the graph says. */
static int64_t choose_batch(const zq_graph *graph, int64_t n_images) {
    const zq_shape *input = &graph->values[graph->inputs[0]].shape;
    if (!graph->free_batch)
        return input->rank > 0 && input->dims[0] > 0 ? input->dims[0] : 1;
    double per_image = 1;
    for (int v = 0; v < graph->n_values; v++) {
        const int64_t count = zq_shape_count(&graph->values[v].shape);
        if (is_wanted(graph, v) && count > 0)
            per_image += (double)count * sizeof(float);
    }
    int64_t n = n_images;
    while (n > 1 && (n_images % n != 0 || (double)n * per_image > values_bytes))
        n--;
    return n;
}

static zq_status calibration_new(calibration *c, zq_error *err) {
    const zq_graph *graph = c->graph;
    const zq_shape *shape = &c->images->shape;
    const int64_t count = zq_shape_count(shape);
    if (graph->n_inputs < 1 || shape->rank < 1 || count < 1)
        return zq_fail(err, ZQ_ERR_INTERNAL, "calibration needs a graph with an input, and images");
    const int64_t n_images = shape->dims[0];
    c->image_size = (size_t)(count / n_images);
    c->n_batch = choose_batch(graph, n_images);
    zq_plan_options options = {.n_images = c->n_batch, .keep_values = true};
    const zq_plan_room room = {.divides = n_images, .spare = (size_t)graph->n_values * sizeof(zq_histogram)};
    ZQ_TRY(zq_plan_fit(c->graph, &options, &room, &c->plan, err));
    c->n_batch = options.n_images;
    const int64_t expected = zq_shape_count(zq_plan_shape(c->plan, graph->inputs[0]));
    if (expected != c->n_batch * (int64_t)c->image_size)
        return zq_fail(err, ZQ_ERR_INTERNAL, "images of %zu elements don't fit the input '%s' of %lld",
                       c->image_size, graph->values[graph->inputs[0]].name,
                       (long long)(expected / c->n_batch));
    const size_t n_values = (size_t)graph->n_values;
    c->histograms = zq_alloc(n_values, sizeof *c->histograms);
    c->data = zq_alloc(n_values, sizeof *c->data);
    c->n_data = zq_alloc(n_values, sizeof *c->n_data);
    if (n_images % c->n_batch != 0)
        c->batch = zq_alloc_raw((size_t)c->n_batch, c->image_size * sizeof *c->batch);
    if (c->histograms == NULL || c->data == NULL || c->n_data == NULL ||
        (n_images % c->n_batch != 0 && c->batch == NULL))
        return zq_fail_memory(err);
    for (int v = 0; v < graph->n_values; v++) {
        if (!is_wanted(graph, v))
            continue;
        c->histograms[v] = zq_alloc(1, sizeof *c->histograms[v]);
        if (c->histograms[v] == NULL)
            return zq_fail_memory(err);
        zq_histogram_init(c->histograms[v]);
    }
    return ZQ_OK;
}

static void calibration_clear(calibration *c) {
    for (int v = 0; v < c->graph->n_values && c->histograms != NULL; v++)
        zq_free(c->histograms[v]);
    zq_free(c->histograms);
    zq_free(c->data);
    zq_free(c->n_data);
    zq_free(c->batch);
    zq_plan_drop(c->plan);
}

/* Images first, first + 1, ... of a run; behind the last one the first follows again. */
static const float *take_images(calibration *c, int64_t first) {
    const int64_t n_images = c->images->shape.dims[0];
    if (first + c->n_batch <= n_images)
        return c->images->data + (size_t)first * c->image_size;
    for (int64_t i = 0; i < c->n_batch; i++)
        memcpy(c->batch + (size_t)i * c->image_size,
               c->images->data + (size_t)((first + i) % n_images) * c->image_size,
               c->image_size * sizeof *c->batch);
    return c->batch;
}

static zq_status run(calibration *c, int64_t first, zq_error *err) {
    const int n_values = c->graph->n_values;
    zq_plan_set_input(c->plan, 0, take_images(c, first));
    ZQ_TRY(zq_plan_forward(c->plan, err));
    for (int v = 0; v < n_values; v++)
        c->data[v] = c->histograms[v] == NULL ? NULL : zq_plan_peek(c->plan, v, &c->n_data[v]);

        /* A histogram belongs to one thread at a time, so nothing depends on the number of threads. */
#pragma omp parallel for schedule(dynamic, 1)
    for (int v = 0; v < n_values; v++)
        if (c->data[v] != NULL)
            zq_histogram_add(c->histograms[v], c->n_data[v], c->data[v]);
    return ZQ_OK;
}

static zq_status check_finite(const calibration *c, zq_error *err) {
    for (int v = 0; v < c->graph->n_values; v++)
        if (c->histograms[v] != NULL && c->histograms[v]->n_bad > 0)
            return zq_fail(err, ZQ_ERR_FORMAT,
                           "'%s' becomes infinite or NaN on the distilled images: weights so large overflow "
                           "float32, so there is no range to quantize to",
                           c->graph->values[v].name);
    return ZQ_OK;
}

static void use_box(const zq_graph *graph, const zq_box *box, const zq_activation_spec *spec,
                    zq_activation *activations) {
    float lo = box->lo[0], hi = box->hi[0];
    for (int64_t c = 1; c < box->n_channels; c++) {
        lo = box->lo[c] < lo ? box->lo[c] : lo;
        hi = box->hi[c] > hi ? box->hi[c] : hi;
    }
    zq_activation_spec wide = *spec;
    wide.bits = 8;
    activations[graph->inputs[0]] = zq_activation_of_range(&wide, lo, hi);
    activations[graph->inputs[0]].wide = true;
}

/* Errors below zero count less where a LeakyRelu alone reads the value, since it shrinks them. */
static void weigh_by_reader(const zq_graph *graph, int value, zq_histogram *histogram) {
    float slope = 1;
    int *readers = NULL;
    const int n_readers = zq_graph_is_output(graph, value) ? 0 : zq_graph_consumers(graph, value, &readers);
    if (n_readers == 1 && strcmp(graph->nodes[readers[0]].op->name, "LeakyRelu") == 0)
        (void)zq_node_float(&graph->nodes[readers[0]], "alpha", 0.01F, &slope, NULL);
    for (int i = 0; i < ZQ_HISTOGRAM_ZERO; i++)
        histogram->count[i] *= (double)slope * slope;
    zq_free(readers);
}

/* Ranges of one value at all widths; the histogram changes. */
static zq_status find_ranges(const zq_graph *graph, int value, zq_histogram *histogram,
                             const zq_activation_spec *spec, int n_widths, const int *widths,
                             zq_activation *const *activations) {
    if (spec->method == ZQ_RANGE_MSE) {
        ZQ_TRY(zq_prior_add(graph, value, histogram, NULL));
        weigh_by_reader(graph, value, histogram);
    }
    const bool wide = zq_is_wide(graph, value);
    for (int k = 0; k < n_widths; k++) {
        zq_activation_spec narrowed = *spec;
        float lo, hi;
        narrowed.bits = wide ? 8 : widths[k];
        zq_histogram_range(histogram, &narrowed, &lo, &hi);
        activations[k][value] = zq_activation_of_range(&narrowed, lo, hi);
        activations[k][value].wide = wide;
    }
    return ZQ_OK;
}

zq_status zq_calibrate_widths(zq_graph *graph, const zq_images *images, const zq_box *box,
                              const zq_activation_spec *spec, int n_widths, const int *widths,
                              zq_activation *const *activations, zq_density *densities, zq_error *err) {
    calibration c = {.graph = graph, .images = images};
    for (int k = 0; k < n_widths; k++)
        memset(activations[k], 0, (size_t)graph->n_values * sizeof *activations[k]);
    if (densities != NULL)
        memset(densities, 0, (size_t)graph->n_values * sizeof *densities);
    zq_status status = calibration_new(&c, err);
    for (int64_t first = 0; status == ZQ_OK && first < images->shape.dims[0]; first += c.n_batch)
        status = run(&c, first, err);
    if (status == ZQ_OK)
        status = check_finite(&c, err);
    if (status != ZQ_OK)
        goto done;
    bool out_of_memory = false; /* only ever set to true */
#pragma omp parallel for schedule(dynamic, 1)
    for (int v = 0; v < graph->n_values; v++) {
        if (c.histograms[v] == NULL || c.histograms[v]->n == 0)
            continue;
        if (densities != NULL)
            zq_density_make(c.histograms[v], &densities[v]);
        if (find_ranges(graph, v, c.histograms[v], spec, n_widths, widths, activations) != ZQ_OK)
            out_of_memory = true;
    }
    if (out_of_memory)
        status = zq_fail_memory(err);
    for (int k = 0; k < n_widths && box != NULL && box->n_channels > 0; k++)
        use_box(graph, box, spec, activations[k]);
done:
    calibration_clear(&c);
    return status;
}

zq_status zq_calibrate(zq_graph *graph, const zq_images *images, const zq_box *box,
                       const zq_activation_spec *spec, zq_activation *activations, zq_density *densities,
                       zq_error *err) {
    return zq_calibrate_widths(graph, images, box, spec, 1, &spec->bits, &activations, densities, err);
}
