/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/noise.h"

#include "base/random.h"

#include <math.h>

enum { MAX_OCTAVES = 30 };

void zq_noise_white(uint64_t seed, const zq_shape *shape, float *x) {
    const int64_t n = zq_shape_count(shape);
    seed = zq_random_seed(seed, "white noise");
#pragma omp parallel for
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)zq_random_normal(seed, (uint64_t)i);
}

/* A random field that varies over `spacing` pixels: normal numbers on a lattice of that spacing, randomly
 * shifted, with straight lines between them. */
typedef struct lattice {
    uint64_t seed, stride; /* stride: lattice points in a row */
    double spacing, shift_y, shift_x;
} lattice;

static lattice lattice_of(uint64_t seed, int octave, int64_t width) {
    const double spacing = (double)((int64_t)1 << octave);
    return (lattice){.seed = zq_random_seed(seed, "lattice"),
                     .stride = (uint64_t)((double)width / spacing) + 3,
                     .spacing = spacing,
                     .shift_y = spacing * zq_random_uniform(seed, 0),
                     .shift_x = spacing * zq_random_uniform(seed, 1)};
}

/* Adds weight times the field to one row of pixels. */
static void add_row(const lattice *field, double weight, int64_t row, int64_t width, float *x) {
    const double v = ((double)row + field->shift_y) / field->spacing, b = v - floor(v);
    double left = 0, right = 0; /* lattice points beside the pixel, already between two lattice rows */
    int64_t at = -2;
    for (int64_t j = 0; j < width; j++) {
        const double u = ((double)j + field->shift_x) / field->spacing, a = u - floor(u);
        for (; at < (int64_t)u; at++) { /* the next pair of points */
            const uint64_t point = (uint64_t)v * field->stride + (uint64_t)(at + 2);
            left = right;
            right = (1 - b) * zq_random_normal(field->seed, point) +
                    b * zq_random_normal(field->seed, point + field->stride);
        }
        /* a mean of neighbours varies less than each of them: bring the variance back to 1 */
        const double variance = (a * a + (1 - a) * (1 - a)) * (b * b + (1 - b) * (1 - b));
        x[j] += (float)(weight * ((1 - a) * left + a * right) / sqrt(variance));
    }
}

/* Adds noise of that variance to a plane. */
static void add_octaves(uint64_t seed, int n_octaves, double variance, int64_t height, int64_t width,
                        float *x) {
    double total = 0;
    for (int octave = 0; octave < n_octaves; octave++)
        total += exp2(0.5 * octave);
    for (int octave = 0; octave < n_octaves; octave++) {
        const lattice field = lattice_of(zq_random_bits(seed, (uint64_t)octave), octave, width);
        const double weight = sqrt(variance * exp2(0.5 * octave) / total);
        for (int64_t row = 0; row < height; row++)
            add_row(&field, weight, row, width, x + row * width);
    }
}

static int octaves_in(int64_t height, int64_t width) {
    int n_octaves = 1;
    while (n_octaves < MAX_OCTAVES && ((int64_t)1 << n_octaves) <= (height > width ? height : width))
        n_octaves++;
    return n_octaves;
}

void zq_noise_add_photo(uint64_t seed, const zq_shape *shape, int n_octaves, double variance, float *x) {
    const int64_t n_channels = shape->dims[1], height = shape->dims[2], width = shape->dims[3];
    const double colour = n_channels > 1 ? 0.1 : 0; /* share of the variance that a channel has for itself */
    if (n_octaves <= 0)
        n_octaves = octaves_in(height, width);
    seed = zq_random_seed(seed, "photo noise");
#pragma omp parallel for
    for (int64_t plane = 0; plane < shape->dims[0] * n_channels; plane++) {
        const uint64_t image = (uint64_t)(plane / n_channels), channel = (uint64_t)(plane % n_channels);
        const uint64_t image_seed = zq_random_bits(seed, image);
        float *const pixels = x + plane * height * width;
        add_octaves(image_seed, n_octaves, (1 - colour) * variance, height, width, pixels);
        if (colour > 0)
            add_octaves(zq_random_bits(image_seed, channel + 1000), n_octaves, colour * variance, height,
                        width, pixels);
    }
}
