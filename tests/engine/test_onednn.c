/* SPDX-License-Identifier: Apache-2.0 */
/* oneDNN's kernels against loops written from the definition, on random problems. */
#include "base/memory.h"
#include "base/random.h"
#include "engine/onednn/onednn.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { N_PROBLEMS = 150, GUARD = 16 };
static const float GUARD_VALUE = 12345.0f;

static uint64_t seed, n_drawn;

/* Uniform integer in lo..hi. */
static int64_t draw(int64_t lo, int64_t hi) {
    return lo + (int64_t)(zq_random_uniform(seed, n_drawn++) * (double)(hi - lo + 1));
}

/* n random values in -1..1, in n_levels steps when n_levels > 0 (so that equal values occur), and a guard
 * behind. */
static float *random_array(int64_t n, int n_levels) {
    float *array = zq_alloc_raw((size_t)n + GUARD, sizeof *array);
    assert_non_null(array);
    for (int64_t i = 0; i < n; i++) {
        const double u = zq_random_uniform(seed, n_drawn++);
        array[i] = (float)(2 * (n_levels > 0 ? floor(u * n_levels) / n_levels : u) - 1);
    }
    for (int i = 0; i < GUARD; i++)
        array[n + i] = GUARD_VALUE;
    return array;
}

static void assert_guarded(const float *array, int64_t n) {
    for (int i = 0; i < GUARD; i++)
        assert_true(array[n + i] == GUARD_VALUE);
}

static void assert_close(const char *what, const float *found, const double *expected, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(found[i] - expected[i]) <= 2e-5 * (1 + fabs(expected[i]))))
            fail_msg("%s [%lld]: %.9g instead of %.9g", what, (long long)i, found[i], expected[i]);
    assert_guarded(found, n);
}

static int64_t volume(const zq_window *w, const int64_t *sizes) {
    int64_t n = 1;
    for (int i = 0; i < w->n_spatial; i++)
        n *= sizes[i];
    return n;
}

static int64_t src_count(const zq_window *w) {
    return w->n_images * volume(w, w->in) * w->c_in;
}

static int64_t dst_count(const zq_window *w) {
    return w->n_images * volume(w, w->out) * w->c_out;
}

static int64_t weight_count(const zq_window *w) {
    return w->c_out * (w->c_in / w->groups) * volume(w, w->kernel);
}

/* Index of the input position that tap `tap` of output position `out` reads, or -1 in the padding. */
static int64_t input_position(const zq_window *w, int64_t out, int64_t tap) {
    int64_t position = 0, scale = 1;
    for (int i = w->n_spatial - 1; i >= 0; i--) {
        const int64_t x = out % w->out[i] * w->stride[i] + tap % w->kernel[i] * w->dilation[i] - w->pad_lo[i];
        if (x < 0 || x >= w->in[i])
            return -1;
        position += x * scale;
        scale *= w->in[i];
        out /= w->out[i];
        tap /= w->kernel[i];
    }
    return position;
}

/* The same with the far padding as a border too: whether the tap lies inside the declared padding. */
static bool in_padding(const zq_window *w, int64_t out, int64_t tap) {
    for (int i = w->n_spatial - 1; i >= 0; i--) {
        const int64_t x = out % w->out[i] * w->stride[i] + tap % w->kernel[i] * w->dilation[i] - w->pad_lo[i];
        if (x >= w->in[i] + w->pad_hi[i])
            return false;
        out /= w->out[i];
        tap /= w->kernel[i];
    }
    return true;
}

/* Calls visit for each multiply-add of a convolution: indices into src, weights and dst. */
typedef void visit_multiply(void *user, int64_t src, int64_t weight, int64_t dst);
static void visit_conv(const zq_window *w, visit_multiply *visit, void *user) {
    const int64_t n_out = volume(w, w->out), n_in = volume(w, w->in), n_taps = volume(w, w->kernel);
    const int64_t group_in = w->c_in / w->groups, group_out = w->c_out / w->groups;
    for (int64_t image = 0; image < w->n_images; image++)
        for (int64_t out = 0; out < n_out; out++)
            for (int64_t tap = 0; tap < n_taps; tap++) {
                const int64_t in = input_position(w, out, tap);
                for (int64_t oc = 0; in >= 0 && oc < w->c_out; oc++)
                    for (int64_t ic = 0; ic < group_in; ic++)
                        visit(user, (image * n_in + in) * w->c_in + oc / group_out * group_in + ic,
                              (oc * group_in + ic) * n_taps + tap, (image * n_out + out) * w->c_out + oc);
            }
}

typedef struct conv_data {
    const float *src, *weights, *d_dst;
    double *dst, *d_src;
} conv_data;

static void forward_term(void *user, int64_t src, int64_t weight, int64_t dst) {
    conv_data *d = user;
    d->dst[dst] += (double)d->src[src] * d->weights[weight];
}

static void backward_term(void *user, int64_t src, int64_t weight, int64_t dst) {
    conv_data *d = user;
    d->d_src[src] += (double)d->d_dst[dst] * d->weights[weight];
}

/* Sizes of all axes; one axis in `n` is dilated. */
static void draw_axes(zq_window *w, int n) {
    for (int i = 0; i < w->n_spatial; i++) {
        do {
            w->in[i] = draw(1, w->n_spatial == 3 ? 7 : 14);
            w->kernel[i] = draw(1, 4);
            w->stride[i] = draw(1, 3);
            w->dilation[i] = draw(1, n) == 1 ? 2 : 1;
            const int64_t extent = (w->kernel[i] - 1) * w->dilation[i] + 1;
            w->pad_lo[i] = draw(0, extent - 1);
            w->pad_hi[i] = draw(0, extent - 1);
            const int64_t room = w->in[i] + w->pad_lo[i] + w->pad_hi[i] - extent;
            w->out[i] = room < 0 ? 0 : room / w->stride[i] + 1;
        } while (w->out[i] == 0);
    }
}

static zq_window draw_conv(void) {
    zq_window w = {.n_spatial = (int)draw(1, 3), .n_images = draw(1, 3), .groups = 1};
    switch (draw(0, 3)) {
    case 0: /* depthwise, at times with a multiplier */
        w.c_in = w.groups = draw(2, 40);
        w.c_out = w.groups * (draw(0, 3) == 0 ? draw(2, 3) : 1);
        break;
    case 1: /* small groups */
        w.groups = draw(2, 5);
        w.c_in = w.groups * draw(1, 9);
        w.c_out = w.groups * draw(1, 9);
        break;
    case 2: /* an image */
        w.c_in = draw(1, 4);
        w.c_out = draw(1, 40);
        break;
    default:
        w.c_in = draw(1, 40);
        w.c_out = draw(1, 40);
    }
    draw_axes(&w, 4);
    return w;
}

static void print_window(const zq_window *w) {
    print_message("%d axes, %lld images, channels %lld -> %lld in %lld groups\n", w->n_spatial,
                  (long long)w->n_images, (long long)w->c_in, (long long)w->c_out, (long long)w->groups);
    for (int i = 0; i < w->n_spatial; i++)
        print_message("  in %lld out %lld kernel %lld stride %lld dilation %lld pads %lld %lld\n",
                      (long long)w->in[i], (long long)w->out[i], (long long)w->kernel[i],
                      (long long)w->stride[i], (long long)w->dilation[i], (long long)w->pad_lo[i],
                      (long long)w->pad_hi[i]);
}

/* One run of a convolution; src, weights, bias, d_dst are given, dst and d_src are computed. */
static void run_conv(zq_dnn_conv *conv, const zq_dnn_conv_options *options, const float *src,
                     const float *weights, const float *bias, const float *d_dst, float *dst, float *d_src) {
    void *packed = zq_alloc(zq_dnn_conv_packed_bytes(conv), 1);
    void *packed_backward = zq_alloc(zq_dnn_conv_packed_backward_bytes(conv), 1);
    assert_non_null(packed);
    assert_non_null(packed_backward);
    zq_dnn_conv_pack(conv, weights, packed);
    zq_dnn_conv_forward(conv, src, packed, bias, dst);
    if (options->backward) {
        zq_dnn_conv_pack_backward(conv, weights, packed_backward);
        zq_dnn_conv_backward(conv, d_dst, packed_backward, d_src);
    } else {
        assert_int_equal(zq_dnn_conv_packed_backward_bytes(conv), 0);
    }
    zq_free(packed);
    zq_free(packed_backward);
}

static void check_conv(zq_dnn_conv *conv, const zq_window *w, const zq_dnn_conv_options *options) {
    const int64_t n_src = src_count(w), n_dst = dst_count(w);
    float *src = random_array(n_src, 0), *d_dst = random_array(n_dst, 0);
    float *weights = random_array(weight_count(w), 0), *bias = random_array(w->c_out, 0);
    float *dst = random_array(n_dst, 0), *d_src = random_array(n_src, 0);
    double *expected = zq_alloc((size_t)n_dst, sizeof *expected);
    double *d_expected = zq_alloc((size_t)n_src, sizeof *d_expected);
    assert_non_null(expected);
    assert_non_null(d_expected);
    for (int64_t i = 0; i < n_dst; i++)
        expected[i] = (options->bias ? bias[i % w->c_out] : 0) + (options->sum ? dst[i] : 0);
    conv_data data = {src, weights, d_dst, expected, d_expected};
    visit_conv(w, forward_term, &data);
    visit_conv(w, backward_term, &data);
    for (int64_t i = 0; options->clamps && i < n_dst; i++)
        expected[i] = fmin(fmax(expected[i], options->clamp.lo), options->clamp.hi);
    run_conv(conv, options, src, weights, options->bias ? bias : NULL, d_dst, dst, d_src);
    assert_close(zq_dnn_conv_kernel(conv, false), dst, expected, n_dst);
    if (options->backward)
        assert_close(zq_dnn_conv_kernel(conv, true), d_src, d_expected, n_src);
    void *arrays[] = {src, d_dst, weights, bias, dst, d_src, expected, d_expected};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        zq_free(arrays[i]);
}

static void convolutions_match_the_definition(void **state) {
    (void)state;
    int n_refused = 0;
    for (int problem = 0; problem < N_PROBLEMS; problem++) {
        const uint64_t start = n_drawn;
        const zq_window w = draw_conv();
        const zq_dnn_conv_options options = {
            .bias = draw(0, 1) == 1,
            .sum = draw(0, 2) == 0,
            .clamps = draw(0, 1) == 1,
            .clamp = {(float)draw(-1, 0), draw(0, 1) == 0 ? INFINITY : 1},
            .backward = draw(0, 3) > 0};
        zq_dnn_conv *conv;
        zq_error error = {0};
        const zq_status status = zq_dnn_conv_new(&w, &options, &conv, &error);
        if (status != ZQ_OK) {
            assert_int_equal(status, ZQ_ERR_UNSUPPORTED);
            assert_true(strlen(error.text) > 10);
            n_refused++;
            continue;
        }
        assert_null(strstr(zq_dnn_conv_kernel(conv, false), "ref"));
        if (getenv("VERBOSE") != NULL) {
            print_message("problem %d (from draw %llu): %s %s\n", problem, (unsigned long long)start,
                          zq_dnn_conv_kernel(conv, false), zq_dnn_conv_kernel(conv, true));
            print_window(&w);
        }
        check_conv(conv, &w, &options);
        zq_dnn_conv_drop(conv);
    }
    if (n_refused > 0)
        print_message("%d of %d convolutions refused\n", n_refused, N_PROBLEMS);
#if defined(__x86_64__)
    assert_true(n_refused < N_PROBLEMS / 4);
#endif
}

/* The windows of real networks, all of which must run. */
static void common_convolutions_are_accepted(void **state) {
    (void)state;
    static const zq_window windows[] = {
        {2, 1, 3, 64, 1, {30, 30}, {15, 15}, {7, 7}, {2, 2}, {1, 1}, {3, 3}, {3, 3}},
        {2, 1, 64, 64, 1, {9, 9}, {9, 9}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
        {2, 1, 24, 58, 1, {9, 9}, {9, 9}, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}},
        {2, 1, 27, 27, 27, {9, 9}, {5, 5}, {3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}},
        {2, 1, 24, 24, 24, {8, 8}, {4, 4}, {3, 3}, {2, 2}, {1, 1}, {0, 0}, {1, 1}},
        {2, 1, 27, 108, 3, {9, 9}, {9, 9}, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}},
        {2, 1, 64, 64, 16, {9, 9}, {9, 9}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
        {1, 1, 16, 32, 1, {50}, {48}, {3}, {1}, {1}, {0}, {0}},
        {3, 1, 4, 8, 1, {5, 5, 5}, {5, 5, 5}, {3, 3, 3}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}}};
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
        const zq_dnn_conv_options options = {.bias = true, .backward = true};
        zq_dnn_conv *conv;
        zq_error error = {0};
        if (zq_dnn_conv_new(&windows[i], &options, &conv, &error) != ZQ_OK)
            fail_msg("window %zu: %s", i, error.text);
        check_conv(conv, &windows[i], &options);
        zq_dnn_conv_drop(conv);
    }
}

static void *run_elsewhere(void *user) {
    const zq_window *w = ((void **)user)[1];
    check_conv(((void **)user)[0], w, &(zq_dnn_conv_options){.backward = true});
    return user;
}

static void a_convolution_runs_in_another_thread_than_it_was_made_in(void **state) {
    (void)state;
    /* strided 1x1 and a gradient by matrix product: both have scratchpads */
    zq_window windows[] = {{2, 2, 64, 32, 1, {9, 9}, {5, 5}, {1, 1}, {2, 2}, {1, 1}, {0, 0}, {0, 0}},
                           {2, 2, 3, 32, 1, {9, 9}, {9, 9}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}}};
    for (int i = 0; i < 2; i++) {
        zq_dnn_conv *conv;
        assert_int_equal(zq_dnn_conv_new(&windows[i], &(zq_dnn_conv_options){.backward = true}, &conv, NULL),
                         ZQ_OK);
        pthread_t thread;
        void *arguments[] = {conv, &windows[i]};
        assert_int_equal(pthread_create(&thread, NULL, run_elsewhere, arguments), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        zq_dnn_conv_drop(conv);
    }
}

static void assert_conv_refused(zq_window w) {
    zq_dnn_conv *conv = NULL;
    zq_error error = {0};
    assert_int_equal(zq_dnn_conv_new(&w, &(zq_dnn_conv_options){0}, &conv, &error), ZQ_ERR_UNSUPPORTED);
    assert_null(conv);
    assert_true(strlen(error.text) > 10);
}

static void impossible_sizes_are_refused(void **state) {
    (void)state;
    const zq_window good = {2, 1, 4, 6, 2, {5, 5}, {5, 5}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}};
    zq_dnn_conv *conv;
    assert_int_equal(zq_dnn_conv_new(&good, &(zq_dnn_conv_options){0}, &conv, NULL), ZQ_OK);
    zq_dnn_conv_drop(conv);
    static const int64_t sizes[] = {0, -1, INT64_MIN, INT64_MAX, (int64_t)1 << 31, (int64_t)1 << 32};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        zq_window w[10];
        for (int k = 0; k < 10; k++)
            w[k] = good;
        w[0].n_images = w[1].c_in = w[2].c_out = w[3].groups = w[4].in[1] = w[5].out[1] = sizes[i];
        w[6].kernel[0] = w[7].stride[0] = w[8].dilation[0] = sizes[i];
        w[9].pad_lo[0] = sizes[i] == 0 ? -1 : sizes[i];
        for (int k = 0; k < 10; k++)
            assert_conv_refused(w[k]);
    }
    zq_window w = good;
    w.groups = 3;
    assert_conv_refused(w);
    w = good;
    w.n_spatial = 4;
    assert_conv_refused(w);
    w = good; /* each size is possible, the product is not */
    w.n_images = w.in[0] = w.in[1] = w.out[0] = w.out[1] = 500000000;
    assert_conv_refused(w);
}

static void running_out_of_memory_is_reported(void **state) {
    (void)state;
    const zq_window w = {2, 1, 64, 32, 1, {9, 9}, {5, 5}, {1, 1}, {2, 2}, {1, 1}, {0, 0}, {0, 0}};
    zq_status status = ZQ_ERR_MEMORY;
    for (int n = 1; status != ZQ_OK; n++) {
        zq_dnn_conv *conv = NULL;
        zq_alloc_fail_at(n);
        status = zq_dnn_conv_new(&w, &(zq_dnn_conv_options){.backward = true}, &conv, NULL);
        zq_alloc_fail_at(0);
        if (status != ZQ_OK)
            assert_int_equal(status, ZQ_ERR_MEMORY);
        else
            assert_true(n > 1);
        zq_dnn_conv_drop(conv);
        assert_true(n < 100);
    }
}

typedef struct pool_data {
    float *src, *dst, *d_src, *d_dst; /* src, d_dst given */
    double *expected, *d_expected;
} pool_data;

/* Output element (image, out, channel) from the definition, and its share of the gradient. */
static void pool_element(const zq_window *w, zq_pool_kind kind, int64_t image, int64_t out, int64_t channel,
                         pool_data *d) {
    const int64_t n_taps = volume(w, w->kernel), n_in = volume(w, w->in);
    const int64_t at = (image * volume(w, w->out) + out) * w->c_in + channel;
    int64_t count = 0, best = -1;
    double sum = 0;
    for (int64_t tap = 0; tap < n_taps; tap++) {
        const int64_t in = input_position(w, out, tap);
        count += in >= 0 || (kind == ZQ_POOL_AVERAGE_PADDED && in_padding(w, out, tap));
        if (in < 0)
            continue;
        const int64_t i = (image * n_in + in) * w->c_in + channel;
        sum += d->src[i];
        if (best < 0 || d->src[i] > d->src[best]) /* the first of equals takes the gradient */
            best = i;
    }
    d->expected[at] = kind == ZQ_POOL_MAX ? d->src[best] : sum / (double)count;
    if (kind == ZQ_POOL_MAX) {
        d->d_expected[best] += d->d_dst[at];
        return;
    }
    for (int64_t tap = 0; tap < n_taps; tap++) {
        const int64_t in = input_position(w, out, tap);
        if (in >= 0)
            d->d_expected[(image * n_in + in) * w->c_in + channel] += d->d_dst[at] / (double)count;
    }
}

static void check_pool(zq_dnn_pool *pool, const zq_window *w, zq_pool_kind kind, bool backward) {
    const int64_t n_src = src_count(w), n_dst = dst_count(w), n_out = volume(w, w->out);
    pool_data d = {random_array(n_src, draw(0, 1) == 0 ? 3 : 0),
                   random_array(n_dst, 0),
                   random_array(n_src, 0),
                   random_array(n_dst, 0),
                   zq_alloc((size_t)n_dst, sizeof *d.expected),
                   zq_alloc((size_t)n_src, sizeof *d.d_expected)};
    assert_non_null(d.expected);
    assert_non_null(d.d_expected);
    for (int64_t image = 0; image < w->n_images; image++)
        for (int64_t out = 0; out < n_out; out++)
            for (int64_t channel = 0; channel < w->c_in; channel++)
                pool_element(w, kind, image, out, channel, &d);
    const size_t n_workspace = zq_dnn_pool_workspace_bytes(pool);
    void *workspace = n_workspace > 0 ? zq_alloc(n_workspace, 1) : NULL;
    zq_dnn_pool_forward(pool, d.src, d.dst, workspace);
    assert_close(zq_dnn_pool_kernel(pool), d.dst, d.expected, n_dst);
    if (backward) {
        zq_dnn_pool_backward(pool, d.d_dst, workspace, d.d_src);
        assert_close("backward", d.d_src, d.d_expected, n_src);
    } else {
        assert_int_equal(n_workspace, 0);
    }
    void *arrays[] = {d.src, d.dst, d.d_src, d.d_dst, d.expected, d.d_expected, workspace};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        zq_free(arrays[i]);
}

/* Rounds the output size up (ceil_mode) where the last window still begins inside. */
static void round_up(zq_window *w) {
    for (int i = 0; i < w->n_spatial; i++)
        if (w->out[i] * w->stride[i] < w->in[i] + w->pad_lo[i])
            w->out[i]++;
}

static bool has_window_of_padding(const zq_window *w) {
    for (int64_t out = 0; out < volume(w, w->out); out++) {
        int64_t tap = 0;
        while (tap < volume(w, w->kernel) && input_position(w, out, tap) < 0)
            tap++;
        if (tap == volume(w, w->kernel))
            return true;
    }
    return false;
}

static void pools_match_the_definition(void **state) {
    (void)state;
    int n_run = 0, n_refused = 0;
    while (n_run < N_PROBLEMS) {
        zq_window w = {.n_spatial = (int)draw(1, 3), .n_images = draw(1, 3), .groups = 1};
        w.c_in = w.c_out = draw(1, 40);
        draw_axes(&w, 20);
        if (draw(0, 3) == 0)
            round_up(&w);
        if (has_window_of_padding(&w))
            continue;
        n_run++;
        const zq_pool_kind kind = (zq_pool_kind)draw(0, 2);
        const bool backward = draw(0, 2) > 0;
        zq_dnn_pool *pool;
        zq_error error = {0};
        const zq_status status = zq_dnn_pool_new(&w, kind, backward, false, &pool, &error);
        if (getenv("VERBOSE") != NULL) {
            print_message("pool kind %d: %s\n", (int)kind,
                          status == ZQ_OK ? zq_dnn_pool_kernel(pool) : error.text);
            print_window(&w);
        }
        if (status != ZQ_OK) {
            assert_int_equal(status, ZQ_ERR_UNSUPPORTED);
            n_refused++;
            continue;
        }
        check_pool(pool, &w, kind, backward);
        zq_dnn_pool_drop(pool);
    }
    if (n_refused > 0)
        print_message("%d of %d pools refused\n", n_refused, N_PROBLEMS);
    assert_true(n_refused < N_PROBLEMS / 2);
}

static void windows_of_padding_alone_are_refused(void **state) {
    (void)state;
    const zq_window w = {2, 1, 4, 4, 1, {5, 5}, {9, 5}, {2, 3}, {1, 1}, {1, 1}, {3, 1}, {2, 1}};
    assert_conv_refused(w);
    /* between its taps: oneDNN 2.6 overruns its buffers here */
    assert_conv_refused((zq_window){2, 1, 8, 8, 1, {1, 9}, {2, 9}, {4, 3}, {3, 1}, {2, 1}, {5, 1}, {4, 1}});
    zq_dnn_pool *pool = NULL;
    for (int kind = 0; kind < 3; kind++)
        assert_int_equal(zq_dnn_pool_new(&w, (zq_pool_kind)kind, false, false, &pool, NULL), ZQ_ERR_UNSUPPORTED);
    zq_window other = {2, 1, 4, 8, 1, {5, 5}, {5, 5}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}};
    assert_int_equal(zq_dnn_pool_new(&other, ZQ_POOL_MAX, false, false, &pool, NULL), ZQ_ERR_UNSUPPORTED);
    assert_null(pool);
}

static void matrix_products_match_the_definition(void **state) {
    (void)state;
    for (int problem = 0; problem < 60; problem++) {
        const int64_t m = draw(1, 30), n = draw(1, 50), k = draw(0, 60);
        const bool transposed = draw(0, 1) == 1, accumulate = draw(0, 1) == 1;
        float *a = random_array(m * k, 0), *b = random_array(k * n, 0), *c = random_array(m * n, 0);
        double *expected = zq_alloc((size_t)(m * n), sizeof *expected);
        assert_non_null(expected);
        for (int64_t i = 0; i < m * n; i++) {
            expected[i] = accumulate ? c[i] : 0;
            for (int64_t l = 0; l < k; l++)
                expected[i] += (double)a[i / n * k + l] * (transposed ? b[i % n * k + l] : b[l * n + i % n]);
        }
        assert_int_equal(zq_dnn_gemm(transposed, m, n, k, a, b, accumulate, c, NULL), ZQ_OK);
        assert_close("gemm", c, expected, m * n);
        zq_free(a);
        zq_free(b);
        zq_free(c);
        zq_free(expected);
    }
}

static void the_version_is_named(void **state) {
    (void)state;
    int major = 0;
    assert_int_equal(sscanf(zq_dnn_version(), "oneDNN %d.", &major), 1);
    assert_true(major >= 2);
}

int main(void) {
    const char *given = getenv("ZQ_TEST_SEED");
    seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    printf("seed %llu (ZQ_TEST_SEED repeats it)\n", (unsigned long long)seed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolutions_match_the_definition),
        cmocka_unit_test(common_convolutions_are_accepted),
        cmocka_unit_test(a_convolution_runs_in_another_thread_than_it_was_made_in),
        cmocka_unit_test(impossible_sizes_are_refused),
        cmocka_unit_test(running_out_of_memory_is_reported),
        cmocka_unit_test(pools_match_the_definition),
        cmocka_unit_test(windows_of_padding_alone_are_refused),
        cmocka_unit_test(matrix_products_match_the_definition),
        cmocka_unit_test(the_version_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
