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

/* One width's own list in the merge of extend. */
typedef struct stream {
    zq_frontier_point point; /* the next of it */
    int at;                  /* which point of now it extends */
    uint8_t choice;
} stream;

/* The work of one zq_allocate. */
typedef struct search {
    int n_layers, n_widths, max_points;
    list now, next;  /* room for max_points and max_points * n_widths */
    stream *streams; /* [n_widths] */
    int *hull;       /* points of next on its lower convex hull */
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

static bool comes_before(const stream *a, const stream *b) {
    return a->point.bytes < b->point.bytes ||
           (a->point.bytes == b->point.bytes && a->point.omega < b->point.omega);
}

/* Every point of now with every width, in order of bytes (then omega, then width), less what is dominated. */
static void extend(search *s, const uint64_t *bytes, const double *omega) {
    const list *now = &s->now;
    list *next = &s->next;
    stream *streams = s->streams;
    int n_streams = 0;
    for (int k = 0; k < s->n_widths; k++)
        if (is_allowed(omega[k]))
            streams[n_streams++] =
                (stream){{now->points[0].bytes + bytes[k], now->points[0].omega + omega[k]}, 0, (uint8_t)k};
    double least = INFINITY;
    next->n = 0;
    while (n_streams > 0) {
        stream *first = &streams[0];
        for (int k = 1; k < n_streams; k++)
            first = comes_before(&streams[k], first) ? &streams[k] : first;
        if (first->point.omega < least) {
            least = first->point.omega;
            next->points[next->n] = first->point;
            next->steps[next->n++] = (step){first->at, first->choice};
        }
        if (++first->at < now->n) {
            const zq_frontier_point *from = &now->points[first->at];
            first->point =
                (zq_frontier_point){from->bytes + bytes[first->choice], from->omega + omega[first->choice]};
        } else {
            n_streams--;
            memmove(first, first + 1, (size_t)(streams + n_streams - first) * sizeof *first);
        }
    }
}

/* Whether b, between a and c in bytes, lies on the line through them or above it. */
static bool is_above(const zq_frontier_point *a, const zq_frontier_point *b, const zq_frontier_point *c) {
    return (b->omega - a->omega) * (double)(c->bytes - a->bytes) >=
           (c->omega - a->omega) * (double)(b->bytes - a->bytes);
}

/* Lower convex hull of next into s->hull. */
static void find_hull(search *s) {
    const zq_frontier_point *points = s->next.points;
    int n = 0;
    for (int i = 0; i < s->next.n; i++) {
        while (n >= 2 && is_above(&points[s->hull[n - 2]], &points[s->hull[n - 1]], &points[i]))
            n--;
        s->hull[n++] = i;
    }
}

/* The smallest point of next and, of each bin of bytes, the point nearest to the convex hull. The hull of all
 * layers is the sum of the layers' hulls, so what is built on such points stays near it, while the loss of
 * keeping the best omega of a bin would add up. */
static void keep_near_hull(search *s) {
    const list *next = &s->next;
    list *now = &s->now;
    find_hull(s);
    const int n_bins = s->max_points - 1;
    const zq_frontier_point *points = next->points, *corner = points;
    const double bins_per_byte = n_bins / (double)(points[next->n - 1].bytes - points[0].bytes);
    double slope = 0; /* of the hull behind corner */
    now->n = 0;
    int last_bin = -1; /* of the point kept last; -1 for the smallest, which always stays */
    double last_height = 0;
    for (int i = 0, n_corners = 0; i < next->n; i++) {
        double height = points[i].omega - (corner->omega + slope * (double)(points[i].bytes - corner->bytes));
        int bin = (int)((double)(points[i].bytes - points[0].bytes) * bins_per_byte);
        bin = i == 0 ? -1 : bin < n_bins ? bin : n_bins - 1;
        if (i == s->hull[n_corners]) {
            corner = &points[i];
            height = 0;
            if (i + 1 < next->n) {
                const zq_frontier_point *end = &points[s->hull[++n_corners]];
                slope = (end->omega - corner->omega) / (double)(end->bytes - corner->bytes);
            }
        }
        if (i > 0 && bin == last_bin) {
            if (height > last_height)
                continue;
            now->n--;
        }
        last_bin = bin;
        last_height = height;
        now->points[now->n] = points[i];
        now->steps[now->n++] = next->steps[i];
    }
}

/* Brings next into now, with at most max_points. */
static void thin(search *s) {
    if (s->next.n > s->max_points) {
        keep_near_hull(s);
        return;
    }
    s->now.n = s->next.n;
    memcpy(s->now.points, s->next.points, (size_t)s->next.n * sizeof *s->now.points);
    memcpy(s->now.steps, s->next.steps, (size_t)s->next.n * sizeof *s->now.steps);
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
    s->hull = zq_alloc(n_next, sizeof *s->hull);
    s->streams = zq_alloc((size_t)s->n_widths, sizeof *s->streams);
    s->offsets = zq_alloc((size_t)s->n_layers + 1, sizeof *s->offsets);
    s->now.n = 1; /* nothing chosen yet: 0 bytes */
    return s->now.points != NULL && s->now.steps != NULL && s->next.points != NULL && s->next.steps != NULL &&
           s->hull != NULL && s->streams != NULL && s->offsets != NULL;
}

static void search_clear(search *s) {
    zq_free(s->now.points);
    zq_free(s->now.steps);
    zq_free(s->next.points);
    zq_free(s->next.steps);
    zq_free(s->streams);
    zq_free(s->hull);
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
