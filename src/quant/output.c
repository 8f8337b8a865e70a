/* SPDX-License-Identifier: Apache-2.0 */
/* How far apart the outputs of two networks are. */
#include "base/random.h"
#include "graph/op.h"
#include "quant/sensitivity.h"

#include <math.h>
#include <string.h>

/* A distance that no allocation chooses, in place of NaN and infinity. */
static const double far_away = 1e6;

static bool is_one_of(const char *name, const char *const *names) {
    for (; *names != NULL; names++)
        if (strcmp(name, *names) == 0)
            return true;
    return false;
}

/* The operator that computes a value, looking through those that only move elements; NULL: none. */
static const zq_op *source_of(const zq_graph *graph, int value) {
    static const char *const movers[] = {"Identity", "Dropout",   "Reshape",   "Flatten",
                                         "Squeeze",  "Unsqueeze", "Transpose", NULL};
    for (int i = 0; i <= graph->n_nodes; i++) {
        const int producer = graph->values[value].producer;
        if (producer < 0 || graph->nodes[producer].op == NULL)
            return NULL;
        const zq_node *node = &graph->nodes[producer];
        if (!is_one_of(node->op->name, movers))
            return node->op;
        value = node->inputs[0];
    }
    return NULL;
}

/* [N, classes], or that with trailing 1s; the shape is that of one image. */
static bool is_vector_of_classes(const zq_shape *shape) {
    return shape->rank >= 2 && shape->dims[1] >= 2 &&
           zq_shape_count(shape) == shape->dims[0] * shape->dims[1];
}

zq_output_rule zq_output_rule_of(const zq_graph *graph, int output) {
    static const char *const linear[] = {"Gemm",        "MatMul",     "Conv", "GlobalAveragePool",
                                         "AveragePool", "ReduceMean", "Add",  NULL};
    const int value = graph->outputs[output];
    const zq_op *op = source_of(graph, value);
    if (op != NULL && strcmp(op->name, "Softmax") == 0)
        return ZQ_OUTPUT_PROBABILITY;
    if (op != NULL && is_one_of(op->name, linear) && is_vector_of_classes(&graph->values[value].shape))
        return ZQ_OUTPUT_SOFTMAX;
    return ZQ_OUTPUT_SQUARED;
}

const char *zq_output_rule_name(zq_output_rule rule) {
    switch (rule) {
    case ZQ_OUTPUT_SOFTMAX:
        return "softmax";
    case ZQ_OUTPUT_PROBABILITY:
        return "probability";
    case ZQ_OUTPUT_SQUARED:
        return "squared";
    }
    return "unknown";
}

/* One image of an output as [outer, classes, inner]: classes run along the channel axis of a 4-D value and
 * along the last axis of any other. */
typedef struct layout {
    int64_t outer, classes, inner;
} layout;

static layout layout_of(const zq_graph *graph, int output) {
    const zq_shape *shape = &graph->values[graph->outputs[output]].shape;
    layout l = {1, 1, 1};
    if (shape->rank > 0) /* several rows an image, such as one for each anchor */
        l.outer = shape->dims[0] / zq_graph_images(graph);
    const int axis = shape->rank == 4 ? 1 : shape->rank - 1;
    for (int d = 1; d < shape->rank; d++) {
        if (d == axis)
            l.classes = shape->dims[d];
        else if (d < axis)
            l.outer *= shape->dims[d];
        else
            l.inner *= shape->dims[d];
    }
    return l;
}

bool zq_output_has_places(const zq_graph *graph, int output) {
    const layout l = layout_of(graph, output);
    return graph->values[graph->outputs[output]].constant == NULL && l.outer * l.inner > 1;
}

bool zq_some_output_has_places(const zq_graph *graph) {
    for (int o = 0; o < graph->n_outputs; o++)
        if (zq_output_has_places(graph, o))
            return true;
    return false;
}

static double log_sum_exp(const float *z, int64_t n, int64_t stride) {
    double max = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++)
        max = fmax(max, z[i * stride]);
    for (int64_t i = 0; i < n; i++)
        sum += exp(z[i * stride] - max);
    return max + log(sum);
}

static double kl_of_logits(const float *a, const float *b, int64_t n, int64_t stride) {
    const double norm_a = log_sum_exp(a, n, stride), norm_b = log_sum_exp(b, n, stride);
    double kl = 0;
    for (int64_t i = 0; i < n; i++) {
        const double log_p = a[i * stride] - norm_a, log_q = b[i * stride] - norm_b;
        if (log_p != -INFINITY) /* a masked class */
            kl += exp(log_p) * (log_p - log_q);
    }
    return kl;
}

/* A float softmax rounds small probabilities to 0; the floor keeps the logarithm finite. */
static double kl_of_probabilities(const float *a, const float *b, int64_t n, int64_t stride) {
    const double floor = 1e-12;
    double kl = 0;
    for (int64_t i = 0; i < n; i++) {
        const double p = a[i * stride], q = b[i * stride];
        if (p > 0)
            kl += p * (log(p) - log(fmax(q, floor)));
        else if (isnan(p) || isnan(q))
            return NAN;
    }
    return kl;
}

static double squared_error(const float *a, const float *b, int64_t n) {
    double mean = 0, spread = 0, error = 0;
    for (int64_t i = 0; i < n; i++)
        mean += a[i];
    mean /= (double)n;
    for (int64_t i = 0; i < n; i++) {
        const double d = a[i] - mean, e = (double)b[i] - a[i];
        spread += d * d;
        error += e * e;
    }
    /* a constant reference has no spread: any change is then a change of 100 % */
    return spread > 0 ? error / spread : error > 0;
}

static double distance_of(zq_output_rule rule, const layout *l, const float *a, const float *b) {
    const int64_t n = l->outer * l->classes * l->inner, positions = l->outer * l->inner;
    double sum = 0;
    if (rule == ZQ_OUTPUT_SQUARED)
        sum = squared_error(a, b, n) * (double)positions;
    for (int64_t i = 0; i < positions && rule != ZQ_OUTPUT_SQUARED; i++) {
        const int64_t at = i / l->inner * l->classes * l->inner + i % l->inner;
        sum += rule == ZQ_OUTPUT_SOFTMAX ? kl_of_logits(a + at, b + at, l->classes, l->inner)
                                         : kl_of_probabilities(a + at, b + at, l->classes, l->inner);
    }
    const double distance = sum / (double)positions;
    return isfinite(distance) ? fmin(fmax(distance, 0), far_away) : far_away;
}

static int64_t largest(const float *z, int64_t n, int64_t stride) {
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (z[i * stride] > z[best * stride])
            best = i;
    return best;
}

/* Share of the positions where both have the same largest class. */
static double agreement_of(const layout *l, const float *a, const float *b) {
    const int64_t positions = l->outer * l->inner;
    int64_t same = 0;
    for (int64_t i = 0; i < positions; i++) {
        const int64_t at = i / l->inner * l->classes * l->inner + i % l->inner;
        same += largest(a + at, l->classes, l->inner) == largest(b + at, l->classes, l->inner);
    }
    return (double)same / (double)positions;
}

void zq_output_distance(const zq_graph *graph, int64_t n_images, const float *const *reference,
                        const float *const *other, double *distance, double *agreement) {
    for (int64_t i = 0; i < n_images; i++)
        distance[i] = 0;
    for (int output = 0; output < graph->n_outputs; output++) {
        if (graph->values[graph->outputs[output]].constant != NULL)
            continue; /* the same for all images, in both networks */
        const zq_output_rule rule = zq_output_rule_of(graph, output);
        const layout l = layout_of(graph, output);
        const int64_t stride = l.outer * l.classes * l.inner;
        const float *a = reference[output], *b = other[output];
#pragma omp parallel for
        for (int64_t i = 0; i < n_images; i++) {
            distance[i] += distance_of(rule, &l, a + i * stride, b + i * stride) / graph->n_outputs;
            if (agreement != NULL && output == 0)
                agreement[i] = agreement_of(&l, a + i * stride, b + i * stride);
        }
    }
}

/* ---- gradients */

static void gradient_of_logits(const float *a, const float *b, int64_t n, int64_t stride, double scale,
                               float *d_b) {
    const double norm_a = log_sum_exp(a, n, stride), norm_b = log_sum_exp(b, n, stride);
    for (int64_t i = 0; i < n; i++)
        d_b[i * stride] = (float)(scale * (exp(b[i * stride] - norm_b) - exp(a[i * stride] - norm_a)));
}

static void gradient_of_probabilities(const float *a, const float *b, int64_t n, int64_t stride, double scale,
                                      float *d_b) {
    for (int64_t i = 0; i < n; i++)
        d_b[i * stride] = (float)(-scale * a[i * stride] / fmax(b[i * stride], 1e-6));
}

static void gradient_of_squares(const float *a, const float *b, int64_t n, double scale, float *d_b) {
    double mean = 0, spread = 0;
    for (int64_t i = 0; i < n; i++)
        mean += a[i] / (double)n;
    for (int64_t i = 0; i < n; i++)
        spread += (a[i] - mean) * (a[i] - mean);
    for (int64_t i = 0; i < n; i++)
        d_b[i] = spread > 0 ? (float)(scale * 2 * ((double)b[i] - a[i]) / spread) : 0;
}

void zq_output_gradient(const zq_graph *graph, int output, int64_t n_images, const float *reference,
                        const float *other, float *d_other) {
    const zq_output_rule rule = zq_output_rule_of(graph, output);
    const layout l = layout_of(graph, output);
    const int64_t stride = l.outer * l.classes * l.inner, positions = l.outer * l.inner;
    const double scale = 1.0 / (double)(n_images * graph->n_outputs);
#pragma omp parallel for
    for (int64_t image = 0; image < n_images; image++) {
        const float *const a = reference + image * stride, *const b = other + image * stride;
        float *const d_b = d_other + image * stride;
        if (rule == ZQ_OUTPUT_SQUARED)
            gradient_of_squares(a, b, stride, scale, d_b);
        for (int64_t i = 0; i < positions && rule != ZQ_OUTPUT_SQUARED; i++) {
            const int64_t at = i / l.inner * l.classes * l.inner + i % l.inner;
            (rule == ZQ_OUTPUT_SOFTMAX ? gradient_of_logits : gradient_of_probabilities)(
                a + at, b + at, l.classes, l.inner, scale / (double)positions, d_b + at);
        }
    }
}

/* ---- probes: to second order the distance is 1/2 dz' A A' dz. A probe is A times signs, and the square of
 * probe' dz is in the mean dz' A A' dz. Over all probes the signs of the ZQ_N_PROBES likeliest classes are
 * orthogonal, so that what is between them, mostly all, comes out without chance. */

static float random_sign(uint64_t seed, int64_t at) {
    return zq_random_bits(seed, (uint64_t)at) & 1 ? 1 : -1;
}

/* A row of a Hadamard matrix. */
static float orthogonal_sign(int row, int column) {
    int odd = 0;
    for (int both = row & column; both != 0; both >>= 1)
        odd ^= both & 1;
    return odd ? -1 : 1;
}

/* Gives the likeliest classes their signs; probe holds random ones. */
static void order_signs(const float *z, int64_t n, int64_t stride, int number, float *probe) {
    int64_t likeliest[ZQ_N_PROBES];
    int found = 0;
    for (int64_t i = 0; i < n; i++) {
        int at = found < ZQ_N_PROBES ? found++ : ZQ_N_PROBES;
        for (; at > 0 && z[i * stride] > z[likeliest[at - 1] * stride]; at--)
            if (at < ZQ_N_PROBES)
                likeliest[at] = likeliest[at - 1];
        if (at < ZQ_N_PROBES)
            likeliest[at] = i;
    }
    const float all = probe[0]; /* what several positions have in common stays random */
    for (int r = 0; r < found; r++)
        probe[likeliest[r] * stride] = all * orthogonal_sign(r, number);
}

/* KL of softmax: A A' = diag(p) - p p'. z: the logits. */
static void probe_softmax(const float *z, int64_t n, int64_t stride, double scale, float *probe) {
    const double norm = log_sum_exp(z, n, stride);
    double along = 0;
    for (int64_t i = 0; i < n; i++)
        along += exp(0.5 * (z[i * stride] - norm)) * probe[i * stride];
    for (int64_t i = 0; i < n; i++) {
        const double root = exp(0.5 * (z[i * stride] - norm));
        probe[i * stride] = (float)(scale * root * (probe[i * stride] - root * along));
    }
}

/* KL of probabilities, whose sum can't change: A A' = diag(1 / p). */
static void probe_probabilities(const float *p, int64_t n, int64_t stride, double scale, float *probe) {
    for (int64_t i = 0; i < n; i++)
        probe[i * stride] = (float)(scale * probe[i * stride] / sqrt(fmax(p[i * stride], 1e-12)));
}

static void probe_squared(const float *z, int64_t n, double scale, float *probe) {
    double mean = 0, spread = 0;
    for (int64_t i = 0; i < n; i++)
        mean += z[i] / (double)n;
    for (int64_t i = 0; i < n; i++)
        spread += (z[i] - mean) * (z[i] - mean);
    for (int64_t i = 0; i < n; i++)
        probe[i] = spread > 0 ? (float)(scale * sqrt(2 / spread) * probe[i]) : 0;
}

/* probe: random signs at first. */
static void probe_of(zq_output_rule rule, const layout *l, double scale, const float *z, int number,
                     float *probe) {
    const int64_t n = l->outer * l->classes * l->inner, positions = l->outer * l->inner;
    if (rule == ZQ_OUTPUT_SQUARED)
        probe_squared(z, n, scale, probe);
    for (int64_t i = 0; i < positions && rule != ZQ_OUTPUT_SQUARED; i++) {
        const int64_t at = i / l->inner * l->classes * l->inner + i % l->inner;
        order_signs(z + at, l->classes, l->inner, number, probe + at);
        (rule == ZQ_OUTPUT_SOFTMAX ? probe_softmax : probe_probabilities)(
            z + at, l->classes, l->inner, scale / sqrt((double)positions), probe + at);
    }
}

void zq_output_probe(const zq_graph *graph, int output, int64_t n_images, const float *reference, int number,
                     int64_t first, float *probe) {
    const zq_output_rule rule = zq_output_rule_of(graph, output);
    const layout l = layout_of(graph, output);
    const int64_t stride = l.outer * l.classes * l.inner;
    const uint64_t seed =
        zq_random_bits(zq_random_seed((uint64_t)output, "probe of an output"), (uint64_t)number);
#pragma omp parallel for
    for (int64_t i = 0; i < n_images; i++) {
        for (int64_t k = 0; k < stride; k++)
            probe[i * stride + k] = random_sign(seed, (first + i) * stride + k);
        probe_of(rule, &l, 1 / sqrt((double)graph->n_outputs), reference + i * stride, number,
                 probe + i * stride);
    }
}
