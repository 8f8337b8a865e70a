/* SPDX-License-Identifier: Apache-2.0 */
#include "passes/passes.h"
#include "support/build.h"
#include "support/evaluate.h"

enum { SEED = 20 };

static void fold_ok(zq_graph *graph, const char *shapes) {
    zq_error err = {0};
    if (zq_fold_constants(graph, shapes, &err) != ZQ_OK)
        fail_msg("%s", err.text);
}

static void fold_fails(zq_graph *graph, const char *shapes, zq_status status, const char *sentence) {
    zq_error err = {0};
    assert_int_equal(zq_fold_constants(graph, shapes, &err), status);
    if (strstr(err.text, sentence) == NULL)
        fail_msg("got \"%s\", expected \"%s\"", err.text, sentence);
    zq_graph_drop(graph);
}

static const zq_value *value_of(zq_graph *graph, const char *name) {
    const int value = zq_graph_find_value(graph, name);
    assert_true(value >= 0);
    return &graph->values[value];
}

static void assert_shape(zq_graph *graph, const char *name, zq_shape expected) {
    char text[ZQ_SHAPE_TEXT];
    if (!zq_shape_equal(&value_of(graph, name)->shape, &expected))
        fail_msg("'%s' has shape %s", name, zq_shape_text(&value_of(graph, name)->shape, text));
}

/* x -> Relu -> y */
static zq_graph *relu_net(zq_shape shape) {
    zq_graph *graph = zq_graph_new();
    const int x = build_input(graph, "x", shape);
    build_output(graph, build_node(graph, "Relu", "y", VALUES(x)));
    build_done(graph);
    return graph;
}

static void test_free_batch_stays_free(void **state) {
    (void)state;
    zq_graph *graph = relu_net(SHAPE(-1, 3, 4, 5));
    fold_ok(graph, NULL);
    assert_true(graph->free_batch);
    assert_shape(graph, "x", SHAPE(-1, 3, 4, 5));
    assert_shape(graph, "y", SHAPE(1, 3, 4, 5));
    zq_shape shapes[2];
    assert_int_equal(zq_infer_batch(graph, 6, shapes, NULL), ZQ_OK);
    const zq_shape expected = SHAPE(6, 3, 4, 5);
    assert_true(zq_shape_equal(&shapes[graph->outputs[0]], &expected));
    zq_graph_drop(graph);
}

static void test_shape_option_fixes_dimensions(void **state) {
    (void)state;
    zq_graph *graph = relu_net(SHAPE(-1, 3, -1, -1));
    fold_ok(graph, "x=1,3,8,16");
    assert_true(graph->free_batch);
    assert_shape(graph, "x", SHAPE(-1, 3, 8, 16));
    zq_graph_drop(graph);
    graph = relu_net(SHAPE(-1, 3, -1, -1));
    fold_ok(graph, "4,3,8,16"); /* the only input needs no name */
    assert_false(graph->free_batch);
    assert_shape(graph, "y", SHAPE(4, 3, 8, 16));
    zq_graph_drop(graph);
}

static void test_shape_option_refusals(void **state) {
    (void)state;
    fold_fails(relu_net(SHAPE(-1, 3, -1, -1)), NULL, ZQ_ERR_USAGE,
               "input 'x' has free dimensions [N,3,?,?]: give them, such as with --shape x=1,3,224,224");
    fold_fails(relu_net(SHAPE(-1, 3, -1, -1)), "z=1,3,8,8", ZQ_ERR_USAGE,
               "no input 'z'; its inputs are 'x' [N,3,?,?]");
    fold_fails(relu_net(SHAPE(-1, 3, -1, -1)), "x=1,4,8,8", ZQ_ERR_USAGE,
               "input 'x' is [N,3,?,?] in the model, which [1,4,8,8] doesn't fit");
    fold_fails(relu_net(SHAPE(-1, 3, -1, -1)), "x=1,3,8", ZQ_ERR_USAGE, "doesn't fit");
    static const char *const malformed[] = {"x=1,3,8,",
                                            "x=1,3,,8",
                                            "x=",
                                            "x=1,3,0,8",
                                            "x=1,3,-2,8",
                                            "x=1,3,8,8a",
                                            "x=1,3,8,99999999999999999999",
                                            "x=1;",
                                            "x=1,1,1,1,1,1,1,1,1",
                                            "x=1,3,8 ,8",
                                            ";",
                                            "=;="};
    for (size_t k = 0; k < COUNT_OF(malformed); k++)
        fold_fails(relu_net(SHAPE(-1, 3, -1, -1)), malformed[k], ZQ_ERR_USAGE, "--shape: ");
    fold_fails(relu_net(SHAPE(-1, 3, -1, -1)), "x=1,3,8,8;x=1,3,8,8", ZQ_ERR_USAGE, "given twice");
}

static void test_two_inputs_need_names(void **state) {
    (void)state;
    for (int named = 0; named < 2; named++) {
        zq_graph *graph = zq_graph_new();
        const int a = build_input(graph, "a", SHAPE(-1, 4)), b = build_input(graph, "b", SHAPE(-1, -1));
        build_output(graph, build_node(graph, "Add", "y", VALUES(a, b)));
        build_done(graph);
        if (!named) {
            fold_fails(graph, "1,4", ZQ_ERR_USAGE, "the model has 2 inputs, so each shape needs a name");
            continue;
        }
        fold_ok(graph, "b=1,4");
        assert_true(graph->free_batch);
        assert_shape(graph, "b", SHAPE(-1, 4));
        zq_graph_drop(graph);
    }
}

static void test_fixed_batch(void **state) {
    (void)state;
    zq_graph *graph = relu_net(SHAPE(2, 3, 4, 5));
    fold_ok(graph, NULL);
    assert_false(graph->free_batch);
    assert_shape(graph, "y", SHAPE(2, 3, 4, 5));
    zq_shape shapes[2];
    zq_error err;
    assert_int_equal(zq_infer_batch(graph, 2, shapes, &err), ZQ_OK);
    assert_int_equal(zq_infer_batch(graph, 3, shapes, &err), ZQ_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "fixed shape [2,3,4,5], so it can't take 3 images"));
    zq_graph_drop(graph);
}

/* y = Reshape(x, Concat(Gather(Shape(x), 0), -1)): what PyTorch writes for x.view(x.size(0), -1). */
static zq_graph *view_net(zq_shape shape) {
    zq_graph *graph = zq_graph_new();
    const int x = build_input(graph, "x", shape);
    const int size = build_node(graph, "Shape", "size", VALUES(x));
    const int zero = build_scalar_i64(graph, "zero", 0), axes = build_i64(graph, "axes", INTS(0));
    const int batch = build_node(graph, "Gather", "batch", VALUES(size, zero));
    const int batch_1 = build_node(graph, "Unsqueeze", "batch_1", VALUES(batch, axes));
    const int rest = build_i64(graph, "rest", INTS(-1));
    const int target = build_node(graph, "Concat", "target", VALUES(batch_1, rest));
    zq_node_set_int(build_last(graph), "axis", 0);
    build_output(graph, build_node(graph, "Reshape", "y", VALUES(x, target)));
    build_done(graph);
    return graph;
}

static const zq_tensor *reshape_target(const zq_graph *graph) {
    for (int n = 0; n < graph->n_nodes; n++)
        if (strcmp(graph->nodes[n].op->name, "Reshape") == 0)
            return graph->values[graph->nodes[n].inputs[1]].constant;
    return NULL;
}

static void assert_target(const zq_graph *graph, size_t n, const int64_t *expected) {
    const zq_tensor *target = reshape_target(graph);
    assert_non_null(target);
    assert_int_equal(zq_shape_count(&target->shape), n);
    assert_memory_equal(target->data, expected, n * sizeof *expected);
}

static void test_batch_in_reshape(void **state) {
    (void)state;
    zq_graph *graph = view_net(SHAPE(-1, 3, 4, 5)), *before = zq_graph_copy(graph);
    fold_ok(graph, NULL);
    assert_int_equal(graph->n_nodes, 1);
    assert_target(graph, INTS(0, -1));
    assert_shape(graph, "y", SHAPE(1, 60));
    assert_same_outputs(before, graph, 3, SEED, 0);
    zq_graph_drop(before);
    zq_graph_drop(graph);
}

static void test_fixed_batch_in_reshape(void **state) {
    (void)state;
    zq_graph *graph = view_net(SHAPE(2, 3, 4, 5));
    fold_ok(graph, NULL);
    assert_int_equal(graph->n_nodes, 1);
    assert_target(graph, INTS(2, -1));
    zq_graph_drop(graph);
}

/* y = Reshape(x, target) where the target is Concat(batch * factor, others...) */
static zq_graph *scaled_view_net(int64_t factor, size_t n_others, const int64_t *others) {
    zq_graph *graph = zq_graph_new();
    const int x = build_input(graph, "x", SHAPE(-1, 6, 4));
    const int size = build_node(graph, "Shape", "size", VALUES(x));
    const int zero = build_i64(graph, "zero", INTS(0)), by = build_i64(graph, "by", INTS(factor));
    const int batch = build_node(graph, "Gather", "batch", VALUES(size, zero));
    const int scaled = build_node(graph, "Mul", "scaled", VALUES(batch, by));
    const int rest = build_i64(graph, "rest", n_others, others);
    const int target = build_node(graph, "Concat", "target", VALUES(scaled, rest));
    zq_node_set_int(build_last(graph), "axis", 0);
    build_output(graph, build_node(graph, "Reshape", "y", VALUES(x, target)));
    build_done(graph);
    return graph;
}

static void test_batch_times_factor_in_reshape(void **state) {
    (void)state;
    zq_graph *graph = scaled_view_net(3, INTS(2, -1)), *before = zq_graph_copy(graph);
    fold_ok(graph, NULL);
    assert_target(graph, INTS(-1, 2, 4)); /* the -1 is needed for the batch now */
    assert_same_outputs(before, graph, 2, SEED, 0);
    zq_graph_drop(before);
    zq_graph_drop(graph);
    graph = scaled_view_net(1, INTS(0, -1));
    fold_ok(graph, NULL);
    assert_target(graph, INTS(0, 0, -1));
    zq_graph_drop(graph);
}

/* A target of two dimensions that both need the batch can't be written down. */
static void test_batch_twice_in_reshape(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    const int x = build_input(graph, "x", SHAPE(-1, 6));
    const int y = build_input(graph, "y", SHAPE(-1, 1));
    const int product =
        build_node(graph, "MatMul", "product", VALUES(x, build_random(graph, "w", SHAPE(6, 1), SEED, -1, 1)));
    const int row = build_node(graph, "Reshape", "row", VALUES(y, build_i64(graph, "flat", INTS(1, -1))));
    const int square = build_node(graph, "Mul", "square", VALUES(product, row)); /* [N,N] */
    const int size = build_node(graph, "Shape", "size", VALUES(square));
    const int one = build_i64(graph, "one", INTS(1));
    const int target = build_node(graph, "Concat", "target", VALUES(one, one, size));
    zq_node_set_int(build_last(graph), "axis", 0);
    const int z = build_node(graph, "Reshape", "z", VALUES(square, target));
    build_output(graph, build_node(graph, "ReduceMean", "out", VALUES(z)));
    zq_node_set_ints(build_last(graph), "axes", INTS(0, 1, 3));
    zq_node_set_int(build_last(graph), "keepdims", 0);
    build_done(graph);
    fold_fails(graph, NULL, ZQ_ERR_UNSUPPORTED,
               "Reshape node 'z_node' reads 'target', which depends on the number");
}

/* y = x + Expand(c, Shape(x)) */
static zq_graph *expand_net(bool dead) {
    zq_graph *graph = zq_graph_new();
    const int x = build_input(graph, "x", SHAPE(-1, 3));
    const int c = build_random(graph, "c", SHAPE(3), SEED, -1, 1);
    const int size = build_node(graph, "Shape", "size", VALUES(x));
    const int expanded = build_node(graph, "Expand", "expanded", VALUES(c, size));
    const int y = build_node(graph, "Add", "y", VALUES(x, expanded));
    build_output(graph, dead ? build_node(graph, "Relu", "z", VALUES(x)) : y);
    build_done(graph);
    return graph;
}

static void test_other_readers_of_the_batch(void **state) {
    (void)state;
    fold_fails(
        expand_net(false), NULL, ZQ_ERR_UNSUPPORTED,
        "Add node 'y_node' reads 'expanded', which depends on the number of images in a way that can't be "
        "kept; fix it with --shape x=1,3");
    zq_graph *graph = expand_net(true); /* nobody needs it */
    fold_ok(graph, NULL);
    assert_int_equal(graph->n_nodes, 1);
    assert_true(graph->free_batch);
    zq_graph_drop(graph);
    graph = expand_net(false); /* the advice works */
    fold_ok(graph, "x=1,3");
    assert_false(graph->free_batch);
    assert_int_equal(graph->n_nodes, 1);
    assert_shape(graph, "x", SHAPE(1, 3));
    zq_graph_drop(graph);
}

/* Exported for one image, but declared for any number: becomes what it is. */
static void test_batch_that_is_not_free(void **state) {
    (void)state;
    static const int64_t targets[2][2] = {{1, 12}, {1, -1}};
    for (int k = 0; k < 2; k++) {
        zq_graph *graph = zq_graph_new();
        const int x = build_input(graph, "x", SHAPE(-1, 3, 4));
        build_output(graph,
                     build_node(graph, "Reshape", "y", VALUES(x, build_i64(graph, "t", 2, targets[k]))));
        build_done(graph);
        fold_ok(graph, NULL);
        assert_false(graph->free_batch);
        assert_shape(graph, "x", SHAPE(1, 3, 4));
        assert_shape(graph, "y", SHAPE(1, 12));
        zq_graph_drop(graph);
    }
}

/* An output that isn't longer for more images: one image is all that can be told apart. */
static void test_mean_over_images(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    const int x = build_input(graph, "x", SHAPE(-1, 3, 4));
    const int mean = build_node(graph, "ReduceMean", "y", VALUES(x));
    zq_node_set_ints(build_last(graph), "axes", INTS(0));
    build_output(graph, mean);
    build_done(graph);
    fold_ok(graph, NULL);
    assert_false(graph->free_batch);
    zq_graph_drop(graph);
}

/* Upsampling to twice the size as PyTorch writes it: sizes = Concat(Shape(x)[0:2], 2 * Shape(x)[2:4]). */
static void test_batch_in_resize(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    const int x = build_input(graph, "x", SHAPE(-1, 3, 5, 7));
    const int size = build_node(graph, "Shape", "size", VALUES(x));
    const int from = build_i64(graph, "from", INTS(0)), middle = build_i64(graph, "middle", INTS(2));
    const int end = build_i64(graph, "end", INTS(4)), two = build_i64(graph, "two", INTS(2));
    const int head = build_node(graph, "Slice", "head", VALUES(size, from, middle));
    const int tail = build_node(graph, "Slice", "tail", VALUES(size, middle, end));
    const int twice = build_node(graph, "Mul", "twice", VALUES(tail, two));
    const int sizes = build_node(graph, "Concat", "sizes", VALUES(head, twice));
    zq_node_set_int(build_last(graph), "axis", 0);
    build_output(graph, build_node(graph, "Resize", "y", VALUES(x, -1, -1, sizes)));
    zq_node_set_string(build_last(graph), "mode", "linear");
    build_done(graph);
    zq_graph *before = zq_graph_copy(graph);
    fold_ok(graph, NULL);
    assert_int_equal(graph->n_nodes, 1);
    assert_shape(graph, "y", SHAPE(1, 3, 10, 14));
    assert_same_outputs(before, graph, 2, SEED, 0);
    zq_graph_drop(before);
    zq_graph_drop(graph);
}

static void test_constants_are_computed(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    const int x = build_input(graph, "x", SHAPE(-1, 3, 2, 2));
    const int a = build_random(graph, "a", SHAPE(3, 1, 1), SEED, -1, 1);
    const int b = build_random(graph, "b", SHAPE(3, 1, 1), SEED, -1, 1);
    const int same = build_node(graph, "Identity", "same", VALUES(a));
    const int ab = build_node(graph, "Mul", "ab", VALUES(same, b));
    build_output(graph, build_node(graph, "Add", "y", VALUES(x, ab)));
    build_done(graph);
    zq_graph *before = zq_graph_copy(graph);
    fold_ok(graph, NULL);
    assert_int_equal(graph->n_nodes, 1);
    assert_non_null(value_of(graph, "ab")->constant);
    assert_int_equal(zq_graph_find_value(graph, "a"), -1);
    assert_same_outputs(before, graph, 2, SEED, 0);
    zq_graph_drop(before);
    zq_graph_drop(graph);
}

/* INT4 -> Cast -> DequantizeLinear -> Mul: the Cast goes, the DequantizeLinear stays. */
static void test_dequantize_stays(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    const int x = build_input(graph, "x", SHAPE(-1, 4));
    const zq_shape four = SHAPE(4), scalar = {0};
    zq_tensor *packed = zq_tensor_new(ZQ_I4, &four), *zero = zq_tensor_new(ZQ_I8, &scalar);
    memcpy(packed->data, (const int8_t[]){-8, 7, 1, 0}, 4);
    const int q4 = zq_graph_add_constant(graph, "q4", packed),
              point = zq_graph_add_constant(graph, "point", zero);
    const int scale = zq_graph_add_constant(graph, "scale", zq_tensor_new_f32(-1, (const float[]){0.5f}));
    const int q8 = build_node(graph, "Cast", "q8", VALUES(q4));
    zq_node_set_int(build_last(graph), "to", 3); /* INT8 */
    const int w = build_node(graph, "DequantizeLinear", "w", VALUES(q8, scale, point));
    build_output(graph, build_node(graph, "Mul", "y", VALUES(x, w)));
    build_done(graph);
    zq_graph *before = zq_graph_copy(graph);
    fold_ok(graph, NULL);
    assert_int_equal(graph->n_nodes, 2);
    assert_int_equal(build_count(graph, "DequantizeLinear"), 1);
    assert_int_equal(value_of(graph, "q8")->constant->dtype, ZQ_I8);
    assert_same_outputs(before, graph, 2, SEED, 0);
    zq_graph_drop(before);
    zq_graph_drop(graph);
}

/* A file of some hundred bytes must not make us compute for ever, or fill the memory. */
static void test_huge_constants_are_left_alone(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    const int x = build_input(graph, "x", SHAPE(-1, 1));
    const int c = build_random(graph, "c", SHAPE(1, 1), SEED, -1, 1);
    const int target = build_i64(graph, "target", INTS(30000, 30000));
    const int huge = build_node(graph, "Expand", "huge", VALUES(c, target));
    const int mean = build_node(graph, "ReduceMean", "mean", VALUES(huge));
    const int y = build_node(graph, "Add", "y", VALUES(x, mean));
    const int small = build_node(graph, "Mul", "small", VALUES(c, c)); /* still computed */
    build_output(graph, build_node(graph, "Add", "z", VALUES(y, small)));
    build_done(graph);
    fold_ok(graph, NULL);
    assert_int_equal(graph->n_nodes, 4);
    assert_non_null(value_of(graph, "small")->constant);
    zq_graph_drop(graph);
}

static void test_unread_outputs_are_dropped(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    const int x = build_input(graph, "x", SHAPE(-1, 3));
    const int y = zq_graph_add_value(graph, "y", ZQ_F32, NULL),
              mask = zq_graph_add_value(graph, "mask", ZQ_BOOL, NULL);
    zq_graph_add_node(graph, zq_op_find("Dropout"), "drop", 1, &x, 2, (const int[]){y, mask});
    build_output(graph, y);
    build_done(graph);
    fold_ok(graph, NULL);
    assert_int_equal(zq_graph_find_value(graph, "mask"), -1);
    zq_graph_drop(graph);
}

/* Each allocation fails in turn: a status, no crash, no leak (run under the sanitizer to see the leaks). */
static void test_out_of_memory(void **state) {
    (void)state;
    for (long k = 1;; k++) {
        zq_graph *graph = view_net(SHAPE(-1, 3, 4, 5));
        zq_alloc_fail_at(k);
        const zq_status status = zq_fold_constants(graph, "x=1,3,4,5", NULL);
        zq_alloc_fail_at(0);
        zq_graph_drop(graph);
        if (status == ZQ_OK)
            break;
        assert_int_equal(status, ZQ_ERR_MEMORY);
        assert_true(k < 1000);
    }
}

/* Twice the nodes take about twice the time; this one would take minutes if it were quadratic. */
static void test_long_networks(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    int x = build_input(graph, "x", SHAPE(-1, 3, 2));
    const int zero = build_i64(graph, "zero", INTS(0)), rest = build_i64(graph, "rest", INTS(3, 2));
    for (int k = 0; k < 10000; k++) {
        const int size = build_node(graph, "Shape", "size", VALUES(x));
        const int batch = build_node(graph, "Gather", "batch", VALUES(size, zero));
        const int target = build_node(graph, "Concat", "target", VALUES(batch, rest));
        zq_node_set_int(build_last(graph), "axis", 0);
        x = build_node(graph, "Reshape", "r", VALUES(x, target));
    }
    build_output(graph, x);
    build_done(graph);
    fold_ok(graph, NULL);
    assert_int_equal(graph->n_nodes, 10000);
    zq_graph_drop(graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_free_batch_stays_free),
        cmocka_unit_test(test_shape_option_fixes_dimensions),
        cmocka_unit_test(test_shape_option_refusals),
        cmocka_unit_test(test_two_inputs_need_names),
        cmocka_unit_test(test_fixed_batch),
        cmocka_unit_test(test_batch_in_reshape),
        cmocka_unit_test(test_fixed_batch_in_reshape),
        cmocka_unit_test(test_batch_times_factor_in_reshape),
        cmocka_unit_test(test_batch_twice_in_reshape),
        cmocka_unit_test(test_other_readers_of_the_batch),
        cmocka_unit_test(test_batch_that_is_not_free),
        cmocka_unit_test(test_mean_over_images),
        cmocka_unit_test(test_batch_in_resize),
        cmocka_unit_test(test_constants_are_computed),
        cmocka_unit_test(test_dequantize_stays),
        cmocka_unit_test(test_huge_constants_are_left_alone),
        cmocka_unit_test(test_unread_outputs_are_dropped),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_long_networks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
