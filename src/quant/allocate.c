/* SPDX-License-Identifier: Apache-2.0 */
/* A multiple-choice knapsack: the list of points that no other point dominates, extended layer by layer. */
#include "quant/allocate.h"

#include "base/memory.h"

#include <math.h>
#include <string.h>

enum { DEFAULT_POINTS = 4096 };

/* How a point came about: the point of the layer before that it extends, and the width of this layer. */
typedef struct step {
    int previous;
    uint8_t choice;
} step;

typedef struct list {
    int n;
    zq_frontier_point *points; /* bytes strictly increasing, omega strictly decreasing */
    step *steps;               /* [n] */
} list;

/* The work of one zq_allocate. */
typedef struct search {
    int n_layers, n_widths, max_points;
    list now, next;  /* room for max_points and max_points * n_widths */
    int *heads;      /* [n_widths], places in now of the merge */
    step *trace;     /* steps of all layers, one list after the other */
    size_t *offsets; /* [n_layers + 1] of each layer's list in trace */
    size_t trace_capacity;
} search;

/* Negative: not allowed; NaN or infinite: the network broke at that width. */
static bool is_allowed(double omega) {
    return omega >= 0 && isfinite(omega);
}

static zq_status check(int n_layers, int n_widths, const uint64_t *bytes, const double *omega,
                       zq_error *err) {
    if (n_layers < 0 || n_widths < 1 || n_widths > UINT8_MAX)
        return zq_fail(err, ZQ_ERR_INTERNAL, "%d layers with %d widths can't be allocated", n_layers,
                       n_widths);
    uint64_t total = 0;
    for (int i = 0; i < n_layers; i++) {
        uint64_t largest = 0;
        bool found = false;
        for (int k = 0; k < n_widths; k++) {
            const size_t at = (size_t)i * (size_t)n_widths + (size_t)k;
            if (!is_allowed(omega[at]))
                continue;
            found = true;
            largest = bytes[at] > largest ? bytes[at] : largest;
        }
        if (!found)
            return zq_fail(err, ZQ_ERR_INTERNAL,
                           "no width is possible for layer %d of %d: each sensitivity is "
                           "excluded or not a finite number",
                           i + 1, n_layers);
        if (__builtin_add_overflow(total, largest, &total))
            return zq_fail(err, ZQ_ERR_LIMIT, "the layers' sizes add up to more than 2^64 bytes");
    }
    return ZQ_OK;
}

/* Every point of now with every width, in order of bytes (then omega, then width), less what is dominated. */
static void extend(search *s, const uint64_t *bytes, const double *omega) {
    const list *now = &s->now;
    list *next = &s->next;
    next->n = 0;
    for (int k = 0; k < s->n_widths; k++)
        s->heads[k] = is_allowed(omega[k]) ? 0 : now->n;
    for (;;) {
        int best = -1;
        zq_frontier_point point = {0, INFINITY};
        for (int k = 0; k < s->n_widths; k++) {
            if (s->heads[k] >= now->n)
                continue;
            const zq_frontier_point *head = &now->points[s->heads[k]];
            const zq_frontier_point candidate = {head->bytes + bytes[k], head->omega + omega[k]};
            if (best < 0 || candidate.bytes < point.bytes ||
                (candidate.bytes == point.bytes && candidate.omega < point.omega)) {
                best = k;
                point = candidate;
            }
        }
        if (best < 0)
            return;
        const int previous = s->heads[best]++;
        if (next->n > 0 && !(point.omega < next->points[next->n - 1].omega))
            continue;
        next->points[next->n] = point;
        next->steps[next->n++] = (step){previous, (uint8_t)best};
    }
}

/* Brings next into now with at most max_points: all of them, or the smallest and the best of each bin of
 * bytes. */
static void thin(search *s) {
    const list *next = &s->next;
    list *now = &s->now;
    const int n_bins = s->max_points - 1;
    const uint64_t least = next->points[0].bytes;
    const double span = (double)(next->points[next->n - 1].bytes - least);
    now->n = 0;
    int last_bin = -1; /* of the point written last; -1 for the smallest, which always stays */
    for (int i = 0; i < next->n; i++) {
        if (next->n > s->max_points && i > 0) {
            const int bin = (int)fmin((double)(next->points[i].bytes - least) / span * n_bins, n_bins - 1);
            if (bin == last_bin) /* omega decreases: the last of a bin is its best */
                now->n--;
            last_bin = bin;
        }
        now->points[now->n] = next->points[i];
        now->steps[now->n++] = next->steps[i];
    }
}

static bool remember(search *s, int layer) {
    const size_t used = s->offsets[layer], n = (size_t)s->now.n;
    if (!zq_grow(&s->trace, &s->trace_capacity, used + n, sizeof *s->trace))
        return false;
    memcpy(s->trace + used, s->now.steps, n * sizeof *s->trace);
    s->offsets[layer + 1] = used + n;
    return true;
}

static zq_status write_frontier(const search *s, zq_frontier *out, zq_error *err) {
    const size_t n_points = (size_t)s->now.n, n_layers = (size_t)s->n_layers;
    out->n_points = s->now.n;
    out->n_layers = s->n_layers;
    out->points = zq_memdup(s->now.points, n_points * sizeof *out->points);
    size_t n_choices;
    if (zq_mul_size(n_points, n_layers, &n_choices))
        out->choice = zq_alloc_raw(n_choices, 1);
    if (out->points == NULL || out->choice == NULL)
        return zq_fail_memory(err);
    for (size_t p = 0; p < n_points; p++) {
        int at = (int)p;
        for (size_t i = n_layers; i-- > 0;) {
            const step *taken = &s->trace[s->offsets[i] + (size_t)at];
            out->choice[p * n_layers + i] = taken->choice;
            at = taken->previous;
        }
    }
    return ZQ_OK;
}

static bool search_new(search *s) {
    const size_t n_now = (size_t)s->max_points, n_next = n_now * (size_t)s->n_widths;
    s->now.points = zq_alloc(n_now, sizeof *s->now.points);
    s->now.steps = zq_alloc(n_now, sizeof *s->now.steps);
    s->next.points = zq_alloc(n_next, sizeof *s->next.points);
    s->next.steps = zq_alloc(n_next, sizeof *s->next.steps);
    s->heads = zq_alloc((size_t)s->n_widths, sizeof *s->heads);
    s->offsets = zq_alloc((size_t)s->n_layers + 1, sizeof *s->offsets);
    s->now.n = 1; /* nothing chosen yet: 0 bytes */
    return s->now.points != NULL && s->now.steps != NULL && s->next.points != NULL && s->next.steps != NULL &&
           s->heads != NULL && s->offsets != NULL;
}

static void search_clear(search *s) {
    zq_free(s->now.points);
    zq_free(s->now.steps);
    zq_free(s->next.points);
    zq_free(s->next.steps);
    zq_free(s->heads);
    zq_free(s->trace);
    zq_free(s->offsets);
}

zq_status zq_allocate(int n_layers, int n_widths, const uint64_t *bytes, const double *omega, int max_points,
                      zq_frontier *out, zq_error *err) {
    *out = (zq_frontier){0};
    ZQ_TRY(check(n_layers, n_widths, bytes, omega, err));
    search s = {.n_layers = n_layers,
                .n_widths = n_widths,
                .max_points = max_points <= 0  ? DEFAULT_POINTS
                              : max_points < 2 ? 2
                                               : max_points};
    zq_status status = ZQ_OK;
    if (!search_new(&s)) {
        status = zq_fail_memory(err);
        goto done;
    }
    for (int i = 0; i < n_layers; i++) {
        const size_t row = (size_t)i * (size_t)n_widths;
        extend(&s, bytes + row, omega + row);
        thin(&s);
        if (!remember(&s, i)) {
            status = zq_fail_memory(err);
            goto done;
        }
    }
    status = write_frontier(&s, out, err);
done:
    search_clear(&s);
    if (status != ZQ_OK)
        zq_frontier_clear(out);
    return status;
}

int zq_frontier_at(const zq_frontier *frontier, uint64_t limit) {
    int lo = 0, hi = frontier->n_points; /* points before lo fit, points from hi on don't */
    while (lo < hi) {
        const int middle = lo + (hi - lo) / 2;
        if (frontier->points[middle].bytes <= limit)
            lo = middle + 1;
        else
            hi = middle;
    }
    return lo - 1;
}

void zq_frontier_clear(zq_frontier *frontier) {
    zq_free(frontier->points);
    zq_free(frontier->choice);
    *frontier = (zq_frontier){0};
}
