/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/matching.h"

#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A channel whose sigma is below this share of its layer's root mean square is nearly dead. */
static const double least_sigma = 0.05;

static void target_clear(zq_target *t) {
    void *const arrays[] = {t->unit, t->sum, t->square, t->m, t->s, t->c1, t->c2};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        zq_free(arrays[i]);
}

static zq_status target_init(const zq_graph *graph, int value, zq_target *t, zq_error *err) {
    const zq_stats *stats = graph->values[value].stats;
    const size_t n = (size_t)stats->n_channels;
    *t = (zq_target){.value = value, .n_channels = stats->n_channels, .mu = stats->mean, .sigma = stats->std};
    float **const arrays[] = {&t->unit, &t->m, &t->s, &t->c1, &t->c2};
    bool ok = true;
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        ok = (*arrays[i] = zq_alloc(n, sizeof(float))) != NULL && ok;
    t->sum = zq_alloc(n, sizeof(double));
    t->square = zq_alloc(n, sizeof(double));
    if (ok && t->sum != NULL && t->square != NULL)
        return ZQ_OK;
    target_clear(t);
    return zq_fail_memory(err);
}

static bool is_target(const zq_graph *graph, int value) {
    const zq_value *v = &graph->values[value];
    return v->stats != NULL && v->constant == NULL && v->shape.rank >= 2 &&
           v->shape.dims[1] == v->stats->n_channels && v->stats->n_channels > 0;
}

zq_status zq_matching_init(const zq_graph *graph, zq_matching *matching_out, zq_error *err) {
    zq_status status = ZQ_OK;
    int n = 0;
    for (int v = 0; v < graph->n_values; v++)
        n += is_target(graph, v);
    *matching_out = (zq_matching){.targets = zq_alloc((size_t)n, sizeof(zq_target)),
                                  .seeds = zq_alloc((size_t)n + 1, sizeof(zq_plan_seed))};
    if (matching_out->targets == NULL || matching_out->seeds == NULL)
        status = zq_fail_memory(err);
    for (int v = 0; v < graph->n_values && status == ZQ_OK; v++) {
        zq_target *t = &matching_out->targets[matching_out->n_targets];
        if (!is_target(graph, v) || (status = target_init(graph, v, t, err)) != ZQ_OK)
            continue;
        matching_out->seeds[matching_out->n_targets++] =
            (zq_plan_seed){.value = v, .c1 = t->c1, .c2 = t->c2, .mean = t->m};
    }
    if (status != ZQ_OK)
        zq_matching_clear(matching_out);
    return status;
}

void zq_matching_clear(zq_matching *matching) {
    for (int i = 0; i < matching->n_targets; i++)
        target_clear(&matching->targets[i]);
    zq_free(matching->targets);
    zq_free(matching->seeds);
    memset(matching, 0, sizeof *matching);
}

/* Units of the errors and weight of a channel. */
static void choose_units(zq_target *t, zq_matching_loss loss, int n_targets) {
    double mean_square = 0;
    for (int64_t c = 0; c < t->n_channels; c++)
        mean_square += (double)t->sigma[c] * t->sigma[c] / (double)t->n_channels;
    const double least = fmax(least_sigma * sqrt(mean_square), 1e-12);
    for (int64_t c = 0; c < t->n_channels; c++)
        t->unit[c] = loss == ZQ_MATCH_ABSOLUTE ? 1 : (float)fmax(t->sigma[c], least);
    t->weight = loss == ZQ_MATCH_ABSOLUTE ? 1 : 1 / ((double)t->n_channels * n_targets);
}

/* Runs every batch and gathers m and s^2 of all targets. */
static zq_status gather(zq_matching *matching, zq_plan *plan, int64_t n_batches, int64_t batch_size,
                        const float *pixels, zq_error *err) {
    for (int64_t b = 0; b < n_batches; b++) {
        zq_plan_set_input(plan, 0, pixels + b * batch_size);
        ZQ_TRY(zq_plan_forward(plan, err));
        for (int i = 0; i < matching->n_targets; i++) {
            zq_target *t = &matching->targets[i];
            zq_plan_statistics(plan, t->value, t->m, t->s); /* of this batch; s: variance */
            for (int64_t c = 0; c < t->n_channels; c++) {
                t->sum[c] = (b == 0 ? 0 : t->sum[c]) + t->m[c];
                t->square[c] = (b == 0 ? 0 : t->square[c]) + t->s[c] + (double)t->m[c] * t->m[c];
            }
        }
    }
    return ZQ_OK;
}

/* m, s, c1, c2 from the sums; returns the target's part of the loss. elements: M. */
static double finish(zq_target *t, int64_t n_batches, double elements) {
    double loss = 0;
    for (int64_t c = 0; c < t->n_channels; c++) {
        const double m = t->sum[c] / (double)n_batches, unit = t->unit[c];
        /* the floor keeps the gradient finite where a channel is constant */
        const double s = sqrt(fmax(t->square[c] / (double)n_batches - m * m, 1e-12 * unit * unit));
        const double to_mean = (m - t->mu[c]) / unit, to_std = (s - t->sigma[c]) / unit;
        loss += t->weight * (to_mean * to_mean + to_std * to_std);
        t->m[c] = (float)m;
        t->s[c] = (float)s;
        t->c1[c] = (float)(2 * t->weight * to_mean / (unit * elements));
        t->c2[c] = (float)(2 * t->weight * to_std / (unit * elements * s));
    }
    return loss;
}

zq_status zq_matching_evaluate(zq_matching *matching, zq_plan *plan, int64_t plan_images,
                               zq_matching_loss loss, int64_t n_images, int64_t image_size,
                               const float *pixels, float *d_pixels, double *loss_out, zq_error *err) {
    const int64_t n_batches = n_images / plan_images, batch_size = plan_images * image_size;
    *loss_out = 0;
    ZQ_TRY(gather(matching, plan, n_batches, batch_size, pixels, err));
    for (int i = 0; i < matching->n_targets; i++) {
        zq_target *t = &matching->targets[i];
        const int64_t count = zq_shape_count(zq_plan_shape(plan, t->value));
        choose_units(t, loss, matching->n_targets);
        *loss_out += finish(t, n_batches, (double)(count / t->n_channels * n_batches));
    }
    /* backwards, since the plan still holds the last batch */
    for (int64_t b = n_batches - 1; b >= 0 && d_pixels != NULL; b--) {
        if (b < n_batches - 1) {
            zq_plan_set_input(plan, 0, pixels + b * batch_size);
            ZQ_TRY(zq_plan_forward(plan, err));
        }
        int n_seeds = matching->n_targets;
        if (matching->labels != NULL && matching->labels->value >= 0)
            ZQ_TRY(zq_labels_seed(matching->labels, plan, n_images, b * plan_images,
                                  &matching->seeds[n_seeds++], err));
        ZQ_TRY(zq_plan_backward(plan, n_seeds, matching->seeds, d_pixels + b * batch_size, err));
    }
    return ZQ_OK;
}

static int compare_floats(const void *a, const void *b) {
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Sorts x. */
static zq_spread spread_of(int64_t n, float *x) {
    qsort(x, (size_t)n, sizeof *x, compare_floats);
    return (zq_spread){.low = x[(n - 1) / 10], .middle = x[(n - 1) / 2], .high = x[n - 1 - (n - 1) / 10]};
}

zq_status zq_matching_describe(const zq_target *t, zq_match *match_out, zq_error *err) {
    float *const mean = zq_alloc((size_t)t->n_channels, 2 * sizeof *mean);
    if (mean == NULL)
        return zq_fail_memory(err);
    float *const std = mean + t->n_channels;
    double residual = 0;
    for (int64_t c = 0; c < t->n_channels; c++) {
        mean[c] = (t->m[c] - t->mu[c]) / t->unit[c];
        std[c] = 1 + (t->s[c] - t->sigma[c]) / t->unit[c];
        residual += (double)mean[c] * mean[c] + (double)(std[c] - 1) * (std[c] - 1);
    }
    *match_out = (zq_match){.value = t->value,
                            .n_channels = t->n_channels,
                            .residual = residual / (double)t->n_channels,
                            .mean = spread_of(t->n_channels, mean),
                            .std = spread_of(t->n_channels, std)};
    zq_free(mean);
    return ZQ_OK;
}
