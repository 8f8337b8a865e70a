/* SPDX-License-Identifier: Apache-2.0 */
/* Weights times patches are the output of the node; what follows from them for gradients of weights. */
#include "engine/plan.h"
#include "support/build.h"

#include <math.h>
#include <string.h>

enum { IMAGES = 2 };

typedef struct shape_case {
    int64_t channels, out, groups, kernel[2], stride, pad, dilation;
} shape_case;

static zq_graph *one_conv(const shape_case *c) {
    zq_graph *graph = zq_graph_new();
    const int x = build_input(graph, "x", SHAPE(-1, c->channels, 9, 7));
    const int w = build_random(graph, "w", SHAPE(c->out, c->channels / c->groups, c->kernel[0], c->kernel[1]),
                               1, -1, 1);
    const int y = build_node(graph, "Conv", "y", VALUES(x, w));
    zq_node *node = build_last(graph);
    zq_node_set_int(node, "group", c->groups);
    zq_node_set_ints(node, "strides", INTS(c->stride, c->stride));
    zq_node_set_ints(node, "dilations", INTS(c->dilation, c->dilation));
    zq_node_set_ints(node, "pads", INTS(c->pad, 0, c->pad, 1));
    build_output(graph, y);
    graph->free_batch = true;
    build_done(graph);
    return graph;
}

static const shape_case cases[] = {
    {4, 6, 1, {3, 3}, 1, 1, 1}, {4, 6, 2, {3, 2}, 2, 1, 1}, {8, 8, 8, {3, 3}, 1, 1, 1},
    {8, 5, 1, {1, 1}, 1, 0, 1}, {8, 4, 4, {3, 3}, 2, 2, 2}, {1, 3, 1, {5, 4}, 1, 2, 1},
};

static int plan_output;

static zq_graph *one_gemm(void) {
    zq_graph *graph = zq_graph_new();
    const int x = build_input(graph, "x", SHAPE(-1, 5));
    const int y = build_node(graph, "Gemm", "y", VALUES(x, build_random(graph, "w", SHAPE(4, 5), 1, -1, 1)));
    zq_node_set_int(build_last(graph), "transB", 1);
    build_output(graph, y);
    graph->free_batch = true;
    build_done(graph);
    return graph;
}

typedef struct check {
    zq_graph *graph;
    int64_t groups, n, per_channel, c_out;
    float *patches; /* [groups, per_channel, n] */
    int64_t *positions;
} check;

static zq_status gather(void *user, zq_plan *plan, int node, zq_error *err) {
    check *c = user;
    const int64_t total = zq_plan_positions(plan, node);
    c->n = (total + 2) / 3; /* every third */
    c->positions = malloc((size_t)c->n * sizeof *c->positions);
    for (int64_t i = 0; i < c->n; i++)
        c->positions[i] = 3 * i;
    c->patches = malloc((size_t)(c->groups * c->per_channel * c->n) * sizeof *c->patches);
    for (int64_t g = 0; g < c->groups; g += 3) /* and what is left */
        ZQ_TRY(zq_plan_patches(plan, node, g, c->groups - g < 3 ? c->groups - g : 3, c->n, c->positions,
                               c->patches + g * c->per_channel * c->n, err));
    return ZQ_OK;
}

static void compare(check *c, zq_plan *plan) {
    const int value = c->graph->outputs[0];
    const zq_shape *shape = zq_plan_shape(plan, value);
    const int64_t per_image = zq_shape_count(shape) / shape->dims[0] / c->c_out; /* positions */
    const float *w = c->graph->values[c->graph->nodes[0].inputs[1]].constant->data;
    float *y = malloc((size_t)zq_shape_count(shape) * sizeof *y);
    zq_plan_read(plan, value, y);
    for (int64_t o = 0; o < c->c_out; o++)
        for (int64_t r = 0; r < c->n; r++) {
            const float *x = c->patches + o / (c->c_out / c->groups) * c->per_channel * c->n + r;
            const int64_t image = c->positions[r] / per_image, at = c->positions[r] % per_image;
            double sum = 0;
            for (int64_t i = 0; i < c->per_channel; i++)
                sum += (double)w[o * c->per_channel + i] * x[i * c->n];
            assert_true(fabs(sum - y[(image * c->c_out + o) * per_image + at]) < 1e-4);
        }
    free(y);
}

static void run(zq_graph *graph, int64_t groups) {
    const zq_tensor *w = graph->values[graph->nodes[0].inputs[1]].constant;
    for (int reference = 0; reference < 2; reference++) {
        check c = {.graph = graph,
                   .groups = groups,
                   .c_out = w->shape.dims[0],
                   .per_channel = zq_shape_count(&w->shape) / w->shape.dims[0]};
        const zq_plan_options options = {.n_images = IMAGES, .reference = reference == 1};
        const zq_plan_visitor visitor = {.before = gather, .user = &c};
        zq_plan *plan;
        float x[IMAGES * 8 * 9 * 7];
        for (int i = 0; i < IMAGES * 8 * 9 * 7; i++)
            x[i] = (float)zq_random_normal(5, (uint64_t)i);
        assert_int_equal(zq_plan_new(graph, &options, &plan, NULL), ZQ_OK);
        zq_plan_set_input(plan, 0, x);
        assert_int_equal(zq_plan_forward_visited(plan, &visitor, NULL), ZQ_OK);
        compare(&c, plan);
        zq_plan_drop(plan);
        free(c.patches);
        free(c.positions);
    }
    zq_graph_drop(graph);
}

/* ---- gradients of weights: outputs are linear in them, so differences are exact */

typedef struct gradients {
    float w[1024], bias[16];
} gradients;

static zq_status take_gradients(void *user, zq_plan *plan, int node, int value, size_t n, float *gradient,
                                zq_error *err) {
    gradients *g = user;
    assert_int_equal(value, plan_output);
    assert_true(n > 0);
    return zq_plan_weight_gradient(plan, node, gradient, g->w, g->bias, err);
}

static double inner_product(int64_t n, const float *a, const float *b) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)a[i] * b[i];
    return sum;
}

static void check_gradients(zq_graph *graph) {
    const zq_tensor *w = graph->values[graph->nodes[0].inputs[1]].constant;
    const int64_t n_weights = zq_shape_count(&w->shape), c_out = w->shape.dims[0];
    const zq_plan_options options = {
        .n_images = IMAGES, .gradient = true, .keep_values = true, .separate = true};
    zq_plan *plan;
    float x[IMAGES * 8 * 9 * 7], replaced[1024];
    gradients found;
    for (int i = 0; i < IMAGES * 8 * 9 * 7; i++)
        x[i] = (float)zq_random_normal(5, (uint64_t)i);
    assert_int_equal(zq_plan_new(graph, &options, &plan, NULL), ZQ_OK);
    plan_output = graph->outputs[0];
    const int64_t n = zq_shape_count(zq_plan_shape(plan, plan_output)), positions = n / IMAGES / c_out;
    float *d = malloc((size_t)n * sizeof *d), *y = malloc((size_t)n * sizeof *y);
    for (int64_t i = 0; i < n; i++)
        d[i] = (float)zq_random_normal(6, (uint64_t)i);
    zq_plan_set_input(plan, 0, x);
    assert_int_equal(zq_plan_forward(plan, NULL), ZQ_OK);
    zq_plan_read(plan, plan_output, y);
    const double before = inner_product(n, d, y);
    const zq_plan_seed seed = {.value = plan_output, .dense = d};
    assert_int_equal(zq_plan_backward_hooked(plan, 1, &seed, take_gradients, &found, NULL, NULL), ZQ_OK);
    for (int64_t j = 0; j < n_weights; j++) {
        memcpy(replaced, w->data, (size_t)n_weights * sizeof *replaced);
        replaced[j] += 1;
        assert_int_equal(zq_plan_set_weights(plan, 0, replaced, NULL), ZQ_OK);
        assert_int_equal(zq_plan_forward(plan, NULL), ZQ_OK);
        zq_plan_read(plan, plan_output, y);
        assert_true(fabs(inner_product(n, d, y) - before - found.w[j]) < 1e-3 * (1 + fabs(found.w[j])));
    }
    for (int64_t c = 0; c < c_out; c++) {
        double sum = 0;
        for (int64_t i = 0; i < n; i++)
            sum += i / positions % c_out == c ? d[i] : 0;
        assert_true(fabs(sum - found.bias[c]) < 1e-3);
    }
    free(d);
    free(y);
    zq_plan_drop(plan);
    zq_graph_drop(graph);
}

static void gradients_of_weights_are_differences(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_gradients(one_conv(&cases[i]));
    check_gradients(one_gemm());
}

static void weights_times_patches_are_the_output(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        run(one_conv(&cases[i]), cases[i].groups);
    run(one_gemm(), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_times_patches_are_the_output),
        cmocka_unit_test(gradients_of_weights_are_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
