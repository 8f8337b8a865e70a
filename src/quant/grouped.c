/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/grouped.h"

#include "base/memory.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* A choice for the layers so far. */
typedef struct entry {
    uint64_t cost;
    double damage;   /* estimated, then measured */
    int n;           /* layers */
    uint8_t *choice; /* [n_layers], borrowed from the list */
} entry;

typedef struct list {
    int n;
    entry *entries;   /* owned */
    uint8_t *choices; /* [capacity, n_layers], owned */
} list;

typedef struct search {
    const zq_grouped_problem *problem;
    list kept, tried; /* of n_bins * n_kept, and of n_bins * n_tried: bin by bin while they are collected */
    int *n_in_bin;    /* [n_bins] of tried */
    int first, count; /* the group */
    int64_t n_measured;
} search;

/* ---- lists */

static bool list_new(list *l, size_t capacity, int n_layers) {
    l->entries = zq_alloc(capacity, sizeof *l->entries);
    l->choices = zq_alloc(capacity, (size_t)n_layers);
    for (size_t e = 0; l->entries != NULL && l->choices != NULL && e < capacity; e++)
        l->entries[e].choice = l->choices + e * (size_t)n_layers;
    return l->entries != NULL && l->choices != NULL;
}

static void list_clear(list *l) {
    zq_free(l->entries);
    zq_free(l->choices);
}

/* Each entry keeps room of its own for its choice. */
static void set(entry *to, const entry *from) {
    uint8_t *choice = to->choice;
    *to = *from;
    to->choice = choice;
    memcpy(choice, from->choice, (size_t)from->n);
}

/* In the order of choices, what begins alike is measured one after the other: the measurement has less to do.
 */
static int by_choice(const void *a, const void *b) {
    const entry *x = a, *y = b;
    return memcmp(x->choice, y->choice, (size_t)x->n);
}

/* The cheapest first, and of those the best. */
static int by_cost(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->cost != y->cost)
        return x->cost < y->cost ? -1 : 1;
    return x->damage < y->damage ? -1 : x->damage > y->damage ? 1 : by_choice(a, b);
}

static int by_damage(const void *a, const void *b) {
    const entry *x = a, *y = b;
    return x->damage < y->damage ? -1 : x->damage > y->damage ? 1 : by_cost(a, b);
}

/* ---- a group */

static bool is_allowed(const search *s, int layer, int width) {
    const double omega = s->problem->omega[layer * s->problem->n_widths + width];
    return omega >= 0 && isfinite(omega);
}

static int next_allowed(const search *s, int layer, int width) {
    while (width < s->problem->n_widths && !is_allowed(s, layer, width))
        width++;
    return width;
}

/* Costs that choices may have behind the group. */
static void find_range(const search *s, uint64_t *lo, uint64_t *hi) {
    *lo = UINT64_MAX;
    *hi = 0;
    for (int e = 0; e < s->kept.n; e++) {
        *lo = s->kept.entries[e].cost < *lo ? s->kept.entries[e].cost : *lo;
        *hi = s->kept.entries[e].cost > *hi ? s->kept.entries[e].cost : *hi;
    }
    for (int i = s->first; i < s->first + s->count; i++) {
        uint64_t least = UINT64_MAX, most = 0;
        for (int k = 0; k < s->problem->n_widths; k++) {
            const uint64_t cost = s->problem->costs[i * s->problem->n_widths + k];
            least = is_allowed(s, i, k) && cost < least ? cost : least;
            most = is_allowed(s, i, k) && cost > most ? cost : most;
        }
        *lo += least;
        *hi += most;
    }
}

/* The least cost has a bin of its own, so that it is never lost. */
static int bin_of(const search *s, uint64_t cost, uint64_t lo, uint64_t hi) {
    if (cost == lo)
        return 0;
    const double share = (double)(cost - lo - 1) / (double)(hi - lo);
    return 1 + (int)(share * (s->problem->n_bins - 1));
}

/* Into its bin, where the estimated damage is among the least. */
static void offer(search *s, const entry *found, int bin) {
    entry *const entries = s->tried.entries + (size_t)bin * (size_t)s->problem->n_tried;
    int *n = &s->n_in_bin[bin], at = *n;
    if (at == s->problem->n_tried && !(found->damage < entries[at - 1].damage))
        return;
    at = at < s->problem->n_tried ? (*n)++ : at - 1;
    for (; at > 0 && found->damage < entries[at - 1].damage; at--)
        set(&entries[at], &entries[at - 1]);
    set(&entries[at], found);
}

/* All widths of the group behind one choice, by counting like an odometer. */
static void extend(search *s, const entry *from, uint8_t *choice, uint64_t lo, uint64_t hi) {
    const zq_grouped_problem *p = s->problem;
    const int end = s->first + s->count;
    memcpy(choice, from->choice, (size_t)from->n);
    for (int i = s->first; i < end; i++)
        choice[i] = (uint8_t)next_allowed(s, i, 0);
    for (int i = end; i >= s->first;) {
        entry found = {.cost = from->cost, .damage = from->damage, .n = end, .choice = choice};
        for (int k = s->first; k < end; k++) {
            found.cost += p->costs[k * p->n_widths + choice[k]];
            found.damage += p->omega[k * p->n_widths + choice[k]];
        }
        offer(s, &found, bin_of(s, found.cost, lo, hi));
        for (i = end - 1; i >= s->first; i--) {
            const int next = next_allowed(s, i, choice[i] + 1);
            choice[i] = (uint8_t)(next < p->n_widths ? next : next_allowed(s, i, 0));
            if (next < p->n_widths)
                break;
        }
    }
}

/* Closes the gaps between bins; their order stays that of the cost. */
static void collect(search *s) {
    s->tried.n = 0;
    for (int b = 0; b < s->problem->n_bins; b++)
        for (int e = 0; e < s->n_in_bin[b]; e++) {
            const size_t from = (size_t)b * (size_t)s->problem->n_tried + (size_t)e;
            if (from != (size_t)s->tried.n)
                set(&s->tried.entries[s->tried.n], &s->tried.entries[from]);
            s->tried.n++;
        }
}

static zq_status measure(search *s) {
    qsort(s->tried.entries, (size_t)s->tried.n, sizeof *s->tried.entries, by_choice);
    for (int e = 0; e < s->tried.n; e++) {
        entry *found = &s->tried.entries[e];
        ZQ_TRY(s->problem->measure(s->problem->user, found->n, found->choice, &found->damage));
        s->n_measured++;
        if (!isfinite(found->damage))
            found->damage = HUGE_VAL;
    }
    return ZQ_OK;
}

/* The best of each bin. */
static void keep(search *s, uint64_t lo, uint64_t hi) {
    memset(s->n_in_bin, 0, (size_t)s->problem->n_bins * sizeof *s->n_in_bin);
    qsort(s->tried.entries, (size_t)s->tried.n, sizeof *s->tried.entries, by_damage);
    s->kept.n = 0;
    for (int e = 0; e < s->tried.n; e++) {
        const int bin = bin_of(s, s->tried.entries[e].cost, lo, hi);
        if (s->n_in_bin[bin]++ < s->problem->n_kept)
            set(&s->kept.entries[s->kept.n++], &s->tried.entries[e]);
    }
}

/* qsort moved entries with their room; each gets back that of its place. */
static void give_room(search *s) {
    for (size_t e = 0; e < (size_t)s->problem->n_bins * (size_t)s->problem->n_tried; e++)
        s->tried.entries[e].choice = s->tried.choices + e * (size_t)s->problem->n_layers;
}

static zq_status decide_group(search *s, uint8_t *choice) {
    uint64_t lo, hi;
    find_range(s, &lo, &hi);
    give_room(s);
    memset(s->n_in_bin, 0, (size_t)s->problem->n_bins * sizeof *s->n_in_bin);
    for (int e = 0; e < s->kept.n; e++)
        extend(s, &s->kept.entries[e], choice, lo, hi);
    collect(s);
    ZQ_TRY(measure(s));
    keep(s, lo, hi);
    return ZQ_OK;
}

/* ---- the whole */

static zq_status write_frontier(search *s, zq_frontier *out, zq_error *err) {
    const size_t n_layers = (size_t)s->problem->n_layers;
    double least = INFINITY;
    qsort(s->kept.entries, (size_t)s->kept.n, sizeof *s->kept.entries, by_cost);
    *out = (zq_frontier){.n_layers = s->problem->n_layers};
    out->points = zq_alloc((size_t)s->kept.n, sizeof *out->points);
    out->choice = zq_alloc((size_t)s->kept.n, n_layers);
    if (out->points == NULL || out->choice == NULL) {
        zq_frontier_clear(out);
        return zq_fail_memory(err);
    }
    for (int e = 0; e < s->kept.n; e++) {
        const entry *from = &s->kept.entries[e];
        if (!(from->damage < least))
            continue;
        least = from->damage;
        memcpy(out->choice + (size_t)out->n_points * n_layers, from->choice, n_layers);
        out->points[out->n_points++] = (zq_frontier_point){from->cost, from->damage};
    }
    return ZQ_OK;
}

static zq_status check(const search *s, zq_error *err) {
    for (int i = 0; i < s->problem->n_layers; i++)
        if (next_allowed(s, i, 0) == s->problem->n_widths)
            return zq_fail(err, ZQ_ERR_INTERNAL, "no width is possible for layer %d of %d", i + 1,
                           s->problem->n_layers);
    return ZQ_OK;
}

static zq_status run(search *s, uint8_t *choice, zq_error *err) {
    const int n_layers = s->problem->n_layers;
    ZQ_TRY(check(s, err));
    s->kept.n = 1; /* nothing decided yet */
    for (s->first = 0; s->first < n_layers; s->first += s->count) {
        const int left = n_layers - s->first;
        s->count = left < s->problem->n_together ? left : s->problem->n_together;
        ZQ_TRY(decide_group(s, choice));
    }
    return ZQ_OK;
}

zq_status zq_grouped_search(const zq_grouped_problem *problem, zq_frontier *out, int64_t *n_measured_out,
                            zq_error *err) {
    const size_t n_bins = (size_t)problem->n_bins;
    search s = {.problem = problem};
    *out = (zq_frontier){0};
    s.n_in_bin = zq_alloc(n_bins, sizeof *s.n_in_bin);
    uint8_t *choice = zq_alloc((size_t)problem->n_layers, 1);
    const bool room = list_new(&s.kept, n_bins * (size_t)problem->n_kept, problem->n_layers) &&
                      list_new(&s.tried, n_bins * (size_t)problem->n_tried, problem->n_layers) &&
                      s.n_in_bin != NULL && choice != NULL;
    zq_status status = room ? run(&s, choice, err) : zq_fail_memory(err);
    if (status == ZQ_OK)
        status = write_frontier(&s, out, err);
    *n_measured_out = s.n_measured;
    list_clear(&s.kept);
    list_clear(&s.tried);
    zq_free(s.n_in_bin);
    zq_free(choice);
    return status;
}

int64_t zq_grouped_formula(const zq_grouped_problem *p) {
    const int64_t groups = (p->n_layers + p->n_together - 1) / p->n_together;
    return groups * p->n_tried * p->n_bins + (int64_t)p->n_widths * p->n_layers;
}
