/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/op.h"
#include "wire.h"

#include "base/memory.h"

#include <stdlib.h>
#include <unistd.h>

/* x -> Relu -> y */
static message relu(void) {
    message graph = {0};
    add_interface(&graph);
    add_node(&graph, "Relu", "x", "y", NULL);
    return graph;
}

static void test_header(void **state) {
    const message graph = relu();
    message model = model_of(&graph, 13);
    put_text(&model, 2, "pytorch");
    put_text(&model, 3, "2.4");
    zq_graph *read;
    zq_error err = {0};
    assert_int_equal(read_message(&model, &read, &err), ZQ_OK);
    assert_int_equal(read->opset, 13);
    assert_int_equal(read->ir_version, 8);
    assert_string_equal(read->producer, "pytorch 2.4");
    assert_string_equal(read->file, "test.onnx");
    assert_int_equal(read->file_bytes, model.n);
    assert_true(read->free_batch);
    assert_int_equal(read->n_nodes, 1);
    assert_string_equal(read->nodes[0].name, "y"); /* it has none of its own */
    const int64_t dims[] = {-1, 4, 6, 6};
    const zq_shape shape = zq_shape_of(4, dims);
    assert_true(zq_shape_equal(&read->values[read->inputs[0]].shape, &shape));
    zq_graph_drop(read);
    (void)state;
}

static void test_opsets(void **state) {
    const message graph = relu();
    for (int opset = 7; opset <= 25; opset++)
        zq_graph_drop(read_good(&graph, opset));
    refuse(&graph, 6, ZQ_ERR_UNSUPPORTED, "opset 6, which is older than 7: export it again with opset 13");
    refuse(&graph, 29, ZQ_ERR_UNSUPPORTED, "opset 29, which is newer");
    refuse(&graph, -1, ZQ_ERR_UNSUPPORTED, "opset -1");
    (void)state;
}

static void test_imports(void **state) {
    const message graph = relu();
    message model = {0}, other = {0}, second = {0};
    put_message(&model, 7, &graph);
    refuse_model(&model, ZQ_ERR_FORMAT, "opset_import");
    put_text(&other, 1, "com.microsoft");
    put_int(&other, 2, 1);
    put_message(&model, 8, &other);
    refuse_model(&model, ZQ_ERR_FORMAT, "opset_import");
    put_text(&second, 1, "ai.onnx");
    put_int(&second, 2, 13);
    put_message(&model, 8, &second);
    zq_graph *read;
    zq_error err = {0};
    assert_int_equal(read_message(&model, &read, &err), ZQ_OK);
    zq_graph_drop(read);
    put_int(&second, 2, 12); /* the last one counts */
    put_message(&model, 8, &second);
    refuse_model(&model, ZQ_ERR_FORMAT, "two opsets");
    (void)state;
}

static void test_not_a_model(void **state) {
    message text = {0}, pointer = {0}, empty = {0}, no_graph = {0};
    put_raw(&text, "<!DOCTYPE html>", 15);
    refuse_model(&text, ZQ_ERR_FORMAT, "not an ONNX file");
    put_raw(&pointer, "version https://git-lfs.github.com/spec/v1\n", 43);
    refuse_model(&pointer, ZQ_ERR_FORMAT, "git lfs pull");
    refuse_model(&empty, ZQ_ERR_FORMAT, "no graph");
    put_int(&no_graph, 1, 8);
    refuse_model(&no_graph, ZQ_ERR_FORMAT, "no graph");
    (void)state;
}

static void test_unknown_operators(void **state) {
    message graph = {0}, attrs = {0};
    add_interface(&graph);
    put_text(&attrs, 3, "foo");
    add_node(&graph, "NonMaxSuppression", "x", "y", &attrs);
    refuse(&graph, 13, ZQ_ERR_UNSUPPORTED,
           "node 'foo' is a NonMaxSuppression (opset 13), which zeroq does not support");
    graph.n = 0;
    add_interface(&graph);
    put_text(&attrs, 7, "com.microsoft");
    add_node(&graph, "Relu", "x", "y", &attrs);
    refuse(&graph, 13, ZQ_ERR_UNSUPPORTED, "node 'foo' is a Relu of the domain 'com.microsoft'");
    (void)state;
}

static void test_subgraph(void **state) {
    message graph = {0}, attrs = {0}, attr = {0};
    add_interface(&graph);
    put_text(&attr, 1, "then_branch");
    put_message(&attr, 6, &graph);
    put_int(&attr, 20, 5);
    put_message(&attrs, 5, &attr);
    add_node(&graph, "Relu", "x", "y", &attrs);
    refuse(&graph, 13, ZQ_ERR_UNSUPPORTED, "'then_branch' holds a graph");
    graph.n = 0;
    add_interface(&graph);
    add_node(&graph, "If", "x", "y", &attrs);
    refuse(&graph, 13, ZQ_ERR_UNSUPPORTED, "is a If (opset 13)");
    (void)state;
}

static void test_missing_and_cycle(void **state) {
    message graph = {0};
    add_interface(&graph);
    add_node(&graph, "Add", "x,nowhere", "y", NULL);
    refuse(&graph, 13, ZQ_ERR_FORMAT, "Add node 'y' reads 'nowhere'");
    graph.n = 0;
    add_interface(&graph);
    add_node(&graph, "Add", "x,b", "a", NULL);
    add_node(&graph, "Relu", "a", "b", NULL);
    add_node(&graph, "Relu", "b", "y", NULL);
    refuse(&graph, 13, ZQ_ERR_FORMAT, "cycle");
    graph.n = 0;
    add_interface(&graph);
    add_node(&graph, "Relu", "y", "y", NULL);
    refuse(&graph, 13, ZQ_ERR_FORMAT, "cycle");
    (void)state;
}

static void test_any_order(void **state) {
    message graph = {0};
    add_node(&graph, "Relu", "b", "y", NULL);
    add_node(&graph, "Relu", "a", "b", NULL);
    add_node(&graph, "Relu", "x", "a", NULL);
    add_interface(&graph);
    zq_graph *read = read_good(&graph, 13);
    assert_string_equal(read->nodes[0].name, "a");
    assert_string_equal(read->nodes[1].name, "b");
    assert_string_equal(read->nodes[2].name, "y");
    zq_graph_drop(read);
    (void)state;
}

static void test_duplicates(void **state) {
    static const float one[] = {1};
    message graph = relu();
    add_node(&graph, "Relu", "x", "y", NULL);
    refuse(&graph, 13, ZQ_ERR_FORMAT, "'y' twice");
    graph = relu();
    add_node(&graph, "Relu", "y", "x", NULL);
    refuse(&graph, 13, ZQ_ERR_FORMAT, "'x' twice");
    graph = relu();
    add_floats(&graph, "w", 1, one);
    add_floats(&graph, "w", 1, one);
    refuse(&graph, 13, ZQ_ERR_FORMAT, "'w' twice");
    graph = relu();
    add_floats(&graph, "", 1, one);
    refuse(&graph, 13, ZQ_ERR_FORMAT, "without a name");
    graph = relu();
    add_value_info(&graph, 12, "y", 1, -1, NULL);
    refuse(&graph, 13, ZQ_ERR_FORMAT, "output 'y' twice");
    graph = relu();
    add_node(&graph, "Split", "x", "a,a", NULL);
    refuse(&graph, 13, ZQ_ERR_FORMAT, "'a' twice");
    (void)state;
}

static void test_inputs(void **state) {
    static const int64_t nine[] = {1, 1, 1, 1, 1, 1, 1, 1, 1}, large[] = {1LL << 40, 1LL << 40};
    static const float one[] = {1};
    static const int64_t n = 1;
    message graph = {0};
    add_node(&graph, "Add", "x,w", "y", NULL);
    add_value_info(&graph, 12, "y", 1, -1, NULL);
    message half = graph, shapeless = graph, deep = graph, huge = graph, listed = graph;
    add_value_info(&half, 11, "x", 10, 1, &n);
    refuse(&half, 13, ZQ_ERR_UNSUPPORTED, "input 'x' is FLOAT16");
    add_value_info(&shapeless, 11, "x", 1, -1, NULL);
    refuse(&shapeless, 13, ZQ_ERR_UNSUPPORTED, "input 'x' has no shape");
    add_value_info(&deep, 11, "x", 1, 9, nine);
    refuse(&deep, 13, ZQ_ERR_UNSUPPORTED, "9 dimensions");
    add_value_info(&huge, 11, "x", 1, 2, large);
    refuse(&huge, 13, ZQ_ERR_FORMAT, "impossibly large");
    /* as IR version 3 has it: the initializer is listed as an input, too */
    add_value_info(&listed, 11, "x", 1, 1, &n);
    add_value_info(&listed, 11, "w", 1, 1, &n);
    add_floats(&listed, "w", 1, one);
    zq_graph *read = read_good(&listed, 8);
    assert_int_equal(read->n_inputs, 1);
    assert_string_equal(read->values[read->inputs[0]].name, "x");
    assert_non_null(read->values[zq_graph_find_value(read, "w")].constant);
    assert_false(read->free_batch);
    zq_graph_drop(read);
    (void)state;
}

/* The 0 of some exporters is a free dimension, too. */
static void test_free_dimensions(void **state) {
    static const int64_t dims[] = {0, 3, -1, 5};
    message graph = {0};
    add_value_info(&graph, 11, "x", 1, 4, dims);
    add_value_info(&graph, 12, "y", 1, -1, NULL);
    add_node(&graph, "Relu", "x", "y", NULL);
    zq_graph *read = read_good(&graph, 13);
    const zq_shape *shape = &read->values[read->inputs[0]].shape;
    assert_int_equal(shape->dims[0], -1);
    assert_int_equal(shape->dims[1], 3);
    assert_int_equal(shape->dims[2], -1);
    assert_true(read->free_batch);
    zq_graph_drop(read);
    (void)state;
}

/* One input with a fixed batch fixes it for all. */
static void test_batch_of_all_inputs(void **state) {
    static const int64_t fixed[] = {1, 2}, free_batch[] = {-1, 2};
    for (int k = 0; k < 4; k++) {
        message graph = {0};
        add_value_info(&graph, 11, "x", 1, 2, k & 1 ? free_batch : fixed);
        add_value_info(&graph, 11, "z", 1, 2, k & 2 ? free_batch : fixed);
        add_value_info(&graph, 12, "y", 1, -1, NULL);
        add_node(&graph, "Add", "x,z", "y", NULL);
        zq_graph *read = read_good(&graph, 13);
        assert_int_equal(read->free_batch, k == 3);
        zq_graph_drop(read);
    }
    (void)state;
}

static void test_outputs(void **state) {
    message graph = {0};
    const int64_t in[] = {1, 2};
    add_value_info(&graph, 11, "x", 1, 2, in);
    add_node(&graph, "Relu", "x", "a", NULL);
    refuse(&graph, 13, ZQ_ERR_FORMAT, "no outputs");
    message foreign = graph;
    add_value_info(&foreign, 12, "y", 1, -1, NULL);
    refuse(&foreign, 13, ZQ_ERR_FORMAT, "output 'y', which no node provides");
    /* an input and a constant may be outputs */
    static const float one[] = {1};
    add_floats(&graph, "w", 1, one);
    add_value_info(&graph, 12, "x", 1, -1, NULL);
    add_value_info(&graph, 12, "w", 1, -1, NULL);
    zq_graph *read = read_good(&graph, 13);
    assert_int_equal(read->n_outputs, 2);
    zq_graph_drop(read);
    (void)state;
}

static void test_optional_inputs(void **state) {
    static const float high = 1;
    message graph = {0};
    add_interface(&graph);
    add_tensor(&graph, "hi", 1, 0, NULL, &high, sizeof high);
    add_node(&graph, "Clip", "x,,hi", "a", NULL);
    add_node(&graph, "Clip", "a,,", "y", NULL);
    zq_graph *read = read_good(&graph, 13);
    assert_int_equal(read->nodes[0].n_inputs, 3);
    assert_int_equal(read->nodes[0].inputs[1], -1);
    assert_int_equal(read->nodes[1].n_inputs, 1);
    zq_graph_drop(read);
    (void)state;
}

static void test_constants(void **state) {
    static const int64_t ints[] = {0, -1};
    static const float floats[] = {1.5f, 2};
    const char *const names[] = {"value_int", "value_ints", "value_float", "value_floats"};
    for (int k = 0; k < 4; k++) {
        message graph = relu(), attrs = {0};
        if (k == 0)
            attr_int(&attrs, names[k], 7);
        else if (k == 1)
            attr_ints(&attrs, names[k], 2, ints);
        else if (k == 2)
            attr_float(&attrs, names[k], 1.5f);
        else
            attr_floats(&attrs, names[k], 2, floats);
        add_node(&graph, "Constant", "", "k", &attrs);
        zq_graph *read = read_good(&graph, 13);
        const zq_tensor *tensor = read->values[zq_graph_find_value(read, "k")].constant;
        assert_int_equal(read->n_nodes, 1);
        assert_int_equal(tensor->dtype, k < 2 ? ZQ_I64 : ZQ_F32);
        assert_int_equal(tensor->shape.rank, k % 2);
        assert_true(zq_tensor_item(tensor, 0) == (k == 0 ? 7 : k == 1 ? 0 : 1.5));
        zq_graph_drop(read);
    }
    message graph = relu(), attrs = {0};
    attr_text(&attrs, "value_string", "text");
    add_node(&graph, "Constant", "", "k", &attrs);
    refuse(&graph, 13, ZQ_ERR_UNSUPPORTED, "'value_string'");
    graph = relu();
    add_node(&graph, "Constant", "", "k", NULL);
    refuse(&graph, 13, ZQ_ERR_FORMAT, "one attribute");
    (void)state;
}

/* Attributes of the first versions of ONNX carry no type. */
static void test_attribute_without_type(void **state) {
    message graph = {0}, attrs = {0}, attr = {0};
    add_interface(&graph);
    put_text(&attr, 1, "axis");
    put_int(&attr, 3, 2);
    put_message(&attrs, 5, &attr);
    add_node(&graph, "Flatten", "x", "y", &attrs);
    zq_graph *read = read_good(&graph, 13);
    assert_int_equal(zq_node_attr(&read->nodes[0], "axis")->i, 2);
    zq_graph_drop(read);
    (void)state;
}

static void test_zero_byte_in_string(void **state) {
    message graph = {0}, attrs = {0}, attr = {0};
    add_interface(&graph);
    put_text(&attr, 1, "mode");
    put_bytes(&attr, 4, "li\0near", 7);
    put_int(&attr, 20, 3);
    put_message(&attrs, 5, &attr);
    add_node(&graph, "Relu", "x", "y", &attrs);
    refuse(&graph, 13, ZQ_ERR_FORMAT, "zero byte");
    (void)state;
}

/* The sentence of the operator's own check comes with the file's name, too. */
static void test_wrong_number_of_inputs(void **state) {
    message graph = {0};
    add_interface(&graph);
    add_node(&graph, "Add", "x", "y", NULL);
    refuse(&graph, 13, ZQ_ERR_FORMAT, "Add node 'y' has 1 inputs");
    (void)state;
}

static void test_files(void **state) {
    char path[] = "/tmp/zeroq-test-XXXXXX";
    const message graph = relu(), model = model_of(&graph, 13);
    const int descriptor = mkstemp(path);
    assert_int_equal(write(descriptor, model.bytes, model.n), model.n);
    close(descriptor);
    zq_graph *read = NULL;
    zq_error err = {0};
    assert_int_equal(zq_onnx_read(path, &read, &err), ZQ_OK);
    assert_string_equal(read->file, path);
    assert_int_equal(read->file_bytes, model.n);
    zq_graph_drop(read);
    unlink(path);
    assert_int_equal(zq_onnx_read(path, &read, &err), ZQ_ERR_IO);
    assert_non_null(strstr(err.text, path));
    assert_int_equal(zq_onnx_read("/tmp", &read, &err), ZQ_ERR_IO);
    (void)state;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_opsets),
        cmocka_unit_test(test_imports),
        cmocka_unit_test(test_not_a_model),
        cmocka_unit_test(test_unknown_operators),
        cmocka_unit_test(test_subgraph),
        cmocka_unit_test(test_missing_and_cycle),
        cmocka_unit_test(test_any_order),
        cmocka_unit_test(test_duplicates),
        cmocka_unit_test(test_inputs),
        cmocka_unit_test(test_free_dimensions),
        cmocka_unit_test(test_batch_of_all_inputs),
        cmocka_unit_test(test_outputs),
        cmocka_unit_test(test_optional_inputs),
        cmocka_unit_test(test_constants),
        cmocka_unit_test(test_attribute_without_type),
        cmocka_unit_test(test_zero_byte_in_string),
        cmocka_unit_test(test_wrong_number_of_inputs),
        cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
