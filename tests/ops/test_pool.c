/* SPDX-License-Identifier: Apache-2.0 */
/* The pools.
 * Expected values of forward were computed by ONNX Runtime 1.24. */
#include "ops/one_op.h"

/* Small numbers without a pattern that a mistake in an index could hide in. */
static void add_ramp(one_op *op, int start, zq_shape shape) {
    zq_tensor *tensor = zq_tensor_new(ZQ_F32, &shape);
    assert_non_null(tensor);
    for (int64_t i = 0; i < zq_shape_count(&shape); i++)
        ((zq_real *)tensor->data)[i] = (zq_real)((i * 7 + start * 3) % 11 - 5) / 4;
    op->in[op->n_in++] = tensor;
}

static void set_ints(one_op *op, const char *name, size_t n, const int64_t *values) {
    assert_true(zq_node_set_ints(&op->node, name, n, values));
}

static void max_pool_plain(void **state) {
    (void)state;
    one_op op = op_of("MaxPool");
    set_ints(&op, "kernel_shape", 2, (int64_t[]){2, 2});
    add_ramp(&op, 0, SHAPE(1, 2, 3, 4));
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 2, 2, 3),
               (float[]){0.5f, 1, 1.25f, 0.75f, 1, 1, 1, 1.25f, 1.25f, 1, 1, 0.5f});
    op_drop(&op);
}

static void max_pool_padding_never_wins(void **state) {
    (void)state;
    /* the only element is negative */
    one_op op = op_of("MaxPool");
    set_ints(&op, "kernel_shape", 2, (int64_t[]){3, 3});
    set_ints(&op, "pads", 4, (int64_t[]){1, 1, 1, 1});
    add_ramp(&op, 0, SHAPE(1, 1, 1, 1));
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 1, 1, 1), (float[]){-1.25f});
    op_drop(&op);
}

static void max_pool_ceil(void **state) {
    (void)state;
    one_op op = op_of("MaxPool");
    set_ints(&op, "kernel_shape", 2, (int64_t[]){3, 2});
    set_ints(&op, "strides", 2, (int64_t[]){2, 3});
    zq_node_set_int(&op.node, "ceil_mode", 1);
    add_ramp(&op, 2, SHAPE(1, 1, 6, 5));
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 1, 3, 2), (float[]){1.25f, 1, 1.25f, 1, 1.25f, 1});
    op_drop(&op);
}

static void max_pool_ceil_drops_window_in_padding(void **state) {
    (void)state;
    one_op op = op_of("MaxPool");
    set_ints(&op, "kernel_shape", 1, (int64_t[]){2});
    set_ints(&op, "strides", 1, (int64_t[]){3});
    set_ints(&op, "pads", 2, (int64_t[]){1, 1});
    zq_node_set_int(&op.node, "ceil_mode", 1);
    add_ramp(&op, 2, SHAPE(1, 1, 4));
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 1, 2), (float[]){0.25f, 1});
    op_drop(&op);
}

static void max_pool_dilations(void **state) {
    (void)state;
    one_op op = op_of("MaxPool");
    set_ints(&op, "kernel_shape", 2, (int64_t[]){2, 3});
    set_ints(&op, "dilations", 2, (int64_t[]){2, 2});
    set_ints(&op, "pads", 4, (int64_t[]){1, 0, 0, 1});
    add_ramp(&op, 5, SHAPE(1, 1, 4, 6));
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 1, 3, 3), (float[]){0.75f, 1, 0.75f, 1.25f, 1.25f, 1.25f, 1, 1, 0.75f});
    op_drop(&op);
}

static void max_pool_same_lower(void **state) {
    (void)state;
    one_op op = op_of("MaxPool");
    set_ints(&op, "kernel_shape", 2, (int64_t[]){2, 3});
    set_ints(&op, "strides", 2, (int64_t[]){2, 2});
    zq_node_set_string(&op.node, "auto_pad", "SAME_LOWER");
    add_ramp(&op, 1, SHAPE(1, 1, 3, 4));
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 1, 2, 2), (float[]){1.25f, 1.25f, 1, 0.75f});
    op_drop(&op);
}

static void average_pool_plain(void **state) {
    (void)state;
    one_op op = op_of("AveragePool");
    set_ints(&op, "kernel_shape", 2, (int64_t[]){2, 2});
    add_ramp(&op, 0, SHAPE(1, 2, 3, 3));
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 2, 2, 2),
               (float[]){0.1875f, -0.125f, 0.625f, -0.375f, 0.125f, -0.1875f, -0.125f, 0.25f});
    op_drop(&op);
}

static void average_pool_excludes_padding(void **state) {
    (void)state;
    one_op op = op_of("AveragePool");
    set_ints(&op, "kernel_shape", 2, (int64_t[]){3, 3});
    set_ints(&op, "strides", 2, (int64_t[]){2, 2});
    set_ints(&op, "pads", 4, (int64_t[]){1, 1, 1, 1});
    add_ramp(&op, 3, SHAPE(1, 1, 3, 4));
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 1, 2, 2), (float[]){-0.125f, -0.25f, 0, -0.125f});
    op_drop(&op);
}

static void average_pool_includes_padding(void **state) {
    (void)state;
    one_op op = op_of("AveragePool");
    set_ints(&op, "kernel_shape", 2, (int64_t[]){3, 3});
    set_ints(&op, "strides", 2, (int64_t[]){2, 2});
    set_ints(&op, "pads", 4, (int64_t[]){1, 1, 1, 1});
    zq_node_set_int(&op.node, "count_include_pad", 1);
    add_ramp(&op, 3, SHAPE(1, 1, 3, 4));
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 1, 2, 2), (float[]){-0.055555556f, -0.16666667f, 0, -0.083333336f});
    op_drop(&op);
}

static void average_pool_ceil(void **state) {
    (void)state;
    one_op op = op_of("AveragePool");
    set_ints(&op, "kernel_shape", 2, (int64_t[]){3, 3});
    set_ints(&op, "strides", 2, (int64_t[]){2, 2});
    zq_node_set_int(&op.node, "ceil_mode", 1);
    add_ramp(&op, 1, SHAPE(1, 1, 6, 6));
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 1, 3, 3),
               (float[]){0.1388889f, -0.027777778f, 0, 0.055555556f, -0.11111111f, -0.083333336f,
                         -0.083333336f, 0.20833333f, 0.3125f});
    op_drop(&op);
}

static void average_pool_ceil_includes_padding(void **state) {
    (void)state;
    /* opset 19: the cell behind the padding is not counted */
    one_op op = op_of("AveragePool");
    set_ints(&op, "kernel_shape", 1, (int64_t[]){3});
    set_ints(&op, "strides", 1, (int64_t[]){2});
    set_ints(&op, "pads", 2, (int64_t[]){1, 1});
    zq_node_set_int(&op.node, "ceil_mode", 1);
    zq_node_set_int(&op.node, "count_include_pad", 1);
    add_ramp(&op, 2, SHAPE(1, 1, 6));
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 1, 4), (float[]){-0.16666667f, 0.083333336f, -0.083333336f, 0.375f});
    op_drop(&op);
}

static void average_pool_dilations(void **state) {
    (void)state;
    one_op op = op_of("AveragePool");
    set_ints(&op, "kernel_shape", 2, (int64_t[]){2, 2});
    set_ints(&op, "dilations", 2, (int64_t[]){2, 3});
    set_ints(&op, "pads", 4, (int64_t[]){1, 0, 0, 1});
    add_ramp(&op, 4, SHAPE(1, 1, 5, 5));
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 1, 4, 3),
               (float[]){-0.625f, 1.125f, 0.25f, -0.625f, -0.25f, 0.25f, -0.125f, 0.25f, 0.75f, 0.375f,
                         -0.625f, -0.125f});
    op_drop(&op);
}

static void average_pool_same_upper(void **state) {
    (void)state;
    one_op op = op_of("AveragePool");
    set_ints(&op, "kernel_shape", 2, (int64_t[]){2, 2});
    set_ints(&op, "strides", 2, (int64_t[]){2, 2});
    zq_node_set_string(&op.node, "auto_pad", "SAME_UPPER");
    add_ramp(&op, 4, SHAPE(1, 1, 3, 5));
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 1, 2, 3), (float[]){0.125f, -0.5f, 0.75f, -0.5f, 0.25f, -1.25f});
    op_drop(&op);
}

static void global_average_pool(void **state) {
    (void)state;
    one_op op = op_of("GlobalAveragePool");
    add_ramp(&op, 0, SHAPE(2, 2, 2, 3));
    run(&op);
    expect_f32(&op, 0, SHAPE(2, 2, 1, 1), (float[]){-0.083333336f, -0.125f, 0.29166666f, -0.20833333f});
    op_drop(&op);
}

static void global_average_pool_1d(void **state) {
    (void)state;
    one_op op = op_of("GlobalAveragePool");
    add_ramp(&op, 1, SHAPE(2, 2, 4));
    run(&op);
    expect_f32(&op, 0, SHAPE(2, 2, 1), (float[]){0.0625f, 0.1875f, -0.375f, 0.4375f});
    op_drop(&op);
}

static void global_max_pool(void **state) {
    (void)state;
    one_op op = op_of("GlobalMaxPool");
    add_ramp(&op, 0, SHAPE(2, 2, 2, 3));
    run(&op);
    expect_f32(&op, 0, SHAPE(2, 2, 1, 1), (float[]){1.25f, 1, 1.25f, 0.75f});
    op_drop(&op);
}

static void gradient_goes_to_the_first_of_equal_elements(void **state) {
    (void)state;
    one_op op = op_of("MaxPool");
    set_ints(&op, "kernel_shape", 1, (int64_t[]){2});
    add_f32(&op, SHAPE(1, 1, 4), (float[]){1, 3, 3, 3});
    run(&op);
    run_backward(&op, 1, (float[]){10, 20, 30});
    expect_gradient(&op, 0, (float[]){0, 30, 30, 0});
    op_drop(&op);
    one_op global = op_of("GlobalMaxPool");
    add_f32(&global, SHAPE(1, 2, 3), (float[]){1, 3, 3, 2, 2, 2});
    run(&global);
    run_backward(&global, 1, (float[]){10, 20});
    expect_gradient(&global, 0, (float[]){0, 10, 0, 20, 0, 0});
    op_drop(&global);
}

static void pools_refuse(void **state) {
    (void)state;
    one_op no_kernel = op_of("AveragePool");
    add_shape(&no_kernel, ZQ_F32, SHAPE(1, 1, 5, 5));
    expect_refused(&no_kernel, ZQ_ERR_FORMAT, "attribute kernel_shape is missing");

    one_op padding = op_of("MaxPool");
    set_ints(&padding, "kernel_shape", 2, (int64_t[]){2, 2});
    set_ints(&padding, "pads", 4, (int64_t[]){0, 0, 0, 2});
    add_shape(&padding, ZQ_F32, SHAPE(1, 1, 5, 5));
    expect_refused(&padding, ZQ_ERR_FORMAT, "padding of 0 and 2 cells in dimension 3; expected less");

    one_op indices = op_of("MaxPool");
    set_ints(&indices, "kernel_shape", 2, (int64_t[]){2, 2});
    add_shape(&indices, ZQ_F32, SHAPE(1, 1, 5, 5));
    indices.n_out = 2;
    indices.outputs[1] = 1;
    expect_refused(&indices, ZQ_ERR_UNSUPPORTED, "output 1 (the indices) is used");

    one_op order = op_of("MaxPool");
    set_ints(&order, "kernel_shape", 2, (int64_t[]){2, 2});
    zq_node_set_int(&order.node, "storage_order", 1);
    add_shape(&order, ZQ_F32, SHAPE(1, 1, 5, 5));
    expect_refused(&order, ZQ_ERR_UNSUPPORTED, "storage_order is 1");

    one_op flat = op_of("GlobalAveragePool");
    add_shape(&flat, ZQ_F32, SHAPE(2, 3));
    expect_refused(&flat, ZQ_ERR_FORMAT, "[2,3] of 2 dimensions; expected 3 to 8");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(max_pool_plain),
        cmocka_unit_test(max_pool_padding_never_wins),
        cmocka_unit_test(max_pool_ceil),
        cmocka_unit_test(max_pool_ceil_drops_window_in_padding),
        cmocka_unit_test(max_pool_dilations),
        cmocka_unit_test(max_pool_same_lower),
        cmocka_unit_test(average_pool_plain),
        cmocka_unit_test(average_pool_excludes_padding),
        cmocka_unit_test(average_pool_includes_padding),
        cmocka_unit_test(average_pool_ceil),
        cmocka_unit_test(average_pool_ceil_includes_padding),
        cmocka_unit_test(average_pool_dilations),
        cmocka_unit_test(average_pool_same_upper),
        cmocka_unit_test(global_average_pool),
        cmocka_unit_test(global_average_pool_1d),
        cmocka_unit_test(global_max_pool),
        cmocka_unit_test(gradient_goes_to_the_first_of_equal_elements),
        cmocka_unit_test(pools_refuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
