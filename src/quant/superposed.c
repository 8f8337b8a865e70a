/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/superposed.h"

#include "base/memory.h"
#include "quant/sensitivity.h"

#include <math.h>
#include <string.h>

static const double most_bytes = 128e6, most_of_what_is_left = 0.1;

static size_t size_of(const zq_superposed *s) {
    return (size_t)s->n_room * (size_t)s->n_scores;
}

static float *added_by(const zq_superposed *s, int layer, int width) {
    return s->dz + ((size_t)layer * (size_t)s->n_widths + (size_t)width) * size_of(s);
}

void zq_superposed_init(const zq_graph *graph, int n_layers, int n_widths, int64_t n_images,
                        zq_superposed *out) {
    *out = (zq_superposed){.n_layers = n_layers, .n_widths = n_widths};
    if (graph->n_outputs != 1 || zq_output_rule_of(graph, 0) != ZQ_OUTPUT_SOFTMAX ||
        zq_output_has_places(graph, 0))
        return;
    zq_shape shape = graph->values[graph->outputs[0]].shape;
    if (shape.rank > 0 && shape.dims[0] < 0)
        shape.dims[0] = 1; /* a free batch */
    out->n_scores = zq_shape_count(&shape) / zq_graph_images(graph);
    const double count = (double)n_images * (double)out->n_scores;
    const double bytes = count * ((double)n_layers * n_widths + 1) * sizeof(float);
    if (count < 1 || bytes > fmin(most_bytes, most_of_what_is_left * (double)zq_memory_left()))
        return;
    out->n_room = n_images;
    out->z = zq_alloc(size_of(out), sizeof *out->z);
    out->dz = zq_alloc((size_t)n_layers * (size_t)n_widths * size_of(out), sizeof *out->dz);
    if (out->z == NULL || out->dz == NULL)
        zq_superposed_clear(out);
}

void zq_superposed_clear(zq_superposed *superposed) {
    zq_free(superposed->z);
    zq_free(superposed->dz);
    *superposed = (zq_superposed){0};
}

void zq_superposed_keep(zq_superposed *superposed, int64_t first, int64_t n, const float *z) {
    const size_t n_scores = (size_t)superposed->n_scores;
    if (superposed->n_room == 0)
        return;
    memcpy(superposed->z + (size_t)first * n_scores, z, (size_t)n * n_scores * sizeof *z);
    superposed->n_images = first + n;
}

void zq_superposed_keep_layer(zq_superposed *superposed, int layer, int width, int64_t first, int64_t n,
                              const float *z) {
    const size_t at = (size_t)(first * superposed->n_scores), count = (size_t)(n * superposed->n_scores);
    if (superposed->n_room == 0)
        return;
    float *const dz = added_by(superposed, layer, width) + at;
    for (size_t i = 0; i < count; i++)
        dz[i] = z[i] - superposed->z[at + i];
}

void zq_superposed_derive(zq_superposed *superposed, int layer, int width, int from, float share) {
    if (superposed->n_room == 0)
        return;
    const float *const src = added_by(superposed, layer, from);
    float *const dst = added_by(superposed, layer, width);
    for (size_t i = 0; i < size_of(superposed); i++)
        dst[i] = share * src[i];
}

/* log sum exp */
static double log_total(int64_t n, const float *x) {
    float most = x[0];
    double sum = 0;
    for (int64_t i = 1; i < n; i++)
        most = x[i] > most ? x[i] : most;
    for (int64_t i = 0; i < n; i++)
        sum += (double)expf(x[i] - most);
    return most + log(sum);
}

/* KL(softmax(z) || softmax(z + change)); sum: [n] room */
static double divergence(int64_t n, const float *z, const float *change, float *sum) {
    const double own = log_total(n, z);
    double expected = 0;
    for (int64_t i = 0; i < n; i++) {
        sum[i] = z[i] + change[i];
        expected += (double)expf(z[i] - (float)own) * change[i];
    }
    return fmax(log_total(n, sum) - own - expected, 0);
}

static void add(int64_t n, float sign, const float *x, float *sum) {
    for (int64_t i = 0; i < n; i++)
        sum[i] += sign * x[i];
}

/* One image: from choice to choice only layers that differ are added anew. kl: [n_points]; room: [2,
 * n_scores]
 */
static void predict_image(const zq_superposed *s, int64_t image, int n_points, const uint8_t *choices,
                          float *room, double *kl) {
    const size_t at = (size_t)(image * s->n_scores);
    float *const change = room, *const sum = room + s->n_scores;
    memset(change, 0, (size_t)s->n_scores * sizeof *change);
    for (int p = 0; p < n_points; p++) {
        const uint8_t *const now = choices + (size_t)p * (size_t)s->n_layers;
        for (int i = 0; i < s->n_layers; i++) {
            const int before = p == 0 ? ZQ_NOT_NARROWED : (now - s->n_layers)[i];
            if (before != now[i] && before != ZQ_NOT_NARROWED)
                add(s->n_scores, -1, added_by(s, i, before) + at, change);
            if (before != now[i] && now[i] != ZQ_NOT_NARROWED)
                add(s->n_scores, 1, added_by(s, i, now[i]) + at, change);
        }
        kl[p] = divergence(s->n_scores, s->z + at, change, sum);
    }
}

zq_status zq_superposed_predict(const zq_superposed *superposed, int n_points, const uint8_t *choices,
                                double *kl_out, zq_error *err) {
    const int64_t n = superposed->n_images;
    for (int p = 0; p < n_points; p++)
        kl_out[p] = n == 0 ? NAN : 0;
    if (n == 0)
        return ZQ_OK;
    float *const room = zq_alloc_raw((size_t)(2 * n * superposed->n_scores), sizeof *room);
    double *const kl = zq_alloc_raw((size_t)n * (size_t)n_points, sizeof *kl);
    if (room == NULL || kl == NULL) {
        zq_free(room);
        zq_free(kl);
        return zq_fail_memory(err);
    }
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t image = 0; image < n; image++)
        predict_image(superposed, image, n_points, choices, room + 2 * image * superposed->n_scores,
                      kl + image * n_points);
    for (int64_t image = 0; image < n; image++) /* in order, whatever the number of threads */
        for (int p = 0; p < n_points; p++)
            kl_out[p] += kl[image * n_points + p] / (double)n;
    zq_free(room);
    zq_free(kl);
    return ZQ_OK;
}
