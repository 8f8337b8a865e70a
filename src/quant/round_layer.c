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

/* How often scales are fitted to the weights as they are rounded, and these rounded anew. */
enum { FITS = 3 };

/* The layer at hand. */
typedef struct rounding {
    const zq_moments *moments;
    zq_feedback *feedback; /* [groups] */
    const float *w;        /* [n_channels, k] */
    const float *floor;    /* [n_channels] least scales */
} rounding;

/* Of what was tried, the channels that it serves better than the best so far are taken over. */
static void keep_better(const zq_weights *tried, const double *loss, zq_weights *best, double *best_loss) {
    for (int64_t c = 0; c < best->n_channels; c++) {
        if (!(loss[c] < best_loss[c]))
            continue;
        best_loss[c] = loss[c];
        best->scale[c] = tried->scale[c];
        best->zero_point[c] = tried->zero_point[c];
        memcpy(best->q + c * best->per_channel, tried->q + c * best->per_channel, (size_t)best->per_channel);
    }
}

static const float *rows_of(const float *rows, int64_t channel, int64_t k) {
    return rows == NULL ? NULL : rows + channel * k;
}

/* A group: its scales first fitted, if fit; then rounded. */
static zq_status round_group(const rounding *r, int64_t g, bool fit, zq_weights *weights, double *loss,
                             zq_error *err) {
    const int64_t k = r->moments->k, n = weights->n_channels / r->moments->groups, first = g * n;
    const float *const z = rows_of(r->moments->residual, first, k);
    if (fit)
        ZQ_TRY(
            zq_feedback_fit(&r->feedback[g], first, n, r->w + first * k, z, r->floor + first, weights, err));
    return zq_feedback_round(&r->feedback[g], first, n, r->w + first * k, z, weights, loss + first, err);
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

typedef struct attempt {
    bool fit;
    zq_weights *weights;
    double *loss;
} attempt;

static zq_status attempt_group(const rounding *r, int64_t g, void *user, zq_error *err) {
    const attempt *a = user;
    return round_group(r, g, a->fit, a->weights, a->loss, err);
}

static zq_status factor_group(const rounding *r, int64_t g, void *user, zq_error *err) {
    const zq_moments *m = user;
    const int64_t k = m->k, n = m->n_channels / m->groups;
    ZQ_TRY(zq_feedback_new(k, m->gram + g * k * k, damping, &r->feedback[g], err));
    for (int64_t i = g * n * k; m->residual != NULL && i < (g + 1) * n * k; i++)
        m->residual[i] *= (float)made_up_for;
    return m->residual == NULL ? ZQ_OK : zq_feedback_solve(&r->feedback[g], n, m->residual + g * n * k, err);
}

/* Scales by range, and what they lead to. */
static zq_status try_range(const rounding *r, const zq_weight_spec *spec, zq_weight_range range, int64_t n,
                           int64_t k, double *loss, zq_weights *out, zq_error *err) {
    zq_weight_spec own = *spec;
    own.range = range;
    ZQ_TRY(zq_weights_quantize(&own, n, k, r->w, r->floor, out, err));
    return r->feedback == NULL ? ZQ_OK
                               : for_groups(r, attempt_group, &(attempt){.weights = out, .loss = loss}, err);
}

static zq_status try_fits(const rounding *r, double *loss, double *best, zq_weights *out, zq_error *err) {
    zq_status status = ZQ_OK;
    for (int i = 0; status == ZQ_OK && i < FITS; i++) {
        zq_weights tried = {0};
        status = zq_weights_copy(out, &tried, err);
        if (status == ZQ_OK)
            status = for_groups(r, attempt_group, &(attempt){true, &tried, loss}, err);
        if (status == ZQ_OK)
            keep_better(&tried, loss, out, best);
        zq_weights_clear(&tried);
    }
    return status;
}

/* With error feedback, least squares and the whole range are tried, and from the better one fitted scales. */
static zq_status round_width(const rounding *r, const zq_weight_spec *spec, int64_t n, int64_t k,
                             zq_weights *out, zq_error *err) {
    const bool both = spec->range == ZQ_WEIGHT_MSE && !spec->asymmetric;
    zq_weights tried = {0};
    double *loss = zq_alloc((size_t)(2 * n), sizeof *loss), *best = loss + n;
    if (loss == NULL)
        return zq_fail_memory(err);
    zq_status status = try_range(r, spec, spec->range, n, k, best, out, err);
    if (status == ZQ_OK && r->feedback != NULL && both) {
        status = try_range(r, spec, ZQ_WEIGHT_MINMAX, n, k, loss, &tried, err);
        if (status == ZQ_OK)
            keep_better(&tried, loss, out, best);
        zq_weights_clear(&tried);
    }
    if (status == ZQ_OK && r->feedback != NULL)
        status = try_fits(r, loss, best, out, err);
    zq_free(loss);
    return status;
}

static zq_status round_widths(rounding *r, const zq_weight_spec *spec, int64_t n, int64_t k, int n_bits,
                              const int *bits, zq_weights *out, zq_error *err) {
    zq_feedback *const feedback = r->feedback;
    for (int i = 0; i < n_bits; i++) {
        zq_weight_spec own = *spec;
        own.bits = bits[i];
        r->feedback = own.bits < 8 ? feedback : NULL;
        ZQ_TRY(round_width(r, &own, n, k, &out[i], err));
    }
    r->feedback = feedback;
    return ZQ_OK;
}

zq_status zq_round_layer(const zq_rounder *rounder, int i, zq_moments *m, int n_bits, const int *bits,
                         zq_weights *out, zq_error *err) {
    const zq_layer *layer = &rounder->layers->items[i];
    if (!zq_moments_are_finite(m))
        zq_moments_clear(m);
    const int64_t n = layer->n_channels, k = layer->per_channel;
    float *w = zq_alloc_raw((size_t)(n * (k + 1)), sizeof *w), *floor = w + n * k;
    zq_feedback *feedback = m->gram == NULL ? NULL : zq_alloc((size_t)m->groups, sizeof *feedback);
    zq_weight_spec spec = *rounder->spec;
    spec.spare_bit = spec.spare_bit && !layer->depthwise; /* no pairs of products */
    rounding r = {.moments = m, .feedback = feedback, .w = w, .floor = floor};
    zq_status status = w == NULL || (m->gram != NULL && feedback == NULL) ? zq_fail_memory(err) : ZQ_OK;
    if (status == ZQ_OK)
        status = zq_standard_scale_floor(rounder->standard, rounder->graph, rounder->layers, i,
                                         rounder->activations, floor, err);
    if (status == ZQ_OK)
        zq_layer_load(rounder->standard->graph, layer, w);
    if (status == ZQ_OK && feedback != NULL)
        status = for_groups(&r, factor_group, m, err);
    if (status == ZQ_OK)
        status = round_widths(&r, &spec, n, k, n_bits, bits, out, err);
    for (int64_t g = 0; feedback != NULL && g < m->groups; g++)
        zq_feedback_clear(&feedback[g]);
    zq_free(feedback);
    zq_free(w);
    zq_moments_clear(m);
    return status;
}
