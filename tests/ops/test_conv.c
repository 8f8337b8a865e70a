/* SPDX-License-Identifier: Apache-2.0 */
/* Conv, and the geometry of windows.
 * Expected values of forward were computed by ONNX Runtime 1.24. */
#include "ops/window.h"

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

static void conv_plain(void **state) {
    (void)state;
    one_op op = op_of("Conv");
    add_ramp(&op, 0, SHAPE(1, 2, 3, 4));
    add_ramp(&op, 1, SHAPE(2, 2, 2, 3));
    add_f32(&op, SHAPE(2), (float[]){0.5f, -1});
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 2, 2, 2),
               (float[]){0.9375f, 2.125f, 2.25f, 0, -4.75f, -3.9375f, -4.25f, 3.4375f});
    op_drop(&op);
}

static void conv_pads_and_strides(void **state) {
    (void)state;
    one_op op = op_of("Conv");
    set_ints(&op, "pads", 4, (int64_t[]){1, 0, 2, 1});
    set_ints(&op, "strides", 2, (int64_t[]){2, 2});
    add_ramp(&op, 2, SHAPE(1, 1, 4, 4));
    add_ramp(&op, 3, SHAPE(1, 1, 3, 2));
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 1, 3, 2), (float[]){-1.5f, 0.625f, -2.9375f, -0.0625f, -0.75f, 0});
    op_drop(&op);
}

static void conv_groups(void **state) {
    (void)state;
    one_op op = op_of("Conv");
    zq_node_set_int(&op.node, "group", 2);
    set_ints(&op, "kernel_shape", 2, (int64_t[]){1, 2});
    add_ramp(&op, 0, SHAPE(2, 4, 2, 2));
    add_ramp(&op, 5, SHAPE(4, 2, 1, 2));
    run(&op);
    expect_f32(&op, 0, SHAPE(2, 4, 2, 1),
               (float[]){0.1875f, -0.9375f, -2.375f, -1.0625f, -0.25f, 2.125f, 0.75f, -0.625f, -0.5625f,
                         0.375f, -1.5f, 1.1875f, -0.5f, -0.1875f, 0.75f, 0.75f});
    op_drop(&op);
}

static void conv_dilations(void **state) {
    (void)state;
    one_op op = op_of("Conv");
    set_ints(&op, "dilations", 2, (int64_t[]){3, 2});
    set_ints(&op, "pads", 4, (int64_t[]){0, 1, 0, 0});
    add_ramp(&op, 4, SHAPE(1, 1, 5, 6));
    add_ramp(&op, 1, SHAPE(1, 1, 2, 3));
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 1, 2, 3), (float[]){-0.125f, 1.125f, -1.5f, -0.6875f, -0.875f, 1.3125f});
    op_drop(&op);
}

static void conv_same_upper(void **state) {
    (void)state;
    one_op op = op_of("Conv");
    zq_node_set_string(&op.node, "auto_pad", "SAME_UPPER");
    set_ints(&op, "strides", 2, (int64_t[]){1, 2});
    add_ramp(&op, 1, SHAPE(1, 1, 4, 5));
    add_ramp(&op, 2, SHAPE(1, 1, 2, 4));
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 1, 4, 3),
               (float[]){0.9375f, 2.5625f, -1.625f, -2.0625f, 1.25f, 0.0625f, 1.125f, -1.4375f, -0.3125f,
                         -0.75f, 1.5f, 0.375f});
    op_drop(&op);
}

static void conv_same_lower(void **state) {
    (void)state;
    one_op op = op_of("Conv");
    zq_node_set_string(&op.node, "auto_pad", "SAME_LOWER");
    set_ints(&op, "strides", 2, (int64_t[]){1, 2});
    add_ramp(&op, 1, SHAPE(1, 1, 4, 5));
    add_ramp(&op, 2, SHAPE(1, 1, 2, 4));
    run(&op);
    expect_f32(
        &op, 0, SHAPE(1, 1, 4, 3),
        (float[]){-1.4375f, 2.3125f, -1.0625f, 0.75f, -1.4375f, 1, 0.5f, 0, -1.75f, 0.25f, 0.0625f, 1});
    op_drop(&op);
}

static void conv_valid(void **state) {
    (void)state;
    one_op op = op_of("Conv");
    zq_node_set_string(&op.node, "auto_pad", "VALID");
    set_ints(&op, "strides", 2, (int64_t[]){2, 1});
    add_ramp(&op, 1, SHAPE(1, 1, 4, 5));
    add_ramp(&op, 2, SHAPE(1, 1, 2, 4));
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 1, 2, 2), (float[]){-1.4375f, 2.5625f, 0.0625f, -1.4375f});
    op_drop(&op);
}

static void conv_1d(void **state) {
    (void)state;
    one_op op = op_of("Conv");
    set_ints(&op, "strides", 1, (int64_t[]){2});
    set_ints(&op, "pads", 2, (int64_t[]){2, 1});
    add_ramp(&op, 3, SHAPE(1, 2, 7));
    add_ramp(&op, 6, SHAPE(2, 2, 3));
    add_f32(&op, SHAPE(2), (float[]){1, 2});
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 2, 4),
               (float[]){1.75f, -0.5625f, 1.4375f, 1.375f, 2.5f, -0.0625f, 2.4375f, 2.875f});
    op_drop(&op);
}

static void conv_3d(void **state) {
    (void)state;
    one_op op = op_of("Conv");
    set_ints(&op, "pads", 6, (int64_t[]){0, 0, 1, 1, 0, 0});
    add_ramp(&op, 3, SHAPE(1, 1, 2, 3, 3));
    add_ramp(&op, 6, SHAPE(1, 1, 2, 2, 3));
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 1, 2, 2, 2),
               (float[]){-2.625f, 1.5f, -2.625f, 4.125f, -2.0625f, 3.25f, -2.3125f, 2.8125f});
    op_drop(&op);
}

/* ---- geometry */

static zq_geometry geometry_of(one_op *op) {
    zq_geometry geometry = {0};
    const zq_shape *weight = op->n_in > 1 ? &op->in[1]->shape : NULL;
    if (infer(op) != ZQ_OK ||
        zq_window_resolve(&op->node, &op->in[0]->shape, weight, &geometry, &op->err) != ZQ_OK)
        fail_msg("%s", op->err.text);
    return geometry;
}

static void geometry_says_what_the_node_asks(void **state) {
    (void)state;
    one_op op = op_of("Conv");
    set_ints(&op, "pads", 4, (int64_t[]){1, 2, 3, 4});
    set_ints(&op, "strides", 2, (int64_t[]){2, 1});
    set_ints(&op, "dilations", 2, (int64_t[]){1, 2});
    zq_node_set_int(&op.node, "group", 2);
    add_shape(&op, ZQ_F32, SHAPE(3, 4, 8, 9));
    add_shape(&op, ZQ_F32, SHAPE(6, 2, 3, 2));
    const zq_geometry g = geometry_of(&op);
    assert_int_equal(g.n_spatial, 2);
    assert_int_equal(g.n_images, 3);
    assert_int_equal(g.c_in, 4);
    assert_int_equal(g.c_out, 6);
    assert_int_equal(g.groups, 2);
    assert_int_equal(g.kernel[0], 3);
    assert_int_equal(g.kernel[1], 2);
    assert_int_equal(g.pad_lo[0], 1);
    assert_int_equal(g.pad_lo[1], 2);
    assert_int_equal(g.pad_hi[0], 3);
    assert_int_equal(g.pad_hi[1], 4);
    assert_int_equal(g.out[0], 5);  /* (8 + 4 - 3) / 2 + 1 */
    assert_int_equal(g.out[1], 13); /* 9 + 6 - 3 + 1 */
    assert_int_equal(zq_geometry_reach(&g, 0), 2);
    assert_int_equal(zq_geometry_reach(&g, 1), 4);
    op_drop(&op);
}

static void same_puts_the_odd_cell_where_it_says(void **state) {
    (void)state;
    for (int upper = 0; upper < 2; upper++) {
        one_op op = op_of("MaxPool");
        set_ints(&op, "kernel_shape", 1, (int64_t[]){4});
        zq_node_set_string(&op.node, "auto_pad", upper ? "SAME_UPPER" : "SAME_LOWER");
        add_shape(&op, ZQ_F32, SHAPE(1, 1, 5));
        const zq_geometry g = geometry_of(&op);
        assert_int_equal(g.out[0], 5);
        assert_int_equal(g.pad_lo[0], upper ? 1 : 2);
        assert_int_equal(g.pad_hi[0], upper ? 2 : 1);
        op_drop(&op);
    }
}

static void ceil_reaches_behind_the_padding(void **state) {
    (void)state;
    one_op op = op_of("AveragePool");
    set_ints(&op, "kernel_shape", 1, (int64_t[]){3});
    set_ints(&op, "strides", 1, (int64_t[]){2});
    set_ints(&op, "pads", 2, (int64_t[]){1, 1});
    zq_node_set_int(&op.node, "ceil_mode", 1);
    add_shape(&op, ZQ_F32, SHAPE(1, 1, 6));
    const zq_geometry g = geometry_of(&op);
    assert_int_equal(g.out[0], 4);
    assert_int_equal(g.pad_hi[0], 1);
    assert_int_equal(zq_geometry_reach(&g, 0), 2);
    op_drop(&op);
}

/* ---- what is counted and refused */

static void conv_counts_multiply_accumulates(void **state) {
    (void)state;
    one_op op = op_of("Conv");
    zq_node_set_int(&op.node, "group", 2);
    add_shape(&op, ZQ_F32, SHAPE(1, 4, 5, 6));
    add_shape(&op, ZQ_F32, SHAPE(6, 2, 3, 2));
    assert_int_equal(infer(&op), ZQ_OK);
    const zq_io io = io_of(&op);
    assert_true(op.node.op->macs(&io) == 6 * 3 * 5 * 2 * 3 * 2);
    op_drop(&op);
}

static void expect_conv_refused(const char *attr, size_t n, const int64_t *values, zq_shape x, zq_shape w,
                                const char *text) {
    one_op op = op_of("Conv");
    if (n == 0)
        zq_node_set_int(&op.node, attr, values[0]);
    else
        set_ints(&op, attr, n, values);
    add_shape(&op, ZQ_F32, x);
    add_shape(&op, ZQ_F32, w);
    expect_refused(&op, ZQ_ERR_FORMAT, text);
}

static void conv_refuses(void **state) {
    (void)state;
    const zq_shape x = SHAPE(1, 4, 5, 5), w = SHAPE(4, 4, 3, 3);
    expect_conv_refused("group", 0, (int64_t[]){1}, x, SHAPE(4, 3, 3, 3), "expected [C_out, 4, ...]");
    expect_conv_refused("group", 0, (int64_t[]){3}, x, w,
                        "doesn't fit input 0 of shape [1,4,5,5] with group 3");
    expect_conv_refused("group", 0, (int64_t[]){2}, x, SHAPE(3, 2, 3, 3), "a multiple of group");
    expect_conv_refused("group", 0, (int64_t[]){0}, x, w, "attribute group is 0");
    expect_conv_refused("group", 0, (int64_t[]){1}, x, SHAPE(4, 4, 3), "with 4 dimensions");
    expect_conv_refused("group", 0, (int64_t[]){1}, x, SHAPE(4, 4, 6, 3), "a window of 6 cells is larger");
    expect_conv_refused("group", 0, (int64_t[]){1}, SHAPE(4, 5), w, "expected 3 to 5");
    expect_conv_refused("group", 0, (int64_t[]){1}, SHAPE(1, 4, 0, 5), w, "at least one element");
    expect_conv_refused("strides", 2, (int64_t[]){0, 1}, x, w, "attribute strides holds 0; expected 1");
    expect_conv_refused("strides", 1, (int64_t[]){1}, x, w, "attribute strides has 1 entries; expected 2");
    expect_conv_refused("strides", 2, (int64_t[]){1, INT64_MAX}, x, w,
                        "attribute strides holds 9223372036854775807");
    expect_conv_refused("dilations", 2, (int64_t[]){-1, 1}, x, w, "attribute dilations holds -1");
    expect_conv_refused("dilations", 2, (int64_t[]){1, INT32_MAX}, x, w, "is larger than dimension 3");
    expect_conv_refused("pads", 4, (int64_t[]){0, 0, -1, 0}, x, w, "attribute pads holds -1; expected 0");
    expect_conv_refused("pads", 2, (int64_t[]){0, 0}, x, w, "attribute pads has 2 entries; expected 4");
    expect_conv_refused("kernel_shape", 2, (int64_t[]){3, 2}, x, w, "attribute kernel_shape says 2");
}

static void conv_refuses_a_wrong_bias(void **state) {
    (void)state;
    one_op op = op_of("Conv");
    add_shape(&op, ZQ_F32, SHAPE(1, 4, 5, 5));
    add_shape(&op, ZQ_F32, SHAPE(6, 4, 3, 3));
    add_shape(&op, ZQ_F32, SHAPE(4));
    expect_refused(&op, ZQ_ERR_FORMAT, "the bias has shape [4]; expected [6]");
}

static void conv_refuses_integers(void **state) {
    (void)state;
    one_op op = op_of("Conv");
    add_shape(&op, ZQ_F32, SHAPE(1, 4, 5, 5));
    add_shape(&op, ZQ_I8, SHAPE(6, 4, 3, 3));
    expect_refused(&op, ZQ_ERR_UNSUPPORTED, "input 1 is of type int8");
}

static void conv_refuses_too_large_an_output(void **state) {
    (void)state;
    one_op op = op_of("Conv");
    set_ints(&op, "pads", 4, (int64_t[]){INT32_MAX, INT32_MAX, INT32_MAX, INT32_MAX});
    add_shape(&op, ZQ_F32, SHAPE(1, 1, 1, 1));
    add_shape(&op, ZQ_F32, SHAPE(1, 1, 1, 1));
    expect_refused(&op, ZQ_ERR_LIMIT, "more than");
}

static void auto_pad_refuses(void **state) {
    (void)state;
    one_op unknown = op_of("Conv");
    zq_node_set_string(&unknown.node, "auto_pad", "SAME");
    add_shape(&unknown, ZQ_F32, SHAPE(1, 1, 5, 5));
    add_shape(&unknown, ZQ_F32, SHAPE(1, 1, 3, 3));
    expect_refused(&unknown, ZQ_ERR_FORMAT, "auto_pad is \"SAME\"");
    one_op dilated = op_of("Conv");
    zq_node_set_string(&dilated.node, "auto_pad", "SAME_UPPER");
    set_ints(&dilated, "dilations", 2, (int64_t[]){1, 2});
    add_shape(&dilated, ZQ_F32, SHAPE(1, 1, 5, 5));
    add_shape(&dilated, ZQ_F32, SHAPE(1, 1, 3, 3));
    expect_refused(&dilated, ZQ_ERR_UNSUPPORTED, "dilation 2 in dimension 3; expected explicit pads");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conv_plain),
        cmocka_unit_test(conv_pads_and_strides),
        cmocka_unit_test(conv_groups),
        cmocka_unit_test(conv_dilations),
        cmocka_unit_test(conv_same_upper),
        cmocka_unit_test(conv_same_lower),
        cmocka_unit_test(conv_valid),
        cmocka_unit_test(conv_1d),
        cmocka_unit_test(conv_3d),
        cmocka_unit_test(geometry_says_what_the_node_asks),
        cmocka_unit_test(same_puts_the_odd_cell_where_it_says),
        cmocka_unit_test(ceil_reaches_behind_the_padding),
        cmocka_unit_test(conv_counts_multiply_accumulates),
        cmocka_unit_test(conv_refuses),
        cmocka_unit_test(conv_refuses_a_wrong_bias),
        cmocka_unit_test(conv_refuses_integers),
        cmocka_unit_test(conv_refuses_too_large_an_output),
        cmocka_unit_test(auto_pad_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
