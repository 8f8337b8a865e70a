/* SPDX-License-Identifier: Apache-2.0 */
/* Resize.
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

static void nearest_doubles(void **state) {
    (void)state;
    one_op op = op_of("Resize");
    zq_node_set_string(&op.node, "coordinate_transformation_mode", "asymmetric");
    zq_node_set_string(&op.node, "nearest_mode", "floor");
    add_ramp(&op, 0, SHAPE(1, 1, 2, 3));
    add_none(&op);
    add_f32(&op, SHAPE(4), (float[]){1, 1, 2, 2});
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 1, 4, 6),
               (float[]){-1.25f, -1.25f, 0.5f,  0.5f,  -0.5f, -0.5f, -1.25f, -1.25f,
                         0.5f,   0.5f,   -0.5f, -0.5f, 1.25f, 1.25f, 0.25f,  0.25f,
                         -0.75f, -0.75f, 1.25f, 1.25f, 0.25f, 0.25f, -0.75f, -0.75f});
    op_drop(&op);
}

static void nearest_default(void **state) {
    (void)state;
    one_op op = op_of("Resize");
    add_ramp(&op, 0, SHAPE(1, 1, 2, 4));
    add_none(&op);
    add_f32(&op, SHAPE(4), (float[]){1, 1, 1.5f, 0.60000002f});
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 1, 3, 2), (float[]){-1.25f, -0.5f, -1.25f, -0.5f, 0.25f, 1});
    op_drop(&op);
}

static void nearest_round_prefer_floor(void **state) {
    (void)state;
    one_op op = op_of("Resize");
    zq_node_set_string(&op.node, "nearest_mode", "round_prefer_floor");
    zq_node_set_string(&op.node, "coordinate_transformation_mode", "align_corners");
    add_ramp(&op, 3, SHAPE(1, 1, 1, 5));
    add_none(&op);
    add_none(&op);
    add_i64(&op, 4, (int64_t[]){1, 1, 1, 8});
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 1, 1, 8), (float[]){1, 0, 0, -1, -1, 0.75f, 0.75f, -0.25f});
    op_drop(&op);
}

static void nearest_round_prefer_ceil(void **state) {
    (void)state;
    one_op op = op_of("Resize");
    zq_node_set_string(&op.node, "nearest_mode", "round_prefer_ceil");
    zq_node_set_string(&op.node, "coordinate_transformation_mode", "align_corners");
    add_ramp(&op, 3, SHAPE(1, 1, 1, 5));
    add_none(&op);
    add_none(&op);
    add_i64(&op, 4, (int64_t[]){1, 1, 1, 8});
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 1, 1, 8), (float[]){1, 0, 0, -1, -1, 0.75f, 0.75f, -0.25f});
    op_drop(&op);
}

static void nearest_floor(void **state) {
    (void)state;
    one_op op = op_of("Resize");
    zq_node_set_string(&op.node, "nearest_mode", "floor");
    zq_node_set_string(&op.node, "coordinate_transformation_mode", "align_corners");
    add_ramp(&op, 3, SHAPE(1, 1, 1, 5));
    add_none(&op);
    add_none(&op);
    add_i64(&op, 4, (int64_t[]){1, 1, 1, 8});
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 1, 1, 8), (float[]){1, 1, 0, 0, -1, -1, 0.75f, -0.25f});
    op_drop(&op);
}

static void nearest_ceil(void **state) {
    (void)state;
    one_op op = op_of("Resize");
    zq_node_set_string(&op.node, "nearest_mode", "ceil");
    zq_node_set_string(&op.node, "coordinate_transformation_mode", "align_corners");
    add_ramp(&op, 3, SHAPE(1, 1, 1, 5));
    add_none(&op);
    add_none(&op);
    add_i64(&op, 4, (int64_t[]){1, 1, 1, 8});
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 1, 1, 8), (float[]){1, 0, -1, -1, 0.75f, 0.75f, -0.25f, -0.25f});
    op_drop(&op);
}

static void nearest_tie_prefers_floor(void **state) {
    (void)state;
    one_op op = op_of("Resize");
    zq_node_set_string(&op.node, "nearest_mode", "round_prefer_floor");
    add_ramp(&op, 3, SHAPE(1, 1, 1, 4));
    add_none(&op);
    add_none(&op);
    add_i64(&op, 4, (int64_t[]){1, 1, 1, 2});
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 1, 1, 2), (float[]){1, -1});
    op_drop(&op);
}

static void nearest_tie_prefers_ceil(void **state) {
    (void)state;
    one_op op = op_of("Resize");
    zq_node_set_string(&op.node, "nearest_mode", "round_prefer_ceil");
    add_ramp(&op, 3, SHAPE(1, 1, 1, 4));
    add_none(&op);
    add_none(&op);
    add_i64(&op, 4, (int64_t[]){1, 1, 1, 2});
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 1, 1, 2), (float[]){0, 0.75f});
    op_drop(&op);
}

static void nearest_every_axis(void **state) {
    (void)state;
    one_op op = op_of("Resize");
    add_ramp(&op, 2, SHAPE(2, 2, 1, 2));
    add_none(&op);
    add_none(&op);
    add_i64(&op, 4, (int64_t[]){3, 1, 2, 3});
    run(&op);
    expect_f32(&op, 0, SHAPE(3, 1, 2, 3),
               (float[]){0.25f, 0.25f, -0.75f, 0.25f, 0.25f, -0.75f, 0.25f, 0.25f, -0.75f, 0.25f, 0.25f,
                         -0.75f, -1, -1, 0.75f, -1, -1, 0.75f});
    op_drop(&op);
}

static void linear_half_pixel(void **state) {
    (void)state;
    one_op op = op_of("Resize");
    zq_node_set_string(&op.node, "mode", "linear");
    zq_node_set_string(&op.node, "coordinate_transformation_mode", "half_pixel");
    add_ramp(&op, 3, SHAPE(1, 1, 2, 3));
    add_none(&op);
    add_none(&op);
    add_i64(&op, 4, (int64_t[]){1, 1, 1, 5});
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 1, 1, 5), (float[]){0.875f, 0.47499996f, -0.125f, -0.72500014f, -1.125f});
    op_drop(&op);
}

static void linear_pytorch_half_pixel(void **state) {
    (void)state;
    one_op op = op_of("Resize");
    zq_node_set_string(&op.node, "mode", "linear");
    zq_node_set_string(&op.node, "coordinate_transformation_mode", "pytorch_half_pixel");
    add_ramp(&op, 3, SHAPE(1, 1, 2, 3));
    add_none(&op);
    add_none(&op);
    add_i64(&op, 4, (int64_t[]){1, 1, 1, 5});
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 1, 1, 5), (float[]){1, 0.59999996f, 0, -0.60000014f, -1});
    op_drop(&op);
}

static void linear_align_corners(void **state) {
    (void)state;
    one_op op = op_of("Resize");
    zq_node_set_string(&op.node, "mode", "linear");
    zq_node_set_string(&op.node, "coordinate_transformation_mode", "align_corners");
    add_ramp(&op, 3, SHAPE(1, 1, 2, 3));
    add_none(&op);
    add_none(&op);
    add_i64(&op, 4, (int64_t[]){1, 1, 1, 5});
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 1, 1, 5), (float[]){1, 0.5f, 0, -0.5f, -1});
    op_drop(&op);
}

static void linear_asymmetric(void **state) {
    (void)state;
    one_op op = op_of("Resize");
    zq_node_set_string(&op.node, "mode", "linear");
    zq_node_set_string(&op.node, "coordinate_transformation_mode", "asymmetric");
    add_ramp(&op, 3, SHAPE(1, 1, 2, 3));
    add_none(&op);
    add_none(&op);
    add_i64(&op, 4, (int64_t[]){1, 1, 1, 5});
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 1, 1, 5), (float[]){1, 0.39999998f, -0.20000005f, -0.80000007f, -1});
    op_drop(&op);
}

static void linear_scales(void **state) {
    (void)state;
    one_op op = op_of("Resize");
    zq_node_set_string(&op.node, "mode", "linear");
    add_ramp(&op, 1, SHAPE(1, 2, 2, 2));
    add_none(&op);
    add_f32(&op, SHAPE(4), (float[]){1, 1, 2, 1.5f});
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 2, 4, 3),
               (float[]){-0.5f,    0.375f,  1.25f,  -0.3125f, 0.21875f, 0.75f, 0.0625f, -0.09375f,
                         -0.25f,   0.25f,   -0.25f, -0.75f,   1,        0.5f,  0,       0.5f,
                         0.34375f, 0.1875f, -0.5f,  0.03125f, 0.5625f,  -1,    -0.125f, 0.75f});
    op_drop(&op);
}

static void linear_shrinks(void **state) {
    (void)state;
    one_op op = op_of("Resize");
    zq_node_set_string(&op.node, "mode", "linear");
    zq_node_set_string(&op.node, "coordinate_transformation_mode", "half_pixel");
    add_ramp(&op, 1, SHAPE(1, 1, 4, 5));
    add_none(&op);
    add_f32(&op, SHAPE(4), (float[]){1, 1, 0.5f, 0.60000002f});
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 1, 2, 3),
               (float[]){-0.12500001f, 0.5f, -0.25000006f, 0.41666669f, 0.125f, -0.16666651f});
    op_drop(&op);
}

/* An empty input counts as omitted, as exporters write it. */
static void empty_inputs_are_omitted(void **state) {
    (void)state;
    for (int sizes = 0; sizes < 2; sizes++) {
        one_op op = op_of("Resize");
        add_ramp(&op, 0, SHAPE(1, 1, 1, 2));
        add_f32(&op, SHAPE(0), (float[]){0});
        add_f32(&op, SHAPE(sizes ? 0 : 4), (float[]){1, 1, 1, 2});
        add_i64(&op, sizes ? 4 : 0, (int64_t[]){1, 1, 1, 4});
        run(&op);
        expect_f32(&op, 0, SHAPE(1, 1, 1, 4), (float[]){-1.25f, -1.25f, 0.5f, 0.5f});
        op_drop(&op);
    }
}

static one_op resize_of(const char *attr, const char *value) {
    one_op op = op_of("Resize");
    if (attr != NULL)
        zq_node_set_string(&op.node, attr, value);
    add_shape(&op, ZQ_F32, SHAPE(1, 2, 4, 4));
    add_none(&op);
    return op;
}

static void unsupported_attributes_are_refused(void **state) {
    (void)state;
    static const char *const texts[][3] = {
        {"mode", "cubic", "mode is \"cubic\"; supported are nearest, linear"},
        {"coordinate_transformation_mode", "tf_crop_and_resize",
         "\"tf_crop_and_resize\"; supported are half_pixel, pytorch_half_pixel, align_corners, asymmetric"},
        {"nearest_mode", "up", "nearest_mode is \"up\""},
        {"keep_aspect_ratio_policy", "not_larger", "supported are stretch"},
    };
    for (size_t k = 0; k < sizeof texts / sizeof texts[0]; k++) {
        one_op op = resize_of(texts[k][0], texts[k][1]);
        add_f32(&op, SHAPE(4), (float[]){1, 1, 2, 2});
        expect_refused(&op, ZQ_ERR_UNSUPPORTED, texts[k][2]);
    }
    one_op antialias = resize_of(NULL, NULL);
    zq_node_set_int(&antialias.node, "antialias", 1);
    add_f32(&antialias, SHAPE(4), (float[]){1, 1, 2, 2});
    expect_refused(&antialias, ZQ_ERR_UNSUPPORTED, "antialias is 1");
    one_op axes = resize_of(NULL, NULL);
    zq_node_set_ints(&axes.node, "axes", 2, (int64_t[]){2, 3});
    add_f32(&axes, SHAPE(2), (float[]){2, 2});
    expect_refused(&axes, ZQ_ERR_UNSUPPORTED, "attribute axes");
}

static void bad_scales_are_refused(void **state) {
    (void)state;
    static const float scales[][4] = {{1, 1, 0, 1}, {1, 1, -1, 1}, {1, 1, 1, NAN}, {1, 1, 1e30f, 1}};
    for (size_t k = 0; k < sizeof scales / sizeof scales[0]; k++) {
        one_op op = resize_of(NULL, NULL);
        add_f32(&op, SHAPE(4), scales[k]);
        expect_refused(&op, ZQ_ERR_FORMAT, "expected a positive number");
    }
    one_op none = resize_of(NULL, NULL);
    add_f32(&none, SHAPE(4), (float[]){1, 1, 0.1f, 1});
    expect_refused(&none, ZQ_ERR_FORMAT, "the output would have shape [1,2,0,4]");
    one_op few = resize_of(NULL, NULL);
    add_f32(&few, SHAPE(2), (float[]){2, 2});
    expect_refused(&few, ZQ_ERR_FORMAT, "shape [2]; expected float of shape [4]");
    one_op large = resize_of(NULL, NULL);
    add_f32(&large, SHAPE(4), (float[]){1, 1, 1e5f, 1e5f});
    expect_refused(&large, ZQ_ERR_LIMIT, "more than");
    one_op computed = resize_of(NULL, NULL);
    add_f32(&computed, SHAPE(4), (float[]){1, 1, 2, 2});
    computed.at_run_time[2] = true;
    expect_refused(&computed, ZQ_ERR_UNSUPPORTED, "scales is computed at run time");
}

static void bad_sizes_are_refused(void **state) {
    (void)state;
    one_op neither = resize_of(NULL, NULL);
    expect_refused(&neither, ZQ_ERR_FORMAT, "neither scales nor sizes");
    one_op few = resize_of(NULL, NULL);
    add_none(&few);
    add_i64(&few, 2, (int64_t[]){8, 8});
    expect_refused(&few, ZQ_ERR_FORMAT, "sizes has 2 entries; expected 4");
    one_op negative = resize_of(NULL, NULL);
    add_none(&negative);
    add_i64(&negative, 4, (int64_t[]){1, 2, -8, 8});
    expect_refused(&negative, ZQ_ERR_FORMAT, "[1,2,-8,8]");
    one_op zero = resize_of(NULL, NULL);
    add_none(&zero);
    add_i64(&zero, 4, (int64_t[]){1, 2, 0, 8});
    expect_refused(&zero, ZQ_ERR_FORMAT, "at least one element");
    one_op computed = resize_of(NULL, NULL);
    add_none(&computed);
    add_i64(&computed, 4, (int64_t[]){1, 2, 8, 8});
    computed.at_run_time[3] = true;
    expect_refused(&computed, ZQ_ERR_UNSUPPORTED, "computed at run time");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nearest_doubles),
        cmocka_unit_test(nearest_default),
        cmocka_unit_test(nearest_round_prefer_floor),
        cmocka_unit_test(nearest_round_prefer_ceil),
        cmocka_unit_test(nearest_floor),
        cmocka_unit_test(nearest_ceil),
        cmocka_unit_test(nearest_tie_prefers_floor),
        cmocka_unit_test(nearest_tie_prefers_ceil),
        cmocka_unit_test(nearest_every_axis),
        cmocka_unit_test(linear_half_pixel),
        cmocka_unit_test(linear_pytorch_half_pixel),
        cmocka_unit_test(linear_align_corners),
        cmocka_unit_test(linear_asymmetric),
        cmocka_unit_test(linear_scales),
        cmocka_unit_test(linear_shrinks),
        cmocka_unit_test(empty_inputs_are_omitted),
        cmocka_unit_test(unsupported_attributes_are_refused),
        cmocka_unit_test(bad_scales_are_refused),
        cmocka_unit_test(bad_sizes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
