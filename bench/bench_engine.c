/* SPDX-License-Identifier: Apache-2.0 */
/* Speed of a plan: forward, and forward with the gradient of per-channel seeds (a step of distillation
 * without its statistics), beside the machine's peak measured in the same run. Usage: bench_engine MODEL.onnx
 * [n_images [side]] */
#include "base/memory.h"
#include "base/random.h"
#include "engine/plan.h"
#include "graph/op.h"
#include "onnx/onnx.h"
#include "passes/passes.h"
#include "peak.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { N_ROUNDS = 8, MOST_KINDS = 64 };

static double now_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec * 1e-6;
}

static void fail(const char *what, const zq_error *err) {
    fprintf(stderr, "bench_engine: %s: %s\n", what, err->text);
    exit(1);
}

static zq_graph *read_graph(const char *path) {
    zq_error err = {0};
    zq_graph *graph;
    zq_simplify_counts counts;
    if (zq_onnx_read(path, &graph, &err) != ZQ_OK)
        fail("reading", &err);
    if (zq_fold_constants(graph, NULL, &err) != ZQ_OK || zq_simplify(graph, &counts, &err) != ZQ_OK)
        fail("preparing", &err);
    return graph;
}

/* Floating point operations of a node for the whole batch. */
static double flop_of(const zq_graph *graph, const zq_plan *plan, int at) {
    const zq_node *node = &graph->nodes[at];
    zq_tensor tensors[8];
    const zq_tensor *in[4] = {0};
    zq_tensor *out[1] = {&tensors[4]};
    if (node->op->macs == NULL || node->n_inputs > 4)
        return 0;
    for (int i = 0; i < node->n_inputs; i++) {
        if (node->inputs[i] < 0)
            continue;
        tensors[i] = (zq_tensor){ZQ_F32, *zq_plan_shape(plan, node->inputs[i]), NULL};
        in[i] = &tensors[i];
    }
    tensors[4] = (zq_tensor){ZQ_F32, *zq_plan_shape(plan, node->outputs[0]), NULL};
    const zq_io io = {.node = node, .n_in = node->n_inputs, .n_out = 1, .in = in, .out = out};
    return 2 * node->op->macs(&io);
}

typedef struct kind_time {
    char name[64];
    double forward_ms, backward_ms, flop;
    int n;
} kind_time;

static int by_time(const void *a, const void *b) {
    const kind_time *x = a, *y = b;
    const double s = x->forward_ms + x->backward_ms, t = y->forward_ms + y->backward_ms;
    return s < t ? 1 : s > t ? -1 : 0;
}

typedef struct bench {
    zq_graph *graph;
    zq_plan *plan;
    int n_seeds;
    zq_plan_seed *seeds;
    float *input, *d_input;
    double flop, n_images, peak;
    double *forward_ms, *backward_ms; /* [n_nodes] best of all rounds */
} bench;

/* "Conv onednn jit:avx512_core" in groups by its first two words; convolutions by groups and size too. */
static void print_kinds(const bench *b) {
    const zq_graph *graph = b->graph;
    const zq_plan *plan = b->plan;
    const double n_images = b->n_images, peak = b->peak;
    kind_time kinds[MOST_KINDS] = {0};
    int n_kinds = 0;
    for (int at = 0; at < graph->n_nodes; at++) {
        char name[64];
        const char *kernel = zq_plan_kernel(plan, at);
        const double forward = b->forward_ms[at], backward = b->backward_ms[at];
        if (kernel == NULL || forward + backward == 0)
            continue;
        snprintf(name, sizeof name, "%s", kernel);
        int k = 0;
        while (k < n_kinds && strcmp(kinds[k].name, name) != 0)
            k++;
        if (k == n_kinds && n_kinds < MOST_KINDS)
            snprintf(kinds[n_kinds++].name, sizeof kinds[0].name, "%s", name);
        k = k < MOST_KINDS ? k : MOST_KINDS - 1;
        kinds[k].n++;
        kinds[k].forward_ms += forward;
        kinds[k].backward_ms += backward;
        kinds[k].flop += flop_of(graph, plan, at);
    }
    qsort(kinds, (size_t)n_kinds, sizeof kinds[0], by_time);
    printf("  %-52s %5s %10s %10s %9s %6s\n", "kernel", "nodes", "forward", "backward", "GFLOP/s", "peak");
    for (int k = 0; k < n_kinds; k++) {
        const double ms = kinds[k].forward_ms + kinds[k].backward_ms;
        const double passes = kinds[k].backward_ms > 0.2 * kinds[k].forward_ms ? 2 : 1;
        const double rate = passes * kinds[k].flop / ms * 1e-6;
        printf("  %-52s %5d %10.3f %10.3f %9.1f %5.0f%%\n", kinds[k].name, kinds[k].n,
               kinds[k].forward_ms / n_images, kinds[k].backward_ms / n_images, rate, 100 * rate / peak);
    }
}

/* Gradients of per-channel sums and squares at every value that carries statistics. */
static int make_seeds(const zq_graph *graph, const zq_plan *plan, zq_plan_seed **seeds_out) {
    int n = 0;
    zq_plan_seed *seeds = zq_alloc((size_t)graph->n_values + 1, sizeof *seeds);
    for (int v = 0; v < graph->n_values; v++) {
        size_t count;
        if (graph->values[v].stats == NULL || graph->values[v].constant != NULL ||
            zq_plan_peek(plan, v, &count) == NULL)
            continue;
        const size_t c = (size_t)zq_plan_shape(plan, v)->dims[1];
        float *const memory = zq_alloc(3 * c, sizeof *memory);
        for (size_t i = 0; i < 3 * c; i++)
            memory[i] = 1e-3f;
        seeds[n++] = (zq_plan_seed){.value = v, .c1 = memory, .c2 = memory + c, .mean = memory + 2 * c};
    }
    if (n == 0) {
        const int output = graph->outputs[0];
        const size_t count = (size_t)zq_shape_count(zq_plan_shape(plan, output));
        float *const dense = zq_alloc(count, sizeof *dense);
        seeds[n++] = (zq_plan_seed){.value = output, .dense = dense};
    }
    *seeds_out = seeds;
    return n;
}

static void keep_best(double ms, double *best) {
    if (*best == 0 || ms < *best)
        *best = ms;
}

static void run_once(const bench *b) {
    zq_error err = {0};
    if (zq_plan_forward(b->plan, &err) != ZQ_OK)
        fail("forward", &err);
    if (b->n_seeds > 0 && zq_plan_backward(b->plan, b->n_seeds, b->seeds, b->d_input, &err) != ZQ_OK)
        fail("backward", &err);
    for (int at = 0; at < b->graph->n_nodes; at++) {
        keep_best(zq_plan_node_ms(b->plan, at), &b->forward_ms[at]);
        keep_best(zq_plan_node_backward_ms(b->plan, at), &b->backward_ms[at]);
    }
}

static void measure(bench *b, const zq_plan_options *options, const char *name) {
    zq_error err = {0};
    if (zq_plan_new(b->graph, options, &b->plan, &err) != ZQ_OK)
        fail("planning", &err);
    const size_t n = (size_t)zq_shape_count(zq_plan_shape(b->plan, b->graph->inputs[0]));
    b->input = zq_alloc(n, sizeof *b->input);
    b->d_input = zq_alloc(n, sizeof *b->d_input);
    for (size_t i = 0; i < n; i++)
        b->input[i] = (float)zq_random_normal(1, i);
    zq_plan_set_input(b->plan, 0, b->input);
    b->flop = 0;
    for (int at = 0; at < b->graph->n_nodes; at++)
        b->flop += flop_of(b->graph, b->plan, at);
    b->n_seeds = options->gradient ? make_seeds(b->graph, b->plan, &b->seeds) : 0;
    b->forward_ms = zq_alloc((size_t)b->graph->n_nodes, sizeof *b->forward_ms);
    b->backward_ms = zq_alloc((size_t)b->graph->n_nodes, sizeof *b->backward_ms);
    run_once(b);
    double best = 1e300;
    for (int round = 0; round < N_ROUNDS; round++) {
        const double start = now_ms();
        run_once(b);
        const double ms = now_ms() - start;
        best = ms < best ? ms : best;
    }
    const double flop = b->flop * (options->gradient ? 2 : 1), rate = flop / best * 1e-6;
    printf("%s: %.2f ms/image, %.1f GFLOP/s (%.0f%% of peak), plan holds %.0f MB\n", name, best / b->n_images,
           rate, 100 * rate / b->peak, (double)zq_plan_bytes(b->plan) * 1e-6);
    print_kinds(b);
    zq_free(b->forward_ms);
    zq_free(b->backward_ms);
    zq_free(b->input);
    zq_free(b->d_input);
    for (int i = 0; i < b->n_seeds; i++)
        zq_free((void *)(b->seeds[i].dense != NULL ? b->seeds[i].dense : b->seeds[i].c1));
    if (b->n_seeds > 0)
        zq_free(b->seeds);
    zq_plan_drop(b->plan);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: bench_engine MODEL.onnx [n_images [side]]\n");
        return 2;
    }
    const long n_images = argc > 2 ? atol(argv[2]) : 8, side = argc > 3 ? atol(argv[3]) : 0;
    bench b = {.graph = read_graph(argv[1]), .n_images = (double)n_images, .peak = peak_gflops()};
    printf("%s, %ld images, %d threads, fp32 peak %.0f GFLOP/s\n", argv[1], n_images, omp_get_max_threads(),
           b.peak);
    const zq_plan_options forward = {.n_images = n_images, .height = side, .width = side};
    zq_plan_options kept = forward, gradient = forward;
    kept.keep_values = gradient.gradient = true;
    measure(&b, &forward, "forward");
    measure(&b, &kept, "forward, values kept");
    measure(&b, &gradient, "forward and gradient");
    zq_graph_drop(b.graph);
    return 0;
}
