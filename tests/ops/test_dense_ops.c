/* SPDX-License-Identifier: Apache-2.0 */
/* Gemm, MatMul, BatchNormalization, ReduceMean and Softmax.
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

static void gemm_plain(void **state) {
    (void)state;
    one_op op = op_of("Gemm");
    add_ramp(&op, 0, SHAPE(2, 3));
    add_ramp(&op, 1, SHAPE(3, 4));
    run(&op);
    expect_f32(&op, 0, SHAPE(2, 4),
               (float[]){1.25f, -0.9375f, -1.0625f, 1.5625f, -0.1875f, 2.5f, -0.3125f, -0.375f});
    op_drop(&op);
}

static void gemm_transposed_and_scaled(void **state) {
    (void)state;
    one_op op = op_of("Gemm");
    zq_node_set_int(&op.node, "transA", 1);
    zq_node_set_int(&op.node, "transB", 1);
    zq_node_set_float(&op.node, "alpha", 0.5f);
    zq_node_set_float(&op.node, "beta", 2.0f);
    add_ramp(&op, 0, SHAPE(3, 2));
    add_ramp(&op, 1, SHAPE(4, 3));
    add_ramp(&op, 2, SHAPE(4));
    run(&op);
    expect_f32(&op, 0, SHAPE(2, 4),
               (float[]){0.53125f, -1.28125f, 2.40625f, 0.59375f, 1.0625f, -1.0625f, 2.3125f, 0.1875f});
    op_drop(&op);
}

static void gemm_column_bias(void **state) {
    (void)state;
    one_op op = op_of("Gemm");
    add_ramp(&op, 0, SHAPE(2, 3));
    add_ramp(&op, 1, SHAPE(3, 2));
    add_ramp(&op, 2, SHAPE(2, 1));
    run(&op);
    expect_f32(&op, 0, SHAPE(2, 2), (float[]){0.5f, -1.6875f, -2.0625f, 0.625f});
    op_drop(&op);
}

static void gemm_scalar_bias(void **state) {
    (void)state;
    one_op op = op_of("Gemm");
    zq_node_set_float(&op.node, "beta", 0.5f);
    add_ramp(&op, 0, SHAPE(2, 3));
    add_ramp(&op, 1, SHAPE(3, 2));
    add_ramp(&op, 2, SCALAR);
    run(&op);
    expect_f32(&op, 0, SHAPE(2, 2), (float[]){0.375f, -1.8125f, -1.1875f, 1.5f});
    op_drop(&op);
}

static void matmul_plain(void **state) {
    (void)state;
    one_op op = op_of("MatMul");
    add_ramp(&op, 0, SHAPE(2, 3));
    add_ramp(&op, 1, SHAPE(3, 2));
    run(&op);
    expect_f32(&op, 0, SHAPE(2, 2), (float[]){0.25f, -1.9375f, -1.3125f, 1.375f});
    op_drop(&op);
}

static void matmul_broadcasts(void **state) {
    (void)state;
    one_op op = op_of("MatMul");
    add_ramp(&op, 0, SHAPE(2, 1, 2, 2));
    add_ramp(&op, 1, SHAPE(3, 2, 1));
    run(&op);
    expect_f32(&op, 0, SHAPE(2, 3, 2, 1),
               (float[]){1.25f, 1.8125f, -0.6875f, -1.0625f, -1.25f, -0.5f, -1.0625f, -0.5f, 0.625f, 0.25f,
                         0.25f, 1});
    op_drop(&op);
}

static void matmul_vectors(void **state) {
    (void)state;
    one_op op = op_of("MatMul");
    add_ramp(&op, 3, SHAPE(4));
    add_ramp(&op, 1, SHAPE(4));
    run(&op);
    expect_f32(&op, 0, SCALAR, (float[]){-1.3125f});
    op_drop(&op);
}

static void matmul_vector_first(void **state) {
    (void)state;
    one_op op = op_of("MatMul");
    add_ramp(&op, 0, SHAPE(3));
    add_ramp(&op, 1, SHAPE(2, 3, 2));
    run(&op);
    expect_f32(&op, 0, SHAPE(2, 2), (float[]){0.25f, -1.9375f, 0.875f, -1.3125f});
    op_drop(&op);
}

static void matmul_vector_last(void **state) {
    (void)state;
    one_op op = op_of("MatMul");
    add_ramp(&op, 0, SHAPE(2, 2, 3));
    add_ramp(&op, 1, SHAPE(3));
    run(&op);
    expect_f32(&op, 0, SHAPE(2, 2), (float[]){1.125f, -0.5f, -0.75f, -1});
    op_drop(&op);
}

static void batch_normalization(void **state) {
    (void)state;
    one_op op = op_of("BatchNormalization");
    zq_node_set_float(&op.node, "epsilon", 0.001f);
    add_ramp(&op, 0, SHAPE(2, 2, 2, 1));
    add_f32(&op, SHAPE(2), (float[]){0.5f, -2});
    add_f32(&op, SHAPE(2), (float[]){1, 0.25f});
    add_f32(&op, SHAPE(2), (float[]){0.5f, -1});
    add_f32(&op, SHAPE(2), (float[]){4, 0.25f});
    run(&op);
    expect_f32(&op, 0, SHAPE(2, 2, 2, 1),
               (float[]){0.56255466f, 1, -1.7460121f, -8.7320547f, 0.93750781f, 0.68753904f, -7.7340484f,
                         -3.7420242f});
    op_drop(&op);
}

static void batch_normalization_flat(void **state) {
    (void)state;
    one_op op = op_of("BatchNormalization");
    add_ramp(&op, 1, SHAPE(3, 2));
    add_f32(&op, SHAPE(2), (float[]){0.5f, -2});
    add_f32(&op, SHAPE(2), (float[]){1, 0.25f});
    add_f32(&op, SHAPE(2), (float[]){0.5f, -1});
    add_f32(&op, SHAPE(2), (float[]){4, 0.25f});
    run(&op);
    expect_f32(&op, 0, SHAPE(3, 2),
               (float[]){0.75000024f, -8.7498198f, 0.93750006f, -0.74997997f, 1.1249998f, -3.7499199f});
    op_drop(&op);
}

static void reduce_mean_all(void **state) {
    (void)state;
    one_op op = op_of("ReduceMean");
    add_ramp(&op, 0, SHAPE(2, 3));
    run(&op);
    expect_f32(&op, 0, SHAPE(1, 1), (float[]){-0.083333336f});
    op_drop(&op);
}

static void reduce_mean_all_drops_axes(void **state) {
    (void)state;
    one_op op = op_of("ReduceMean");
    zq_node_set_int(&op.node, "keepdims", 0);
    add_ramp(&op, 0, SHAPE(2, 3));
    run(&op);
    expect_f32(&op, 0, SCALAR, (float[]){-0.083333336f});
    op_drop(&op);
}

static void reduce_mean_axes(void **state) {
    (void)state;
    one_op op = op_of("ReduceMean");
    set_ints(&op, "axes", 2, (int64_t[]){-1, 1});
    add_ramp(&op, 1, SHAPE(2, 3, 2, 2));
    run(&op);
    expect_f32(&op, 0, SHAPE(2, 1, 2, 1), (float[]){0.041666668f, -0.125f, -0.041666668f, 0.25f});
    op_drop(&op);
}

static void reduce_mean_spatial(void **state) {
    (void)state;
    one_op op = op_of("ReduceMean");
    set_ints(&op, "axes", 2, (int64_t[]){2, 3});
    zq_node_set_int(&op.node, "keepdims", 0);
    add_ramp(&op, 1, SHAPE(2, 2, 2, 3));
    run(&op);
    expect_f32(&op, 0, SHAPE(2, 2), (float[]){0.20833333f, -0.29166666f, 0.125f, 0.083333336f});
    op_drop(&op);
}

static void softmax_last(void **state) {
    (void)state;
    one_op op = op_of("Softmax");
    add_ramp(&op, 0, SHAPE(2, 3));
    run(&op);
    expect_f32(&op, 0, SHAPE(2, 3),
               (float[]){0.1127192f, 0.64865422f, 0.23862655f, 0.66524094f, 0.24472848f, 0.090030573f});
    op_drop(&op);
}

static void softmax_middle(void **state) {
    (void)state;
    one_op op = op_of("Softmax");
    zq_node_set_int(&op.node, "axis", 1);
    add_ramp(&op, 0, SHAPE(2, 3, 2));
    run(&op);
    expect_f32(&op, 0, SHAPE(2, 3, 2),
               (float[]){0.13160165f, 0.29381478f, 0.27860069f, 0.62200588f, 0.58979768f, 0.084179342f,
                         0.70331395f, 0.29381478f, 0.095183194f, 0.62200588f, 0.20150283f, 0.084179342f});
    op_drop(&op);
}

static void softmax_negative(void **state) {
    (void)state;
    one_op op = op_of("Softmax");
    zq_node_set_int(&op.node, "axis", -3);
    add_ramp(&op, 0, SHAPE(2, 3, 2));
    run(&op);
    expect_f32(&op, 0, SHAPE(2, 3, 2),
               (float[]){0.095349468f, 0.62245935f, 0.62245935f, 0.62245935f, 0.62245935f, 0.62245935f,
                         0.90465051f, 0.37754068f, 0.37754068f, 0.37754068f, 0.37754068f, 0.37754068f});
    op_drop(&op);
}

/* The sum of huge powers must not overflow. */
static void softmax_of_large_numbers(void **state) {
    (void)state;
    one_op op = op_of("Softmax");
    add_f32(&op, SHAPE(3), (float[]){1000, 1000, -1000});
    run(&op);
    expect_f32(&op, 0, SHAPE(3), (float[]){0.5f, 0.5f, 0});
    op_drop(&op);
}

static void multiply_accumulates_are_counted(void **state) {
    (void)state;
    one_op gemm = op_of("Gemm");
    zq_node_set_int(&gemm.node, "transA", 1);
    add_shape(&gemm, ZQ_F32, SHAPE(3, 2));
    add_shape(&gemm, ZQ_F32, SHAPE(3, 5));
    assert_int_equal(infer(&gemm), ZQ_OK);
    zq_io io = io_of(&gemm);
    assert_true(gemm.node.op->macs(&io) == 2 * 3 * 5);
    op_drop(&gemm);
    one_op matmul = op_of("MatMul");
    add_shape(&matmul, ZQ_F32, SHAPE(4, 2, 3));
    add_shape(&matmul, ZQ_F32, SHAPE(3, 5));
    assert_int_equal(infer(&matmul), ZQ_OK);
    io = io_of(&matmul);
    assert_true(matmul.node.op->macs(&io) == 4 * 2 * 3 * 5);
    op_drop(&matmul);
}

static one_op pair_of(const char *name, zq_shape a, zq_shape b) {
    one_op op = op_of(name);
    add_shape(&op, ZQ_F32, a);
    add_shape(&op, ZQ_F32, b);
    return op;
}

static void products_refuse(void **state) {
    (void)state;
    one_op inner = pair_of("Gemm", SHAPE(2, 3), SHAPE(4, 5));
    expect_refused(&inner, ZQ_ERR_FORMAT, "[2,3] and [4,5] can't be multiplied");
    one_op transposed = pair_of("Gemm", SHAPE(2, 3), SHAPE(3, 5));
    zq_node_set_int(&transposed.node, "transB", 1);
    expect_refused(&transposed, ZQ_ERR_FORMAT, "[3,5] (transposed) can't be multiplied");
    one_op rank = pair_of("Gemm", SHAPE(1, 2, 3), SHAPE(3, 5));
    expect_refused(&rank, ZQ_ERR_FORMAT, "[1,2,3] of 3 dimensions; expected 2 to 2");
    one_op bias = pair_of("Gemm", SHAPE(2, 3), SHAPE(3, 5));
    add_shape(&bias, ZQ_F32, SHAPE(2));
    expect_refused(&bias, ZQ_ERR_FORMAT, "input 2 of shape [2]; expected one that broadcasts to [2,5]");
    one_op matmul = pair_of("MatMul", SHAPE(2, 3), SHAPE(2, 3));
    expect_refused(&matmul, ZQ_ERR_FORMAT, "[2,3] and [2,3] can't be multiplied");
    one_op batch = pair_of("MatMul", SHAPE(2, 3, 3), SHAPE(4, 3, 3));
    expect_refused(&batch, ZQ_ERR_FORMAT, "others that broadcast");
    one_op scalar = pair_of("MatMul", SCALAR, SHAPE(3, 3));
    expect_refused(&scalar, ZQ_ERR_FORMAT, "[] of 0 dimensions; expected 1 to 8");
    one_op large = pair_of("MatMul", SHAPE(1 << 20, 1), SHAPE(1, 1 << 20));
    expect_refused(&large, ZQ_ERR_LIMIT, "more than");
}

static one_op batch_normalization_of(int64_t n_scale) {
    one_op op = op_of("BatchNormalization");
    add_shape(&op, ZQ_F32, SHAPE(1, 3, 2, 2));
    add_shape(&op, ZQ_F32, SHAPE(n_scale));
    for (int k = 0; k < 3; k++)
        add_shape(&op, ZQ_F32, SHAPE(3));
    return op;
}

static void batch_normalization_refuses(void **state) {
    (void)state;
    one_op scale = batch_normalization_of(2);
    expect_refused(&scale, ZQ_ERR_FORMAT, "the scale has shape [2]; expected [3]");
    one_op training = batch_normalization_of(3);
    zq_node_set_int(&training.node, "training_mode", 1);
    expect_refused(&training, ZQ_ERR_UNSUPPORTED, "training_mode is 1");
    one_op epsilon = batch_normalization_of(3);
    zq_node_set_float(&epsilon.node, "epsilon", -1);
    expect_refused(&epsilon, ZQ_ERR_FORMAT, "epsilon is -1");
    one_op outputs = batch_normalization_of(3);
    outputs.n_out = 3;
    outputs.outputs[1] = -1;
    outputs.outputs[2] = 2;
    expect_refused(&outputs, ZQ_ERR_UNSUPPORTED, "output 2 (statistics of training) is used");
}

static void axes_are_checked(void **state) {
    (void)state;
    one_op softmax = op_of("Softmax");
    zq_node_set_int(&softmax.node, "axis", 2);
    add_shape(&softmax, ZQ_F32, SHAPE(2, 3));
    expect_refused(&softmax, ZQ_ERR_FORMAT, "axis 2 doesn't exist");
    one_op mean = op_of("ReduceMean");
    set_ints(&mean, "axes", 1, (int64_t[]){-3});
    add_shape(&mean, ZQ_F32, SHAPE(2, 3));
    expect_refused(&mean, ZQ_ERR_FORMAT, "axis -3 doesn't exist");
    one_op twice = op_of("ReduceMean");
    set_ints(&twice, "axes", 2, (int64_t[]){1, -1});
    add_shape(&twice, ZQ_F32, SHAPE(2, 3));
    expect_refused(&twice, ZQ_ERR_FORMAT, "names axis 1 twice");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gemm_plain),
        cmocka_unit_test(gemm_transposed_and_scaled),
        cmocka_unit_test(gemm_column_bias),
        cmocka_unit_test(gemm_scalar_bias),
        cmocka_unit_test(matmul_plain),
        cmocka_unit_test(matmul_broadcasts),
        cmocka_unit_test(matmul_vectors),
        cmocka_unit_test(matmul_vector_first),
        cmocka_unit_test(matmul_vector_last),
        cmocka_unit_test(batch_normalization),
        cmocka_unit_test(batch_normalization_flat),
        cmocka_unit_test(reduce_mean_all),
        cmocka_unit_test(reduce_mean_all_drops_axes),
        cmocka_unit_test(reduce_mean_axes),
        cmocka_unit_test(reduce_mean_spatial),
        cmocka_unit_test(softmax_last),
        cmocka_unit_test(softmax_middle),
        cmocka_unit_test(softmax_negative),
        cmocka_unit_test(softmax_of_large_numbers),
        cmocka_unit_test(multiply_accumulates_are_counted),
        cmocka_unit_test(products_refuse),
        cmocka_unit_test(batch_normalization_refuses),
        cmocka_unit_test(axes_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
