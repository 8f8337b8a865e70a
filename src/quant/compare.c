/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/compare.h"

#include "base/memory.h"
#include "engine/plan.h"
#include "quant/sensitivity.h"

#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { USUAL_BATCH = 8 };

static double now_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return 1e3 * (double)time.tv_sec + 1e-6 * (double)time.tv_nsec;
}

/* One of the two networks, and its outputs of a portion of images. */
typedef struct side {
    zq_graph *graph;
    zq_plan *plan;
    int64_t batch; /* of the plan; the portion is a multiple of it */
    float **outputs;
    double *ms; /* of each portion */
} side;

typedef struct sums {
    double distance, squares, agreement, signal, noise;
} sums;

/* Of one image. Inputs say -1 where the batch is free. */
static int64_t elements(const zq_graph *graph, int value) {
    zq_shape shape = graph->values[value].shape;
    if (shape.rank > 0 && shape.dims[0] < 0)
        shape.dims[0] = 1;
    return zq_shape_count(&shape) / zq_graph_images(graph);
}

static zq_status side_prepare(side *s, int64_t portion, int64_t n_portions, zq_error *err) {
    const zq_plan_options options = {.n_images = s->batch};
    ZQ_TRY(zq_plan_new(s->graph, &options, &s->plan, err));
    s->outputs = zq_alloc((size_t)s->graph->n_outputs, sizeof *s->outputs);
    s->ms = zq_alloc((size_t)n_portions, sizeof *s->ms);
    if (s->outputs == NULL || s->ms == NULL)
        return zq_fail_memory(err);
    for (int o = 0; o < s->graph->n_outputs; o++) {
        s->outputs[o] =
            zq_alloc((size_t)portion * (size_t)elements(s->graph, s->graph->outputs[o]), sizeof(float));
        if (s->outputs[o] == NULL)
            return zq_fail_memory(err);
    }
    return ZQ_OK;
}

static void side_clear(side *s) {
    zq_plan_drop(s->plan);
    if (s->outputs != NULL)
        zq_outputs_drop(s->outputs, s->graph->n_outputs);
    zq_free(s->ms);
}

static zq_status side_run(side *s, const float *images, int64_t portion, int64_t number, zq_error *err) {
    const int64_t per_image = elements(s->graph, s->graph->inputs[0]);
    for (int64_t first = 0; first < portion; first += s->batch) {
        zq_plan_set_input(s->plan, 0, images + first * per_image);
        const double start = now_ms();
        ZQ_TRY(zq_plan_forward(s->plan, err));
        s->ms[number] += (now_ms() - start) / (double)portion;
        for (int o = 0; o < s->graph->n_outputs; o++)
            zq_plan_read(s->plan, s->graph->outputs[o],
                         s->outputs[o] + first * elements(s->graph, s->graph->outputs[o]));
    }
    return ZQ_OK;
}

static void add_noise(const zq_graph *graph, int64_t n, const side *sides, sums *sum) {
    for (int o = 0; o < graph->n_outputs; o++)
        for (int64_t i = 0; i < n * elements(graph, graph->outputs[o]); i++) {
            const double z = sides[0].outputs[o][i], difference = z - sides[1].outputs[o][i];
            sum->signal += z * z;
            sum->noise += difference * difference;
        }
}

/* images: room for a portion; distance: for 2 numbers an image of it. */
static zq_status measure(side *sides, int64_t n_images, int64_t portion, zq_image_source source,
                         zq_step_callback callback, void *user, float *images, double *distance, sums *sum,
                         zq_error *err) {
    const int64_t per_image = elements(sides[0].graph, sides[0].graph->inputs[0]);
    double *agreement = distance + portion;
    for (int64_t first = 0; first < n_images; first += portion) {
        const int64_t n = n_images - first < portion ? n_images - first : portion;
        for (int64_t i = 0; i < portion; i++)
            if (i < n)
                ZQ_TRY(source(user, first + i, images + i * per_image, err));
            else /* fills the last portion; counts nowhere */
                memcpy(images + i * per_image, images, (size_t)per_image * sizeof *images);
        for (int k = 0; k < 2; k++)
            ZQ_TRY(side_run(&sides[k], images, portion, first / portion, err));
        zq_output_distance(sides[0].graph, n, (const float *const *)sides[0].outputs,
                           (const float *const *)sides[1].outputs, distance, agreement);
        for (int64_t i = 0; i < n; i++) {
            sum->distance += distance[i];
            sum->squares += distance[i] * distance[i];
            sum->agreement += agreement[i];
        }
        add_noise(sides[0].graph, n, sides, sum);
        if (callback != NULL && callback(user, (int)first, (int)n_images) != 0)
            return err->status != ZQ_OK ? err->status : zq_fail(err, ZQ_ERR_CANCELLED, "cancelled");
    }
    return ZQ_OK;
}

static zq_status check_value(const zq_graph *a, int value_a, const zq_graph *b, int value_b, const char *what,
                             zq_error *err) {
    char text_a[ZQ_SHAPE_TEXT], text_b[ZQ_SHAPE_TEXT];
    zq_shape shape_a = a->values[value_a].shape, shape_b = b->values[value_b].shape;
    bool same = shape_a.rank == shape_b.rank && a->values[value_a].dtype == b->values[value_b].dtype;
    for (int d = 1; d < shape_a.rank && same; d++)
        same = shape_a.dims[d] == shape_b.dims[d];
    return same
               ? ZQ_OK
               : zq_fail(err, ZQ_ERR_USAGE,
                         "the %s '%.100s' is %s, but '%.100s' of the other network is %s: only networks with "
                         "the same inputs and outputs can be compared",
                         what, a->values[value_a].name, zq_shape_text(&shape_a, text_a),
                         b->values[value_b].name, zq_shape_text(&shape_b, text_b));
}

static zq_status check(const zq_graph *a, const zq_graph *b, zq_error *err) {
    if (a->n_outputs != b->n_outputs)
        return zq_fail(err, ZQ_ERR_USAGE,
                       "has %d outputs, but the other network has %d: only networks with the same inputs and "
                       "outputs can be compared",
                       a->n_outputs, b->n_outputs);
    ZQ_TRY(check_value(a, a->inputs[0], b, b->inputs[0], "input", err));
    for (int o = 0; o < a->n_outputs; o++)
        ZQ_TRY(check_value(a, a->outputs[o], b, b->outputs[o], "output", err));
    return ZQ_OK;
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void finish(const sums *sum, int64_t n, side *sides, int64_t n_portions, zq_comparison *out) {
    zq_damage *damage = &out->damage;
    damage->kl = sum->distance / (double)n;
    damage->kl_spread = sqrt(fmax(0, sum->squares / (double)n - damage->kl * damage->kl));
    damage->agreement = sum->agreement / (double)n;
    damage->snr_db = 10 * log10(fmax(sum->signal, 1e-300) / fmax(sum->noise, 1e-300));
    for (int k = 0; k < 2; k++) {
        qsort(sides[k].ms, (size_t)n_portions, sizeof *sides[k].ms, by_size);
        out->ms[k] = sides[k].ms[n_portions / 2];
    }
}

zq_status zq_compare(zq_graph *reference, zq_graph *other, int64_t n_images, zq_image_source source,
                     zq_step_callback callback, void *user, zq_comparison *out, zq_error *err) {
    side sides[2] = {{.graph = reference}, {.graph = other}};
    int64_t portion = 1;
    sums sum = {0};
    ZQ_TRY(check(reference, other, err));
    for (int k = 0; k < 2; k++) {
        const zq_graph *graph = sides[k].graph;
        sides[k].batch = graph->free_batch ? USUAL_BATCH : zq_graph_images(graph);
        if (portion % sides[k].batch != 0)
            portion = sides[k].batch % portion == 0 ? sides[k].batch : portion * sides[k].batch;
    }
    const int64_t n_portions = (n_images + portion - 1) / portion;
    zq_status status = ZQ_OK;
    for (int k = 0; k < 2 && status == ZQ_OK; k++)
        status = side_prepare(&sides[k], portion, n_portions, err);
    float *images =
        zq_alloc((size_t)portion, (size_t)elements(reference, reference->inputs[0]) * sizeof *images);
    double *distance = zq_alloc((size_t)portion, 2 * sizeof *distance);
    if (status == ZQ_OK && (images == NULL || distance == NULL))
        status = zq_fail_memory(err);
    if (status == ZQ_OK)
        status = measure(sides, n_images, portion, source, callback, user, images, distance, &sum, err);
    if (status == ZQ_OK) {
        *out = (zq_comparison){.n_images = n_images, .batch = portion, .n_threads = omp_get_max_threads()};
        finish(&sum, n_images, sides, n_portions, out);
    }
    zq_free(images);
    zq_free(distance);
    for (int k = 0; k < 2; k++)
        side_clear(&sides[k]);
    return status;
}
