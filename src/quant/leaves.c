/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/leaves.h"

#include "base/random.h"

#include <math.h>

enum { MOST_LEAVES = 400, NUMBERS = 12, MOST_CHANNELS = 64 };

static const float bare = -1; /* a pixel that no leaf covers yet */

typedef struct leaf {
    double x, y, radius, thinness, cosine, sine;
    double slope_x, slope_y; /* of brightness */
    bool round;
    float colour[MOST_CHANNELS];
} leaf;

/* How large images and leaves are. */
typedef struct sizes {
    int64_t n_channels, height, width;
    double smallest; /* as a share of the larger side */
} sizes;

/* Leaf k of an image. */
static leaf leaf_of(uint64_t seed, int k, const sizes *s) {
    const uint64_t own = zq_random_bits(seed, (uint64_t)k);
    const double width = (double)s->width, height = (double)s->height, largest = fmax(height, width);
    const double r_min = fmax(1, s->smallest * largest), r_max = fmax(1, largest / 2);
    const double u = zq_random_uniform(own, 0), angle = acos(-1.0) * zq_random_uniform(own, 1);
    leaf l = {.radius = 1 / sqrt(u / (r_max * r_max) + (1 - u) / (r_min * r_min)), /* density r^-3 */
              .thinness = 0.3 + 0.7 * zq_random_uniform(own, 2),
              .cosine = cos(angle),
              .sine = sin(angle),
              .slope_x = 0.2 / largest * zq_random_normal(own, 10),
              .slope_y = 0.2 / largest * zq_random_normal(own, 11),
              .round = zq_random_uniform(own, 3) < 0.6};
    l.x = -l.radius + (width + 2 * l.radius) * zq_random_uniform(own, 4);
    l.y = -l.radius + (height + 2 * l.radius) * zq_random_uniform(own, 5);
    const double brightness = zq_random_uniform(own, 6);
    for (int64_t c = 0; c < s->n_channels && c < MOST_CHANNELS; c++) {
        const double colour = s->n_channels > 1 ? 0.15 * zq_random_normal(own, (uint64_t)(NUMBERS + c)) : 0;
        l.colour[c] = (float)fmin(fmax(brightness + colour, 0), 1);
    }
    return l;
}

static bool covers(const leaf *l, double dx, double dy) {
    const double a = (dx * l->cosine + dy * l->sine) / l->radius;
    const double b = (dy * l->cosine - dx * l->sine) / (l->radius * l->thinness);
    return l->round ? a * a + b * b <= 1 : fabs(a) <= 0.9 && fabs(b) <= 0.9;
}

/* Paints where nothing lies yet; returns how many pixels. */
static int64_t paint(const leaf *l, const sizes *s, float *image) {
    const double reach = 1.3 * l->radius; /* a rectangle's corner */
    const int64_t left = (int64_t)fmax(0, l->x - reach), top = (int64_t)fmax(0, l->y - reach);
    int64_t n = 0;
    for (int64_t i = top; i < s->height && (double)i <= l->y + reach; i++)
        for (int64_t j = left; j < s->width && (double)j <= l->x + reach; j++) {
            const double dx = (double)j - l->x, dy = (double)i - l->y;
            float *pixel = image + i * s->width + j;
            if (*pixel != bare || !covers(l, dx, dy))
                continue;
            const float slope = (float)(l->slope_x * dx + l->slope_y * dy);
            for (int64_t c = 0; c < s->n_channels; c++)
                pixel[c * s->height * s->width] = fminf(fmaxf(l->colour[c % MOST_CHANNELS] + slope, 0), 1);
            n++;
        }
    return n;
}

static void draw(uint64_t seed, const sizes *s, float *image) {
    int64_t left = s->height * s->width;
    for (int64_t i = 0; i < left; i++)
        image[i] = bare;
    for (int k = 0; k < MOST_LEAVES && left > 0; k++) {
        const leaf l = leaf_of(seed, k, s);
        left -= paint(&l, s, image);
    }
    leaf ground = leaf_of(seed, MOST_LEAVES, s);
    ground.round = false;
    ground.x = ground.y = 0;
    ground.radius = 4.0 * (double)(s->height + s->width);
    paint(&ground, s, image);
}

void zq_leaves_draw(uint64_t seed, const zq_shape *shape, double smallest, float *x) {
    const sizes s = {shape->dims[1], shape->dims[2], shape->dims[3], smallest};
    seed = zq_random_seed(seed, "leaves");
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < shape->dims[0]; i++)
        draw(zq_random_bits(seed, (uint64_t)i), &s, x + i * s.n_channels * s.height * s.width);
}
