/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's plan as tables: every step, and the kernels with the sums of their steps. */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct row {
    const char *kernel;
    int n_steps;
    double forward_ms, backward_ms, flop;
} row;

typedef struct table {
    const json_t *nodes;
    bool gradient;
    row sum;
} table;

static double real_at(const json_t *json, const char *key) {
    return json_number_value(json_object_get(json, key));
}

static row row_of(const json_t *step) {
    return (row){.kernel = json_string_value(json_object_get(step, "kernel")),
                 .n_steps = 1,
                 .forward_ms = real_at(step, "forward_ms"),
                 .backward_ms = real_at(step, "backward_ms"),
                 .flop = real_at(step, "flop")};
}

static double ms_of(const row *r) {
    return r->forward_ms + r->backward_ms;
}

static void add(row *sum, const row *r) {
    sum->n_steps += r->n_steps;
    sum->forward_ms += r->forward_ms;
    sum->backward_ms += r->backward_ms;
    sum->flop += r->flop;
}

static const char *name_of(const table *t, const json_t *step) {
    const json_t *node = json_array_get(t->nodes, (size_t)json_integer_value(json_object_get(step, "node")));
    const char *name = json_string_value(json_object_get(node, "name"));
    return name != NULL && name[0] != '\0' ? name : json_string_value(json_object_get(node, "output"));
}

/* The end of a name tells more than its beginning. */
static const char *tail(const char *name, size_t n) {
    const size_t length = strlen(name);
    const char *end = length > n ? name + length - n : name;
    while ((*end & 0xC0) == 0x80) /* not within a character */
        end++;
    return end;
}

/* Both times, the rate where there is one, and the share of all steps. */
static void print_figures(const table *t, const row *r) {
    printf(" %9.3f", r->forward_ms);
    if (t->gradient)
        printf(" %9.3f", r->backward_ms);
    if (r->flop > 0)
        printf(" %8.1f", r->flop / ms_of(r) * 1e-6);
    else
        printf(" %8s", "");
    printf(" %5.1f %%", 100 * ms_of(r) / ms_of(&t->sum));
}

static void print_heading(const table *t, const char *first, const char *second, const char *third) {
    printf("\n%-28s %-16s %-13s %9s", first, second, third, "forward");
    if (t->gradient)
        printf(" %9s", "backward");
    printf(" %8s %7s\n", "GFLOP/s", "share");
}

static void print_step(const table *t, const json_t *step) {
    char shape[128];
    const row r = row_of(step);
    cli_shape(json_object_get(step, "shape"), shape, sizeof shape);
    printf("%-28s %-16s %-13s", tail(name_of(t, step), 28), shape,
           json_string_value(json_object_get(step, "layout")));
    print_figures(t, &r);
    printf("  %s\n", r.kernel);
}

static int by_time(const void *a, const void *b) {
    const double s = ms_of(a), t = ms_of(b);
    return s < t ? 1 : s > t ? -1 : 0;
}

/* Steps with the same kernel as one row; rows: room for all steps. */
static void print_kernels(const table *t, const json_t *steps, row *rows) {
    size_t index;
    json_t *step;
    int n = 0;
    json_array_foreach(steps, index, step) {
        const row r = row_of(step);
        int k = 0;
        while (k < n && strcmp(rows[k].kernel, r.kernel) != 0)
            k++;
        if (k == n)
            rows[n++] = r;
        else
            add(&rows[k], &r);
    }
    qsort(rows, (size_t)n, sizeof *rows, by_time);
    printf("\n%-53s %5s %9s", "kernel", "steps", "forward");
    if (t->gradient)
        printf(" %9s", "backward");
    printf(" %8s %7s\n", "GFLOP/s", "share");
    for (int k = 0; k < n; k++) {
        printf("%-53.53s %5d", rows[k].kernel, rows[k].n_steps);
        print_figures(t, &rows[k]);
        printf("\n");
    }
}

/* Steps that run an operator's definition: nothing is slower. */
static void print_plain(const table *t, const json_t *steps) {
    const char *const mark = " plain";
    size_t index;
    json_t *step;
    row plain = {0};
    json_array_foreach(steps, index, step) {
        const row r = row_of(step);
        if (strcmp(tail(r.kernel, strlen(mark)), mark) == 0)
            add(&plain, &r);
    }
    if (plain.n_steps > 0)
        printf("%d of the steps ha%s no fast kernel (\"plain\") and take%s %.1f %% of the time\n",
               plain.n_steps, plain.n_steps == 1 ? "s" : "ve", plain.n_steps == 1 ? "s" : "",
               100 * ms_of(&plain) / ms_of(&t->sum));
}

/* The round is longer than its steps: it sets the input and, with gradient, takes statistics. */
static void print_round(const json_t *plan) {
    const double ms = real_at(plan, "ms"), n_images = real_at(plan, "images");
    char bytes[32];
    printf(
        "a round of %.0f images takes %.2f ms, %.3f ms an image, %.1f GFLOP/s (%.0f threads, best of %.0f); "
        "the plan holds %s\n",
        n_images, ms, ms / n_images, real_at(plan, "flop") / ms * 1e-6, real_at(plan, "threads"),
        real_at(plan, "rounds"), cli_bytes(real_at(plan, "bytes"), bytes));
}

bool cli_plan_print(const json_t *report) {
    const json_t *plan = json_object_get(report, "plan"), *steps = json_object_get(plan, "steps");
    table t = {.nodes = json_object_get(report, "nodes"),
               .gradient = json_is_true(json_object_get(plan, "gradient"))};
    size_t index;
    json_t *step;
    row *rows = calloc(json_array_size(steps) + 1, sizeof *rows);
    if (rows == NULL)
        return false;
    json_array_foreach(steps, index, step) {
        const row r = row_of(step);
        add(&t.sum, &r);
    }
    print_heading(&t, "step", "output", "layout");
    json_array_foreach(steps, index, step) print_step(&t, step);
    printf("%-28s %-16s %-13s", "sum", "", "");
    print_figures(&t, &t.sum);
    printf("\n");
    print_kernels(&t, steps, rows);
    free(rows);
    printf("\nmilliseconds for all images, each step's best round; GFLOP/s counts multiply-adds as two\n");
    print_round(plan);
    print_plain(&t, steps);
    return true;
}
