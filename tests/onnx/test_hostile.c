/* SPDX-License-Identifier: Apache-2.0 */
/* Damaged files and failing allocations: a status, a sentence, no leak (the sanitizers say so). */
#include "base/memory.h"
#include "base/random.h"
#include "wire.h"

#include <stdlib.h>
#include <unistd.h>

/* A convolution, a Softmax of old (it becomes four nodes), a typed and a raw tensor, a Constant node. */
static message sample(void) {
    static const int64_t kernel[] = {2, 4, 1, 1}, axes[] = {2, 3};
    static const float weights[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    message graph = {0}, conv = {0}, mean = {0}, constant = {0};
    add_interface(&graph);
    add_tensor(&graph, "w", 1, 4, kernel, weights, sizeof weights);
    message bias = tensor_head("b", 1, 1, &kernel[0]);
    put_float(&bias, 4, 0.5f);
    put_float(&bias, 4, -0.5f);
    put_message(&graph, 5, &bias);
    attr_ints(&conv, "kernel_shape", 2, &kernel[2]);
    attr_text(&conv, "auto_pad", "NOTSET");
    add_node(&graph, "Conv", "x,w,b", "c", &conv);
    attr_float(&constant, "value_float", 2);
    add_node(&graph, "Constant", "", "k", &constant);
    add_node(&graph, "Mul", "c,k", "m", NULL);
    attr_ints(&mean, "axes", 2, axes);
    add_node(&graph, "ReduceMean", "m", "r", &mean);
    add_node(&graph, "Softmax", "r", "y", NULL);
    return model_of(&graph, 11);
}

/* A convolution, and nodes behind it that are copied: an operator of nobody's, one with a subgraph, a shape.
 */
static message sample_with_tail(void) {
    static const int64_t kernel[] = {2, 4, 1, 1}, axes[] = {2};
    static const float weights[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    message graph = {0}, body = {0}, attr = {0}, mean = {0};
    add_interface(&graph);
    add_tensor(&graph, "w", 1, 4, kernel, weights, sizeof weights);
    add_floats(&graph, "k", 2, weights);
    add_node(&graph, "Conv", "x,w", "c", NULL);
    add_node(&graph, "Shape", "c", "s", NULL);
    add_node(&body, "Strange", "c,k", "inside", NULL);
    put_text(&attr, 1, "body");
    put_message(&attr, 6, &body);
    put_int(&attr, 20, 5);
    message loop = {0};
    put_message(&loop, 5, &attr);
    add_node(&graph, "Loop", "c", "l", &loop);
    add_node(&graph, "Reshape", "l,s", "r", NULL);
    attr_ints(&mean, "axes", 1, axes);
    add_node(&graph, "ReduceMax", "r", "y", &mean);
    return model_of(&graph, 11);
}

typedef struct kind {
    message (*make)(void);
    int n_nodes, n_copied;
} kind;
static kind plain = {sample, 7, 0}, with_tail = {sample_with_tail, 3, 4};

static message make(void **state) {
    return ((const kind *)*state)->make();
}

static zq_status read_part(const message *model, zq_graph **graph_out, zq_tail **tail_out, zq_error *err) {
    *graph_out = NULL;
    *tail_out = NULL;
    return zq_onnx_read_bytes(model->bytes, model->n, NULL, "test.onnx", graph_out, tail_out, err);
}

static void must_end_well(const unsigned char *bytes, size_t n_bytes) {
    unsigned char *copy = test_malloc(n_bytes + 1); /* of its exact size, for the sanitizer */
    zq_graph *graph = NULL;
    zq_tail *tail = NULL;
    zq_error err = {0};
    memcpy(copy, bytes, n_bytes);
    uint64_t n_written;
    const zq_status status = zq_onnx_read_bytes(copy, n_bytes, NULL, "hostile.onnx", &graph, &tail, &err);
    if (status == ZQ_OK)
        (void)zq_onnx_size(graph, 0, NULL, &n_written, &err);
    if (status != ZQ_OK) {
        assert_true(status == ZQ_ERR_FORMAT || status == ZQ_ERR_UNSUPPORTED || status == ZQ_ERR_LIMIT);
        assert_true(strlen(err.text) > strlen("hostile.onnx: "));
        assert_null(graph);
        assert_null(tail);
    }
    zq_graph_drop(graph);
    zq_tail_drop(tail);
    test_free(copy);
}

static void test_sample_is_good(void **state) {
    const message model = make(state);
    zq_graph *graph;
    zq_tail *tail;
    zq_error err = {0};
    if (read_part(&model, &graph, &tail, &err) != ZQ_OK)
        fail_msg("%s", err.text);
    assert_int_equal(graph->n_nodes, ((const kind *)*state)->n_nodes);
    assert_int_equal(zq_tail_nodes(tail), ((const kind *)*state)->n_copied);
    zq_graph_drop(graph);
    zq_tail_drop(tail);
}

/* Only a cut between two fields leaves a well-formed message. */
static void test_truncations(void **state) {
    const message model = make(state);
    for (size_t n = 0; n < model.n; n++)
        must_end_well(model.bytes, n);
}

static void test_every_bit(void **state) {
    message model = make(state);
    for (size_t bit = 0; bit < 8 * model.n; bit++) {
        model.bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        must_end_well(model.bytes, model.n);
        model.bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
}

static void test_random_damage(void **state) {
    const uint64_t seed = 20240607;
    print_message("seed %llu\n", (unsigned long long)seed);
    const message model = make(state);
    for (uint64_t trial = 0; trial < 3000; trial++) {
        message damaged = model;
        for (uint64_t k = 0; k < 1 + trial % 5; k++) {
            const uint64_t bits = zq_random_bits(seed, trial * 8 + k);
            damaged.bytes[bits % damaged.n] = (unsigned char)(bits >> 32);
        }
        must_end_well(damaged.bytes, damaged.n);
    }
}

/* The k-th allocation fails, for k = 1, 2, ... until none does. One that is done without (an index of names)
 * may end well in between. */
enum { ENOUGH_IN_A_ROW = 20 };

static void test_failing_allocations_reading(void **state) {
    const message model = make(state);
    int n_in_a_row = 0;
    long k = 1;
    for (; n_in_a_row < ENOUGH_IN_A_ROW; k++) {
        zq_graph *graph;
        zq_tail *tail;
        zq_error err = {0};
        zq_alloc_fail_at(k);
        const zq_status status = read_part(&model, &graph, &tail, &err);
        zq_alloc_fail_at(0);
        n_in_a_row = status == ZQ_OK ? n_in_a_row + 1 : 0;
        if (status != ZQ_OK && status != ZQ_ERR_MEMORY)
            fail_msg("allocation %ld failed: status %d, \"%s\"", k, status, err.text);
        zq_graph_drop(graph);
        zq_tail_drop(tail);
    }
    assert_true(k > 100);
}

static void test_failing_allocations_writing(void **state) {
    const message model = make(state);
    const zq_onnx_property property = {"key", "value"};
    char path[] = "/tmp/zeroq-test-XXXXXX";
    zq_graph *graph;
    zq_tail *tail;
    zq_error err = {0};
    assert_int_equal(read_part(&model, &graph, &tail, &err), ZQ_OK);
    close(mkstemp(path));
    int n_in_a_row = 0;
    long k = 1;
    for (; n_in_a_row < ENOUGH_IN_A_ROW; k++) {
        zq_alloc_fail_at(k);
        const zq_status status = zq_onnx_write(graph, path, 1, &property, NULL, &err);
        zq_alloc_fail_at(0);
        n_in_a_row = status == ZQ_OK ? n_in_a_row + 1 : 0;
        if (status != ZQ_OK && status != ZQ_ERR_MEMORY)
            fail_msg("allocation %ld failed: status %d, \"%s\"", k, status, err.text);
    }
    assert_true(k > 50);
    unlink(path);
    zq_graph_drop(graph);
    zq_tail_drop(tail);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_sample_is_good, &plain),
        cmocka_unit_test_prestate(test_sample_is_good, &with_tail),
        cmocka_unit_test_prestate(test_truncations, &plain),
        cmocka_unit_test_prestate(test_truncations, &with_tail),
        cmocka_unit_test_prestate(test_every_bit, &plain),
        cmocka_unit_test_prestate(test_every_bit, &with_tail),
        cmocka_unit_test_prestate(test_random_damage, &plain),
        cmocka_unit_test_prestate(test_random_damage, &with_tail),
        cmocka_unit_test_prestate(test_failing_allocations_reading, &plain),
        cmocka_unit_test_prestate(test_failing_allocations_reading, &with_tail),
        cmocka_unit_test_prestate(test_failing_allocations_writing, &plain),
        cmocka_unit_test_prestate(test_failing_allocations_writing, &with_tail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
