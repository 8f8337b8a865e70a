/* SPDX-License-Identifier: Apache-2.0 */
/* Mean and variance of the channels of a value. Sums are in double and made image by image, so that the
 * result doesn't depend on the number of threads. */
#include "engine/step.h"

#include <math.h>
#include <string.h>

static void sum_row(size_t n, const float *restrict x, double *restrict sum, double *restrict square) {
    for (size_t c = 0; c < n; c++) {
        const double value = x[c];
        sum[c] += value;
        square[c] += value * value;
    }
}

/* x from first on: [positions, channels] */
static void sum_last(size_t n_channels, size_t n_positions, zq_cells x, size_t first, double *sum,
                     double *square) {
    const size_t n = n_channels * n_positions;
    float buffer[ZQ_PIECE];
    for (size_t i = 0, length; i < n; i += length) {
        const size_t c = i % n_channels, rest = n_channels - c;
        length = rest < ZQ_PIECE ? rest : ZQ_PIECE;
        sum_row(length, zq_cells_read(x, first + i, length, buffer), sum + c, square + c);
    }
}

/* x: [channels, positions] */
static void sum_plain(int64_t n_channels, int64_t n_positions, const float *restrict x, double *restrict sum,
                      double *restrict square) {
    for (int64_t c = 0; c < n_channels; c++) {
        for (int64_t position = 0; position < n_positions; position++, x++) {
            const double value = *x;
            sum[c] += value;
            square[c] += value * value;
        }
    }
}

/* [images, 2, channels]: sums, then sums of squares. */
static const double *sum_images(zq_plan *plan, const zq_slot *slot) {
    if (slot->summed)
        return slot->sums;
    const int64_t n_channels = slot->channels;
    memset(plan->sums, 0, (size_t)(slot->images * n_channels) * 2 * sizeof *plan->sums);
#pragma omp parallel for schedule(static)
    for (int64_t image = 0; image < slot->images; image++) {
        const int64_t first = image * n_channels * slot->positions;
        double *const sum = plan->sums + image * 2 * n_channels;
        if (slot->last)
            sum_last((size_t)n_channels, (size_t)slot->positions, (zq_cells){slot->data, slot->half},
                     (size_t)first, sum, sum + n_channels);
        else
            sum_plain(n_channels, slot->positions, (const float *)slot->data + first, sum, sum + n_channels);
    }
    return plan->sums;
}

static void moments(double n, double sum, double square, float *mean, float *variance) {
    const double m = sum / n, v = square / n - m * m;
    *mean = (float)m;
    *variance = v > 0 ? (float)v : 0;
}

/* NaN for what was fused away or isn't held as float. */
static bool has_data(const zq_slot *slot, int64_t n, float *mean, float *variance) {
    const bool is_float = slot->dtype == ZQ_F32 || slot->dtype == ZQ_U8 || slot->dtype == ZQ_I8;
    if (slot->data != NULL && is_float)
        return true;
    for (int64_t i = 0; i < n; i++)
        mean[i] = variance[i] = NAN;
    return false;
}

void zq_plan_statistics(zq_plan *plan, int value, float *mean, float *variance) {
    const zq_slot *slot = &plan->slots[value];
    const int64_t n_channels = slot->channels;
    if (!has_data(slot, n_channels, mean, variance))
        return;
    const double *const sums = sum_images(plan, slot);
    for (int64_t c = 0; c < n_channels; c++) {
        double sum = 0, square = 0;
        for (int64_t image = 0; image < slot->images; image++) {
            sum += sums[image * 2 * n_channels + c];
            square += sums[(image * 2 + 1) * n_channels + c];
        }
        moments((double)(slot->images * slot->positions), sum, square, &mean[c], &variance[c]);
    }
}

void zq_plan_image_statistics(zq_plan *plan, int value, float *mean, float *variance) {
    const zq_slot *slot = &plan->slots[value];
    const int64_t n_channels = slot->channels;
    if (!has_data(slot, slot->images * n_channels, mean, variance))
        return;
    const double *const sums = sum_images(plan, slot);
    for (int64_t image = 0; image < slot->images; image++) {
        const double *const sum = sums + image * 2 * n_channels;
        for (int64_t c = 0; c < n_channels; c++)
            moments((double)slot->positions, sum[c], sum[n_channels + c], &mean[image * n_channels + c],
                    &variance[image * n_channels + c]);
    }
}
