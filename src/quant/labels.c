/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/labels.h"

#include "base/memory.h"
#include "base/random.h"
#include "quant/sensitivity.h"

#include <math.h>

/* Of the cross-entropy beside the relative residual; a third and three times as much do nearly as well. */
static const double label_weight = 0.03;

void zq_labels_init(const zq_graph *graph, uint64_t seed, zq_labels *labels_out) {
    *labels_out = (zq_labels){.value = -1, .seed = zq_random_seed(seed, "labels")};
    if (graph->n_outputs != 1)
        return;
    const zq_output_rule rule = zq_output_rule_of(graph, 0);
    const zq_shape *shape = &graph->values[graph->outputs[0]].shape;
    if (rule == ZQ_OUTPUT_SQUARED || shape->rank < 2 || shape->dims[1] < 2 ||
        shape->dims[0] != zq_graph_images(graph) || zq_shape_count(shape) != shape->dims[0] * shape->dims[1])
        return;
    labels_out->value = graph->outputs[0];
    labels_out->probability = rule == ZQ_OUTPUT_PROBABILITY;
    labels_out->n_classes = shape->dims[1];
}

void zq_labels_clear(zq_labels *labels) {
    zq_free(labels->gradient);
    *labels = (zq_labels){.value = -1};
}

/* Replaces the scores z of an image by the gradient of -log softmax(z)[label]. */
static void differentiate_logits(int64_t n, int64_t label, double weight, float *z) {
    double largest = z[0], sum = 0;
    for (int64_t c = 1; c < n; c++)
        largest = fmax(largest, z[c]);
    for (int64_t c = 0; c < n; c++)
        sum += exp(z[c] - largest);
    for (int64_t c = 0; c < n; c++)
        z[c] = (float)(weight * (exp(z[c] - largest) / sum - (c == label)));
}

/* The same of -log p[label], whose slope would overflow where p is 0. */
static void differentiate_probabilities(int64_t n, int64_t label, double weight, float *p) {
    const double slope = -weight / fmax(p[label], 1e-6);
    for (int64_t c = 0; c < n; c++)
        p[c] = c == label ? (float)slope : 0;
}

zq_status zq_labels_seed(zq_labels *labels, zq_plan *plan, int64_t n_images, int64_t first,
                         zq_plan_seed *seed_out, zq_error *err) {
    const int64_t n = labels->n_classes, count = zq_shape_count(zq_plan_shape(plan, labels->value));
    if ((size_t)count > labels->n_gradient) {
        zq_free(labels->gradient);
        labels->gradient = zq_alloc((size_t)count, sizeof(float));
        labels->n_gradient = labels->gradient == NULL ? 0 : (size_t)count;
        if (labels->gradient == NULL)
            return zq_fail_memory(err);
    }
    zq_plan_read(plan, labels->value, labels->gradient);
    for (int64_t i = 0; i < count / n; i++) {
        const uint64_t number = (uint64_t)(labels->first + first + i);
        const int64_t label = (int64_t)(zq_random_bits(labels->seed, number) % (uint64_t)n);
        (labels->probability ? differentiate_probabilities : differentiate_logits)(
            n, label, label_weight / (double)n_images, labels->gradient + i * n);
    }
    *seed_out = (zq_plan_seed){.value = labels->value, .dense = labels->gradient};
    return ZQ_OK;
}
