/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/memory.h"
#include "graph/op.h"
#include "onnx/onnx.pb-c.h"
#include "wire.h"

#include <stdlib.h>
#include <unistd.h>

static char path[] = "/tmp/zeroq-test-XXXXXX";

static int make_file(void **state) {
    (void)state;
    return close(mkstemp(path));
}

static int drop_file(void **state) {
    (void)state;
    return unlink(path);
}

/* A graph with x [N,4,6,6] (free batch) and y, to which tests add nodes. */
static zq_graph *start(int *x, int *y) {
    static const int64_t in[] = {-1, 4, 6, 6}, out[] = {1, 4, 6, 6};
    const zq_shape shapes[] = {zq_shape_of(4, in), zq_shape_of(4, out)};
    zq_graph *graph = zq_graph_new();
    assert_non_null(graph);
    graph->name = zq_strdup("net");
    graph->free_batch = true;
    *x = zq_graph_add_value(graph, "x", ZQ_F32, &shapes[0]);
    *y = zq_graph_add_value(graph, "y", ZQ_F32, &shapes[1]);
    assert_true(zq_graph_add_input(graph, *x) && zq_graph_add_output(graph, *y));
    return graph;
}

static zq_node *add(zq_graph *graph, const char *op, const char *name, int n_inputs, const int *inputs,
                    int output) {
    const int node = zq_graph_add_node(graph, zq_op_find(op), name, n_inputs, inputs, 1, &output);
    assert_true(node >= 0);
    return &graph->nodes[node];
}

static Onnx__ModelProto *write_model(const zq_graph *graph, int n_properties,
                                     const zq_onnx_property *properties) {
    unsigned char *bytes = NULL;
    size_t n_bytes = 0;
    uint64_t n_written = 0, n_measured = 0;
    zq_error err = {0};
    if (zq_onnx_write(graph, path, n_properties, properties, &n_written, &err) != ZQ_OK ||
        zq_onnx_size(graph, n_properties, properties, &n_measured, &err) != ZQ_OK ||
        zq_file_read(path, &bytes, &n_bytes, &err) != ZQ_OK)
        fail_msg("%s", err.text);
    assert_int_equal(n_written, n_bytes);
    assert_int_equal(n_measured, n_bytes);
    Onnx__ModelProto *model = onnx__model_proto__unpack(NULL, n_bytes, bytes);
    zq_free(bytes);
    assert_non_null(model);
    return model;
}

static void drop_model(Onnx__ModelProto *model) {
    onnx__model_proto__free_unpacked(model, NULL);
}

static void test_header(void **state) {
    int x, y;
    zq_graph *graph = start(&x, &y);
    const zq_onnx_property properties[] = {{"zeroq.size", "w4"}, {"zeroq.seed", "0"}};
    add(graph, "Relu", "r", 1, &x, y);
    Onnx__ModelProto *model = write_model(graph, 2, properties);
    assert_int_equal(model->ir_version, 8);
    assert_string_equal(model->producer_name, "zeroq");
    assert_true(strlen(model->producer_version) > 0);
    assert_int_equal(model->n_opset_import, 1);
    assert_int_equal(model->opset_import[0]->version, 13);
    assert_string_equal(model->graph->name, "net");
    assert_int_equal(model->n_metadata_props, 2);
    assert_string_equal(model->metadata_props[1]->key, "zeroq.seed");
    assert_string_equal(model->metadata_props[0]->value, "w4");
    drop_model(model);
    zq_graph_drop(graph);
    (void)state;
}

static const Onnx__TensorShapeProto *shape_of(const Onnx__ValueInfoProto *info) {
    assert_int_equal(info->type->value_case, ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE);
    return info->type->tensor_type->shape;
}

/* "N,4,6,6" */
static void expect_shape(const Onnx__ValueInfoProto *info, const char *expected) {
    const Onnx__TensorShapeProto *shape = shape_of(info);
    char text[256] = "";
    for (size_t d = 0; d < shape->n_dim; d++) {
        const Onnx__TensorShapeProto__Dimension *dim = shape->dim[d];
        const size_t used = strlen(text);
        if (dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM)
            snprintf(text + used, sizeof text - used, "%s%s", d > 0 ? "," : "", dim->dim_param);
        else
            snprintf(text + used, sizeof text - used, "%s%d", d > 0 ? "," : "", (int)dim->dim_value);
    }
    assert_string_equal(text, expected);
}

static void test_shapes(void **state) {
    int x, y;
    zq_graph *graph = start(&x, &y);
    add(graph, "Relu", "r", 1, &x, y);
    Onnx__ModelProto *model = write_model(graph, 0, NULL);
    expect_shape(model->graph->input[0], "N,4,6,6");
    expect_shape(model->graph->output[0], "N,4,6,6");
    assert_int_equal(model->graph->output[0]->type->tensor_type->elem_type, 1);
    drop_model(model);
    graph->values[y].shape.dims[0] = 9; /* batch * anchors */
    graph->values[x].shape.dims[2] = -1;
    model = write_model(graph, 0, NULL);
    expect_shape(model->graph->input[0], "N,4,x_2,6");
    expect_shape(model->graph->output[0], "y_0,4,6,6");
    drop_model(model);
    graph->free_batch = false;
    graph->values[x].shape.dims[0] = 1;
    model = write_model(graph, 0, NULL);
    expect_shape(model->graph->input[0], "1,4,x_2,6");
    expect_shape(model->graph->output[0], "9,4,6,6");
    drop_model(model);
    graph->values[y].dtype = ZQ_NONE;
    zq_error err = {0};
    assert_int_equal(zq_onnx_write(graph, path, 0, NULL, NULL, &err), ZQ_ERR_INTERNAL);
    zq_graph_drop(graph);
    (void)state;
}

/* Each type of constant: its opset, IR version and bytes. */
static void test_constants(void **state) {
    static const struct {
        zq_dtype dtype;
        int data_type, opset, ir_version;
        size_t n_raw;
        const char *raw; /* of 0, 1, -1, 1, 1 (unsigned: 3 for -1) */
    } rows[] = {
        {ZQ_I8, 3, 13, 8, 5, "\0\1\xff\1\1"},   {ZQ_U8, 2, 13, 8, 5, "\0\1\3\1\1"},
        {ZQ_BOOL, 9, 13, 8, 5, "\0\1\1\1\1"},   {ZQ_I4, 22, 21, 10, 3, "\x10\x1f\x01"},
        {ZQ_U4, 21, 21, 10, 3, "\x10\x13\x01"}, {ZQ_I2, 26, 25, 13, 2, "\x74\x01"},
        {ZQ_U2, 25, 25, 13, 2, "\x74\x01"},
    };
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        const zq_dtype dtype = rows[r].dtype;
        const bool is_signed = dtype == ZQ_I8 || dtype == ZQ_I4 || dtype == ZQ_I2;
        static const int64_t dims[] = {5};
        const zq_shape shape = zq_shape_of(1, dims);
        int x, y;
        zq_graph *graph = start(&x, &y);
        zq_tensor *tensor = zq_tensor_new(dtype, &shape);
        memcpy(tensor->data, is_signed ? "\0\1\xff\1\1" : dtype == ZQ_BOOL ? "\0\1\1\1\1" : "\0\1\3\1\1", 5);
        const int inputs[] = {x, zq_graph_add_constant(graph, "k", tensor)};
        add(graph, "Add", "a", 2, inputs, y);
        Onnx__ModelProto *model = write_model(graph, 0, NULL);
        const Onnx__TensorProto *proto = model->graph->initializer[0];
        assert_int_equal(model->opset_import[0]->version, rows[r].opset);
        assert_int_equal(model->ir_version, rows[r].ir_version);
        assert_int_equal(proto->data_type, rows[r].data_type);
        assert_int_equal(proto->n_dims, 1);
        assert_int_equal(proto->dims[0], 5);
        assert_int_equal(proto->raw_data.len, rows[r].n_raw);
        assert_memory_equal(proto->raw_data.data, rows[r].raw, rows[r].n_raw);
        drop_model(model);
        /* and back */
        zq_graph *read;
        zq_error err = {0};
        if (zq_onnx_read(path, &read, &err) != ZQ_OK)
            fail_msg("%s", err.text);
        const zq_tensor *back = read->values[zq_graph_find_value(read, "k")].constant;
        assert_int_equal(back->dtype, dtype);
        assert_memory_equal(back->data, tensor->data, 5);
        zq_graph_drop(read);
        zq_graph_drop(graph);
    }
    (void)state;
}

/* Initializers come in order of first use, once each, and unused ones not at all. */
static void test_order(void **state) {
    static const float one = 1;
    int x, y;
    zq_graph *graph = start(&x, &y);
    const int unused = zq_graph_add_constant(graph, "unused", zq_tensor_new_f32(1, &one));
    const int second = zq_graph_add_constant(graph, "second", zq_tensor_new_f32(1, &one));
    const int first = zq_graph_add_constant(graph, "first", zq_tensor_new_f32(1, &one));
    const int a = zq_graph_add_value(graph, "a", ZQ_F32, NULL),
              b = zq_graph_add_value(graph, "b", ZQ_F32, NULL);
    add(graph, "Add", "1", 2, (int[]){x, first}, a);
    add(graph, "Add", "2", 2, (int[]){a, second}, b);
    add(graph, "Add", "3", 2, (int[]){b, first}, y);
    assert_true(unused >= 0);
    Onnx__ModelProto *model = write_model(graph, 0, NULL);
    assert_int_equal(model->graph->n_initializer, 2);
    assert_string_equal(model->graph->initializer[0]->name, "first");
    assert_string_equal(model->graph->initializer[1]->name, "second");
    drop_model(model);
    zq_graph_drop(graph);
    (void)state;
}

/* An int4 constant, so that the file has opset 21. */
static int four_bits(zq_graph *graph) {
    const zq_shape shape = zq_shape_of(0, NULL);
    return zq_graph_add_constant(graph, "four_bits", zq_tensor_new(ZQ_I4, &shape));
}

static void test_raised(void **state) {
    static const int64_t axes[] = {2, 3};
    for (int raised = 0; raised < 2; raised++) {
        int x, y;
        zq_graph *graph = start(&x, &y);
        const int a = zq_graph_add_value(graph, "a", ZQ_F32, NULL),
                  b = zq_graph_add_value(graph, "b", ZQ_F32, NULL);
        const int taken = zq_graph_add_value(graph, "y_axes", ZQ_F32, NULL);
        add(graph, "Add", "1", 2, (int[]){x, raised ? four_bits(graph) : x}, a);
        add(graph, "Split", "2", 1, &a, b);
        add(graph, "Relu", "3", 1, &b, taken);
        assert_true(zq_node_set_ints(add(graph, "ReduceMean", "4", 1, &taken, y), "axes", 2, axes));
        Onnx__ModelProto *model = write_model(graph, 0, NULL);
        const Onnx__NodeProto *split = model->graph->node[1], *mean = model->graph->node[3];
        assert_int_equal(model->opset_import[0]->version, raised ? 21 : 13);
        assert_int_equal(split->n_attribute, raised ? 1 : 0);
        assert_int_equal(mean->n_attribute, raised ? 0 : 1);
        assert_int_equal(mean->n_input, raised ? 2 : 1);
        if (raised) {
            const Onnx__TensorProto *list = model->graph->initializer[1];
            assert_string_equal(split->attribute[0]->name, "num_outputs");
            assert_int_equal(split->attribute[0]->i, 1);
            assert_string_equal(mean->input[1], "y_axes_"); /* y_axes is taken */
            assert_string_equal(list->name, mean->input[1]);
            assert_int_equal(list->data_type, 7);
            assert_memory_equal(list->raw_data.data, axes, sizeof axes);
        }
        drop_model(model);
        zq_graph_drop(graph);
    }
    (void)state;
}

static void test_opset_of_operators(void **state) {
    static const int64_t dilations[] = {2, 2};
    static const struct {
        const char *op, *text_attr, *text;
        int opset;
    } rows[] = {{"HardSwish", NULL, NULL, 14},
                {"Relu", NULL, NULL, 13},
                {"Pad", "mode", "wrap", 19},
                {"Pad", "mode", "edge", 13},
                {"Resize", "coordinate_transformation_mode", "half_pixel_symmetric", 19},
                {"AveragePool", NULL, NULL, 19}};
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        int x, y;
        zq_graph *graph = start(&x, &y);
        zq_node *node = add(graph, rows[r].op, "n", 1, &x, y);
        if (rows[r].text_attr != NULL)
            assert_true(zq_node_set_string(node, rows[r].text_attr, rows[r].text));
        if (strcmp(rows[r].op, "AveragePool") == 0)
            assert_true(zq_node_set_ints(node, "dilations", 2, dilations));
        Onnx__ModelProto *model = write_model(graph, 0, NULL);
        assert_int_equal(model->opset_import[0]->version, rows[r].opset);
        assert_int_equal(model->ir_version, rows[r].opset == 19 ? 9 : 8);
        drop_model(model);
        zq_graph_drop(graph);
    }
    (void)state;
}

/* Every kind of attribute comes back. */
static void test_attributes(void **state) {
    static const int64_t ints[] = {-1, INT64_MAX};
    static const float floats[] = {0.5f, -2};
    int x, y;
    zq_graph *graph = start(&x, &y);
    zq_node *node = add(graph, "Relu", "r", 1, &x, y);
    assert_true(zq_node_set_int(node, "i", INT64_MIN) && zq_node_set_float(node, "f", -0.5f) &&
                zq_node_set_string(node, "s", "text") && zq_node_set_ints(node, "is", 2, ints) &&
                zq_node_set_floats(node, "fs", 2, floats) && zq_node_set_ints(node, "none", 0, NULL) &&
                zq_node_set_tensor(node, "t", zq_tensor_new_i64(2, ints)));
    zq_graph *read;
    zq_error err = {0};
    assert_int_equal(zq_onnx_write(graph, path, 0, NULL, NULL, &err), ZQ_OK);
    if (zq_onnx_read(path, &read, &err) != ZQ_OK)
        fail_msg("%s", err.text);
    const zq_node *back = &read->nodes[0];
    assert_int_equal(back->n_attrs, 7);
    assert_true(zq_node_attr(back, "i")->i == INT64_MIN);
    assert_true(zq_node_attr(back, "f")->f == -0.5f);
    assert_string_equal(zq_node_attr(back, "s")->s, "text");
    assert_memory_equal(zq_node_attr(back, "is")->ints, ints, sizeof ints);
    assert_memory_equal(zq_node_attr(back, "fs")->floats, floats, sizeof floats);
    assert_true(zq_node_attr(back, "none")->kind == ZQ_ATTR_INTS && zq_node_attr(back, "none")->n == 0);
    assert_true(zq_tensor_item_i64(zq_node_attr(back, "t")->tensor, 1) == INT64_MAX);
    zq_graph_drop(read);
    zq_graph_drop(graph);
    (void)state;
}

/* ONNX Runtime refuses two nodes of one name. */
static void test_node_names(void **state) {
    const char *const names[] = {"same", "same", "same_d", "", "same", ""};
    const char *const values[] = {"a", "d", "c", "e", "f", "y"};
    int x, y;
    zq_graph *graph = start(&x, &y);
    int before = x;
    for (int n = 0; n < 6; n++) {
        const int after = n == 5 ? y : zq_graph_add_value(graph, values[n], ZQ_F32, NULL);
        add(graph, "Relu", names[n], 1, &before, after);
        before = after;
    }
    Onnx__ModelProto *model = write_model(graph, 0, NULL);
    for (int n = 0; n < 6; n++)
        for (int m = 0; m < n; m++)
            assert_true(names[n][0] == '\0' ||
                        strcmp(model->graph->node[n]->name, model->graph->node[m]->name) != 0);
    assert_string_equal(model->graph->node[0]->name, "same");
    assert_string_equal(model->graph->node[3]->name, "");
    drop_model(model);
    zq_graph_drop(graph);
    (void)state;
}

/* Same graph, same bytes. */
static void test_deterministic(void **state) {
    unsigned char *bytes[2];
    size_t n_bytes[2];
    for (int k = 0; k < 2; k++) {
        int x, y;
        zq_graph *graph = start(&x, &y);
        zq_error err = {0};
        add(graph, "Add", "a", 2, (int[]){x, four_bits(graph)}, y);
        assert_int_equal(zq_onnx_write(graph, path, 0, NULL, NULL, &err), ZQ_OK);
        assert_int_equal(zq_file_read(path, &bytes[k], &n_bytes[k], &err), ZQ_OK);
        zq_graph_drop(graph);
    }
    assert_int_equal(n_bytes[0], n_bytes[1]);
    assert_memory_equal(bytes[0], bytes[1], n_bytes[0]);
    zq_free(bytes[0]);
    zq_free(bytes[1]);
    (void)state;
}

static void test_unwritable(void **state) {
    int x, y;
    zq_graph *graph = start(&x, &y);
    zq_error err = {0};
    add(graph, "Relu", "r", 1, &x, y);
    assert_int_equal(zq_onnx_write(graph, "/nonexistent/folder/net.onnx", 0, NULL, NULL, &err), ZQ_ERR_IO);
    assert_non_null(strstr(err.text, "/nonexistent/folder/net.onnx"));
    zq_graph_drop(graph);
    (void)state;
}

/* Protobuf ends at 2 GB. The tensor's memory is never touched. */
static void test_too_large(void **state) {
    static const int64_t dims[] = {1 << 15, 1 << 15};
    int x, y;
    zq_graph *graph = start(&x, &y);
    zq_error err = {0};
    uint64_t n_bytes;
    zq_tensor *tensor = zq_alloc(1, sizeof *tensor);
    *tensor = (zq_tensor){.dtype = ZQ_F32, .shape = zq_shape_of(2, dims)};
    add(graph, "Add", "a", 2, (int[]){x, zq_graph_add_constant(graph, "k", tensor)}, y);
    assert_int_equal(zq_onnx_size(graph, 0, NULL, &n_bytes, &err), ZQ_ERR_LIMIT);
    assert_int_equal(zq_onnx_write(graph, path, 0, NULL, NULL, &err), ZQ_ERR_LIMIT);
    assert_non_null(strstr(err.text, "2 GB"));
    zq_graph_drop(graph);
    (void)state;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header),        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_constants),     cmocka_unit_test(test_order),
        cmocka_unit_test(test_raised),        cmocka_unit_test(test_opset_of_operators),
        cmocka_unit_test(test_attributes),    cmocka_unit_test(test_node_names),
        cmocka_unit_test(test_deterministic), cmocka_unit_test(test_unwritable),
        cmocka_unit_test(test_too_large),
    };
    return cmocka_run_group_tests(tests, make_file, drop_file);
}
