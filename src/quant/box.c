/* SPDX-License-Identifier: Apache-2.0 */
/* The interval of valid pixels, from options or from what BatchNormalization knows about the first layer. */
#include "base/memory.h"
#include "graph/op.h"
#include "quant/distill.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Pixels of photos, in parts of the largest pixel value: mean and standard deviation over many images, the
 * correlation of neighbouring pixels, and that of two colour channels at one pixel. */
static const double photo_mean = 0.45, photo_std = 0.275;
static const double photo_neighbours = 0.95, photo_colours = 0.9;

zq_status zq_box_new(int64_t n_channels, zq_box *box, zq_error *err) {
    *box = (zq_box){.n_channels = n_channels};
    float **const arrays[] = {&box->lo, &box->hi, &box->mean, &box->std};
    for (int i = 0; i < 4; i++)
        if ((*arrays[i] = zq_alloc((size_t)n_channels, sizeof(float))) == NULL) {
            zq_box_clear(box);
            return zq_fail_memory(err);
        }
    return ZQ_OK;
}

void zq_box_clear(zq_box *box) {
    zq_free(box->lo);
    zq_free(box->hi);
    zq_free(box->mean);
    zq_free(box->std);
    memset(box, 0, sizeof *box);
}

zq_status zq_box_from_norm(const zq_options *options, int64_t n_channels, zq_box *box_out, zq_error *err) {
    const int n = options->n_input_norm;
    *box_out = (zq_box){0};
    if (!(options->input_max > 0) || !isfinite(options->input_max))
        return zq_fail(err, ZQ_ERR_USAGE,
                       "the largest pixel value is %g; it must be greater than 0, usually 1 or 255",
                       options->input_max);
    if (n < 0 || n > 4 || (n > 1 && n != n_channels))
        return zq_fail(err, ZQ_ERR_USAGE,
                       "%d input means and deviations were given, but the network's input has %lld channels: "
                       "give one for all or one for each",
                       n, (long long)n_channels);
    ZQ_TRY(zq_box_new(n_channels, box_out, err));
    for (int64_t c = 0; c < n_channels; c++) {
        const double mean = n == 0 ? 0 : options->input_mean[n == 1 ? 0 : c];
        const double std = n == 0 ? 1 : options->input_std[n == 1 ? 0 : c];
        if (!(std > 0) || !isfinite(std) || !isfinite(mean)) {
            zq_box_clear(box_out);
            return zq_fail(err, ZQ_ERR_USAGE,
                           "input channel %lld is normalised with mean %g and deviation %g; the deviation "
                           "must be greater than 0",
                           (long long)c, mean, std);
        }
        box_out->lo[c] = (float)(-mean / std);
        box_out->hi[c] = (float)((options->input_max - mean) / std);
        box_out->mean[c] = (float)((photo_mean * options->input_max - mean) / std);
        box_out->std[c] = (float)(photo_std * options->input_max / std);
    }
    return ZQ_OK;
}

/* What an estimated range is widened by on each side, in parts of it: a range too wide costs a fraction of a
 * bit, one too narrow clips real images. Estimates were up to 11 % short on eight classifiers. */
static const double margin = 0.12;

/* The box whose photos have this mean and standard deviation. */
static void set_channel(zq_box *box, int64_t c, double mean, double std) {
    const double range = std / photo_std;
    box->mean[c] = (float)mean;
    box->std[c] = (float)std;
    box->lo[c] = (float)(mean - (photo_mean + margin) * range);
    box->hi[c] = (float)(mean + (1 - photo_mean + margin) * range);
}

/* ---- the first convolution: z = w * x + b, and what training says about z */

typedef struct first_layer {
    int64_t n_out, n_in, height, width; /* of the weight [n_out, n_in, height, width] */
    const float *weight, *bias;         /* borrowed; bias: [n_out], may be NULL */
    double *mean, *std;                 /* [n_out] of z, owned; std 0: unknown */
} first_layer;

/* Mean and standard deviation of z ~ N(b, g^2) from those of relu(z), by bisection on a = b / g: the ratio
 * mean / deviation of relu(z) grows with a. */
static void undo_relu(double *mean, double *std) {
    const double inverse_root_2pi = 0.3989422804014327;
    double lo = -4, hi = 8, first = 0, second = 0;
    if (!(*mean > 0) || !(*std > 0)) {
        *std = 0;
        return;
    }
    for (int i = 0; i < 60; i++) {
        const double a = (lo + hi) / 2, phi = inverse_root_2pi * exp(-a * a / 2);
        const double Phi = 0.5 * erfc(-a / sqrt(2.0));
        first = a * Phi + phi; /* of relu(a + N(0, 1)) */
        second = (a * a + 1) * Phi + a * phi;
        if (first * *std < *mean * sqrt(fmax(second - first * first, 0)))
            lo = a;
        else
            hi = a;
    }
    const double gamma = *mean / first;
    *mean = (lo + hi) / 2 * gamma;
    *std = gamma;
}

/* Statistics of a node's output, or of the Relu behind it; false when there are none. */
static bool read_statistics(const zq_graph *graph, int value, first_layer *layer) {
    const zq_stats *stats = graph->values[value].stats;
    bool behind_relu = false;
    for (int n = 0; n < graph->n_nodes && stats == NULL; n++) {
        const zq_node *node = &graph->nodes[n];
        if (node->op == NULL || node->inputs[0] != value || strcmp(node->op->name, "Relu") != 0)
            continue;
        stats = graph->values[node->outputs[0]].stats;
        behind_relu = stats != NULL;
    }
    if (stats == NULL || stats->n_channels != layer->n_out)
        return false;
    for (int64_t o = 0; o < layer->n_out; o++) {
        layer->mean[o] = stats->mean[o];
        layer->std[o] = stats->std[o];
        if (behind_relu)
            undo_relu(&layer->mean[o], &layer->std[o]);
    }
    return true;
}

static void first_layer_clear(first_layer *layer) {
    zq_free(layer->mean);
    zq_free(layer->std);
}

/* Takes the node when it is an ungrouped 2-D convolution of the input with known statistics. */
static zq_status read_first_layer(const zq_graph *graph, const zq_node *node, int64_t n_channels,
                                  first_layer *layer, bool *found, zq_error *err) {
    *found = false;
    if (strcmp(node->op->name, "Conv") != 0 || node->n_inputs < 2 || node->inputs[1] < 0)
        return ZQ_OK;
    const zq_tensor *weight = graph->values[node->inputs[1]].constant;
    if (weight == NULL || weight->dtype != ZQ_F32 || weight->shape.rank != 4 || weight->data == NULL ||
        weight->shape.dims[1] != n_channels || zq_shape_count(&weight->shape) <= 0)
        return ZQ_OK;
    const int64_t *dims = weight->shape.dims;
    if (dims[1] > 16 || dims[2] > 16 || dims[3] > 16) /* not photos, and costly below */
        return ZQ_OK;
    *layer = (first_layer){.n_out = dims[0], .n_in = dims[1], .height = dims[2], .width = dims[3]};
    layer->weight = weight->data;
    if (node->n_inputs > 2 && node->inputs[2] >= 0) {
        const zq_tensor *bias = graph->values[node->inputs[2]].constant;
        if (bias == NULL || bias->dtype != ZQ_F32 || zq_shape_count(&bias->shape) != layer->n_out)
            return ZQ_OK;
        layer->bias = bias->data;
    }
    layer->mean = zq_alloc((size_t)layer->n_out, sizeof(double));
    layer->std = zq_alloc((size_t)layer->n_out, sizeof(double));
    if (layer->mean == NULL || layer->std == NULL) {
        first_layer_clear(layer);
        return zq_fail_memory(err);
    }
    *found = read_statistics(graph, node->outputs[0], layer);
    if (!*found)
        first_layer_clear(layer);
    return ZQ_OK;
}

/* ---- estimates from it */

/* Response of output channel o to a constant input of 1 in channel c. */
static double flat_response(const first_layer *layer, int64_t o, int64_t c) {
    const int64_t area = layer->height * layer->width;
    const float *w = layer->weight + (o * layer->n_in + c) * area;
    double sum = 0;
    for (int64_t k = 0; k < area; k++)
        sum += w[k];
    return sum;
}

/* Standard deviation of z where the pixels have standard deviation 1 and the correlations of photos. */
static double photo_response(const first_layer *layer, int64_t o) {
    const int64_t area = layer->height * layer->width;
    const float *w = layer->weight + o * layer->n_in * area;
    double variance = 0;
    for (int64_t i = 0; i < area; i++)
        for (int64_t j = 0; j < area; j++) {
            const double dy = (double)(i / layer->width - j / layer->width);
            const double dx = (double)(i % layer->width - j % layer->width);
            double same = 0, sum_i = 0, sum_j = 0;
            for (int64_t c = 0; c < layer->n_in; c++) {
                same += (double)w[c * area + i] * w[c * area + j];
                sum_i += w[c * area + i];
                sum_j += w[c * area + j];
            }
            variance += pow(photo_neighbours, sqrt(dx * dx + dy * dy)) *
                        ((1 - photo_colours) * same + photo_colours * sum_i * sum_j);
        }
    return sqrt(fmax(variance, 0));
}

typedef struct filter {
    double flatness; /* response to a constant image in units of the photo response */
    double ratio;    /* deviation that training saw / photo response */
} filter;

static int flattest_first(const void *a, const void *b) {
    const double x = ((const filter *)a)->flatness, y = ((const filter *)b)->flatness;
    return (x < y) - (x > y);
}

static int by_ratio(const void *a, const void *b) {
    const double x = ((const filter *)a)->ratio, y = ((const filter *)b)->ratio;
    return (x > y) - (x < y);
}

/* Standard deviation of the pixels: the median over the smoother half of the filters (edge filters depend on
 * the sharpness of the training images, smooth ones hardly do). 0 when no filter tells. */
static zq_status estimate_std(const first_layer *layer, double *std_out, zq_error *err) {
    filter *filters = zq_alloc((size_t)layer->n_out, sizeof *filters);
    double mean_square = 0, mean_response = 0;
    size_t n = 0;
    if (filters == NULL)
        return zq_fail_memory(err);
    for (int64_t o = 0; o < layer->n_out; o++) {
        mean_square += layer->std[o] * layer->std[o] / (double)layer->n_out;
        mean_response += (filters[o].ratio = photo_response(layer, o)) / (double)layer->n_out;
    }
    for (int64_t o = 0; o < layer->n_out; o++) {
        const double response = filters[o].ratio;
        double flat = 0;
        if (layer->std[o] < 1e-3 * sqrt(mean_square) || !(response > 1e-3 * mean_response))
            continue; /* a dead channel */
        for (int64_t c = 0; c < layer->n_in; c++)
            flat += flat_response(layer, o, c);
        filters[n++] = (filter){.flatness = fabs(flat) / response, .ratio = layer->std[o] / response};
    }
    qsort(filters, n, sizeof *filters, flattest_first);
    n = n > 3 ? n - n / 2 : n;
    qsort(filters, n, sizeof *filters, by_ratio);
    *std_out = n == 0 ? 0 : (filters[(n - 1) / 2].ratio + filters[n / 2].ratio) / 2;
    zq_free(filters);
    return ZQ_OK;
}

/* Solves the symmetric positive definite a x = b in place (x in b) by elimination; a: [n, n]. */
static void solve(int64_t n, double *a, double *b) {
    for (int64_t k = 0; k < n; k++)
        for (int64_t i = k + 1; i < n; i++) {
            const double f = a[k * n + k] > 0 ? a[i * n + k] / a[k * n + k] : 0;
            for (int64_t j = k; j < n; j++)
                a[i * n + j] -= f * a[k * n + j];
            b[i] -= f * b[k];
        }
    for (int64_t i = n - 1; i >= 0; i--) {
        for (int64_t j = i + 1; j < n; j++)
            b[i] -= a[i * n + j] * b[j];
        b[i] = a[i * n + i] > 0 ? b[i] / a[i * n + i] : 0;
    }
}

/* Mean of each input channel. The mean of z is exactly sum_c S_oc m_c + b_o (borders aside), S the response
 * to a constant: least squares over o in units of z's deviation. A small penalty on what tells the channels
 * apart keeps it stable where all filters are grey. mean: [n_in]. */
static zq_status estimate_mean(const first_layer *layer, double *mean, zq_error *err) {
    const int64_t n = layer->n_in;
    double *const a = zq_alloc((size_t)(n * n), sizeof *a), *const s = zq_alloc((size_t)n, sizeof *s);
    double trace = 0;
    if (a == NULL || s == NULL) {
        zq_free(a);
        zq_free(s);
        return zq_fail_memory(err);
    }
    memset(mean, 0, (size_t)n * sizeof *mean);
    for (int64_t o = 0; o < layer->n_out; o++) {
        const double std = layer->std[o], bias = layer->bias == NULL ? 0 : layer->bias[o];
        double energy = 0;
        for (int64_t c = 0; c < n; c++)
            energy += fabs(s[c] = flat_response(layer, o, c));
        if (!(std > 1e-6 * energy)) /* dead: nothing but rounding */
            continue;
        for (int64_t c = 0; c < n; c++) {
            mean[c] += s[c] * (layer->mean[o] - bias) / (std * std);
            for (int64_t d = 0; d < n; d++)
                a[c * n + d] += s[c] * s[d] / (std * std);
        }
    }
    for (int64_t c = 0; c < n; c++)
        trace += a[c * n + c] / (double)n;
    for (int64_t c = 0; c < n * n; c++)
        a[c] += 0.01 * trace * ((c % (n + 1) == 0) - 1 / (double)n);
    for (int64_t c = 0; c < n; c++)
        a[c * n + c] += 1e-9 * trace;
    solve(n, a, mean);
    zq_free(a);
    zq_free(s);
    return ZQ_OK;
}

static zq_status estimate_from_layer(const first_layer *layer, zq_box *box, bool *found, zq_error *err) {
    double std = 0, *mean = zq_alloc((size_t)layer->n_in, sizeof *mean);
    zq_status status = mean == NULL ? zq_fail_memory(err) : estimate_std(layer, &std, err);
    if (status == ZQ_OK)
        status = estimate_mean(layer, mean, err);
    *found = status == ZQ_OK && std > 0 && isfinite(std);
    for (int64_t c = 0; c < layer->n_in && *found; c++)
        *found = isfinite(mean[c]);
    for (int64_t c = 0; c < layer->n_in && *found; c++)
        set_channel(box, c, mean[c], std);
    zq_free(mean);
    return status;
}

zq_status zq_box_estimate(const zq_graph *graph, zq_box *box_out, zq_error *err) {
    *box_out = (zq_box){0};
    const zq_value *input = graph->n_inputs > 0 ? &graph->values[graph->inputs[0]] : NULL;
    const int64_t n_channels = input != NULL && input->shape.rank >= 2 ? input->shape.dims[1] : 0;
    if (n_channels <= 0)
        return zq_fail(err, ZQ_ERR_UNSUPPORTED,
                       "%s: the network's input has no channels; expected images [N,C,H,W]",
                       graph->file == NULL ? "the model" : graph->file);
    ZQ_TRY(zq_box_new(n_channels, box_out, err));
    box_out->estimated = true;
    for (int64_t c = 0; c < n_channels; c++) {
        box_out->std[c] = 1;
        box_out->lo[c] = -2.5F;
        box_out->hi[c] = 2.5F;
    }
    if (input->stats != NULL && input->stats->n_channels == n_channels) {
        for (int64_t c = 0; c < n_channels; c++)
            if (input->stats->std[c] > 0)
                set_channel(box_out, c, input->stats->mean[c], input->stats->std[c]);
        return ZQ_OK;
    }
    bool found = false;
    for (int n = 0; n < graph->n_nodes && !found; n++) {
        const zq_node *node = &graph->nodes[n];
        first_layer layer;
        if (node->op == NULL || node->n_inputs < 1 || node->inputs[0] != graph->inputs[0])
            continue;
        zq_status status = read_first_layer(graph, node, n_channels, &layer, &found, err);
        if (status == ZQ_OK && found) {
            status = estimate_from_layer(&layer, box_out, &found, err);
            first_layer_clear(&layer);
        }
        if (status != ZQ_OK) {
            zq_box_clear(box_out);
            return status;
        }
    }
    return ZQ_OK;
}
