/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/moments.h"

#include "base/memory.h"
#include "base/random.h"
#include "engine/dense.h"
#include "graph/op.h"

#include <math.h>
#include <string.h>

enum {
    LEAST_POSITIONS = 4096, /* at which the inputs of a layer are taken ... */
    PER_WEIGHT = 4,         /* ... and as many for each weight of a channel, where there are as many */
    AT_ONCE = 1024,         /* of them in memory at a time, for groups that have so many ... */
    ROWS = 144,             /* ... weights together: neighbouring channels share cache lines */
};

/* One node's inputs. */
typedef struct visit {
    zq_moments *moments;
    const zq_plan *plan;
    int node;
    const float *w;
    int64_t n;                     /* positions */
    int64_t *positions, *expected; /* [n] of x and of y; owned */
} visit;

int64_t zq_moments_groups(const zq_graph *graph, const zq_layer *layer) {
    int64_t groups = 1;
    const zq_node *node = &graph->nodes[layer->nodes[0]];
    if (strcmp(node->op->name, "Conv") == 0 && zq_node_int(node, "group", 1, &groups, NULL) != ZQ_OK)
        return 1;
    return groups;
}

/* Positions spread over all of them, one at random in each of n equal parts. */
static void choose_positions(int64_t total, int64_t n, uint64_t seed, int64_t *positions) {
    for (int64_t i = 0; i < n; i++) {
        const int64_t first = total / n * i + total % n * i / n;
        const int64_t next = total / n * (i + 1) + total % n * (i + 1) / n;
        positions[i] = first + (int64_t)(zq_random_uniform(seed, (uint64_t)i) * (double)(next - first));
    }
}

/* residual += (w (y - x)) x^T of a group for n positions; y becomes y - x; e: [channels, n] is room. */
static zq_status add_residual(const visit *v, int64_t group, int64_t n, const float *x, float *y, float *e,
                              zq_error *err) {
    zq_moments *m = v->moments;
    const int64_t k = m->k, channels = m->n_channels / m->groups, first = group * channels;
    for (int64_t i = 0; i < k * n; i++)
        y[i] -= x[i];
    ZQ_TRY(zq_dense_multiply(false, channels, n, k, 1, v->w + first * k, k, y, n, 0, e, n, err));
    return zq_dense_multiply(true, channels, k, n, 1, e, n, x, n, 1, m->residual + first * k, k, err);
}

/* x, y, e: of one group, as above. */
static zq_status add_group(const visit *v, int64_t group, int64_t n, const float *x, float *y, float *e,
                           zq_error *err) {
    zq_moments *m = v->moments;
    ZQ_TRY(zq_dense_add_gram(m->k, n, x, m->gram + group * m->k * m->k, err));
    return v->w == NULL ? ZQ_OK : add_residual(v, group, n, x, y, e, err);
}

static int64_t groups_at_once(const zq_moments *m) {
    const int64_t n = ROWS / m->k;
    return n < 1 ? 1 : n < m->groups ? n : m->groups;
}

/* n_groups from one on. */
static zq_status add_bundle(const visit *v, int64_t group, int64_t n_groups, zq_error *err) {
    const zq_moments *m = v->moments;
    const int64_t k = m->k, channels = m->n_channels / m->groups, at_once = v->n < AT_ONCE ? v->n : AT_ONCE;
    float *x = zq_alloc_raw((size_t)((2 * n_groups * k + channels) * at_once), sizeof *x);
    float *const y = x + n_groups * k * at_once, *const e = y + n_groups * k * at_once;
    zq_status status = x == NULL ? zq_fail_memory(err) : ZQ_OK;
    for (int64_t first = 0; status == ZQ_OK && first < v->n; first += AT_ONCE) {
        const int64_t part = v->n - first < AT_ONCE ? v->n - first : AT_ONCE;
        status = zq_plan_patches(v->plan, v->node, group, n_groups, part, v->positions + first, x, err);
        if (status == ZQ_OK && v->w != NULL)
            status = zq_plan_patches(v->plan, v->node, group, n_groups, part, v->expected + first, y, err);
        for (int64_t g = 0; status == ZQ_OK && g < n_groups; g++)
            status = add_group(v, group + g, part, x + g * k * part, y + g * k * part, e, err);
    }
    zq_free(x);
    return status;
}

static zq_status add_groups(const visit *v, zq_error *err) {
    const int64_t n = v->moments->groups, at_once = groups_at_once(v->moments);
    zq_status status = ZQ_OK;
#pragma omp parallel for schedule(dynamic, 1) if (n > at_once)
    for (int64_t g = 0; g < n; g += at_once) {
        zq_error own = {0};
        const zq_status done = add_bundle(v, g, n - g < at_once ? n - g : at_once, &own);
        if (done != ZQ_OK) {
#pragma omp critical(zq_moments)
            {
                status = done;
                *err = own;
            }
        }
    }
    return status;
}

static zq_status make_room(zq_moments *m, const zq_graph *graph, const zq_layer *layer, bool residual,
                           zq_error *err) {
    if (m->gram != NULL)
        return ZQ_OK;
    *m = (zq_moments){
        .groups = zq_moments_groups(graph, layer), .k = layer->per_channel, .n_channels = layer->n_channels};
    m->gram = zq_alloc((size_t)(m->groups * m->k * m->k), sizeof *m->gram);
    if (residual)
        m->residual = zq_alloc((size_t)(m->n_channels * m->k), sizeof *m->residual);
    return m->gram == NULL || (residual && m->residual == NULL) ? zq_fail_memory(err) : ZQ_OK;
}

zq_status zq_moments_add(zq_moments *moments, const zq_plan *plan, const zq_graph *graph,
                         const zq_layer *layer, int node, const float *w, zq_error *err) {
    const int64_t all = zq_plan_positions(plan, node), total = w != NULL ? all / 2 : all;
    int64_t n = layer->per_channel * PER_WEIGHT;
    n = n > LEAST_POSITIONS ? n : LEAST_POSITIONS;
    n = n < total ? n : total;
    if (n == 0)
        return ZQ_OK;
    ZQ_TRY(make_room(moments, graph, layer, w != NULL, err));
    visit v = {.moments = moments, .plan = plan, .node = node, .w = w, .n = n};
    v.positions = zq_alloc_raw((size_t)(2 * n), sizeof *v.positions);
    if (v.positions == NULL)
        return zq_fail_memory(err);
    v.expected = v.positions + n;
    choose_positions(total, n, (uint64_t)node, v.expected);
    for (int64_t i = 0; i < n; i++)
        v.positions[i] = v.expected[i] + (all - total);
    const zq_status status = add_groups(&v, err);
    zq_free(v.positions);
    return status;
}

bool zq_moments_are_finite(const zq_moments *moments) {
    const int64_t k = moments->k;
    for (int64_t i = 0; moments->gram != NULL && i < moments->groups * k; i++)
        if (!isfinite(moments->gram[i * k + i % k]))
            return false;
    return true;
}

void zq_moments_clear(zq_moments *moments) {
    zq_free(moments->gram);
    zq_free(moments->residual);
    *moments = (zq_moments){0};
}
