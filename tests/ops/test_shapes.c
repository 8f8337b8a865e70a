/* SPDX-License-Identifier: Apache-2.0 */
/* Operators that change the shape only, make constants, or change the element type. */
#include "ops/one_op.h"

static const float f6[] = {1, 2, 3, 4, 5, 6};

static void same_elements(void **state) {
    (void)state;
    static const char *const names[] = {"Identity", "Dropout"};
    for (int k = 0; k < 2; k++) {
        one_op op = op_of(names[k]);
        add_f32(&op, SHAPE(2, 3), f6);
        run(&op);
        expect_f32(&op, 0, SHAPE(2, 3), f6);
        run_backward(&op, 1, f6);
        expect_gradient(&op, 0, f6);
        op_drop(&op);
    }
    one_op mask = op_of("Dropout");
    add_shape(&mask, ZQ_F32, SHAPE(2));
    mask.n_out = 2;
    expect_refused(&mask, ZQ_ERR_UNSUPPORTED, "its second output, the mask, is used");
}

typedef struct reshape_case {
    int64_t allowzero;
    int n;
    int64_t target[4];
    int rank; /* -1: refused */
    int64_t dims[4];
} reshape_case;

static void reshape_fills_zero_and_minus_one(void **state) {
    (void)state;
    static const reshape_case cases[] = {
        {0, 1, {-1}, 1, {6}},      {0, 2, {3, 2}, 2, {3, 2}}, {0, 3, {0, -1, 1}, 3, {2, 3, 1}},
        {0, 2, {0, 0}, 2, {2, 3}}, {0, 2, {-1, -1}, -1, {0}}, {0, 1, {-2}, -1, {0}},
        {0, 1, {5}, -1, {0}},      {0, 2, {4, -1}, -1, {0}},  {0, 3, {2, 3, 0}, -1, {0}},
        {1, 2, {0, 6}, -1, {0}},   {1, 2, {0, -1}, -1, {0}},  {0, 2, {1LL << 62, 1LL << 62}, -1, {0}},
    };
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        const reshape_case *c = &cases[k];
        one_op op = op_of("Reshape");
        zq_node_set_int(&op.node, "allowzero", c->allowzero);
        add_f32(&op, SHAPE(2, 3), f6);
        add_i64(&op, c->n, c->target);
        if (c->rank < 0) {
            expect_refused(&op, ZQ_ERR_FORMAT, "[2,3] can't be reshaped to [");
            continue;
        }
        run(&op);
        expect_f32(&op, 0, zq_shape_of(c->rank, c->dims), f6);
        run_backward(&op, 1, f6);
        expect_gradient(&op, 0, f6);
        op_drop(&op);
    }
}

static void shapes_from_data_are_refused(void **state) {
    (void)state;
    one_op late = op_of("Reshape");
    add_f32(&late, SHAPE(2, 3), f6);
    add_i64(&late, 1, (int64_t[]){-1});
    late.at_run_time[1] = true;
    expect_refused(
        &late, ZQ_ERR_UNSUPPORTED,
        "Reshape node 'n': its input 1 (shape) is computed at run time from the data; only shapes that "
        "follow from the input size are supported");

    one_op type = op_of("Reshape");
    add_f32(&type, SHAPE(2, 3), f6);
    add_f32(&type, SHAPE(1), f6);
    expect_refused(&type, ZQ_ERR_FORMAT, "input 1 (shape) is float, expected int64");

    one_op rank = op_of("Reshape");
    add_f32(&rank, SHAPE(2, 3), f6);
    add_int(&rank, ZQ_I64, SHAPE(1, 2), (int64_t[]){2, 3});
    expect_refused(&rank, ZQ_ERR_FORMAT, "has the shape [1,2], expected one dimension");

    one_op many = op_of("Reshape");
    add_f32(&many, SHAPE(2, 3), f6);
    add_i64(&many, 9, (int64_t[]){2, 3, 1, 1, 1, 1, 1, 1, 1});
    expect_refused(&many, ZQ_ERR_FORMAT, "has 9 values, expected at most 8");
}

static void flatten_makes_two_dimensions(void **state) {
    (void)state;
    static const int64_t cases[][3] = {{0, 1, 6}, {1, 1, 6}, {2, 2, 3}, {3, 6, 1}, {-1, 2, 3}};
    for (int k = 0; k < 5; k++) {
        one_op op = op_of("Flatten");
        zq_node_set_int(&op.node, "axis", cases[k][0]);
        add_f32(&op, SHAPE(1, 2, 3), f6);
        run(&op);
        expect_f32(&op, 0, SHAPE(cases[k][1], cases[k][2]), f6);
        op_drop(&op);
    }
    one_op bad = op_of("Flatten");
    zq_node_set_int(&bad.node, "axis", 4);
    add_shape(&bad, ZQ_F32, SHAPE(1, 2, 3));
    expect_refused(&bad, ZQ_ERR_FORMAT, "axis 4 doesn't exist");

    one_op low = op_of("Flatten");
    zq_node_set_int(&low.node, "axis", -4);
    add_shape(&low, ZQ_F32, SHAPE(1, 2, 3));
    expect_refused(&low, ZQ_ERR_FORMAT, "axis -4 doesn't exist");

    one_op hostile = op_of("Flatten");
    add_shape(&hostile, ZQ_F32, SHAPE(0, 1LL << 62, 1LL << 62));
    expect_refused(&hostile, ZQ_ERR_LIMIT, "more than");
}

static void squeeze_and_unsqueeze(void **state) {
    (void)state;
    one_op all = op_of("Squeeze");
    add_f32(&all, SHAPE(1, 2, 1, 3), f6);
    run(&all);
    expect_f32(&all, 0, SHAPE(2, 3), f6);
    op_drop(&all);

    one_op named = op_of("Squeeze");
    add_f32(&named, SHAPE(1, 2, 1, 3), f6);
    add_i64(&named, 1, (int64_t[]){-2});
    run(&named);
    expect_f32(&named, 0, SHAPE(1, 2, 3), f6);
    op_drop(&named);

    one_op wide = op_of("Squeeze");
    add_shape(&wide, ZQ_F32, SHAPE(1, 2));
    add_i64(&wide, 1, (int64_t[]){1});
    expect_refused(&wide, ZQ_ERR_FORMAT, "dimension 1 of [1,2] is not 1");

    one_op put = op_of("Unsqueeze");
    add_f32(&put, SHAPE(2, 3), f6);
    add_i64(&put, 2, (int64_t[]){0, -1});
    run(&put);
    expect_f32(&put, 0, SHAPE(1, 2, 3, 1), f6);
    op_drop(&put);

    one_op twice = op_of("Unsqueeze");
    add_shape(&twice, ZQ_F32, SHAPE(2, 3));
    add_i64(&twice, 2, (int64_t[]){0, -4});
    expect_refused(&twice, ZQ_ERR_FORMAT, "axis 0 is named twice");

    one_op deep = op_of("Unsqueeze");
    add_shape(&deep, ZQ_F32, SHAPE(1, 1, 1, 1, 1, 1, 1));
    add_i64(&deep, 2, (int64_t[]){0, 1});
    expect_refused(&deep, ZQ_ERR_UNSUPPORTED, "9 dimensions, at most 8");
}

static void shape_is_a_vector(void **state) {
    (void)state;
    one_op op = op_of("Shape");
    add_shape(&op, ZQ_F32, SHAPE(2, 3, 4)); /* it needs no data */
    run(&op);
    expect_int(&op, 0, ZQ_I64, SHAPE(3), (int64_t[]){2, 3, 4});
    op_drop(&op);

    one_op part = op_of("Shape");
    zq_node_set_int(&part.node, "start", -2);
    zq_node_set_int(&part.node, "end", -1);
    add_shape(&part, ZQ_F32, SHAPE(2, 3, 4));
    run(&part);
    expect_int(&part, 0, ZQ_I64, SHAPE(1), (int64_t[]){3});
    op_drop(&part);

    one_op none = op_of("Shape");
    zq_node_set_int(&none.node, "start", INT64_MAX);
    zq_node_set_int(&none.node, "end", INT64_MIN);
    add_shape(&none, ZQ_F32, SHAPE(2));
    run(&none);
    expect_shape(none.out[0], ZQ_I64, SHAPE(0));
    op_drop(&none);
}

static void constants(void **state) {
    (void)state;
    one_op tensor = op_of("Constant");
    zq_node_set_tensor(&tensor.node, "value", zq_tensor_new_i64(2, (int64_t[]){5, 6}));
    run(&tensor);
    expect_int(&tensor, 0, ZQ_I64, SHAPE(2), (int64_t[]){5, 6});
    op_drop(&tensor);

    one_op number = op_of("Constant");
    zq_node_set_float(&number.node, "value_float", 1.5f);
    run(&number);
    expect_f32(&number, 0, SCALAR, (float[]){1.5f});
    op_drop(&number);

    one_op numbers = op_of("Constant");
    zq_node_set_floats(&numbers.node, "value_floats", 2, f6);
    run(&numbers);
    expect_f32(&numbers, 0, SHAPE(2), f6);
    op_drop(&numbers);

    one_op whole = op_of("Constant");
    zq_node_set_int(&whole.node, "value_int", -3);
    run(&whole);
    expect_int(&whole, 0, ZQ_I64, SCALAR, (int64_t[]){-3});
    op_drop(&whole);

    one_op wholes = op_of("Constant");
    zq_node_set_ints(&wholes.node, "value_ints", 2, (int64_t[]){7, 8});
    run(&wholes);
    expect_int(&wholes, 0, ZQ_I64, SHAPE(2), (int64_t[]){7, 8});
    op_drop(&wholes);

    one_op text = op_of("Constant");
    zq_node_set_string(&text.node, "value_string", "x");
    expect_refused(&text, ZQ_ERR_UNSUPPORTED, "holds no value that is supported");

    one_op wrong = op_of("Constant");
    zq_node_set_string(&wrong.node, "value_int", "x");
    expect_refused(&wrong, ZQ_ERR_UNSUPPORTED, "holds no value that is supported");
}

static void constants_of_a_shape(void **state) {
    (void)state;
    one_op zeros = op_of("ConstantOfShape");
    add_i64(&zeros, 2, (int64_t[]){1, 2});
    run(&zeros);
    expect_f32(&zeros, 0, SHAPE(1, 2), (float[]){0, 0});
    op_drop(&zeros);

    one_op sevens = op_of("ConstantOfShape");
    zq_node_set_tensor(&sevens.node, "value", zq_tensor_new_i64(1, (int64_t[]){7}));
    add_i64(&sevens, 1, (int64_t[]){3});
    run(&sevens);
    expect_int(&sevens, 0, ZQ_I64, SHAPE(3), (int64_t[]){7, 7, 7});
    op_drop(&sevens);

    one_op two = op_of("ConstantOfShape");
    zq_node_set_tensor(&two.node, "value", zq_tensor_new_i64(2, (int64_t[]){7, 8}));
    add_i64(&two, 1, (int64_t[]){3});
    expect_refused(&two, ZQ_ERR_FORMAT, "not a tensor of one element");

    one_op huge = op_of("ConstantOfShape");
    add_i64(&huge, 3, (int64_t[]){1 << 11, 1 << 10, 1 << 11});
    expect_refused(&huge, ZQ_ERR_LIMIT, "[2048,1024,2048]");
}

static one_op range_of(zq_dtype dtype, int64_t start, int64_t limit, int64_t delta) {
    one_op op = op_of("Range");
    add_int(&op, dtype, SCALAR, &start);
    add_int(&op, dtype, SCALAR, &limit);
    add_int(&op, dtype, SCALAR, &delta);
    return op;
}

static void ranges(void **state) {
    (void)state;
    one_op up = range_of(ZQ_I64, 1, 8, 3);
    run(&up);
    expect_int(&up, 0, ZQ_I64, SHAPE(3), (int64_t[]){1, 4, 7});
    op_drop(&up);
    one_op down = range_of(ZQ_I32, 3, 0, -1);
    run(&down);
    expect_int(&down, 0, ZQ_I32, SHAPE(3), (int64_t[]){3, 2, 1});
    op_drop(&down);
    one_op none = range_of(ZQ_I64, 3, 3, 1);
    run(&none);
    expect_shape(none.out[0], ZQ_I64, SHAPE(0));
    op_drop(&none);
    one_op wide = range_of(ZQ_I64, INT64_MIN, INT64_MAX, 1LL << 62);
    run(&wide);
    expect_int(&wide, 0, ZQ_I64, SHAPE(4), (int64_t[]){INT64_MIN, -(1LL << 62), 0, 1LL << 62});
    op_drop(&wide);

    one_op real = op_of("Range");
    add_f32(&real, SCALAR, (float[]){1});
    add_f32(&real, SCALAR, (float[]){2});
    add_f32(&real, SCALAR, (float[]){0.4f});
    run(&real);
    expect_f32(&real, 0, SHAPE(3), (float[]){1, 1.4f, 1.8f});
    op_drop(&real);
}

static void bad_ranges_are_refused(void **state) {
    (void)state;
    one_op still = range_of(ZQ_I64, 0, 5, 0);
    expect_refused(&still, ZQ_ERR_FORMAT, "its delta is 0");
    one_op huge = range_of(ZQ_I64, INT64_MIN, INT64_MAX, 1);
    expect_refused(&huge, ZQ_ERR_LIMIT, "more than");
    one_op back = range_of(ZQ_I64, INT64_MAX, INT64_MIN, -1);
    expect_refused(&back, ZQ_ERR_LIMIT, "more than");
    one_op late = range_of(ZQ_I64, 0, 5, 1);
    late.at_run_time[1] = true;
    expect_refused(&late, ZQ_ERR_UNSUPPORTED, "input 1 (limit) is computed at run time");
    one_op real = op_of("Range");
    add_f32(&real, SCALAR, (float[]){0});
    add_f32(&real, SCALAR, (float[]){INFINITY});
    add_f32(&real, SCALAR, (float[]){1});
    expect_refused(&real, ZQ_ERR_LIMIT, "more than");

    one_op never = op_of("Range"); /* not refused, but nothing either */
    add_f32(&never, SCALAR, (float[]){0});
    add_f32(&never, SCALAR, (float[]){NAN});
    add_f32(&never, SCALAR, (float[]){1});
    run(&never);
    expect_shape(never.out[0], ZQ_F32, SHAPE(0));
    op_drop(&never);
}

/* ---- Cast */

static one_op cast_to(int64_t to) {
    one_op op = op_of("Cast");
    zq_node_set_int(&op.node, "to", to);
    return op;
}

static void casts_from_float_saturate(void **state) {
    (void)state;
    const float in[] = {-1e30f, -2.7f, 0.9f, 3.5f, 300, NAN};
    static const struct {
        int64_t to;
        zq_dtype dtype;
        int64_t out[6];
    } cases[] = {
        {2, ZQ_U8, {0, 0, 0, 3, 255, 0}},           {3, ZQ_I8, {-128, -2, 0, 3, 127, 0}},
        {6, ZQ_I32, {INT32_MIN, -2, 0, 3, 300, 0}}, {7, ZQ_I64, {INT64_MIN, -2, 0, 3, 300, 0}},
        {9, ZQ_BOOL, {1, 1, 1, 1, 1, 1}},           {21, ZQ_U4, {0, 0, 0, 3, 15, 0}},
        {22, ZQ_I4, {-8, -2, 0, 3, 7, 0}},          {25, ZQ_U2, {0, 0, 0, 3, 3, 0}},
        {26, ZQ_I2, {-2, -2, 0, 1, 1, 0}},
    };
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        one_op op = cast_to(cases[k].to);
        add_f32(&op, SHAPE(6), in);
        run(&op);
        expect_int(&op, 0, cases[k].dtype, SHAPE(6), cases[k].out);
        op_drop(&op);
    }
}

static void casts_between_integers_keep_the_low_bits(void **state) {
    (void)state;
    const int64_t in[] = {-1, 8, 300, 1LL << 32};
    static const struct {
        int64_t to;
        zq_dtype dtype;
        int64_t out[4];
    } cases[] = {
        {2, ZQ_U8, {255, 8, 44, 0}}, {3, ZQ_I8, {-1, 8, 44, 0}},  {6, ZQ_I32, {-1, 8, 300, 0}},
        {9, ZQ_BOOL, {1, 1, 1, 1}},  {21, ZQ_U4, {15, 8, 12, 0}}, {22, ZQ_I4, {-1, -8, -4, 0}},
        {25, ZQ_U2, {3, 0, 0, 0}},
    };
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        one_op op = cast_to(cases[k].to);
        add_i64(&op, 4, in);
        run(&op);
        expect_int(&op, 0, cases[k].dtype, SHAPE(4), cases[k].out);
        op_drop(&op);
    }
    one_op wide = cast_to(3); /* the form in which 4-bit weights are written: INT4, Cast to INT8 */
    add_int(&wide, ZQ_I4, SHAPE(3), (int64_t[]){-8, 0, 7});
    run(&wide);
    expect_int(&wide, 0, ZQ_I8, SHAPE(3), (int64_t[]){-8, 0, 7});
    op_drop(&wide);
}

static void casts_to_float(void **state) {
    (void)state;
    one_op op = cast_to(1);
    add_int(&op, ZQ_I8, SHAPE(2), (int64_t[]){-3, 4});
    run(&op);
    expect_f32(&op, 0, SHAPE(2), (float[]){-3, 4});
    op_drop(&op);

    one_op same = cast_to(11); /* double */
    add_f32(&same, SHAPE(2), (float[]){-3, 4.5f});
    run(&same);
    expect_f32(&same, 0, SHAPE(2), (float[]){-3, 4.5f});
    run_backward(&same, 1, (float[]){5, 6});
    expect_gradient(&same, 0, (float[]){5, 6});
    op_drop(&same);

    one_op half = cast_to(10);
    add_shape(&half, ZQ_F32, SHAPE(2));
    expect_refused(&half, ZQ_ERR_UNSUPPORTED, "casts to float16");
    one_op missing = op_of("Cast");
    add_shape(&missing, ZQ_F32, SHAPE(2));
    expect_refused(&missing, ZQ_ERR_UNSUPPORTED, "ONNX type 0");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_elements),
        cmocka_unit_test(reshape_fills_zero_and_minus_one),
        cmocka_unit_test(shapes_from_data_are_refused),
        cmocka_unit_test(flatten_makes_two_dimensions),
        cmocka_unit_test(squeeze_and_unsqueeze),
        cmocka_unit_test(shape_is_a_vector),
        cmocka_unit_test(constants),
        cmocka_unit_test(constants_of_a_shape),
        cmocka_unit_test(ranges),
        cmocka_unit_test(bad_ranges_are_refused),
        cmocka_unit_test(casts_from_float_saturate),
        cmocka_unit_test(casts_between_integers_keep_the_low_bits),
        cmocka_unit_test(casts_to_float),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
