/* SPDX-License-Identifier: Apache-2.0 */
/* Old and new forms of nodes, and the canonical form that they are brought to. roundtrip.py compares what
 * they compute. */
#include "graph/op.h"
#include "wire.h"

#include <stdlib.h>

/* The node of that operator; there must be one. */
static const zq_node *find_node(const zq_graph *graph, const char *op) {
    const zq_node *found = NULL;
    for (int n = 0; n < graph->n_nodes; n++)
        if (strcmp(graph->nodes[n].op->name, op) == 0) {
            assert_null(found);
            found = &graph->nodes[n];
        }
    if (found == NULL)
        fail_msg("no %s node", op);
    return found;
}

static void expect_constant(const zq_graph *graph, const zq_node *node, int slot, int n,
                            const double *values) {
    assert_true(slot < node->n_inputs && node->inputs[slot] >= 0);
    const zq_tensor *tensor = graph->values[node->inputs[slot]].constant;
    assert_non_null(tensor);
    assert_int_equal(zq_shape_count(&tensor->shape), n);
    for (int i = 0; i < n; i++)
        if (zq_tensor_item(tensor, i) != values[i])
            fail_msg("input %d: element %d is %g, expected %g", slot, i, zq_tensor_item(tensor, i),
                     values[i]);
}

/* x -> op -> y */
static message one_node(const char *op, const char *inputs, const message *attrs) {
    message graph = {0};
    add_interface(&graph);
    add_node(&graph, op, inputs, "y", attrs);
    return graph;
}

static void test_clip(void **state) {
    message attrs = {0}, only_max = {0};
    attr_float(&attrs, "min", 0);
    attr_float(&attrs, "max", 6);
    attr_float(&only_max, "max", 6);
    const message graph = one_node("Clip", "x", &attrs), high = one_node("Clip", "x", &only_max);
    zq_graph *read = read_good(&graph, 10);
    expect_constant(read, find_node(read, "Clip"), 1, 1, (double[]){0});
    expect_constant(read, find_node(read, "Clip"), 2, 1, (double[]){6});
    assert_int_equal(find_node(read, "Clip")->n_attrs, 0);
    zq_graph_drop(read);
    read = read_good(&high, 7);
    assert_int_equal(find_node(read, "Clip")->inputs[1], -1);
    expect_constant(read, find_node(read, "Clip"), 2, 1, (double[]){6});
    zq_graph_drop(read);
    (void)state;
}

static void test_dropout(void **state) {
    static const unsigned char yes = 1, no = 0;
    message attrs = {0}, ratio_7 = {0};
    attr_float(&attrs, "ratio", 0.5f);
    ratio_7 = one_node("Dropout", "x", &attrs);
    zq_graph *read = read_good(&ratio_7, 7);
    assert_int_equal(find_node(read, "Dropout")->n_attrs, 0);
    zq_graph_drop(read);
    message off = one_node("Dropout", "x,,t", NULL), on = off, unknown = off;
    add_tensor(&off, "t", 9, 0, NULL, &no, 1);
    read = read_good(&off, 13);
    assert_int_equal(find_node(read, "Dropout")->n_inputs, 1);
    zq_graph_drop(read);
    add_tensor(&on, "t", 9, 0, NULL, &yes, 1);
    refuse(&on, 13, ZQ_ERR_UNSUPPORTED, "model.eval()");
    add_value_info(&unknown, 11, "t", 9, 0, NULL);
    refuse(&unknown, 13, ZQ_ERR_UNSUPPORTED, "training mode");
    (void)state;
}

static void test_pad(void **state) {
    static const int64_t pads[] = {0, 0, 1, 1, 0, 0, 2, 2}, partial[] = {1, 2, 3, 4}, axes[] = {3, -2};
    message attrs = {0};
    attr_ints(&attrs, "pads", 8, pads);
    attr_float(&attrs, "value", 1.5f);
    const message old = one_node("Pad", "x", &attrs);
    zq_graph *read = read_good(&old, 2 + 8);
    expect_constant(read, find_node(read, "Pad"), 1, 8, (double[]){0, 0, 1, 1, 0, 0, 2, 2});
    expect_constant(read, find_node(read, "Pad"), 2, 1, (double[]){1.5});
    zq_graph_drop(read);
    message graph = one_node("Pad", "x,p,,a", NULL);
    add_ints(&graph, "p", 4, partial);
    add_ints(&graph, "a", 2, axes);
    read = read_good(&graph, 18);
    expect_constant(read, find_node(read, "Pad"), 1, 8, (double[]){0, 0, 2, 1, 0, 0, 4, 3});
    assert_int_equal(find_node(read, "Pad")->n_inputs, 2);
    zq_graph_drop(read);
    (void)state;
}

static void test_pad_hostile(void **state) {
    static const int64_t pads[] = {1, 2, 3, 4}, outside[] = {4, 3}, twice[] = {3, -1};
    static const int64_t many[] = {0, 1, 2, 3, 0, 1, 2, 3, 0};
    message graph = one_node("Pad", "x,p,,a", NULL);
    add_ints(&graph, "p", 4, pads);
    message beyond = graph, same = graph, long_list = graph, no_constant = graph;
    add_ints(&beyond, "a", 2, outside);
    refuse(&beyond, 18, ZQ_ERR_FORMAT, "out of range");
    add_ints(&same, "a", 2, twice);
    refuse(&same, 18, ZQ_ERR_FORMAT, "twice");
    add_ints(&long_list, "a", 9, many);
    refuse(&long_list, 18, ZQ_ERR_FORMAT, "short list");
    add_value_info(&no_constant, 11, "a", 7, 1, many + 1);
    refuse(&no_constant, 18, ZQ_ERR_UNSUPPORTED, "constant");
    /* Reshape to a computed target: nobody knows the rank */
    message unknown = {0};
    static const int64_t last[] = {-1};
    add_interface(&unknown);
    add_node(&unknown, "Shape", "x", "s", NULL);
    add_node(&unknown, "Reshape", "x,s", "r", NULL);
    add_node(&unknown, "Pad", "r,p,,a", "y", NULL);
    add_ints(&unknown, "p", 2, pads);
    add_ints(&unknown, "a", 1, last);
    refuse(&unknown, 18, ZQ_ERR_UNSUPPORTED, "rank of its data isn't known");
    (void)state;
}

static void test_slice(void **state) {
    static const int64_t starts[] = {1}, ends[] = {3}, axes[] = {2};
    message attrs = {0};
    attr_ints(&attrs, "starts", 1, starts);
    attr_ints(&attrs, "ends", 1, ends);
    attr_ints(&attrs, "axes", 1, axes);
    const message graph = one_node("Slice", "x", &attrs);
    zq_graph *read = read_good(&graph, 9);
    expect_constant(read, find_node(read, "Slice"), 1, 1, (double[]){1});
    expect_constant(read, find_node(read, "Slice"), 2, 1, (double[]){3});
    expect_constant(read, find_node(read, "Slice"), 3, 1, (double[]){2});
    zq_graph_drop(read);
    (void)state;
}

static void test_squeeze(void **state) {
    static const int64_t axes[] = {0, 5};
    const char *const ops[] = {"Squeeze", "Unsqueeze"};
    for (int k = 0; k < 2; k++) {
        message attrs = {0};
        attr_ints(&attrs, "axes", 2, axes);
        const message graph = one_node(ops[k], "x", &attrs);
        zq_graph *read = read_good(&graph, 11);
        expect_constant(read, find_node(read, ops[k]), 1, 2, (double[]){0, 5});
        zq_graph_drop(read);
    }
    (void)state;
}

static void test_split(void **state) {
    static const int64_t sizes[] = {1, 3};
    message attrs = {0}, graph = {0};
    add_interface(&graph);
    attr_ints(&attrs, "split", 2, sizes);
    attr_int(&attrs, "axis", 1);
    add_node(&graph, "Split", "x", "y,z", &attrs);
    zq_graph *read = read_good(&graph, 11);
    expect_constant(read, find_node(read, "Split"), 1, 2, (double[]){1, 3});
    zq_graph_drop(read);
    message count = {0}, wrong = {0};
    attr_int(&count, "num_outputs", 3);
    add_interface(&wrong);
    add_node(&wrong, "Split", "x", "y,z", &count);
    refuse(&wrong, 18, ZQ_ERR_FORMAT, "num_outputs");
    /* parts that nobody wants count, too */
    message unwanted = {0};
    add_interface(&unwanted);
    add_node(&unwanted, "Split", "x", "y,,", NULL);
    read = read_good(&unwanted, 13);
    assert_int_equal(find_node(read, "Split")->n_outputs, 2);
    assert_int_equal(find_node(read, "Split")->outputs[1], -1);
    zq_graph_drop(read);
    (void)state;
}

static void test_reduce_mean(void **state) {
    static const int64_t axes[] = {2, -1};
    message graph = one_node("ReduceMean", "x,a", NULL), attrs = {0};
    add_ints(&graph, "a", 2, axes);
    zq_graph *read = read_good(&graph, 18);
    const zq_attr *attr = zq_node_attr(find_node(read, "ReduceMean"), "axes");
    assert_non_null(attr);
    assert_int_equal(attr->n, 2);
    assert_int_equal(attr->ints[1], -1);
    assert_int_equal(find_node(read, "ReduceMean")->n_inputs, 1);
    zq_graph_drop(read);
    attr_int(&attrs, "noop_with_empty_axes", 1);
    const message noop = one_node("ReduceMean", "x", &attrs), all = one_node("ReduceMean", "x", NULL);
    read = read_good(&noop, 18);
    find_node(read, "Identity");
    zq_graph_drop(read);
    read = read_good(&all, 18);
    assert_null(zq_node_attr(find_node(read, "ReduceMean"), "axes"));
    zq_graph_drop(read);
    (void)state;
}

/* Without a known rank, or with an axis before the last: Flatten, Softmax, Reshape. */
static void test_softmax(void **state) {
    message graph = one_node("Softmax", "x", NULL), last = {0}, flat = {0};
    zq_graph *read = read_good(&graph, 13);
    assert_int_equal(zq_node_attr(find_node(read, "Softmax"), "axis")->i, -1);
    zq_graph_drop(read);
    read = read_good(&graph, 11);
    assert_int_equal(read->n_nodes, 4);
    assert_int_equal(zq_node_attr(find_node(read, "Flatten"), "axis")->i, 1);
    assert_int_equal(zq_node_attr(find_node(read, "Softmax"), "axis")->i, -1);
    find_node(read, "Shape");
    assert_string_equal(read->values[find_node(read, "Reshape")->outputs[0]].name, "y");
    zq_graph_drop(read);
    attr_int(&last, "axis", 3);
    graph = one_node("Softmax", "x", &last);
    read = read_good(&graph, 11);
    assert_int_equal(read->n_nodes, 1);
    zq_graph_drop(read);
    add_interface(&flat);
    add_node(&flat, "Flatten", "x", "f", NULL);
    add_node(&flat, "Softmax", "f", "y", NULL);
    read = read_good(&flat, 11);
    assert_int_equal(read->n_nodes, 2);
    assert_int_equal(zq_node_attr(find_node(read, "Softmax"), "axis")->i, 1);
    zq_graph_drop(read);
    (void)state;
}

static message batch_normalization(const char *outputs, const message *attrs) {
    static const float values[] = {1, 2, 3, 4};
    message graph = {0};
    add_interface(&graph);
    for (const char *name = "sbmv"; *name != '\0'; name++)
        add_floats(&graph, (char[]){*name, '\0'}, 4, values);
    add_node(&graph, "BatchNormalization", "x,s,b,m,v", outputs, attrs);
    return graph;
}

static void test_batch_normalization(void **state) {
    message attrs = {0}, training = {0}, pixels = {0};
    attr_float(&attrs, "momentum", 0.9f);
    attr_float(&attrs, "epsilon", 0.001f);
    attr_int(&attrs, "spatial", 1);
    message graph = batch_normalization("y,m1,v1,m2,v2", &attrs);
    zq_graph *read = read_good(&graph, 7);
    const zq_node *node = find_node(read, "BatchNormalization");
    assert_int_equal(node->n_outputs, 1);
    assert_int_equal(node->n_attrs, 1);
    assert_non_null(zq_node_attr(node, "epsilon"));
    zq_graph_drop(read);
    /* nobody may read what only training computes */
    add_node(&graph, "Relu", "m1", "z", NULL);
    refuse(&graph, 7, ZQ_ERR_FORMAT, "'m1'");
    graph = batch_normalization("y,m1", &attrs);
    add_value_info(&graph, 12, "m1", 1, -1, NULL);
    refuse(&graph, 7, ZQ_ERR_FORMAT, "output 'm1', which no node provides");
    attr_int(&training, "training_mode", 1);
    graph = batch_normalization("y", &training);
    refuse(&graph, 14, ZQ_ERR_UNSUPPORTED, "model.eval()");
    attr_int(&pixels, "spatial", 0);
    graph = batch_normalization("y", &pixels);
    refuse(&graph, 8, ZQ_ERR_UNSUPPORTED, "spatial");
    (void)state;
}

static void test_upsample(void **state) {
    static const float scales[] = {1, 1, 2, 2};
    message attrs = {0};
    attr_floats(&attrs, "scales", 4, scales);
    attr_text(&attrs, "mode", "linear");
    message old = one_node("Upsample", "x", &attrs), newer = one_node("Upsample", "x,s", NULL);
    add_floats(&newer, "s", 4, scales);
    message resize = one_node("Resize", "x,s", NULL);
    add_floats(&resize, "s", 4, scales);
    const message *const graphs[] = {&old, &newer, &resize};
    const int opsets[] = {7, 9, 10};
    for (int k = 0; k < 3; k++) {
        zq_graph *read = read_good(graphs[k], opsets[k]);
        const zq_node *node = find_node(read, "Resize");
        assert_int_equal(node->inputs[1], -1);
        expect_constant(read, node, 2, 4, (double[]){1, 1, 2, 2});
        assert_string_equal(zq_node_attr(node, "coordinate_transformation_mode")->s, "asymmetric");
        assert_string_equal(zq_node_attr(node, "nearest_mode")->s, "floor");
        zq_graph_drop(read);
    }
    (void)state;
}

static void test_resize(void **state) {
    static const float scales[] = {3, 2};
    static const int64_t axes[] = {-1, -2}, sizes[] = {9, 8};
    message attrs = {0}, policy = {0}, smooth = {0}, middle = {0},
            empty = one_node("Resize", "x,r,e,z", NULL);
    attr_ints(&attrs, "axes", 2, axes);
    attr_int(&attrs, "antialias", 0);
    attr_text(&attrs, "keep_aspect_ratio_policy", "stretch");
    message graph = one_node("Resize", "x,,s", &attrs);
    add_floats(&graph, "s", 2, scales);
    zq_graph *read = read_good(&graph, 18);
    expect_constant(read, find_node(read, "Resize"), 2, 4, (double[]){1, 1, 2, 3});
    assert_int_equal(find_node(read, "Resize")->n_attrs, 0);
    zq_graph_drop(read);
    /* opset 11 wrote empty tensors for what isn't given */
    const int64_t full[] = {1, 4, 9, 8};
    add_floats(&empty, "r", 0, NULL);
    add_floats(&empty, "e", 0, NULL);
    add_ints(&empty, "z", 4, full);
    read = read_good(&empty, 11);
    assert_int_equal(find_node(read, "Resize")->inputs[1], -1);
    assert_int_equal(find_node(read, "Resize")->inputs[2], -1);
    zq_graph_drop(read);
    attr_text(&policy, "keep_aspect_ratio_policy", "not_larger");
    graph = one_node("Resize", "x,,s", &policy);
    add_floats(&graph, "s", 2, scales);
    refuse(&graph, 18, ZQ_ERR_UNSUPPORTED, "aspect ratio");
    attr_int(&smooth, "antialias", 1);
    graph = one_node("Resize", "x,,s", &smooth);
    add_floats(&graph, "s", 2, scales);
    refuse(&graph, 18, ZQ_ERR_UNSUPPORTED, "antialias");
    /* sizes of the last axes are sorted; of others, the sizes of those behind aren't known here */
    graph = one_node("Resize", "x,,,z", &attrs);
    add_ints(&graph, "z", 2, sizes);
    read = read_good(&graph, 18);
    assert_true(find_node(read, "Concat") != NULL);
    const zq_tensor *sorted = read->values[find_node(read, "Concat")->inputs[1]].constant;
    assert_int_equal(zq_tensor_item_i64(sorted, 0), 8);
    assert_int_equal(zq_tensor_item_i64(sorted, 1), 9);
    zq_graph_drop(read);
    attr_ints(&middle, "axes", 2, (const int64_t[]){1, 2});
    graph = one_node("Resize", "x,,,z", &middle);
    add_ints(&graph, "z", 2, sizes);
    refuse(&graph, 18, ZQ_ERR_UNSUPPORTED, "neither all nor the last");
    (void)state;
}

static void test_reshape(void **state) {
    static const int64_t good[] = {-1, 12}, empty[] = {0, 12};
    message attrs = {0};
    attr_int(&attrs, "allowzero", 1);
    const message graph = one_node("Reshape", "x,t", &attrs);
    message positive = graph, zero = graph, computed = graph;
    add_ints(&positive, "t", 2, good);
    zq_graph *read = read_good(&positive, 14);
    assert_int_equal(find_node(read, "Reshape")->n_attrs, 0);
    zq_graph_drop(read);
    add_ints(&zero, "t", 2, empty);
    refuse(&zero, 14, ZQ_ERR_UNSUPPORTED, "empty tensor");
    add_node(&computed, "Shape", "x", "t", NULL);
    read = read_good(&computed, 14);
    assert_int_equal(zq_node_attr(find_node(read, "Reshape"), "allowzero")->i, 1);
    zq_graph_drop(read);
    (void)state;
}

static void test_shape(void **state) {
    message attrs = {0};
    attr_int(&attrs, "start", 1);
    attr_int(&attrs, "end", -1);
    const message graph = one_node("Shape", "x", &attrs);
    zq_graph *read = read_good(&graph, 15);
    const zq_node *slice = find_node(read, "Slice");
    expect_constant(read, slice, 1, 1, (double[]){1});
    expect_constant(read, slice, 2, 1, (double[]){-1});
    assert_string_equal(read->values[slice->outputs[0]].name, "y");
    assert_int_equal(find_node(read, "Shape")->outputs[0], slice->inputs[0]);
    zq_graph_drop(read);
    (void)state;
}

static void test_quantize(void **state) {
    static const float scale[] = {0.5f};
    message attrs = {0}, blocks = {0}, half = {0}, unknown = {0};
    attr_int(&attrs, "output_dtype", 3);
    attr_int(&attrs, "saturate", 1);
    message graph = one_node("QuantizeLinear", "x,s", &attrs);
    add_floats(&graph, "s", 1, scale);
    zq_graph *read = read_good(&graph, 21);
    const zq_node *node = find_node(read, "QuantizeLinear");
    expect_constant(read, node, 2, 1, (double[]){0});
    assert_int_equal(read->values[node->inputs[2]].dtype, ZQ_I8);
    assert_int_equal(node->n_attrs, 0);
    zq_graph_drop(read);
    attr_int(&blocks, "block_size", 16);
    graph = one_node("QuantizeLinear", "x,s", &blocks);
    add_floats(&graph, "s", 1, scale);
    refuse(&graph, 21, ZQ_ERR_UNSUPPORTED, "each block");
    attr_int(&unknown, "output_dtype", 1LL << 40);
    graph = one_node("QuantizeLinear", "x,s", &unknown);
    add_floats(&graph, "s", 1, scale);
    refuse(&graph, 21, ZQ_ERR_UNSUPPORTED, "output_dtype");
    attr_int(&half, "output_dtype", 10);
    graph = one_node("DequantizeLinear", "x,s", &half);
    add_floats(&graph, "s", 1, scale);
    refuse(&graph, 23, ZQ_ERR_UNSUPPORTED, "32-bit");
    (void)state;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clip),     cmocka_unit_test(test_dropout),
        cmocka_unit_test(test_pad),      cmocka_unit_test(test_pad_hostile),
        cmocka_unit_test(test_slice),    cmocka_unit_test(test_squeeze),
        cmocka_unit_test(test_split),    cmocka_unit_test(test_reduce_mean),
        cmocka_unit_test(test_softmax),  cmocka_unit_test(test_batch_normalization),
        cmocka_unit_test(test_upsample), cmocka_unit_test(test_resize),
        cmocka_unit_test(test_reshape),  cmocka_unit_test(test_shape),
        cmocka_unit_test(test_quantize),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
