/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/noise.h"

#include "base/memory.h"
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
    double spacing, shift_y, shift_x, weight;
    int64_t row;           /* of points that above holds; -1: none yet */
    double *above, *below; /* [stride] points */
} lattice;

/* Where one row of one plane's pixels lies, and that of the next plane. */
typedef struct rows {
    int64_t n_planes, apart, width;
    float *x;
} rows;

static void draw_points(const lattice *field, int64_t row, double *points) {
    for (uint64_t k = 0; k < field->stride; k++)
        points[k] = zq_random_normal(field->seed, (uint64_t)row * field->stride + k);
}

/* Neighbouring rows of pixels lie between the same rows of points, or have one of them in common. */
static void move_to(lattice *field, int64_t row) {
    if (row == field->row)
        return;
    double *const last = field->above;
    field->above = field->below;
    field->below = last;
    if (field->row < 0 || row != field->row + 1)
        draw_points(field, row, field->above);
    draw_points(field, row + 1, field->below);
    field->row = row;
}

/* Adds the field to one row of pixels of each plane. */
static void add_row(lattice *field, int64_t row, const rows *to) {
    const double v = ((double)row + field->shift_y) / field->spacing, b = v - floor(v);
    move_to(field, (int64_t)v);
    for (int64_t j = 0; j < to->width; j++) {
        const double u = ((double)j + field->shift_x) / field->spacing, a = u - floor(u);
        const int64_t at = (int64_t)u;
        const double left = (1 - b) * field->above[at] + b * field->below[at];
        const double right = (1 - b) * field->above[at + 1] + b * field->below[at + 1];
        /* a mean of neighbours varies less than each of them: bring the variance back to 1 */
        const double variance = (a * a + (1 - a) * (1 - a)) * (b * b + (1 - b) * (1 - b));
        const float noise = (float)(field->weight * ((1 - a) * left + a * right) / sqrt(variance));
        for (int64_t plane = 0; plane < to->n_planes; plane++)
            to->x[plane * to->apart + j] += noise;
    }
}

/* Adds the same noise of that variance to planes that lie one behind the other. points: room for two rows of
 * them, [2, width + 3] */
static void add_octaves(uint64_t seed, int n_octaves, double variance, int64_t n_planes, int64_t height,
                        int64_t width, double *points, float *x) {
    double total = 0;
    for (int octave = 0; octave < n_octaves; octave++)
        total += exp2(0.5 * octave);
    for (int octave = 0; octave < n_octaves; octave++) {
        const uint64_t own = zq_random_bits(seed, (uint64_t)octave);
        const double spacing = (double)((int64_t)1 << octave);
        lattice field = {.seed = zq_random_seed(own, "lattice"),
                         .stride = (uint64_t)((double)width / spacing) + 3,
                         .spacing = spacing,
                         .shift_y = spacing * zq_random_uniform(own, 0),
                         .shift_x = spacing * zq_random_uniform(own, 1),
                         .weight = sqrt(variance * exp2(0.5 * octave) / total),
                         .row = -1,
                         .above = points,
                         .below = points + width + 3};
        for (int64_t row = 0; row < height; row++)
            add_row(&field, row, &(rows){n_planes, height * width, width, x + row * width});
    }
}

static int octaves_in(int64_t height, int64_t width) {
    int n_octaves = 1;
    while (n_octaves < MAX_OCTAVES && ((int64_t)1 << n_octaves) <= (height > width ? height : width))
        n_octaves++;
    return n_octaves;
}

zq_status zq_noise_add_photo(uint64_t seed, const zq_shape *shape, int n_octaves, double variance, float *x,
                             zq_error *err) {
    const int64_t n_images = shape->dims[0], n_channels = shape->dims[1];
    const int64_t height = shape->dims[2], width = shape->dims[3];
    const double colour = n_channels > 1 ? 0.1 : 0; /* share of the variance that a channel has for itself */
    const size_t n_points = 2 * ((size_t)width + 3);
    double *const points = zq_alloc_raw((size_t)n_images * n_points, sizeof *points);
    if (points == NULL)
        return zq_fail_memory(err);
    if (n_octaves <= 0)
        n_octaves = octaves_in(height, width);
    seed = zq_random_seed(seed, "photo noise");
#pragma omp parallel for schedule(dynamic)
    for (int64_t image = 0; image < n_images; image++) {
        const uint64_t image_seed = zq_random_bits(seed, (uint64_t)image);
        double *const room = points + (size_t)image * n_points;
        float *const planes = x + image * n_channels * height * width;
        add_octaves(image_seed, n_octaves, (1 - colour) * variance, n_channels, height, width, room, planes);
        for (int64_t c = 0; c < n_channels && colour > 0; c++)
            add_octaves(zq_random_bits(image_seed, (uint64_t)c + 1000), n_octaves, colour * variance, 1,
                        height, width, room, planes + c * height * width);
    }
    zq_free(points);
    return ZQ_OK;
}
