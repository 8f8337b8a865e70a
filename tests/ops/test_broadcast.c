/* SPDX-License-Identifier: Apache-2.0 */
/* Operators with two inputs, broadcasting, and the sums of gradients over broadcast dimensions. */
#include "ops/one_op.h"

#include "base/random.h"

#include <stdio.h>

static const float a6[] = {1, -2, 3, 4, 5, -6};

static void check(const char *name, zq_shape b_shape, const float *b, const float *values, const float *d_a,
                  const float *d_b) {
    one_op op = op_of(name);
    add_f32(&op, SHAPE(2, 3), a6);
    add_f32(&op, b_shape, b);
    run(&op);
    expect_f32(&op, 0, SHAPE(2, 3), values);
    run_backward(&op, 2, (float[]){1, 2, 3, 4, 5, 6});
    expect_gradient(&op, 0, d_a);
    expect_gradient(&op, 1, d_b);
    op_drop(&op);
}

static void values_and_gradients(void **state) {
    (void)state;
    check("Add", SHAPE(3), (float[]){10, 20, 30}, (float[]){11, 18, 33, 14, 25, 24},
          (float[]){1, 2, 3, 4, 5, 6}, (float[]){5, 7, 9});
    check("Sub", SHAPE(2, 1), (float[]){10, 20}, (float[]){-9, -12, -7, -16, -15, -26},
          (float[]){1, 2, 3, 4, 5, 6}, (float[]){-6, -15});
    check("Mul", SHAPE(2, 3), (float[]){1, 2, 3, 4, 5, 6}, (float[]){1, -4, 9, 16, 25, -36},
          (float[]){1, 4, 9, 16, 25, 36}, (float[]){1, -4, 9, 16, 25, -36});
    check("Div", SCALAR, (float[]){2}, (float[]){0.5f, -1, 1.5f, 2, 2.5f, -3},
          (float[]){0.5f, 1, 1.5f, 2, 2.5f, 3}, (float[]){-2.75f}); /* -(1 - 4 + 9 + 16 + 25 - 36) / 4 */
    check("Pow", SCALAR, (float[]){2}, (float[]){1, 4, 9, 16, 25, 36}, (float[]){2, -8, 18, 32, 50, -72},
          (float[]){0 + 3 * 9 * 1.0986123f + 4 * 16 * 1.3862944f + 5 * 25 * 1.6094379f});
    check("Pow", SHAPE(3), (float[]){0, 3, 1}, (float[]){1, -8, 3, 1, 125, -6},
          (float[]){0, 24, 3, 0, 375, 6}, (float[]){4 * 1.3862944f, 625 * 1.6094379f, 9 * 1.0986123f});
    check("PRelu", SHAPE(3), (float[]){0.5f, 0.25f, 2}, (float[]){1, -0.5f, 3, 4, 5, -12},
          (float[]){1, 0.5f, 3, 4, 5, 12}, (float[]){0, -4, -36});
}

static void a_constant_power_is_flat_at_zero(void **state) {
    (void)state;
    one_op op = op_of("Pow");
    add_f32(&op, SHAPE(2), (float[]){0, 0});
    add_f32(&op, SHAPE(2), (float[]){0, 1});
    run(&op);
    expect_f32(&op, 0, SHAPE(2), (float[]){1, 0});
    run_backward(&op, 1, (float[]){1, 1});
    expect_gradient(&op, 0, (float[]){0, 1});
    op_drop(&op);
}

static void both_inputs_may_be_repeated(void **state) {
    (void)state;
    one_op op = op_of("Mul");
    add_f32(&op, SHAPE(2, 1), (float[]){2, 3});
    add_f32(&op, SHAPE(1, 3), (float[]){5, 7, 11});
    run(&op);
    expect_f32(&op, 0, SHAPE(2, 3), (float[]){10, 14, 22, 15, 21, 33});
    run_backward(&op, 2, (float[]){1, 1, 1, 1, 1, 1});
    expect_gradient(&op, 0, (float[]){23, 23});
    expect_gradient(&op, 1, (float[]){5, 5, 5});
    op_drop(&op);
}

static void scalars_and_empty_tensors(void **state) {
    (void)state;
    one_op scalar = op_of("Add");
    add_f32(&scalar, SCALAR, (float[]){2});
    add_f32(&scalar, SCALAR, (float[]){3});
    run(&scalar);
    expect_f32(&scalar, 0, SCALAR, (float[]){5});
    run_backward(&scalar, 2, (float[]){7});
    expect_gradient(&scalar, 0, (float[]){7});
    expect_gradient(&scalar, 1, (float[]){7});
    op_drop(&scalar);

    one_op empty = op_of("Mul");
    add_f32(&empty, SHAPE(0, 3), (float[]){0});
    add_f32(&empty, SHAPE(1, 3), (float[]){1, 2, 3});
    run(&empty);
    expect_shape(empty.out[0], ZQ_F32, SHAPE(0, 3));
    run_backward(&empty, 2, (float[]){0});
    expect_gradient(&empty, 1, (float[]){0, 0, 0});
    op_drop(&empty);
}

/* ---- against index arithmetic, on random shapes */

static int64_t random_below(uint64_t *counter, uint64_t seed, int64_t n) {
    return (int64_t)(zq_random_uniform(seed, (*counter)++) * (double)n);
}

/* Index into a tensor that is repeated to shape out, for element i of out. */
static int64_t repeated_index(int64_t i, const zq_shape *out, const zq_shape *src) {
    int64_t index = 0, step = 1;
    for (int d = out->rank - 1; d >= 0; d--) {
        const int own = d - (out->rank - src->rank);
        if (own >= 0 && src->dims[own] > 1)
            index += i % out->dims[d] * step;
        step *= own >= 0 ? src->dims[own] : 1;
        i /= out->dims[d];
    }
    return index;
}

static void random_problem(uint64_t seed, uint64_t *counter) {
    const int rank = 1 + (int)random_below(counter, seed, 5);
    const int64_t sizes[] = {1, 2, 3, 7, 33};
    zq_shape out = {.rank = rank}, shapes[2] = {{.rank = rank}, {.rank = rank}};
    for (int d = 0; d < rank; d++) {
        out.dims[d] = sizes[random_below(counter, seed, d == rank - 1 ? 5 : 4)];
        const int64_t repeated = random_below(counter, seed, 4); /* 0: a, 1: b, else none */
        shapes[0].dims[d] = repeated == 0 ? 1 : out.dims[d];
        shapes[1].dims[d] = repeated == 1 ? 1 : out.dims[d];
    }
    one_op op = op_of("Mul");
    for (int k = 0; k < 2; k++) {
        zq_tensor *tensor = zq_tensor_new(ZQ_F32, &shapes[k]);
        for (int64_t i = 0; i < zq_shape_count(&shapes[k]); i++)
            ((zq_real *)tensor->data)[i] = (zq_real)zq_random_normal(seed, (*counter)++);
        op.in[op.n_in++] = tensor;
    }
    run(&op);
    char text[3][ZQ_SHAPE_TEXT];
    print_message("%s = %s * %s\n", zq_shape_text(&out, text[0]), zq_shape_text(&shapes[0], text[1]),
                  zq_shape_text(&shapes[1], text[2]));
    const int64_t n = zq_shape_count(&out);
    float *y = zq_alloc((size_t)n, sizeof *y), *d_y = zq_alloc((size_t)n, sizeof *d_y);
    float *d[2] = {zq_alloc((size_t)n, sizeof(float)), zq_alloc((size_t)n, sizeof(float))};
    for (int64_t i = 0; i < n; i++) {
        const int64_t at[2] = {repeated_index(i, &out, &shapes[0]), repeated_index(i, &out, &shapes[1])};
        const float a = (float)zq_tensor_item(op.in[0], at[0]), b = (float)zq_tensor_item(op.in[1], at[1]);
        d_y[i] = (float)random_below(counter, seed, 3);
        y[i] = a * b;
        d[0][at[0]] += d_y[i] * b;
        d[1][at[1]] += d_y[i] * a;
    }
    expect_f32(&op, 0, out, y);
    run_backward(&op, 2, d_y);
    for (int k = 0; k < 2; k++) /* sums of thousands of floats in another order */
        for (int64_t i = 0; i < zq_shape_count(&shapes[k]); i++)
            assert_float_equal((float)zq_tensor_item(op.d_in[k], i), d[k][i], 2e-3);
    op_drop(&op);
    zq_free(y);
    zq_free(d_y);
    zq_free(d[0]);
    zq_free(d[1]);
}

static void any_shapes_are_repeated_and_summed(void **state) {
    (void)state;
    const uint64_t seed = 20;
    uint64_t counter = 0;
    print_message("seed %d\n", (int)seed);
    for (int k = 0; k < 60; k++)
        random_problem(seed, &counter);
}

/* Long rows are cut into blocks, for the threads. */
static void long_rows(void **state) {
    (void)state;
    enum { C = 3, N = 70001 };
    float *x = zq_alloc(C * N, sizeof *x), *y = zq_alloc(C * N, sizeof *y);
    for (int i = 0; i < C * N; i++) {
        x[i] = (float)(i % 17);
        y[i] = x[i] * (float)(1 + i / N);
    }
    one_op op = op_of("Mul");
    add_f32(&op, SHAPE(C, N), x);
    add_f32(&op, SHAPE(C, 1), (float[]){1, 2, 3});
    run(&op);
    expect_f32(&op, 0, SHAPE(C, N), y);
    run_backward(&op, 2, x);
    expect_gradient(&op, 0, y);
    double sums[C] = {0};
    for (int i = 0; i < C * N; i++)
        sums[i / N] += (double)(x[i] * x[i]);
    expect_gradient(&op, 1, (float[]){(float)sums[0], (float)sums[1], (float)sums[2]});
    op_drop(&op);
    zq_free(x);
    zq_free(y);
}

/* ---- integers */

static void check_int(const char *name, zq_dtype dtype, int64_t a, int64_t b, int64_t expected) {
    one_op op = op_of(name);
    add_int(&op, dtype, SHAPE(1), &a);
    add_int(&op, dtype, SHAPE(1), &b);
    run(&op);
    expect_int(&op, 0, dtype, SHAPE(1), &expected);
    op_drop(&op);
}

static void integers(void **state) {
    (void)state;
    check_int("Add", ZQ_I64, 5000000000, 7, 5000000007);
    check_int("Sub", ZQ_I64, 5, 7, -2);
    check_int("Mul", ZQ_I64, 1LL << 40, 4, 1LL << 42);
    check_int("Div", ZQ_I64, -7, 2, -3);
    check_int("Add", ZQ_I32, 5, 7, 12);
    check_int("Div", ZQ_I32, 7, -2, -3);
}

/* fmod: -1 for none. */
static void check_mod(int fmod, int64_t a, int64_t b, int64_t expected) {
    for (int k = 0; k < 2; k++) {
        const zq_dtype dtype = k == 0 ? ZQ_I64 : ZQ_I32;
        one_op op = op_of("Mod");
        if (fmod >= 0)
            assert_true(zq_node_set_int(&op.node, "fmod", fmod));
        add_int(&op, dtype, SHAPE(1), &a);
        add_int(&op, dtype, SHAPE(1), &b);
        run(&op);
        expect_int(&op, 0, dtype, SHAPE(1), &expected);
        op_drop(&op);
    }
}

static void remainders(void **state) {
    (void)state;
    check_mod(-1, 7, 3, 1);
    check_mod(-1, -7, 3, 2);
    check_mod(-1, 7, -3, -2);
    check_mod(0, -7, -3, -1);
    check_mod(0, -6, 3, 0);
    check_mod(1, -7, 3, -1);
    check_mod(1, 7, -3, 1);
    check_mod(-1, INT32_MIN, -1, 0);
    check_mod(1, INT32_MIN, -1, 0);

    for (int fmod = 0; fmod < 2; fmod++) {
        one_op op = op_of("Mod");
        assert_true(zq_node_set_int(&op.node, "fmod", fmod));
        add_f32(&op, SHAPE(4), (float[]){5.5f, -5.5f, 5.5f, -4});
        add_f32(&op, SHAPE(4), (float[]){2, 2, -2, 4});
        run(&op);
        expect_f32(&op, 0, SHAPE(4),
                   fmod != 0 ? (float[]){1.5f, -1.5f, 1.5f, 0} : (float[]){1.5f, 0.5f, -0.5f, 0});
        op_drop(&op);
    }
}

static void integer_overflow_wraps(void **state) {
    (void)state;
    check_int("Add", ZQ_I64, INT64_MAX, 1, INT64_MIN);
    check_int("Sub", ZQ_I32, INT32_MIN, 1, INT32_MAX);
    check_int("Mul", ZQ_I64, INT64_MAX, 2, -2);
    check_int("Div", ZQ_I64, INT64_MIN, -1, INT64_MIN);
    check_int("Div", ZQ_I32, INT32_MIN, -1, INT32_MIN);
}

/* ---- refusals */

static void what_does_not_go_together_is_refused(void **state) {
    (void)state;
    one_op shapes = op_of("Add");
    add_shape(&shapes, ZQ_F32, SHAPE(2, 3));
    add_shape(&shapes, ZQ_F32, SHAPE(2));
    expect_refused(&shapes, ZQ_ERR_FORMAT, "[2,3] and [2] of its inputs can't be broadcast");

    one_op types = op_of("Mul");
    add_shape(&types, ZQ_F32, SHAPE(2));
    add_shape(&types, ZQ_I64, SHAPE(2));
    expect_refused(&types, ZQ_ERR_FORMAT, "float and int64, expected the same type");

    one_op power = op_of("Pow");
    add_shape(&power, ZQ_I64, SHAPE(2));
    add_shape(&power, ZQ_F32, SHAPE(2));
    expect_refused(&power, ZQ_ERR_UNSUPPORTED, "raises integers to fractional powers");

    one_op slope = op_of("PRelu");
    add_shape(&slope, ZQ_F32, SHAPE(1, 3));
    add_shape(&slope, ZQ_F32, SHAPE(2, 3));
    expect_refused(&slope, ZQ_ERR_FORMAT, "its slope [2,3] can't be broadcast to its input [1,3]");

    one_op huge = op_of("Add");
    add_shape(&huge, ZQ_F32, SHAPE(1 << 20, 1));
    add_shape(&huge, ZQ_F32, SHAPE(1, 1 << 20));
    expect_refused(&huge, ZQ_ERR_LIMIT, "[1048576,1048576]");

    one_op zero = op_of("Div");
    add_i64(&zero, 2, (int64_t[]){4, 4});
    add_i64(&zero, 2, (int64_t[]){2, 0});
    expect_forward_refused(&zero, ZQ_ERR_FORMAT, "Div node 'n': divides an integer by zero");

    one_op rest = op_of("Mod");
    add_i64(&rest, 1, (int64_t[]){4});
    add_i64(&rest, 1, (int64_t[]){0});
    expect_forward_refused(&rest, ZQ_ERR_FORMAT, "Mod node 'n': divides an integer by zero");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_and_gradients),
        cmocka_unit_test(a_constant_power_is_flat_at_zero),
        cmocka_unit_test(both_inputs_may_be_repeated),
        cmocka_unit_test(scalars_and_empty_tensors),
        cmocka_unit_test(any_shapes_are_repeated_and_summed),
        cmocka_unit_test(long_rows),
        cmocka_unit_test(integers),
        cmocka_unit_test(remainders),
        cmocka_unit_test(integer_overflow_wraps),
        cmocka_unit_test(what_does_not_go_together_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
