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
    uint64_t seed;
    int64_t stride; /* lattice points in a row */
    double spacing, shift_y, weight;
    int64_t row;                   /* of points that above holds; -1: none yet */
    double *above, *below, *mixed; /* [stride] points; mixed: between these two rows */
} lattice;

/* Where a pixel of a row lies: between points at and at + 1. */
typedef struct column {
    int64_t at;
    double left, right; /* their weights */
} column;

/* Room for one image. */
typedef struct room {
    double *points;  /* [3, width + 3] */
    column *columns; /* [width] */
} room;

/* Where one row of one plane's pixels lies, and that of the next plane. */
typedef struct rows {
    int64_t n_planes, apart, width;
    float *x;
} rows;

/* A mean of neighbours, (1 - a) and a of each, varies less than they do: brings the variance back to 1. */
static double restoring(double a) {
    return 1 / sqrt(a * a + (1 - a) * (1 - a));
}

static void place_columns(double spacing, double shift, int64_t width, column *columns) {
    for (int64_t j = 0; j < width; j++) {
        const double u = ((double)j + shift) / spacing, a = u - floor(u);
        columns[j] = (column){.at = (int64_t)u, .left = (1 - a) * restoring(a), .right = a * restoring(a)};
    }
}

static void draw_points(const lattice *field, int64_t row, double *points) {
    zq_random_normals(field->seed, (uint64_t)(row * field->stride), (size_t)field->stride, points);
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
static void add_row(lattice *field, int64_t row, const column *columns, const rows *to) {
    const double v = ((double)row + field->shift_y) / field->spacing, b = v - floor(v);
    const double above = field->weight * (1 - b) * restoring(b), below = field->weight * b * restoring(b);
    move_to(field, (int64_t)v);
    for (int64_t k = 0; k < field->stride; k++)
        field->mixed[k] = above * field->above[k] + below * field->below[k];
    for (int64_t j = 0; j < to->width; j++) {
        const double *const at = field->mixed + columns[j].at;
        const float noise = (float)(columns[j].left * at[0] + columns[j].right * at[1]);
        for (int64_t plane = 0; plane < to->n_planes; plane++)
            to->x[plane * to->apart + j] += noise;
    }
}

/* Adds the same noise of that variance to planes that lie one behind the other. */
static void add_octaves(uint64_t seed, int n_octaves, double variance, int64_t n_planes, int64_t height,
                        int64_t width, const room *room, float *x) {
    double total = 0;
    for (int octave = 0; octave < n_octaves; octave++)
        total += exp2(0.5 * octave);
    for (int octave = 0; octave < n_octaves; octave++) {
        const uint64_t own = zq_random_bits(seed, (uint64_t)octave);
        const double spacing = (double)((int64_t)1 << octave);
        lattice field = {.seed = zq_random_seed(own, "lattice"),
                         .stride = (int64_t)((double)width / spacing) + 3,
                         .spacing = spacing,
                         .shift_y = spacing * zq_random_uniform(own, 0),
                         .weight = sqrt(variance * exp2(0.5 * octave) / total),
                         .row = -1,
                         .above = room->points,
                         .below = room->points + width + 3,
                         .mixed = room->points + 2 * (width + 3)};
        place_columns(spacing, spacing * zq_random_uniform(own, 1), width, room->columns);
        for (int64_t row = 0; row < height; row++)
            add_row(&field, row, room->columns, &(rows){n_planes, height * width, width, x + row * width});
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
    const size_t n_points = 3 * ((size_t)width + 3);
    double *const points = zq_alloc_raw((size_t)n_images * n_points, sizeof *points);
    column *const columns = zq_alloc_raw((size_t)(n_images * width), sizeof *columns);
    if (points == NULL || columns == NULL) {
        zq_free(points);
        zq_free(columns);
        return zq_fail_memory(err);
    }
    if (n_octaves <= 0)
        n_octaves = octaves_in(height, width);
    seed = zq_random_seed(seed, "photo noise");
#pragma omp parallel for schedule(dynamic)
    for (int64_t image = 0; image < n_images; image++) {
        const uint64_t image_seed = zq_random_bits(seed, (uint64_t)image);
        const room own = {points + (size_t)image * n_points, columns + image * width};
        float *const planes = x + image * n_channels * height * width;
        add_octaves(image_seed, n_octaves, (1 - colour) * variance, n_channels, height, width, &own, planes);
        for (int64_t c = 0; c < n_channels && colour > 0; c++)
            add_octaves(zq_random_bits(image_seed, (uint64_t)c + 1000), n_octaves, colour * variance, 1,
                        height, width, &own, planes + c * height * width);
    }
    zq_free(points);
    zq_free(columns);
    return ZQ_OK;
}
