/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/round_layer.h"

#include "base/memory.h"
#include "quant/feedback.h"

#include <string.h>

/* Share of the mean second moment that is added to all of them. */
static const double damping = 0.03;

/* Share of what a layer's inputs are off by that its weights make up for: on few images all of it is too
 * much. */
static const double made_up_for = 0.7;

/* The layer at hand. */
typedef struct rounding {
    const zq_moments *moments;
    zq_feedback *feedback; /* [groups] */
    const float *w;        /* [n_channels, k] */
    const float *floor;    /* [n_channels] least scales */
    float *wanted;         /* [n_channels, k] of zq_feedback_project */
    bool several;          /* widths, of which the chosen one is rounded once more */
} rounding;

/* Weights and what they lead to. */
typedef struct attempt {
    zq_weights weights;
    float *rest;  /* [n_channels, k] of zq_feedback_round */
    double *loss; /* [n_channels] */
} attempt;

/* Of what was tried, the channels that it serves better than the best so far are taken over. */
static void keep_better(const attempt *tried, attempt *best) {
    const zq_weights *from = &tried->weights;
    zq_weights *to = &best->weights;
    const size_t k = (size_t)to->per_channel;
    for (int64_t c = 0; c < to->n_channels; c++) {
        if (!(tried->loss[c] < best->loss[c]))
            continue;
        best->loss[c] = tried->loss[c];
        to->scale[c] = from->scale[c];
        to->zero_point[c] = from->zero_point[c];
        memcpy(to->q + (size_t)c * k, from->q + (size_t)c * k, k);
        memcpy(best->rest + (size_t)c * k, tried->rest + (size_t)c * k, k * sizeof *best->rest);
    }
}

/* Does something for every group; the first of several failures is as good as any. */
typedef zq_status (*group_function)(const rounding *r, int64_t g, void *user, zq_error *err);

static zq_status for_groups(const rounding *r, group_function function, void *user, zq_error *err) {
    zq_status status = ZQ_OK;
#pragma omp parallel for schedule(dynamic, 1) if (r->moments->groups > 1)
    for (int64_t g = 0; g < r->moments->groups; g++) {
        zq_error own = {0};
        const zq_status done = function(r, g, user, &own);
        if (done != ZQ_OK) {
#pragma omp critical(zq_round_layer)
            {
                status = done;
                *err = own;
            }
        }
    }
    return status;
}

static const float *rows_of(const float *rows, int64_t channel, int64_t k) {
    return rows == NULL ? NULL : rows + channel * k;
}

static zq_status round_group(const rounding *r, int64_t g, void *user, zq_error *err) {
    attempt *a = user;
    const int64_t k = r->moments->k, n = a->weights.n_channels / r->moments->groups, first = g * n;
    return zq_feedback_round(&r->feedback[g], first, n, r->w + first * k,
                             rows_of(r->moments->residual, first, k), &a->weights, a->rest + first * k,
                             a->loss + first, err);
}

static zq_status refine_group(const rounding *r, int64_t g, void *user, zq_error *err) {
    attempt *a = user;
    const int64_t k = r->moments->k, n = a->weights.n_channels / r->moments->groups, first = g * n;
    return zq_feedback_refine(&r->feedback[g], first, n, r->wanted + first * k, a->rest + first * k,
                              r->floor + first, &a->weights, err);
}

/* user: what the scales are fitted to */
static zq_status fit_group(const rounding *r, int64_t g, void *user, zq_error *err) {
    attempt *a = user;
    const int64_t k = r->moments->k, n = a->weights.n_channels / r->moments->groups, first = g * n;
    (void)err;
    zq_feedback_fit(&r->feedback[g], first, n, r->wanted + first * k, a->rest + first * k, r->floor + first,
                    &a->weights);
    return ZQ_OK;
}

static zq_status factor_group(const rounding *r, int64_t g, void *user, zq_error *err) {
    const zq_moments *m = user;
    const int64_t k = m->k, n = m->n_channels / m->groups;
    ZQ_TRY(zq_feedback_new(k, m->gram + g * k * k, damping, &r->feedback[g], err));
    for (int64_t i = g * n * k; m->residual != NULL && i < (g + 1) * n * k; i++)
        m->residual[i] *= (float)made_up_for;
    float *const z = m->residual == NULL ? NULL : m->residual + g * n * k;
    if (z != NULL)
        ZQ_TRY(zq_feedback_solve(&r->feedback[g], n, z, err));
    return zq_feedback_project(&r->feedback[g], n, r->w + g * n * k, z, r->wanted + g * n * k, err);
}

static void attempt_clear(attempt *a) {
    zq_free(a->rest);
    zq_free(a->loss);
}

/* Scales by range. */
static zq_status try_range(const rounding *r, const zq_weight_spec *spec, zq_weight_range range, int64_t n,
                           int64_t k, attempt *out, zq_error *err) {
    zq_weight_spec own = *spec;
    own.range = range;
    ZQ_TRY(zq_weights_quantize(&own, n, k, r->w, r->floor, &out->weights, err));
    return for_groups(r, round_group, out, err);
}

static zq_status try_fit(const rounding *r, attempt *tried, attempt *best, zq_error *err) {
    ZQ_TRY(zq_weights_copy(&best->weights, &tried->weights, err));
    memcpy(tried->rest, best->rest,
           (size_t)(best->weights.n_channels * best->weights.per_channel) * sizeof *best->rest);
    ZQ_TRY(for_groups(r, fit_group, tried, err));
    ZQ_TRY(for_groups(r, round_group, tried, err));
    keep_better(tried, best);
    return ZQ_OK;
}

/* With error feedback, least squares and the whole range are tried, and from the better one fitted scales,
 * except with more than 4 bits, where they are much the same, as long as it isn't known that they will be
 * chosen. The chosen widths, which are rounded once more, are refined then; sensitivities would change by
 * next to nothing. */
static zq_status search_scales(const rounding *r, const zq_weight_spec *spec, int64_t n, int64_t k,
                               attempt *tried, attempt *best, zq_error *err) {
    ZQ_TRY(try_range(r, spec, spec->range, n, k, best, err));
    if (r->several && spec->bits > 4)
        return ZQ_OK;
    if (spec->range == ZQ_WEIGHT_MSE && !spec->asymmetric) {
        ZQ_TRY(try_range(r, spec, ZQ_WEIGHT_MINMAX, n, k, tried, err));
        keep_better(tried, best);
        zq_weights_clear(&tried->weights);
    }
    ZQ_TRY(try_fit(r, tried, best, err));
    return r->moments->residual == NULL ? ZQ_OK : for_groups(r, refine_group, best, err);
}

static double sum_of(int64_t n, const double *x) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i];
    return sum;
}

/* With error feedback. */
static zq_status round_width(const rounding *r, const zq_weight_spec *spec, int64_t n, int64_t k,
                             zq_weights *out, double *loss_out, zq_error *err) {
    attempt both[2] = {{.rest = NULL}, {.rest = NULL}};
    zq_status status = ZQ_OK;
    for (int i = 0; i < 2; i++) {
        both[i].rest = zq_alloc_raw((size_t)(n * k), sizeof *both[i].rest);
        both[i].loss = zq_alloc((size_t)n, sizeof *both[i].loss);
        if (both[i].rest == NULL || both[i].loss == NULL)
            status = zq_fail_memory(err);
    }
    if (status == ZQ_OK)
        status = search_scales(r, spec, n, k, &both[1], &both[0], err);
    *out = both[0].weights;
    *loss_out = status == ZQ_OK ? sum_of(n, both[0].loss) : 0;
    zq_weights_clear(&both[1].weights);
    attempt_clear(&both[0]);
    attempt_clear(&both[1]);
    return status;
}

static zq_status round_widths(const rounding *r, const zq_weight_spec *spec, int64_t n, int64_t k, int n_bits,
                              const int *bits, zq_weights *out, double *loss_out, zq_error *err) {
    for (int i = 0; i < n_bits; i++) {
        zq_weight_spec own = *spec;
        own.bits = bits[i];
        loss_out[i] = 0;
        ZQ_TRY(r->feedback != NULL ? round_width(r, &own, n, k, &out[i], &loss_out[i], err)
                                   : zq_weights_quantize(&own, n, k, r->w, r->floor, &out[i], err));
    }
    return ZQ_OK;
}

zq_status zq_round_layer(const zq_rounder *rounder, int i, zq_moments *m, int n_bits, const int *bits,
                         zq_weights *out, double *loss_out, zq_error *err) {
    const zq_layer *layer = &rounder->layers->items[i];
    if (!zq_moments_are_finite(m))
        zq_moments_clear(m);
    const int64_t n = layer->n_channels, k = layer->per_channel;
    float *w = zq_alloc_raw((size_t)(n * (2 * k + 1)), sizeof *w), *wanted = w + n * k;
    float *floor = wanted + n * k;
    zq_feedback *feedback = m->gram == NULL ? NULL : zq_alloc((size_t)m->groups, sizeof *feedback);
    zq_weight_spec spec = *rounder->spec;
    spec.spare_bit = spec.spare_bit && !layer->depthwise; /* no pairs of products */
    rounding r = {
        .moments = m, .feedback = feedback, .w = w, .floor = floor, .wanted = wanted, .several = n_bits > 1};
    zq_status status = w == NULL || (m->gram != NULL && feedback == NULL) ? zq_fail_memory(err) : ZQ_OK;
    if (status == ZQ_OK)
        status = zq_standard_scale_floor(rounder->standard, rounder->graph, rounder->layers, i,
                                         rounder->activations, floor, err);
    if (status == ZQ_OK)
        zq_layer_load(rounder->standard->graph, layer, w);
    if (status == ZQ_OK && feedback != NULL)
        status = for_groups(&r, factor_group, m, err);
    if (status == ZQ_OK)
        status = round_widths(&r, &spec, n, k, n_bits, bits, out, loss_out, err);
    for (int64_t g = 0; feedback != NULL && g < m->groups; g++)
        zq_feedback_clear(&feedback[g]);
    zq_free(feedback);
    zq_free(w);
    zq_moments_clear(m);
    return status;
}
