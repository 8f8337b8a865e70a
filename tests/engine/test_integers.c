/* SPDX-License-Identifier: Apache-2.0 */
/* Operators between DequantizeLinear and QuantizeLinear against the same as float: they may differ by one
 * step where a number lies between two integers. (tests/e2e compares with ONNX Runtime itself.) */
#include "engine/plan.h"
#include "network.h"

#include <string.h>

enum { N_IMAGES = 2 };

static int scalar(network *net, float value) {
    return network_floats(net, -1, &value);
}

static int integer(network *net, zq_dtype dtype, int value) {
    const zq_shape shape = zq_shape_of(0, NULL);
    zq_tensor *tensor = zq_tensor_new(dtype, &shape);
    assert_non_null(tensor);
    *(uint8_t *)tensor->data = (uint8_t)value;
    return zq_graph_add_constant(net->graph, "zero_point", tensor);
}

static int dequantize(network *net, int q, int scale, int zero_point, int64_t axis) {
    int y;
    const int node = network_node(net, "DequantizeLinear", 3, (const int[]){q, scale, zero_point}, 1, &y);
    assert_true(zq_node_set_int(&net->graph->nodes[node], "axis", axis));
    network_parse(net, node);
    return y;
}

typedef struct quantized {
    int q, x; /* the integers, and dequantized */
} quantized;

/* q_max under 255: an integer Clip follows */
static quantized quantize_to(network *net, int x, float scale, int zero_point, int q_max) {
    const int s = scalar(net, scale), z = integer(net, ZQ_U8, zero_point);
    quantized found = {.q = network_op(net, "QuantizeLinear", 3, (const int[]){x, s, z})};
    net->graph->values[found.q].dtype = ZQ_U8;
    if (q_max < 255)
        found.q = network_op(net, "Clip", 3,
                             (const int[]){found.q, integer(net, ZQ_U8, 0), integer(net, ZQ_U8, q_max)});
    found.x = dequantize(net, found.q, s, z, 1);
    return found;
}

static quantized quantize(network *net, int x, float scale, int zero_point) {
    return quantize_to(net, x, scale, zero_point, 255);
}

/* int8 weights of any shape with a scale for each entry of axis. */
static int weights(network *net, int rank, const int64_t *dims, int64_t axis) {
    const zq_shape shape = zq_shape_of(rank, dims), one = zq_shape_of(1, &dims[axis]);
    zq_tensor *tensor = zq_tensor_new(ZQ_I8, &shape), *zero = zq_tensor_new(ZQ_I8, &one);
    zq_tensor *scale = zq_tensor_new(ZQ_F32, &one);
    for (int64_t i = 0; i < zq_shape_count(&shape); i++)
        ((int8_t *)tensor->data)[i] = (int8_t)((int)draw(net, 255) - 127);
    for (int64_t c = 0; c < dims[axis]; c++)
        ((zq_real *)scale->data)[c] = 0.001f + 0.001f * (float)draw(net, 10);
    return dequantize(net, zq_graph_add_constant(net->graph, "w", tensor),
                      zq_graph_add_constant(net->graph, "w_scale", scale),
                      zq_graph_add_constant(net->graph, "w_zero", zero), axis);
}

/* As files have it: the scale of the product of x and w. */
static int bias(network *net, int64_t n, float x_scale, int w) {
    const zq_node *from = &net->graph->nodes[net->graph->values[w].producer];
    const zq_real *w_scale = net->graph->values[from->inputs[1]].constant->data;
    const zq_shape shape = zq_shape_of(1, &n);
    zq_tensor *tensor = zq_tensor_new(ZQ_I32, &shape), *scale = zq_tensor_new(ZQ_F32, &shape);
    for (int64_t c = 0; c < n; c++) {
        ((int32_t *)tensor->data)[c] = (int32_t)draw(net, 2000) - 1000;
        ((zq_real *)scale->data)[c] = x_scale * w_scale[c];
    }
    int y;
    const int in[] = {zq_graph_add_constant(net->graph, "b", tensor),
                      zq_graph_add_constant(net->graph, "b_scale", scale)};
    const int node = network_node(net, "DequantizeLinear", 2, in, 1, &y);
    assert_true(zq_node_set_int(&net->graph->nodes[node], "axis", 0));
    network_parse(net, node);
    return y;
}

static int conv(network *net, int x, float x_scale, int64_t c_in, int64_t c_out, int64_t kernel,
                bool with_bias) {
    const int64_t dims[] = {c_out, c_in, kernel, kernel};
    const int w = weights(net, 4, dims, 0);
    const int in[] = {x, w, with_bias ? bias(net, c_out, x_scale, w) : -1};
    int y;
    const int node = network_node(net, "Conv", with_bias ? 3 : 2, in, 1, &y);
    const int64_t pad = kernel / 2;
    assert_true(zq_node_set_ints(&net->graph->nodes[node], "pads", 4, (const int64_t[]){pad, pad, pad, pad}));
    network_parse(net, node);
    return y;
}

/* ---- running */

static zq_plan *run(const network *net, bool reference, bool keep_values) {
    const zq_plan_options options = {
        .n_images = N_IMAGES, .reference = reference, .keep_values = keep_values};
    zq_error err = {0};
    zq_plan *plan = NULL;
    if (zq_plan_new(net->graph, &options, &plan, &err) != ZQ_OK)
        fail_msg("%s", err.text);
    const size_t n = (size_t)zq_shape_count(zq_plan_shape(plan, net->graph->inputs[0]));
    float *x = zq_alloc(n, sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)zq_random_normal(net->seed + 500, i);
    zq_plan_set_input(plan, 0, x);
    if (zq_plan_forward(plan, &err) != ZQ_OK)
        fail_msg("%s", err.text);
    zq_free(x);
    return plan;
}

/* Of the output: integers at most one step apart, few of them; floats close. */
static void compare_plans(const network *net, zq_plan *a, zq_plan *b) {
    const int value = net->graph->outputs[0];
    const bool is_integer = net->graph->values[value].dtype == ZQ_U8;
    const size_t n = (size_t)zq_shape_count(zq_plan_shape(a, value));
    float *x = zq_alloc(n, sizeof *x), *y = zq_alloc(n, sizeof *y);
    zq_plan_read(a, value, x);
    zq_plan_read(b, value, y);
    size_t n_different = 0, n_distinct = 0;
    for (size_t i = 0; i < n; i++) {
        const float limit = is_integer ? 1 : 1e-4f * (1 + fabsf(y[i]));
        if (!(fabsf(x[i] - y[i]) <= limit))
            fail_msg("element %zu is %g, expected %g", i, (double)x[i], (double)y[i]);
        n_different += is_integer && x[i] != y[i];
        n_distinct += i > 0 && x[i] != x[i - 1];
    }
    assert_in_range(n_different, 0, n / 50 + 2);
    assert_true(n_distinct > n / 4); /* saturated or constant numbers would prove nothing */
    zq_free(x);
    zq_free(y);
}

/* The node must run in the kernel of that name. */
static void check_network(network *net, int output, const char *op, const char *kernel) {
    assert_true(zq_graph_add_output(net->graph, output));
    zq_plan *reference = run(net, true, false);
    for (int keep = 0; keep < 2; keep++) {
        zq_plan *plan = run(net, false, keep);
        compare_plans(net, plan, reference);
        bool found = false;
        for (int i = 0; i < net->graph->n_nodes; i++) {
            const char *name = zq_plan_kernel(plan, i);
            found = found || (strcmp(net->graph->nodes[i].op->name, op) == 0 && name != NULL &&
                              strncmp(name, kernel, strlen(kernel)) == 0);
        }
        if (!found)
            fail_msg("no %s node runs in %s", op, kernel);
        zq_plan_drop(plan);
    }
    zq_plan_drop(reference);
    zq_graph_drop(net->graph);
}

static quantized image(network *net, int zero_point) {
    return quantize(net, network_input(net, 8, 6, 7), 0.02f, zero_point);
}

/* ---- tests */

static void convolution(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        network net = network_new(seed);
        const quantized x = image(&net, seed % 2 ? 128 : 0);
        int y = conv(&net, x.x, 0.02f, 8, 12, seed % 4 < 2 ? 3 : 1, seed % 3 != 0);
        if (seed % 2 == 0)
            y = network_unary(&net, "Relu", y);
        if (seed == 3)
            y = network_clip(&net, y, 0, 1);
        check_network(&net, quantize(&net, y, 0.01f, seed % 2 ? 100 : 0).q, "Conv", "QLinearConv onednn");
    }
}

static void convolution_of_fewer_levels(void **state) {
    (void)state;
    network net = network_new(20);
    const quantized x = quantize_to(&net, network_input(&net, 8, 6, 7), 0.1f, 16, 31);
    const int y = network_unary(&net, "Relu", conv(&net, x.x, 0.1f, 8, 12, 3, true));
    check_network(&net, quantize_to(&net, y, 0.1f, 0, 15).q, "Conv", "QLinearConv onednn");
}

static void product_with_weights(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        network net = network_new(seed);
        const quantized x = image(&net, 120);
        const int flat = quantize(&net, network_unary(&net, "Flatten", x.x), 0.02f, 120).x;
        const bool transposed = seed % 2;
        const int64_t dims[] = {transposed ? 40 : 336, transposed ? 336 : 40};
        const int w = weights(&net, 2, dims, transposed ? 0 : 1);
        const int in[] = {flat, w, bias(&net, 40, 0.02f, w)};
        int y;
        const int node = network_node(&net, "Gemm", 3, in, 1, &y);
        assert_true(zq_node_set_int(&net.graph->nodes[node], "transB", transposed));
        network_parse(&net, node);
        check_network(&net, seed < 3 ? quantize(&net, y, 0.1f, 128).q : y, "Gemm", "Gemm onednn");
    }
}

static void sum_and_product(void **state) {
    (void)state;
    for (int op = 0; op < 2; op++) {
        network net = network_new(7);
        const quantized a = image(&net, 128);
        const quantized b = quantize(&net, network_unary(&net, "Sigmoid", a.x), 0.004f, 3);
        int y = network_binary(&net, op == 0 ? "Add" : "Mul", a.x, b.x);
        if (op == 0)
            y = network_unary(&net, "Relu", y);
        check_network(&net, quantize(&net, y, 0.015f, op == 0 ? 0 : 110).q, op == 0 ? "Add" : "Mul",
                      op == 0 ? "Add loop" : "Mul loop");
    }
}

static void means(void **state) {
    (void)state;
    network net = network_new(9);
    const quantized x = image(&net, 128);
    const int pooled = network_pool(&net, "AveragePool", x.x, 3, 2, 1);
    check_network(&net, quantize(&net, pooled, 0.01f, 128).q, "AveragePool", "AveragePool loop");
    net = network_new(9);
    const int mean = network_unary(&net, "GlobalAveragePool", image(&net, 128).x);
    check_network(&net, quantize(&net, mean, 0.003f, 128).q, "GlobalAveragePool", "GlobalAveragePool loop");
}

/* Interpolated integers are truncated: half a step less on average. */
static void resized_integers_are_truncated(void **state) {
    (void)state;
    network net = network_new(11);
    const quantized x = image(&net, 128);
    const int y = network_resize(&net, x.x, "linear", (const float[]){1, 1, 2, 2});
    const quantized q = quantize(&net, y, 0.02f, 128);
    assert_true(zq_graph_add_output(net.graph, q.q));
    zq_plan *plan = run(&net, false, true);
    const zq_shape *shape = zq_plan_shape(plan, q.q);
    const size_t n = (size_t)zq_shape_count(shape), n_src = (size_t)zq_shape_count(zq_plan_shape(plan, x.q));
    float *const dst = zq_alloc(n, sizeof *dst), *const src = zq_alloc(n_src, sizeof *src);
    zq_plan_read(plan, q.q, dst);
    zq_plan_read(plan, x.q, src);
    for (int64_t column = 1; column < 13; column++) { /* row 0 lies above the first pixels: no vertical mix */
        const float lo = src[(column - 1) / 2], hi = src[(column + 1) / 2];
        const float share = column % 2 ? 0.25f : 0.75f;
        assert_float_equal(dst[column], floorf(lo * (1 - share) + hi * share), 0);
    }
    zq_free(dst);
    zq_free(src);
    zq_plan_drop(plan);
    zq_graph_drop(net.graph);
}

/* What has no integer kernel runs as float between Q and DQ. */
static void others_run_as_float(void **state) {
    (void)state;
    network net = network_new(13);
    const quantized x = image(&net, 128);
    const quantized leaky = quantize(&net, network_unary(&net, "LeakyRelu", x.x), 0.02f, 20);
    const quantized pooled = quantize(&net, network_pool(&net, "MaxPool", leaky.x, 2, 1, 0), 0.02f, 20);
    const int both = network_concat(&net, 2, (const int[]){pooled.x, pooled.x}, 1);
    check_network(&net, quantize(&net, both, 0.025f, 10).q, "Concat", "Concat copy");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolution),
        cmocka_unit_test(convolution_of_fewer_levels),
        cmocka_unit_test(product_with_weights),
        cmocka_unit_test(sum_and_product),
        cmocka_unit_test(means),
        cmocka_unit_test(resized_integers_are_truncated),
        cmocka_unit_test(others_run_as_float),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
