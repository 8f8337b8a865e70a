/* SPDX-License-Identifier: Apache-2.0 */
/* Operators with one input that work element by element. */
#include "ops/one_op.h"

#include "base/random.h"
#include "ops/elementwise.h"

static const float xs[] = {-4, -2.5f, -0.5f, 0, 0.25f, 1, 2, 7};
enum { N = 8 };

/* Values and slopes of an operator without attributes at xs. */
static void check(const char *name, const float *values, const float *slopes) {
    one_op op = op_of(name);
    add_f32(&op, SHAPE(2, N / 2), xs);
    run(&op);
    expect_f32(&op, 0, SHAPE(2, N / 2), values);
    run_backward(&op, 1, (float[]){1, 1, 1, 1, 1, 1, 1, 1});
    expect_gradient(&op, 0, slopes);
    op_drop(&op);
}

static void activations_have_their_values_and_slopes(void **state) {
    (void)state;
    check("Relu", (float[]){0, 0, 0, 0, 0.25f, 1, 2, 7}, (float[]){0, 0, 0, 0, 1, 1, 1, 1});
    check("LeakyRelu", (float[]){-0.04f, -0.025f, -0.005f, 0, 0.25f, 1, 2, 7},
          (float[]){0.01f, 0.01f, 0.01f, 1, 1, 1, 1, 1});
    check(
        "Sigmoid",
        (float[]){0.0179862f, 0.0758582f, 0.3775407f, 0.5f, 0.5621765f, 0.7310586f, 0.8807971f, 0.9990889f},
        (float[]){0.0176627f, 0.0701037f, 0.2350037f, 0.25f, 0.2461341f, 0.1966119f, 0.1049936f, 0.0009102f});
    check("HardSigmoid", (float[]){0, 0, 0.4f, 0.5f, 0.55f, 0.7f, 0.9f, 1},
          (float[]){0, 0, 0.2f, 0.2f, 0.2f, 0.2f, 0.2f, 0});
    check("HardSwish", (float[]){0, -0.2083333f, -0.2083333f, 0, 0.1354167f, 0.6666667f, 1.6666667f, 7},
          (float[]){0, -0.3333333f, 0.3333333f, 0.5f, 0.5833333f, 0.8333333f, 1.1666667f, 1});
    check("Tanh",
          (float[]){-0.9993293f, -0.9866143f, -0.4621172f, 0, 0.2449187f, 0.7615942f, 0.9640276f, 0.9999983f},
          (float[]){0.0013410f, 0.0265922f, 0.7864477f, 1, 0.9400148f, 0.4199743f, 0.0706508f, 0.0000033f});
    check(
        "Exp",
        (float[]){0.0183156f, 0.0820850f, 0.6065307f, 1, 1.2840254f, 2.7182818f, 7.3890561f, 1096.6331584f},
        (float[]){0.0183156f, 0.0820850f, 0.6065307f, 1, 1.2840254f, 2.7182818f, 7.3890561f, 1096.6331584f});
}

static void attributes_are_read(void **state) {
    (void)state;
    one_op leaky = op_of("LeakyRelu");
    zq_node_set_float(&leaky.node, "alpha", 0.5f);
    add_f32(&leaky, SHAPE(2), (float[]){-4, 4});
    run(&leaky);
    expect_f32(&leaky, 0, SHAPE(2), (float[]){-2, 4});
    op_drop(&leaky);

    one_op hard = op_of("HardSigmoid");
    zq_node_set_float(&hard.node, "alpha", 0.25f);
    zq_node_set_float(&hard.node, "beta", 0.125f);
    add_f32(&hard, SHAPE(3), (float[]){-4, 1, 8});
    run(&hard);
    expect_f32(&hard, 0, SHAPE(3), (float[]){0, 0.375f, 1});
    op_drop(&hard);
}

static void sqrt_and_floor(void **state) {
    (void)state;
    one_op root = op_of("Sqrt");
    add_f32(&root, SHAPE(3), (float[]){0, 4, 0.25f});
    run(&root);
    expect_f32(&root, 0, SHAPE(3), (float[]){0, 2, 0.5f});
    run_backward(&root, 1, (float[]){1, 1, 3});
    expect_gradient(&root, 0, (float[]){0, 0.25f, 3});
    op_drop(&root);

    one_op down = op_of("Floor");
    assert_null(down.node.op->backward);
    add_f32(&down, SHAPE(4), (float[]){-1.5f, -1, 0.9f, 2.5f});
    run(&down);
    expect_f32(&down, 0, SHAPE(4), (float[]){-2, -1, 0, 2});
    op_drop(&down);
}

static void not_a_number_is_not_hidden(void **state) {
    (void)state;
    static const char *const names[] = {"Relu", "LeakyRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Clip"};
    for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
        one_op op = op_of(names[k]);
        add_f32(&op, SHAPE(1), (float[]){NAN});
        run(&op);
        assert_true(isnan(zq_tensor_item(op.out[0], 0)));
        op_drop(&op);
    }
}

static void clip_takes_either_bound_or_none(void **state) {
    (void)state;
    static const float results[4][N] = {{-4, -2.5f, -0.5f, 0, 0.25f, 1, 2, 7},
                                        {0, 0, 0, 0, 0.25f, 1, 2, 7},
                                        {-4, -2.5f, -0.5f, 0, 0.25f, 1, 2, 6},
                                        {0, 0, 0, 0, 0.25f, 1, 2, 6}};
    static const float slopes[4][N] = {{1, 1, 1, 1, 1, 1, 1, 1},
                                       {0, 0, 0, 0, 1, 1, 1, 1},
                                       {1, 1, 1, 1, 1, 1, 1, 0},
                                       {0, 0, 0, 0, 1, 1, 1, 0}};
    for (int k = 0; k < 4; k++) {
        one_op op = op_of("Clip");
        add_f32(&op, SHAPE(N), xs);
        if (k & 1)
            add_f32(&op, SCALAR, (float[]){0});
        else
            add_none(&op);
        if (k & 2)
            add_f32(&op, SHAPE(1), (float[]){6});
        run(&op);
        expect_f32(&op, 0, SHAPE(N), results[k]);
        run_backward(&op, 1, (float[]){1, 1, 1, 1, 1, 1, 1, 1});
        expect_gradient(&op, 0, slopes[k]);
        op_drop(&op);
    }
}

static void clip_works_on_integers(void **state) {
    (void)state;
    static const struct {
        zq_dtype dtype;
        int64_t in[3], low, high, out[3];
    } cases[] = {
        {ZQ_U8, {0, 15, 255}, 1, 15, {1, 15, 15}},
        {ZQ_I8, {-128, 3, 127}, -8, 7, {-8, 3, 7}},
        {ZQ_I32, {INT32_MIN, 0, INT32_MAX}, -1, 1, {-1, 0, 1}},
        {ZQ_I64, {INT64_MIN, 0, INT64_MAX}, INT64_MIN, 5, {INT64_MIN, 0, 5}},
    };
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        one_op op = op_of("Clip");
        add_int(&op, cases[k].dtype, SHAPE(3), cases[k].in);
        add_int(&op, cases[k].dtype, SCALAR, &cases[k].low);
        add_int(&op, cases[k].dtype, SCALAR, &cases[k].high);
        run(&op);
        expect_int(&op, 0, cases[k].dtype, SHAPE(3), cases[k].out);
        op_drop(&op);
    }
}

static void wrong_types_are_refused(void **state) {
    (void)state;
    one_op relu = op_of("Relu");
    add_i64(&relu, 1, (int64_t[]){1});
    expect_refused(&relu, ZQ_ERR_UNSUPPORTED, "takes float, but was given int64");

    one_op bound = op_of("Clip");
    add_f32(&bound, SHAPE(1), (float[]){1});
    add_f32(&bound, SHAPE(2), (float[]){1, 2});
    expect_refused(&bound, ZQ_ERR_FORMAT, "minimum has the shape [2], expected one number");

    one_op mixed = op_of("Clip");
    add_f32(&mixed, SHAPE(1), (float[]){1});
    add_none(&mixed);
    add_i64(&mixed, -1, (int64_t[]){1});
    expect_refused(&mixed, ZQ_ERR_FORMAT, "maximum is int64, but its data is float");

    one_op flags = op_of("Clip");
    add_int(&flags, ZQ_BOOL, SHAPE(1), (int64_t[]){1});
    expect_refused(&flags, ZQ_ERR_UNSUPPORTED, "bool");

    one_op alpha = op_of("LeakyRelu");
    zq_node_set_string(&alpha.node, "alpha", "much");
    add_f32(&alpha, SHAPE(1), (float[]){1});
    expect_refused(&alpha, ZQ_ERR_FORMAT, "'alpha'");
}

/* Enough elements for several threads, and a rest that fills no vector. */
static void large_tensors_are_covered_to_the_end(void **state) {
    (void)state;
    const int64_t n = 3 * ZQ_PARALLEL_MIN + 5;
    float *x = zq_alloc((size_t)n, sizeof *x), *y = zq_alloc((size_t)n, sizeof *y);
    for (int64_t i = 0; i < n; i++) {
        x[i] = (float)zq_random_normal(1, (uint64_t)i);
        y[i] = x[i] > 0 ? x[i] : 0;
    }
    one_op op = op_of("Relu");
    add_f32(&op, SHAPE(n), x);
    run(&op);
    expect_f32(&op, 0, SHAPE(n), y);
    run_backward(&op, 1, x);
    expect_gradient(&op, 0, y);
    op_drop(&op);
    zq_free(x);
    zq_free(y);
}

static void tensors_without_elements_are_fine(void **state) {
    (void)state;
    one_op op = op_of("Sigmoid");
    add_f32(&op, SHAPE(2, 0), (float[]){0});
    run(&op);
    expect_shape(op.out[0], ZQ_F32, SHAPE(2, 0));
    run_backward(&op, 1, (float[]){0});
    op_drop(&op);
}

static void no_gradient_in_is_a_zero_gradient_out(void **state) {
    (void)state;
    one_op op = op_of("Relu");
    add_f32(&op, SHAPE(2), (float[]){1, 2});
    run(&op);
    run_backward(&op, 1, NULL);
    expect_gradient(&op, 0, (float[]){0, 0});
    op_drop(&op);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(activations_have_their_values_and_slopes),
        cmocka_unit_test(attributes_are_read),
        cmocka_unit_test(sqrt_and_floor),
        cmocka_unit_test(not_a_number_is_not_hidden),
        cmocka_unit_test(clip_takes_either_bound_or_none),
        cmocka_unit_test(clip_works_on_integers),
        cmocka_unit_test(wrong_types_are_refused),
        cmocka_unit_test(large_tensors_are_covered_to_the_end),
        cmocka_unit_test(tensors_without_elements_are_fine),
        cmocka_unit_test(no_gradient_in_is_a_zero_gradient_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
