/* SPDX-License-Identifier: Apache-2.0 */
/* GFLOP/s of each convolution of a list, beside the peak of this machine.
 *
 *     bench_kernels [SHAPES [n_images [milliseconds a kernel]]]      (bench/shapes.txt, 4, 60)
 *
 * A multiply-add counts as two operations, padding included. The list has one convolution a line:
 * name c_in c_out groups height width kernel_h kernel_w stride dilation pad_top pad_left pad_bottom pad_right
 * count */
#include "base/memory.h"
#include "base/random.h"
#include "engine/onednn/onednn.h"
#include "peak.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct line {
    char name[64];
    zq_window window;
    int count;
} line;

static bool read_line(const char *text, int64_t n_images, line *out) {
    long long v[14];
    memset(out, 0, sizeof *out);
    if (sscanf(text, "%63s %lld %lld %lld %lld %lld %lld %lld %lld %lld %lld %lld %lld %lld %lld", out->name,
               &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7], &v[8], &v[9], &v[10], &v[11], &v[12],
               &v[13]) != 15)
        return false;
    zq_window *w = &out->window;
    *w = (zq_window){.n_spatial = 2, .n_images = n_images, .c_in = v[0], .c_out = v[1], .groups = v[2]};
    for (int i = 0; i < 2; i++) {
        w->in[i] = v[3 + i];
        w->kernel[i] = v[5 + i];
        w->stride[i] = v[7];
        w->dilation[i] = v[8];
        w->pad_lo[i] = v[9 + i];
        w->pad_hi[i] = v[11 + i];
        w->out[i] = (w->in[i] + w->pad_lo[i] + w->pad_hi[i] - (w->kernel[i] - 1) * w->dilation[i] - 1) /
                        w->stride[i] +
                    1;
    }
    out->count = (int)v[13];
    return true;
}

static float *random_array(size_t n) {
    float *array = zq_alloc_raw(n, sizeof *array);
    if (array == NULL)
        exit(1);
    for (size_t i = 0; i < n; i++)
        array[i] = (float)zq_random_uniform(1, i) - 0.5f;
    return array;
}

/* Best time of a run, seconds. */
static double time_run(zq_dnn_conv *conv, const float *src, const void *packed, float *dst, bool backward,
                       double budget_s) {
    double best = INFINITY;
    const double start = now_s();
    for (int run = 0; run < 3 || now_s() - start < budget_s; run++) {
        const double begin = now_s();
        if (backward)
            zq_dnn_conv_backward(conv, dst, packed, (float *)src);
        else
            zq_dnn_conv_forward(conv, src, packed, NULL, dst);
        const double seconds = now_s() - begin;
        if (run > 0 && seconds < best)
            best = seconds;
    }
    return best;
}

static double conv_flop(const zq_window *w) {
    return 2.0 * (double)(w->n_images * w->out[0] * w->out[1] * w->c_out) *
           (double)(w->c_in / w->groups * w->kernel[0] * w->kernel[1]);
}

/* Seconds forward [0] and backward [1] of one convolution, or false where it was refused. */
static bool time_line(const line *l, double budget_s, double seconds[2]) {
    const zq_window *w = &l->window;
    zq_error error;
    zq_dnn_conv *conv;
    if (zq_dnn_conv_new(w, &(zq_dnn_conv_options){.backward = true}, &conv, &error) != ZQ_OK) {
        printf("%-22s refused: %s\n", l->name, error.text);
        return false;
    }
    float *src = random_array((size_t)(w->n_images * w->in[0] * w->in[1] * w->c_in));
    float *dst = random_array((size_t)(w->n_images * w->out[0] * w->out[1] * w->c_out));
    float *weights = random_array((size_t)(w->c_out * w->c_in / w->groups * w->kernel[0] * w->kernel[1]));
    for (int backward = 0; backward < 2; backward++) {
        void *packed =
            zq_alloc(backward ? zq_dnn_conv_packed_backward_bytes(conv) : zq_dnn_conv_packed_bytes(conv), 1);
        if (packed == NULL)
            exit(1);
        if (backward)
            zq_dnn_conv_pack_backward(conv, weights, packed);
        else
            zq_dnn_conv_pack(conv, weights, packed);
        seconds[backward] = time_run(conv, src, packed, dst, backward, budget_s);
        zq_free(packed);
    }
    const double gflop = 1e-9 * conv_flop(w);
    printf(
        "%-22s %5lld->%-5lld g%-4lld %3lldx%-3lld %lldx%lld/%lld d%lld  %7.1f %7.1f GFLOP/s  %8.3f %8.3f ms  "
        "x%-2d %s | %s\n",
        l->name, (long long)w->c_in, (long long)w->c_out, (long long)w->groups, (long long)w->in[0],
        (long long)w->in[1], (long long)w->kernel[0], (long long)w->kernel[1], (long long)w->stride[0],
        (long long)w->dilation[0], gflop / seconds[0], gflop / seconds[1], 1e3 * seconds[0], 1e3 * seconds[1],
        l->count, zq_dnn_conv_kernel(conv, false), zq_dnn_conv_kernel(conv, true));
    zq_free(src);
    zq_free(dst);
    zq_free(weights);
    zq_dnn_conv_drop(conv);
    return true;
}

typedef struct total {
    char name[64];
    double gflop, seconds[2];
} total;

static void print_total(const total *t) {
    if (t->gflop > 0)
        printf("%-22s sum: %.2f GFLOP, forward %.1f ms (%.0f GFLOP/s), backward %.1f ms (%.0f GFLOP/s)\n\n",
               t->name, t->gflop, 1e3 * t->seconds[0], t->gflop / t->seconds[0], 1e3 * t->seconds[1],
               t->gflop / t->seconds[1]);
}

int main(int argc, char **argv) {
    const char *path = argc > 1 ? argv[1] : "bench/shapes.txt";
    const int64_t n_images = argc > 2 ? atoll(argv[2]) : 4;
    const double budget_s = 1e-3 * (argc > 3 ? atof(argv[3]) : 60);
    FILE *file = fopen(path, "r");
    if (file == NULL || n_images < 1) {
        fprintf(stderr, "usage: bench_kernels [SHAPES [n_images [milliseconds a kernel]]]\n");
        return 2;
    }
    printf("%s, %d threads, batch %lld, peak %.0f GFLOP/s\n", zq_dnn_version(), omp_get_max_threads(),
           (long long)n_images, peak_gflops());
    char text[256];
    total sum = {0};
    while (fgets(text, sizeof text, file) != NULL) {
        line l;
        double seconds[2];
        if (text[0] == '#' || !read_line(text, n_images, &l) || !time_line(&l, budget_s, seconds))
            continue;
        if (strcmp(sum.name, l.name) != 0) {
            print_total(&sum);
            sum = (total){0};
            snprintf(sum.name, sizeof sum.name, "%s", l.name);
        }
        sum.gflop += 1e-9 * conv_flop(&l.window) * l.count;
        for (int i = 0; i < 2; i++)
            sum.seconds[i] += seconds[i] * l.count;
    }
    print_total(&sum);
    fclose(file);
    return 0;
}
