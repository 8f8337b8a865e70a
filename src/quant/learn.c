/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/learn.h"

#include "base/memory.h"
#include "base/random.h"
#include "engine/plan.h"
#include "quant/learned.h"

#include <math.h>
#include <string.h>

/* What the outputs of the layers count beside those of the network: mean squared errors over variances,
 * against a KL divergence. */
static const double layers_count = 3;

/* A layer and what it needs for a gradient. */
typedef struct unit {
    zq_learned learned;
    float *floor; /* [n_channels], owned */
    bool reached; /* by gradients of this step */
    bool fixed;   /* it is exact, or its gradient isn't known */
} unit;

typedef struct session {
    const zq_rounder *rounder;
    const zq_images *images;
    const zq_learn_options *options;
    zq_graph *graph;            /* the calibration network with biases of its own; owned, like all below */
    zq_plan *teacher, *student; /* the FP32 network; the quantized one */
    int64_t n_batch;            /* images of a step */
    int *layer_of;              /* [n_nodes] */
    unit *units;                /* [n_layers] */
    int n_nodes;                /* with weights */
    float *batch;               /* [n_batch images] */
    float *w, *d_bias;          /* room for the largest layer */
    double *sums;               /* [n_batch, 3] */
    float **expected, **found, **gradient; /* [n_outputs] */
    zq_plan_seed *seeds;                   /* [n_outputs] */
} session;

static size_t image_size(const session *s) {
    return (size_t)(zq_shape_count(&s->images->shape) / s->images->shape.dims[0]);
}

/* ---- weights of the student */

static zq_status use_weights(session *s, int i, zq_error *err) {
    const zq_layer *layer = &s->rounder->layers->items[i];
    float *const stored = s->w + zq_layers_largest(s->rounder->layers);
    zq_weights_dequantize(s->units[i].learned.weights, s->w);
    zq_layer_store(s->graph, layer, s->w, stored);
    for (int k = 0; k < layer->n_nodes; k++)
        ZQ_TRY(zq_plan_set_weights(s->student, layer->nodes[k], stored, err));
    return ZQ_OK;
}

static float *bias_of(const session *s, const zq_layer *layer) {
    const zq_node *node = &s->graph->nodes[layer->nodes[0]];
    return layer->n_nodes == 1 && node->n_inputs > 2 && node->inputs[2] >= 0
               ? s->graph->values[node->inputs[2]].constant->data
               : NULL;
}

static zq_status start_unit(session *s, int i, const zq_weights *from, zq_weights *to, zq_error *err) {
    const zq_layer *layer = &s->rounder->layers->items[i];
    unit *u = &s->units[i];
    u->fixed = layer->affine;
    u->floor = zq_alloc_raw((size_t)layer->n_channels, sizeof *u->floor);
    if (u->floor == NULL)
        return zq_fail_memory(err);
    ZQ_TRY(zq_weights_copy(from, to, err));
    ZQ_TRY(zq_standard_scale_floor(s->rounder->standard, s->rounder->graph, s->rounder->layers, i,
                                   s->rounder->activations, u->floor, err));
    zq_layer_load(s->graph, layer, s->w);
    ZQ_TRY(zq_learned_init(to, s->w, u->floor, bias_of(s, layer), &u->learned, err));
    return use_weights(s, i, err);
}

/* ---- forward: the student's activations are rounded on the way */

static zq_status round_activations(void *user, zq_plan *plan, int node, zq_error *err) {
    session *s = user;
    (void)err;
    for (int o = 0; o < s->graph->nodes[node].n_outputs; o++) {
        const int value = zq_plan_find(plan, s->graph->nodes[node].outputs[o]);
        if (value < 0 || !s->rounder->activations[value].used)
            continue;
        size_t n;
        float *const x = zq_plan_poke(plan, value, &n);
        zq_activation_apply(&s->rounder->activations[value], n, x, x);
    }
    return ZQ_OK;
}

/* Images at random, half of them mirrored. */
static void draw_images(session *s, int step) {
    const int64_t n = s->images->shape.dims[0], width = s->images->shape.dims[3];
    const int64_t size = (int64_t)image_size(s);
    const uint64_t seed = zq_random_seed(s->options->seed, "images to learn from");
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < s->n_batch; b++) {
        const uint64_t at = (uint64_t)(step * s->n_batch + b);
        const int64_t image = (int64_t)(zq_random_uniform(seed, 2 * at) * (double)n);
        const bool mirrored = zq_random_uniform(seed, 2 * at + 1) < 0.5;
        const float *const src = s->images->data + image * size;
        float *const dst = s->batch + b * size;
        for (int64_t j = 0; j < size; j++)
            dst[j] = src[mirrored ? j - j % width + width - 1 - j % width : j];
    }
}

static zq_status run_both(session *s, zq_error *err) {
    const zq_plan_visitor visitor = {.after = round_activations, .user = s};
    const zq_activation *input = &s->rounder->activations[s->graph->inputs[0]];
    zq_plan_set_input(s->teacher, 0, s->batch);
    ZQ_TRY(zq_plan_forward(s->teacher, err));
    if (input->used)
        zq_activation_apply(input, (size_t)s->n_batch * image_size(s), s->batch, s->batch);
    zq_plan_set_input(s->student, 0, s->batch);
    return zq_plan_forward_visited(s->student, &visitor, err);
}

/* ---- backward */

/* Sums over each image by itself, so that nothing depends on the number of threads; returns the variance. */
static double variance_of(session *s, size_t n, const float *a) {
    const size_t image = n / (size_t)s->n_batch;
    double sum = 0, square = 0;
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < s->n_batch; b++) {
        double *const sums = s->sums + 2 * b;
        sums[0] = sums[1] = 0;
        for (size_t i = (size_t)b * image; i < (size_t)(b + 1) * image; i++) {
            sums[0] += a[i];
            sums[1] += (double)a[i] * a[i];
        }
    }
    for (int64_t b = 0; b < s->n_batch; b++) {
        sum += s->sums[2 * b];
        square += s->sums[2 * b + 1];
    }
    const double mean = sum / (double)n;
    return fmax(square / (double)n - mean * mean, 1e-20);
}

/* What the layer's output is off by joins the gradient. */
static void add_layer(session *s, unit *u, int value, size_t n, float *gradient) {
    size_t n_expected = 0, n_found = 0;
    const float *const a = zq_plan_peek(s->teacher, value, &n_expected);
    const float *const b = zq_plan_peek(s->student, value, &n_found);
    if (a == NULL || b == NULL || n_expected != n || n_found != n)
        return;
    const double variance = variance_of(s, n, a);
    if (u->learned.deviation == 0)
        u->learned.deviation = (float)sqrt(variance);
    const float scale = (float)(2 * layers_count / (s->n_nodes * (double)n * variance));
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < n; i++)
        gradient[i] += scale * (b[i] - a[i]);
}

/* What lies at a bound was clipped and passes nothing; at a bound of 0 it may have been rounded. */
static void mask_clipped(const zq_activation *activation, size_t n, const float *x, float *gradient) {
    const float hi = (float)(activation->q_max - activation->zero_point) * activation->scale;
    const float lo =
        activation->zero_point > 0 ? (float)-activation->zero_point * activation->scale : -INFINITY;
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < n; i++)
        gradient[i] = x[i] >= hi || x[i] <= lo ? 0 : gradient[i];
}

static void add(size_t n, const float *part, float *sum) {
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < n; i++)
        sum[i] += part[i];
}

/* The nodes of a layer add up. */
static zq_status take_weight_gradient(session *s, unit *u, int node, const float *gradient, zq_error *err) {
    zq_learned *l = &u->learned;
    float *const d_w = u->reached ? s->w : l->d_w, *const d_bias = u->reached ? s->d_bias : l->d_bias;
    const zq_status status = zq_plan_weight_gradient(s->student, node, gradient, d_w, d_bias, err);
    if (status == ZQ_ERR_UNSUPPORTED) {
        u->fixed = true;
        return ZQ_OK;
    }
    ZQ_TRY(status);
    if (u->reached) {
        add((size_t)(l->weights->n_channels * l->weights->per_channel), d_w, l->d_w);
        add((size_t)l->weights->n_channels, d_bias, l->d_bias);
    }
    u->reached = true;
    return ZQ_OK;
}

static zq_status take_gradient(void *user, zq_plan *plan, int node, int value, size_t n, float *gradient,
                               zq_error *err) {
    session *s = user;
    unit *u = s->layer_of[node] < 0 ? NULL : &s->units[s->layer_of[node]];
    size_t n_found;
    const float *const x = zq_plan_peek(plan, value, &n_found);
    if (u != NULL)
        add_layer(s, u, value, n, gradient);
    if (x != NULL && s->rounder->activations[value].used)
        mask_clipped(&s->rounder->activations[value], n, x, gradient);
    return u == NULL || u->fixed ? ZQ_OK : take_weight_gradient(s, u, node, gradient, err);
}

static zq_status go_back(session *s, zq_error *err) {
    int n_seeds = 0;
    for (int o = 0; o < s->graph->n_outputs; o++) {
        const int value = s->graph->outputs[o];
        if (s->graph->values[value].constant != NULL)
            continue;
        zq_plan_read(s->teacher, value, s->expected[o]);
        zq_plan_read(s->student, value, s->found[o]);
        zq_output_gradient(s->graph, o, s->n_batch, s->expected[o], s->found[o], s->gradient[o]);
        s->seeds[n_seeds++] = (zq_plan_seed){.value = value, .dense = s->gradient[o]};
    }
    for (int i = 0; i < s->rounder->layers->n; i++)
        s->units[i].reached = false;
    return zq_plan_backward_hooked(s->student, n_seeds, s->seeds, take_gradient, s, NULL, err);
}

static zq_status run_step(session *s, int step, zq_error *err) {
    draw_images(s, step);
    ZQ_TRY(run_both(s, err));
    ZQ_TRY(go_back(s, err));
    for (int i = 0; i < s->rounder->layers->n; i++) {
        if (s->units[i].fixed || !s->units[i].reached)
            continue;
        zq_learned_step(&s->units[i].learned, zq_cosine_rate(1, step, s->options->n_steps));
        ZQ_TRY(use_weights(s, i, err));
    }
    if (s->options->callback != NULL &&
        s->options->callback(s->options->user, step + 1, s->options->n_steps) != 0)
        return zq_fail(err, ZQ_ERR_CANCELLED, "cancelled after %d of %d steps of learning", step + 1,
                       s->options->n_steps);
    return ZQ_OK;
}

/* ---- the whole */

/* What is learned with its gradient and two moments, and weights that plans hold plain; room for one layer,
 * and for the sums of its gradient (engine/weight_gradient.c). */
size_t zq_learn_bytes(const zq_layers *layers) {
    return (5 * zq_layers_weights(layers) + 12 * zq_layers_largest(layers)) * sizeof(float);
}

/* Beside the plans: pixels, and outputs with what they should be and their gradients. */
static size_t bytes_per_image(const session *s) {
    size_t n = image_size(s);
    for (int o = 0; o < s->graph->n_outputs; o++)
        n += 3 * (size_t)(zq_shape_count(&s->graph->values[s->graph->outputs[o]].shape) /
                          zq_graph_images(s->graph));
    return n * sizeof(float);
}

static zq_status make_pair(session *s, zq_plan_options *options, zq_error *err) {
    const zq_plan_room room = {.spare = zq_learn_bytes(s->rounder->layers), .per_image = bytes_per_image(s)};
    options->gradient = true;
    ZQ_TRY(zq_plan_fit(s->graph, options, &room, &s->student, err));
    options->gradient = false;
    ZQ_TRY(zq_plan_new(s->rounder->standard->graph, options, &s->teacher, err));
    return zq_memory_left() >= room.spare + (size_t)options->n_images * room.per_image ? ZQ_OK
                                                                                       : zq_fail_memory(err);
}

/* Both for as many images as there is room for. */
static zq_status make_plans(session *s, zq_error *err) {
    const zq_shape *shape = &s->images->shape;
    zq_plan_options options = {.n_images = s->options->n_images, .keep_values = true, .separate = true};
    if (options.n_images > shape->dims[0])
        options.n_images = shape->dims[0];
    for (;; options.n_images /= 2) {
        const zq_status status = make_pair(s, &options, err);
        s->n_batch = options.n_images;
        if (status != ZQ_ERR_MEMORY || options.n_images == 1)
            return status;
        zq_plan_drop(s->student);
        zq_plan_drop(s->teacher);
        s->student = s->teacher = NULL;
    }
}

static zq_status make_outputs(session *s, zq_error *err) {
    const size_t n_outputs = (size_t)s->graph->n_outputs;
    s->expected = zq_alloc(3 * n_outputs, sizeof *s->expected);
    s->seeds = zq_alloc(n_outputs, sizeof *s->seeds);
    if (s->expected == NULL || s->seeds == NULL)
        return zq_fail_memory(err);
    s->found = s->expected + n_outputs;
    s->gradient = s->found + n_outputs;
    for (size_t o = 0; o < n_outputs; o++) {
        const size_t n = (size_t)zq_shape_count(zq_plan_shape(s->student, s->graph->outputs[o]));
        s->expected[o] = zq_alloc(3 * n, sizeof **s->expected);
        if (s->expected[o] == NULL)
            return zq_fail_memory(err);
        s->found[o] = s->expected[o] + n;
        s->gradient[o] = s->found[o] + n;
    }
    return ZQ_OK;
}

static zq_status make_room(session *s, zq_error *err) {
    const zq_layers *layers = s->rounder->layers;
    const size_t largest = zq_layers_largest(layers);
    s->layer_of = zq_layers_of_nodes(layers, s->graph->n_nodes);
    s->units = zq_alloc((size_t)layers->n, sizeof *s->units);
    s->batch = zq_alloc_raw((size_t)s->n_batch, image_size(s) * sizeof *s->batch);
    s->w = zq_alloc_raw(3 * largest, sizeof *s->w);
    s->sums = zq_alloc_raw((size_t)s->n_batch, 2 * sizeof *s->sums);
    if (s->layer_of == NULL || s->units == NULL || s->batch == NULL || s->w == NULL || s->sums == NULL)
        return zq_fail_memory(err);
    s->d_bias = s->w + 2 * largest;
    for (int i = 0; i < layers->n; i++)
        s->n_nodes += layers->items[i].n_nodes;
    return make_outputs(s, err);
}

static zq_status learn(session *s, const zq_weights *from, zq_rounding *to, zq_error *err) {
    ZQ_TRY(zq_layers_own_biases(s->graph, s->rounder->layers, err));
    ZQ_TRY(make_plans(s, err));
    ZQ_TRY(make_room(s, err));
    for (int i = 0; i < s->rounder->layers->n; i++)
        ZQ_TRY(start_unit(s, i, &from[i], zq_rounding_at(to, i, from[i].bits), err));
    for (int step = 0; step < s->options->n_steps; step++)
        ZQ_TRY(run_step(s, step, err));
    return ZQ_OK;
}

static void session_clear(session *s) {
    for (int i = 0; s->units != NULL && i < s->rounder->layers->n; i++) {
        zq_learned_clear(&s->units[i].learned);
        zq_free(s->units[i].floor);
    }
    for (int o = 0; s->expected != NULL && o < s->graph->n_outputs; o++)
        zq_free(s->expected[o]);
    zq_free(s->units);
    zq_free(s->layer_of);
    zq_free(s->batch);
    zq_free(s->w);
    zq_free(s->sums);
    zq_free(s->expected);
    zq_free(s->seeds);
    zq_plan_drop(s->teacher);
    zq_plan_drop(s->student);
}

zq_status zq_rounding_learn(const zq_rounder *rounder, const zq_images *images, const zq_weights *weights,
                            const zq_graph *start, const zq_learn_options *options, zq_rounding *rounding,
                            zq_graph **learned_out, zq_error *err) {
    session s = {.rounder = rounder, .images = images, .options = options};
    s.graph = zq_graph_copy(start != NULL ? start : rounder->standard->graph);
    if (s.graph == NULL)
        return zq_fail_memory(err);
    const zq_status status = learn(&s, weights, rounding, err);
    session_clear(&s);
    if (status == ZQ_OK)
        *learned_out = s.graph;
    else
        zq_graph_drop(s.graph);
    return status;
}
