/* SPDX-License-Identifier: Apache-2.0 */
/* QuantizeLinear and DequantizeLinear. */
#include "ops/one_op.h"

#include "base/random.h"

static void ties_go_to_even_and_ends_saturate(void **state) {
    (void)state;
    const float x[] = {-1e9f, -0.75f, -0.25f, 0.25f, 0.75f, 1.25f, 1e9f, NAN};
    static const struct {
        zq_dtype dtype;
        int64_t zero_point, out[8];
    } cases[] = {
        {ZQ_U8, 3, {0, 1, 3, 3, 5, 5, 255, 0}}, {ZQ_I8, 0, {-128, -2, 0, 0, 2, 2, 127, -128}},
        {ZQ_U4, 3, {0, 1, 3, 3, 5, 5, 15, 0}},  {ZQ_I4, -1, {-8, -3, -1, -1, 1, 1, 7, -8}},
        {ZQ_U2, 1, {0, 0, 1, 1, 3, 3, 3, 0}},   {ZQ_I2, 0, {-2, -2, 0, 0, 1, 1, 1, -2}},
    };
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        one_op op = op_of("QuantizeLinear");
        add_f32(&op, SHAPE(2, 4), x);
        add_f32(&op, SCALAR, (float[]){0.5f});
        add_int(&op, cases[k].dtype, SCALAR, &cases[k].zero_point);
        run(&op);
        expect_int(&op, 0, cases[k].dtype, SHAPE(2, 4), cases[k].out);
        op_drop(&op);
    }
}

static void quantize_without_zero_point(void **state) {
    (void)state;
    one_op byte = op_of("QuantizeLinear");
    add_f32(&byte, SHAPE(2), (float[]){-1, 7});
    add_f32(&byte, SHAPE(1), (float[]){2});
    run(&byte);
    expect_int(&byte, 0, ZQ_U8, SHAPE(2), (int64_t[]){0, 4});
    op_drop(&byte);

    one_op nibble = op_of("QuantizeLinear");
    zq_node_set_int(&nibble.node, "output_dtype", 22);
    add_f32(&nibble, SHAPE(2), (float[]){-100, 7});
    add_f32(&nibble, SHAPE(1), (float[]){2});
    run(&nibble);
    expect_int(&nibble, 0, ZQ_I4, SHAPE(2), (int64_t[]){-8, 4});
    op_drop(&nibble);
}

static void scales_along_an_axis(void **state) {
    (void)state;
    one_op q = op_of("QuantizeLinear");
    zq_node_set_int(&q.node, "axis", -2);
    add_f32(&q, SHAPE(2, 2, 2), (float[]){1, 2, 3, 4, 5, 6, 7, 8});
    add_f32(&q, SHAPE(2), (float[]){1, 0.5f});
    add_int(&q, ZQ_I8, SHAPE(2), (int64_t[]){0, -10});
    run(&q);
    expect_int(&q, 0, ZQ_I8, SHAPE(2, 2, 2), (int64_t[]){1, 2, -4, -2, 5, 6, 4, 6});
    op_drop(&q);

    one_op dq = op_of("DequantizeLinear");
    zq_node_set_int(&dq.node, "axis", 0);
    add_int(&dq, ZQ_I4, SHAPE(2, 3), (int64_t[]){-8, 0, 7, 1, 2, 3});
    add_f32(&dq, SHAPE(2), (float[]){0.5f, 2});
    add_int(&dq, ZQ_I4, SHAPE(2), (int64_t[]){0, 1});
    run(&dq);
    expect_f32(&dq, 0, SHAPE(2, 3), (float[]){-4, 0, 3.5f, 0, 2, 4});
    op_drop(&dq);

    one_op last = op_of("DequantizeLinear"); /* default axis 1 */
    add_int(&last, ZQ_U8, SHAPE(2, 2), (int64_t[]){0, 100, 200, 255});
    add_f32(&last, SHAPE(2), (float[]){1, 10});
    run(&last);
    expect_f32(&last, 0, SHAPE(2, 2), (float[]){0, 1000, 200, 2550});
    op_drop(&last);
}

static void dequantize_takes_every_integer(void **state) {
    (void)state;
    static const struct {
        zq_dtype dtype;
        int64_t in[2], zero_point;
        float out[2];
    } cases[] = {
        {ZQ_U8, {0, 255}, 128, {-32, 31.75f}},
        {ZQ_I8, {-128, 127}, -128, {0, 63.75f}},
        {ZQ_U4, {0, 15}, 8, {-2, 1.75f}},
        {ZQ_I4, {-8, 7}, 7, {-3.75f, 0}},
        {ZQ_U2, {0, 3}, 1, {-0.25f, 0.5f}},
        {ZQ_I2, {-2, 1}, 0, {-0.5f, 0.25f}},
        {ZQ_I32, {-(1 << 30), 1 << 20}, 0, {-268435456, 262144}},
    };
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        one_op op = op_of("DequantizeLinear");
        add_int(&op, cases[k].dtype, SHAPE(2), cases[k].in);
        add_f32(&op, SCALAR, (float[]){0.25f});
        add_int(&op, cases[k].dtype, SCALAR, &cases[k].zero_point);
        run(&op);
        expect_f32(&op, 0, SHAPE(2), cases[k].out);
        op_drop(&op);
    }
}

/* Rows cut for the threads, with one scale and with many: what a channel gets doesn't depend on it. */
static void large_tensors(void **state) {
    (void)state;
    enum { C = 3, N = 20011 };
    float *x = zq_alloc(C * N, sizeof *x);
    int64_t *expected = zq_alloc(C * N, sizeof *expected);
    const float scales[C] = {0.01f, 0.02f, 0.03f};
    for (int shared = 0; shared < 2; shared++) {
        for (int i = 0; i < C * N; i++) {
            x[i] = (float)zq_random_normal(3, (uint64_t)i);
            const float q = nearbyintf(x[i] / scales[shared ? 0 : i / N]);
            expected[i] = q < -128 ? -128 : q > 127 ? 127 : (int64_t)q;
        }
        one_op op = op_of("QuantizeLinear");
        zq_node_set_int(&op.node, "axis", 0);
        add_f32(&op, SHAPE(C, N), x);
        add_f32(&op, SHAPE(shared ? 1 : C), scales);
        add_int(&op, ZQ_I8, SHAPE(shared ? 1 : C), (int64_t[]){0, 0, 0});
        run(&op);
        expect_int(&op, 0, ZQ_I8, SHAPE(C, N), expected);
        op_drop(&op);
    }
    zq_free(x);
    zq_free(expected);
}

static one_op quantize_with(zq_dtype x, zq_shape scale, zq_dtype zero_point, zq_shape zero_points) {
    one_op op = op_of("QuantizeLinear");
    add_shape(&op, x, SHAPE(2, 3));
    add_shape(&op, ZQ_F32, scale);
    add_shape(&op, zero_point, zero_points);
    return op;
}

static void what_does_not_fit_is_refused(void **state) {
    (void)state;
    one_op type = quantize_with(ZQ_I64, SCALAR, ZQ_U8, SCALAR);
    expect_refused(&type, ZQ_ERR_UNSUPPORTED, "takes float, but was given int64");
    one_op wide = quantize_with(ZQ_F32, SCALAR, ZQ_I32, SCALAR);
    expect_refused(&wide, ZQ_ERR_UNSUPPORTED, "only integers of 8, 4 and 2 bits");
    one_op scales = quantize_with(ZQ_F32, SHAPE(2), ZQ_U8, SHAPE(2));
    expect_refused(&scales, ZQ_ERR_FORMAT, "scales of shape [2] don't go with axis 1 of data of shape [2,3]");
    one_op none = quantize_with(ZQ_F32, SHAPE(0), ZQ_U8, SHAPE(0));
    expect_refused(&none, ZQ_ERR_FORMAT, "scales of shape [0]");
    one_op matrix = quantize_with(ZQ_F32, SHAPE(2, 3), ZQ_U8, SHAPE(2, 3));
    expect_refused(&matrix, ZQ_ERR_FORMAT, "scales of shape [2,3]");
    one_op points = quantize_with(ZQ_F32, SHAPE(3), ZQ_U8, SHAPE(2));
    expect_refused(&points, ZQ_ERR_FORMAT, "zero point has the shape [2], but its scale [3]");

    one_op axis = quantize_with(ZQ_F32, SHAPE(3), ZQ_U8, SHAPE(3));
    zq_node_set_int(&axis.node, "axis", 2);
    expect_refused(&axis, ZQ_ERR_FORMAT, "axis 2 doesn't exist");
    one_op blocks = quantize_with(ZQ_F32, SHAPE(3), ZQ_U8, SHAPE(3));
    zq_node_set_int(&blocks.node, "block_size", 2);
    expect_refused(&blocks, ZQ_ERR_UNSUPPORTED, "blocks");

    one_op real = op_of("DequantizeLinear");
    add_shape(&real, ZQ_F32, SHAPE(2));
    add_shape(&real, ZQ_F32, SCALAR);
    expect_refused(&real, ZQ_ERR_UNSUPPORTED, "takes integers of 32, 8, 4 and 2 bits, but was given float");
    one_op mixed = op_of("DequantizeLinear");
    add_shape(&mixed, ZQ_I8, SHAPE(2));
    add_shape(&mixed, ZQ_F32, SCALAR);
    add_shape(&mixed, ZQ_U8, SCALAR);
    expect_refused(&mixed, ZQ_ERR_FORMAT, "zero point is uint8, but its data is int8");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ties_go_to_even_and_ends_saturate),
        cmocka_unit_test(quantize_without_zero_point),
        cmocka_unit_test(scales_along_an_axis),
        cmocka_unit_test(dequantize_takes_every_integer),
        cmocka_unit_test(large_tensors),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
