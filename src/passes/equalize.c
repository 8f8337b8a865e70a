/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"
#include "passes/affine.h"
#include "passes/balance.h"
#include "passes/match.h"
#include "passes/passes.h"

#include <math.h>

/* Beyond the mean, in deviations: the largest value that a channel is expected to have. */
static const float reach = 4;

/* Of ranges, relative to the largest: dead channels aren't blown up. */
static const float least_ratio = 1.0F / 256;

/* What one Conv makes, followed through homogeneous nodes to every Conv that reads it. */
typedef struct tree {
    int maker;
    int *values, n_values;   /* from the maker's output on, each behind the one that it is made of; owned */
    int *readers, n_readers; /* owned */
    int known;               /* of the values: the last whose statistics are known */
    const zq_stats *stats;   /* of that; borrowed */
    zq_stats *derived;       /* the same where they follow from those of the maker's input; owned */
    bool rectified;          /* whatever is read lies behind a rectifier behind that */
    bool bent;               /* behind that or a LeakyRelu */
    bool depthwise;          /* so is a reader */
    double weight_bits, activation_bits; /* 0: only where a depthwise one reads; else only where none does */
} tree;

static bool is_rectifier(const zq_graph *graph, const zq_node *node) {
    const zq_tensor *low = zq_match_float(graph, zq_match_input(node, 1));
    return zq_match_op(node, "Relu") || (zq_match_op(node, "Clip") && low != NULL &&
                                         zq_tensor_item(low, 0) == 0 && zq_match_input(node, 2) < 0);
}

/* f(s x) = s f(x) for s > 0, channel by channel. */
static bool is_homogeneous(const zq_graph *graph, const zq_node *node) {
    if (is_rectifier(graph, node) || zq_match_op(node, "LeakyRelu"))
        return true;
    if (zq_match_op(node, "MaxPool") || zq_match_op(node, "AveragePool"))
        return node->n_outputs == 1 || node->outputs[1] < 0;
    return zq_match_op(node, "PRelu") && zq_match_float(graph, node->inputs[1]) != NULL;
}

/* A Conv whose weights nobody else reads, so that they can be changed in place. */
static bool is_own(const zq_graph *graph, const zq_uses *uses, int n) {
    const zq_node *node = &graph->nodes[n];
    const int64_t n_out = zq_match_op(node, "Conv") ? zq_affine_channels(graph, n) : 0;
    const int bias = zq_match_input(node, 2);
    return n_out > 0 && zq_uses_single(uses, node->inputs[1]) &&
           (bias < 0 ||
            (zq_uses_single(uses, bias) && zq_shape_count(&graph->values[bias].constant->shape) == n_out));
}

/* Whether no output reads more than one input channel. */
static bool is_depthwise(const zq_graph *graph, const zq_node *conv) {
    return graph->values[conv->inputs[1]].constant->shape.dims[1] == 1;
}

static bool is_known(const zq_graph *graph, int value, int64_t n_channels) {
    const zq_stats *stats = graph->values[value].stats;
    return stats != NULL && stats->n_channels == n_channels;
}

/* Whether behind the known value, or the maker where the known one lies on another path, a rectifier, or one
 * that leaks, comes before the value. */
static bool is_rectified(const zq_graph *graph, const tree *t, int value, bool may_leak) {
    for (int n = -1; value != t->known && (n = graph->values[value].producer) != t->maker;
         value = graph->nodes[n].inputs[0])
        if (is_rectifier(graph, &graph->nodes[n]) || (may_leak && zq_match_op(&graph->nodes[n], "LeakyRelu")))
            return true;
    return false;
}

/* Takes the nodes that read a value into the tree; false where one of them can't be in it. */
static bool take_readers(const zq_graph *graph, const zq_uses *uses, int value, tree *t) {
    int n_reads = 0;
    for (int n = 0; n < graph->n_nodes; n++) {
        const zq_node *node = &graph->nodes[n];
        if (node->op == NULL || zq_match_input(node, 0) != value)
            continue;
        n_reads++;
        if (is_homogeneous(graph, node))
            t->values[t->n_values++] = node->outputs[0];
        else if (is_own(graph, uses, n))
            t->readers[t->n_readers++] = n;
        else
            return false;
    }
    return n_reads > 0 && n_reads == uses->counts[value];
}

/* Whether all that reads what the maker makes can be rescaled. */
static bool grow(const zq_graph *graph, const zq_uses *uses, int maker, tree *t) {
    if (!is_own(graph, uses, maker))
        return false;
    const int64_t n_channels = zq_affine_channels(graph, maker);
    t->maker = maker;
    t->known = -1;
    t->n_readers = 0;
    t->values[0] = graph->nodes[maker].outputs[0];
    t->n_values = 1;
    for (int i = 0; i < t->n_values; i++) {
        if (!take_readers(graph, uses, t->values[i], t))
            return false;
        t->known = is_known(graph, t->values[i], n_channels) ? t->values[i] : t->known;
    }
    t->rectified = t->bent = true;
    t->depthwise = false;
    for (int i = 0; i < t->n_readers; i++) {
        const zq_node *reader = &graph->nodes[t->readers[i]];
        t->depthwise = t->depthwise || is_depthwise(graph, reader);
        t->rectified = t->rectified && is_rectified(graph, t, reader->inputs[0], false);
        t->bent = t->bent && is_rectified(graph, t, reader->inputs[0], true);
    }
    return true;
}

/* Statistics of the tree, NULL where nothing is known. */
static zq_status find_stats(const zq_graph *graph, tree *t, zq_error *err) {
    zq_stats_drop(t->derived);
    t->derived = NULL;
    if (t->known < 0) {
        ZQ_TRY(zq_affine_stats(graph, t->maker, &t->derived, err));
        t->known = t->values[0];
    }
    t->stats = t->derived != NULL ? t->derived : graph->values[t->known].stats;
    return ZQ_OK;
}

/* ---- factors */

/* The largest absolute value that training promises of a channel, at least its deviation: a channel that is
 * nearly always below zero has rare values that matter. */
static float range_of(const zq_stats *stats, int64_t c, bool rectified) {
    const float high = stats->mean[c] + reach * stats->std[c], low = reach * stats->std[c] - stats->mean[c];
    return fmaxf(rectified || high > low ? high : low, stats->std[c]);
}

/* The channel of the largest range keeps it, the others get it. Of what is known only behind a Relu, tails
 * are long and ranges uncertain: there the others go half the way. factor: [n_channels] */
static void find_factors(const zq_graph *graph, const tree *t, float *factor) {
    const zq_stats *stats = t->stats;
    const bool is_certain = t->derived == NULL && graph->values[t->known].producer == t->maker;
    float largest = 0;
    for (int64_t c = 0; c < stats->n_channels; c++) {
        factor[c] = range_of(stats, c, t->rectified);
        largest = fmaxf(largest, factor[c]);
    }
    for (int64_t c = 0; c < stats->n_channels; c++) {
        const float ratio = largest > 0 ? largest / fmaxf(factor[c], least_ratio * largest) : 1;
        factor[c] = is_certain ? ratio : sqrtf(ratio);
    }
}

/* Mean square of a normal channel behind a rectifier. */
static double moment_of(const zq_stats *stats, int64_t c) {
    const double mean = stats->mean[c], std = stats->std[c], square = mean * mean + std * std;
    if (!(std > 0))
        return square;
    const double x = mean / std, density = exp(-x * x / 2) / sqrt(2 * acos(-1));
    return fmax(0, square * erfc(-x / sqrt(2)) / 2 + mean * std * density);
}

/* Where only convolutions that add channels up read them, their weights have a say; behind a rectifier, since
 * elsewhere etinynet-1.0 loses by it. factor: [n_channels] */
static zq_status balance_factors(const zq_graph *graph, const tree *t, float *factor, zq_error *err) {
    const int64_t n = t->stats->n_channels;
    double *moment = zq_alloc(2 * (size_t)n, sizeof *moment);
    if (moment == NULL)
        return zq_fail_memory(err);
    for (int64_t c = 0; c < n; c++) {
        moment[c] = moment_of(t->stats, c);
        moment[n + c] = range_of(t->stats, c, true);
    }
    const zq_balance_channels channels = {.n_channels = n,
                                          .moment = moment,
                                          .reach = moment + n,
                                          .readers = t->readers,
                                          .n_readers = t->n_readers,
                                          .weight_bits = t->weight_bits,
                                          .activation_bits = t->activation_bits};
    const zq_status status = zq_balance_find(graph, &channels, factor, err);
    zq_free(moment);
    return status;
}

/* ---- rescaling */

/* Each row of weights, and each element of the bias, gets the factor of the channel that it makes. */
static bool scale_rows(zq_value *value, int64_t n_channels, const float *factor) {
    zq_tensor *tensor = zq_value_own_constant(value);
    if (tensor == NULL)
        return false;
    const int64_t per_channel = zq_shape_count(&tensor->shape) / n_channels;
    zq_real *x = tensor->data;
    for (int64_t c = 0; c < n_channels; c++)
        for (int64_t i = c * per_channel; i < (c + 1) * per_channel; i++)
            x[i] *= (zq_real)factor[c];
    return true;
}

/* Weights are divided by the factor of the channel that they read. */
static bool scale_columns(zq_value *value, int64_t n_channels, const float *factor) {
    zq_tensor *tensor = zq_value_own_constant(value);
    if (tensor == NULL)
        return false;
    const int64_t n_out = tensor->shape.dims[0], n_in = tensor->shape.dims[1];
    const int64_t n_taps = zq_shape_count(&tensor->shape) / n_out / n_in;
    const int64_t n_rows = n_out / (n_channels / n_in); /* of a group */
    zq_real *x = tensor->data;
    for (int64_t row = 0; row < n_out; row++)
        for (int64_t c = 0; c < n_in; c++)
            for (int64_t k = 0; k < n_taps; k++)
                *x++ /= (zq_real)factor[row / n_rows * n_in + c];
    return true;
}

static zq_status rescale(zq_graph *graph, const tree *t, const float *factor, zq_error *err) {
    const zq_node *maker = &graph->nodes[t->maker];
    const int64_t n_channels = t->stats->n_channels;
    const int bias = zq_match_input(maker, 2);
    bool good = scale_rows(&graph->values[maker->inputs[1]], n_channels, factor) &&
                (bias < 0 || scale_rows(&graph->values[bias], n_channels, factor));
    for (int i = 0; good && i < t->n_readers; i++)
        good = scale_columns(&graph->values[graph->nodes[t->readers[i]].inputs[1]], n_channels, factor);
    if (!good)
        return zq_fail_memory(err);
    for (int i = 0; i < t->n_values; i++) {
        zq_stats *stats = graph->values[t->values[i]].stats;
        for (int64_t c = 0; stats != NULL && c < n_channels; c++) {
            stats->mean[c] *= factor[c];
            stats->std[c] *= factor[c];
        }
    }
    return ZQ_OK;
}

static zq_status equalize(zq_graph *graph, const tree *t, zq_error *err) {
    float *factor = zq_alloc((size_t)t->stats->n_channels, sizeof *factor);
    if (factor == NULL)
        return zq_fail_memory(err);
    zq_status status = ZQ_OK;
    if (t->depthwise)
        find_factors(graph, t, factor);
    else
        status = balance_factors(graph, t, factor, err);
    if (status == ZQ_OK)
        status = rescale(graph, t, factor, err);
    zq_free(factor);
    return status;
}

static zq_status equalize_all(zq_graph *graph, const zq_uses *uses, tree *t, zq_error *err) {
    for (int n = 0; n < graph->n_nodes; n++) {
        if (!grow(graph, uses, n, t))
            continue;
        ZQ_TRY(find_stats(graph, t, err));
        const bool wanted = t->weight_bits > 0 ? !t->depthwise && t->bent : t->depthwise;
        if (t->stats != NULL && wanted)
            ZQ_TRY(equalize(graph, t, err));
    }
    return ZQ_OK;
}

static zq_status run(zq_graph *graph, double weight_bits, double activation_bits, zq_error *err) {
    zq_uses uses;
    tree t = {.values = zq_alloc((size_t)graph->n_values, sizeof *t.values),
              .readers = zq_alloc((size_t)graph->n_nodes, sizeof *t.readers),
              .weight_bits = weight_bits,
              .activation_bits = activation_bits};
    zq_status status = zq_uses_count(graph, &uses, err);
    if (status == ZQ_OK && (t.values == NULL || t.readers == NULL))
        status = zq_fail_memory(err);
    if (status == ZQ_OK)
        status = equalize_all(graph, &uses, &t, err);
    zq_stats_drop(t.derived);
    zq_free(t.values);
    zq_free(t.readers);
    zq_uses_clear(&uses);
    return status;
}

zq_status zq_equalize(zq_graph *graph, zq_error *err) {
    return run(graph, 0, 0, err);
}

zq_status zq_balance(zq_graph *graph, double weight_bits, double activation_bits, zq_error *err) {
    return run(graph, weight_bits, activation_bits, err);
}
