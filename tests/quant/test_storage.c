/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of every width are put together again by the nodes that a file has for it. */
#include "quant/storage.h"

#include "support/build.h"
#include "support/evaluate.h"

static void test_bytes(void **state) {
    (void)state;
    static const uint64_t expected[] = {6, 9, 12, 15, 18, 24, 24};
    for (int bits = 2; bits <= 8; bits++)
        assert_int_equal(zq_storage_bytes(bits, 24), expected[bits - 2]);
    /* the last byte is filled up */
    assert_int_equal(zq_storage_bytes(2, 5), 2);
    assert_int_equal(zq_storage_bytes(3, 12), 3 + 2);
    assert_int_equal(zq_storage_bytes(6, 6), 3 + 2);
    /* what can't be split evenly isn't */
    assert_int_equal(zq_storage_bytes(3, 22), 11);
    assert_int_equal(zq_storage_bytes(5, 22), 22);
    assert_int_equal(zq_storage_bytes(6, 22), 11 + 6);
    assert_int_equal(zq_storage_bytes(6, 21), 21);
}

/* All integers of a width, its ends among them. */
static zq_tensor *integers_of(int bits, const zq_shape *shape) {
    zq_tensor *tensor = zq_tensor_new(ZQ_I8, shape);
    assert_non_null(tensor);
    for (int64_t i = 0; i < zq_shape_count(shape); i++)
        ((int8_t *)tensor->data)[i] = (int8_t)(i * 7 % (1 << bits) - (1 << (bits - 1)));
    return tensor;
}

static void check_bits(int bits, zq_shape shape, int n_nodes) {
    zq_error err = {0};
    zq_graph *graph = zq_graph_new();
    zq_tensor *const integers = integers_of(bits, &shape), *upper, *lower;
    assert_true(zq_storage_split(integers, bits, &upper, &lower));
    const zq_storage s = zq_storage_of(bits, zq_shape_count(&shape));
    assert_int_equal(lower != NULL, s.lower_bits > 0);
    assert_int_equal(upper->dtype, s.upper_bits == 2 ? ZQ_I2 : ZQ_I4);
    for (int64_t i = 0; i < zq_shape_count(&upper->shape); i++)
        assert_in_range(((int8_t *)upper->data)[i] + (1 << (s.upper_bits - 1)), 0, (1 << s.upper_bits) - 1);
    const int stored = zq_graph_add_constant(graph, "weight", upper);
    const int rest = lower == NULL ? -1 : zq_graph_add_constant(graph, "l", lower);
    int joined;
    assert_int_equal(zq_storage_join(graph, bits, &shape, 0, stored, rest, &joined, &err), ZQ_OK);
    build_output(graph, joined);
    build_done(graph);
    assert_int_equal(graph->n_nodes, n_nodes);
    evaluation done;
    if (evaluate(graph, 1, 0, &done, &err) != ZQ_OK)
        fail_msg("%d bits: %s", bits, err.text);
    assert_true(zq_tensor_equal(done.values[joined], integers));
    evaluation_clear(&done);
    zq_tensor_drop(integers);
    zq_graph_drop(graph);
}

static void test_round_trip(void **state) {
    (void)state;
    for (int bits = 2; bits <= 6; bits++) {
        check_bits(bits, SHAPE(8, 5, 3, 3), bits % 2 == 0 && bits < 6 ? 1 : 8);
        check_bits(bits, SHAPE(64), bits % 2 == 0 && bits < 6 ? 1 : 8);
    }
    check_bits(3, SHAPE(2, 11), 1); /* as 4 bits */
    check_bits(6, SHAPE(2, 11), 8);
}

/* Two weights of a graph share the constants of a width. */
static void test_shared_constants(void **state) {
    (void)state;
    zq_error err = {0};
    const zq_shape shape = SHAPE(4, 4);
    zq_graph *graph = zq_graph_new();
    for (int k = 0; k < 2; k++) {
        zq_tensor *const integers = integers_of(5, &shape), *upper, *lower;
        assert_true(zq_storage_split(integers, 5, &upper, &lower));
        zq_tensor_drop(integers);
        int joined;
        const int stored = zq_graph_add_constant(graph, "weight", upper);
        assert_int_equal(zq_storage_join(graph, 5, &shape, k, stored,
                                         zq_graph_add_constant(graph, "l", lower), &joined, &err),
                         ZQ_OK);
        build_output(graph, joined);
    }
    int n_constants = 0;
    for (int v = 0; v < graph->n_values; v++)
        n_constants += graph->values[v].constant != NULL;
    assert_int_equal(n_constants, 2 * 3 + 2);
    zq_graph_drop(graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_shared_constants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
