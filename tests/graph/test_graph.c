/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"
#include "graph/op.h"

#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- operators of our own: graph/ knows none */

typedef struct params {
    int64_t axis;
    float alpha;
    const char *mode;
    int64_t pads[4];
    int n_pads;
} params;

static zq_status parse(const zq_node *node, void *out, zq_error *err) {
    params *p = out;
    ZQ_TRY(zq_node_int(node, "axis", -1, &p->axis, err));
    ZQ_TRY(zq_node_float(node, "alpha", 0.5f, &p->alpha, err));
    ZQ_TRY(zq_node_string(node, "mode", "linear", &p->mode, err));
    return zq_node_ints(node, "pads", 4, p->pads, &p->n_pads, err);
}

static const zq_op op_test = {.name = "Test",
                              .min_in = 1,
                              .max_in = 3,
                              .min_out = 1,
                              .max_out = 2,
                              .params_bytes = sizeof(params),
                              .parse = parse};
static const zq_op op_any = {.name = "Any", .min_in = 0, .max_in = -1, .min_out = 1, .max_out = 1};

static int add_value(zq_graph *graph, const char *name) {
    const zq_shape shape = zq_shape_of(2, (const int64_t[]){2, 3});
    const int value = zq_graph_add_value(graph, name, ZQ_F32, &shape);
    assert_true(value >= 0);
    return value;
}

static int add_node(zq_graph *graph, const char *name, int n_inputs, const int *inputs, int output) {
    const int node = zq_graph_add_node(graph, &op_any, name, n_inputs, inputs, 1, &output);
    assert_true(node >= 0);
    return node;
}

#define NAME(graph, value) ((graph)->values[value].name)
#define LIST(...) (int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int)), ((const int[]){__VA_ARGS__})

static void assert_sentence(const zq_error *err, const char *part) {
    if (strstr(err->text, part) == NULL)
        fail_msg("got \"%s\", expected \"%s\"", err->text, part);
}

/* ---- tensors */

static void test_shape_count(void **state) {
    (void)state;
    static const struct {
        int rank;
        int64_t dims[3], count;
    } cases[] = {{0, {0}, 1},
                 {3, {2, 3, 4}, 24},
                 {2, {5, 0}, 0},
                 {2, {-1, 3}, -1},
                 {2, {INT64_MAX, 2}, -1},
                 {3, {(int64_t)1 << 32, (int64_t)1 << 32, 1}, -1},
                 {3, {0, INT64_MIN, 2}, -1}};
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        const zq_shape shape = zq_shape_of(cases[k].rank, cases[k].dims);
        assert_int_equal(zq_shape_count(&shape), cases[k].count);
    }
}

static void test_shape_text(void **state) {
    (void)state;
    char text[ZQ_SHAPE_TEXT];
    const zq_shape scalar = zq_shape_of(0, NULL), image = zq_shape_of(4, (const int64_t[]){-1, 3, 224, 224});
    assert_string_equal(zq_shape_text(&scalar, text), "[]");
    assert_string_equal(zq_shape_text(&image, text), "[-1,3,224,224]");
    zq_shape longest = {.rank = ZQ_MAX_RANK};
    for (int d = 0; d < ZQ_MAX_RANK; d++)
        longest.dims[d] = INT64_MIN;
    zq_shape_text(&longest, text);
    assert_int_equal(strlen(text), 8 * 20 + 7 + 2);
    assert_false(zq_shape_equal(&scalar, &image));
    assert_true(zq_shape_equal(&image, &image));
}

static void test_tensor_items(void **state) {
    (void)state;
    static const zq_dtype dtypes[] = {ZQ_F32,  ZQ_I64, ZQ_I32, ZQ_U8, ZQ_I8,
                                      ZQ_BOOL, ZQ_I4,  ZQ_U4,  ZQ_I2, ZQ_U2};
    const zq_shape shape = zq_shape_of(1, (const int64_t[]){2});
    for (size_t k = 0; k < sizeof dtypes / sizeof dtypes[0]; k++) {
        zq_tensor *tensor = zq_tensor_new(dtypes[k], &shape);
        assert_non_null(tensor);
        const size_t bytes = zq_dtype_bytes(dtypes[k]);
        assert_true(zq_tensor_item(tensor, 0) == 0 && zq_tensor_item_i64(tensor, 1) == 0);
        if (dtypes[k] == ZQ_F32)
            ((zq_real *)tensor->data)[1] = 1;
        else
            ((unsigned char *)tensor->data)[bytes] = 1; /* little endian */
        assert_true(zq_tensor_item(tensor, 1) == 1);
        assert_int_equal(zq_tensor_item_i64(tensor, 1), 1);
        zq_tensor *copy = zq_tensor_copy(tensor);
        zq_tensor_drop(tensor);
        assert_true(zq_tensor_item(copy, 0) == 0 && zq_tensor_item(copy, 1) == 1);
        zq_tensor_drop(copy);
    }
    zq_tensor *negative = zq_tensor_new(ZQ_I4, &shape);
    ((int8_t *)negative->data)[0] = -8;
    assert_int_equal(zq_tensor_item_i64(negative, 0), -8);
    zq_tensor_drop(negative);
}

static void test_tensor_of_values(void **state) {
    (void)state;
    zq_tensor *scalar = zq_tensor_new_f32(-1, (const float[]){2.5f});
    zq_tensor *vector = zq_tensor_new_i64(2, (const int64_t[]){7, INT64_MIN});
    zq_tensor *empty = zq_tensor_new_i64(0, NULL);
    assert_int_equal(scalar->shape.rank, 0);
    assert_true(zq_tensor_item(scalar, 0) == 2.5);
    assert_int_equal(vector->shape.dims[0], 2);
    assert_true(zq_tensor_item_i64(vector, 1) == INT64_MIN);
    assert_int_equal(zq_shape_count(&empty->shape), 0);
    zq_tensor_drop(scalar);
    zq_tensor_drop(vector);
    zq_tensor_drop(empty);
    const zq_shape hostile = zq_shape_of(2, (const int64_t[]){INT64_MAX, 2});
    assert_null(zq_tensor_new(ZQ_U8, &hostile));
    zq_tensor_drop(NULL);
}

/* ---- values and names */

static void test_names_are_unique(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    const int a = add_value(graph, "a"), b = add_value(graph, "a"), c = add_value(graph, "a");
    assert_string_equal(NAME(graph, a), "a");
    assert_string_not_equal(NAME(graph, b), "a");
    assert_string_not_equal(NAME(graph, b), NAME(graph, c));
    assert_int_equal(zq_graph_find_value(graph, "a"), a);
    assert_int_equal(zq_graph_find_value(graph, NAME(graph, c)), c);
    assert_int_equal(zq_graph_find_value(graph, "b"), -1);
    zq_graph_drop(graph);
}

static void test_many_names(void **state) {
    (void)state;
    enum { MANY = 5000 };
    zq_graph *graph = zq_graph_new();
    char name[16];
    for (int k = 0; k < MANY; k++) {
        snprintf(name, sizeof name, "v%d", k);
        assert_int_equal(add_value(graph, name), k);
    }
    for (int k = 0; k < MANY; k++) {
        snprintf(name, sizeof name, "v%d", k);
        assert_int_equal(zq_graph_find_value(graph, name), k);
    }
    zq_graph_drop(graph);
}

static void test_rename(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    const int a = add_value(graph, "a"), b = add_value(graph, "b");
    assert_true(zq_graph_rename_value(graph, a, "c"));
    assert_int_equal(zq_graph_find_value(graph, "c"), a);
    assert_int_equal(zq_graph_find_value(graph, "a"), -1);
    assert_true(zq_graph_rename_value(graph, b, "c")); /* taken */
    assert_string_not_equal(NAME(graph, b), "c");
    assert_int_equal(zq_graph_find_value(graph, "c"), a);
    assert_true(zq_graph_rename_value(graph, a, "c"));
    assert_string_equal(NAME(graph, a), "c");
    zq_graph_drop(graph);
}

static void test_stats(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    const int a = add_value(graph, "a");
    zq_stats *stats = zq_stats_new(3);
    assert_true(stats->mean[2] == 0 && stats->std[2] == 0);
    zq_value_set_stats(&graph->values[a], stats);
    zq_value_set_stats(&graph->values[a], stats); /* itself: nothing is freed */
    stats->std[2] = 4;
    zq_value_set_stats(&graph->values[a], zq_stats_new(2));
    assert_int_equal(graph->values[a].stats->n_channels, 2);
    zq_value_set_stats(&graph->values[a], NULL);
    assert_null(graph->values[a].stats);
    zq_stats_drop(NULL);
    zq_graph_drop(graph);
    zq_graph_drop(NULL);
}

/* ---- attributes */

static zq_node *test_node(zq_graph *graph) {
    const int x = add_value(graph, "x"), y = add_value(graph, "y");
    const int node = zq_graph_add_node(graph, &op_test, "n", 1, &x, 1, &y);
    assert_int_equal(graph->values[y].producer, node);
    return &graph->nodes[node];
}

static void test_attributes_have_defaults(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    zq_node *node = test_node(graph);
    assert_int_equal(zq_node_parse(node, NULL), ZQ_OK);
    const params *p = node->params;
    assert_true(p->axis == -1 && p->alpha == 0.5f && p->n_pads == 0);
    assert_string_equal(p->mode, "linear");
    zq_graph_drop(graph);
}

static void test_attributes_are_read(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    zq_node *node = test_node(graph);
    assert_true(zq_node_set_int(node, "axis", 5) && zq_node_set_int(node, "axis", 1)); /* replaces */
    assert_true(zq_node_set_float(node, "alpha", 2) && zq_node_set_string(node, "mode", "cubic"));
    assert_true(zq_node_set_ints(node, "pads", 3, (const int64_t[]){1, 2, 3}));
    assert_true(zq_node_set_floats(node, "scales", 2, (const float[]){1, 2}));
    assert_true(zq_node_set_tensor(node, "value", zq_tensor_new_i64(-1, (const int64_t[]){9})));
    assert_int_equal(node->n_attrs, 6);
    assert_int_equal(zq_node_parse(node, NULL), ZQ_OK);
    const params *p = node->params;
    assert_true(p->axis == 1 && p->alpha == 2 && p->n_pads == 3 && p->pads[2] == 3);
    assert_string_equal(p->mode, "cubic");
    assert_int_equal(zq_tensor_item_i64(zq_node_attr(node, "value")->tensor, 0), 9);
    zq_node_remove_attr(node, "axis");
    zq_node_remove_attr(node, "no such");
    assert_null(zq_node_attr(node, "axis"));
    assert_int_equal(node->n_attrs, 5);
    assert_true(zq_node_attr(node, "scales")->floats[1] == 2);
    assert_false(zq_node_set_tensor(node, "value", NULL)); /* out of memory: the old one stays */
    assert_non_null(zq_node_attr(node, "value"));
    zq_graph_drop(graph);
}

static void test_attributes_of_the_wrong_kind(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    zq_node *node = test_node(graph);
    zq_error err;
    zq_node_set_string(node, "axis", "one");
    assert_int_equal(zq_node_parse(node, &err), ZQ_ERR_FORMAT);
    assert_sentence(&err, "Test node 'n': attribute 'axis' is not an integer");
    zq_node_set_int(node, "axis", 1);
    zq_node_set_int(node, "alpha", 1);
    assert_int_equal(zq_node_parse(node, &err), ZQ_ERR_FORMAT);
    assert_sentence(&err, "'alpha' is not a number");
    zq_node_remove_attr(node, "alpha");
    zq_node_set_int(node, "mode", 1);
    assert_int_equal(zq_node_parse(node, &err), ZQ_ERR_FORMAT);
    assert_sentence(&err, "'mode' is not a string");
    zq_node_remove_attr(node, "mode");
    zq_node_set_floats(node, "pads", 1, (const float[]){1});
    assert_int_equal(zq_node_parse(node, &err), ZQ_ERR_FORMAT);
    assert_sentence(&err, "'pads' is not a list of integers");
    zq_node_set_ints(node, "pads", 5, (const int64_t[]){1, 2, 3, 4, 5});
    assert_int_equal(zq_node_parse(node, &err), ZQ_ERR_FORMAT);
    assert_sentence(&err, "'pads' holds 5 values, expected at most 4");
    zq_graph_drop(graph);
}

static void test_numbers_of_inputs_and_outputs(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    const int x = add_value(graph, "x"), y = add_value(graph, "y");
    zq_error err;
    int node = zq_graph_add_node(graph, &op_test, "none", 0, NULL, 1, &y);
    assert_int_equal(zq_node_parse(&graph->nodes[node], &err), ZQ_ERR_FORMAT);
    assert_sentence(&err, "Test node 'none' has 0 inputs, expected 1 to 3");
    node = zq_graph_add_node(graph, &op_test, "many", LIST(x, x, x, x), 1, &y);
    assert_int_equal(zq_node_parse(&graph->nodes[node], &err), ZQ_ERR_FORMAT);
    assert_sentence(&err, "has 4 inputs, expected 1 to 3");
    node = zq_graph_add_node(graph, &op_test, "omitted", LIST(-1, x), 1, &y);
    assert_int_equal(zq_node_parse(&graph->nodes[node], &err), ZQ_ERR_FORMAT);
    assert_sentence(&err, "input 0 is empty, but required");
    node = zq_graph_add_node(graph, &op_test, "allowed", LIST(x, -1, x), LIST(y, -1));
    assert_int_equal(zq_node_parse(&graph->nodes[node], &err), ZQ_OK);
    node = zq_graph_add_node(graph, &op_any, "outputs", 0, NULL, LIST(-1, -1));
    assert_int_equal(zq_node_parse(&graph->nodes[node], &err), ZQ_ERR_FORMAT);
    assert_sentence(&err, "has 2 outputs, expected 1");
    zq_graph_drop(graph);
}

static void test_node_text_has_bounds(void **state) {
    (void)state;
    char name[1000], text[ZQ_NODE_TEXT];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    zq_graph *graph = zq_graph_new();
    add_node(graph, name, 0, NULL, add_value(graph, "y"));
    assert_int_equal(strlen(zq_node_text(&graph->nodes[0], text)), strlen("Any node ''") + 200);
    zq_graph_drop(graph);
}

/* ---- changing */

/* x -> a -> b -> y, and b -> z; c is a constant that the second node reads */
typedef struct chain {
    zq_graph *graph;
    int x, a, b, y, z, c;
} chain;

static chain make_chain(void) {
    chain t = {.graph = zq_graph_new()};
    t.x = add_value(t.graph, "x");
    t.a = add_value(t.graph, "a");
    t.b = add_value(t.graph, "b");
    t.y = add_value(t.graph, "y");
    t.z = add_value(t.graph, "z");
    t.c = zq_graph_add_constant(t.graph, "c", zq_tensor_new_f32(2, (const float[]){1, 2}));
    add_node(t.graph, "n0", LIST(t.x), t.a);
    add_node(t.graph, "n1", LIST(t.a, t.c, t.a), t.b);
    add_node(t.graph, "n2", LIST(t.b), t.y);
    add_node(t.graph, "n3", LIST(t.b), t.z);
    assert_true(zq_graph_add_input(t.graph, t.x) && zq_graph_add_output(t.graph, t.y));
    return t;
}

static void test_consumers(void **state) {
    (void)state;
    chain t = make_chain();
    int *nodes;
    assert_int_equal(zq_graph_consumers(t.graph, t.b, &nodes), 2);
    assert_true(nodes[0] == 2 && nodes[1] == 3);
    zq_free(nodes);
    assert_int_equal(zq_graph_consumers(t.graph, t.a, NULL), 1); /* reads it twice */
    assert_int_equal(zq_graph_consumers(t.graph, t.y, &nodes), 0);
    zq_free(nodes);
    assert_true(zq_graph_is_output(t.graph, t.y));
    assert_false(zq_graph_is_output(t.graph, t.z));
    zq_graph_replace_uses(t.graph, t.b, t.a);
    assert_int_equal(zq_graph_consumers(t.graph, t.b, NULL), 0);
    assert_int_equal(zq_graph_consumers(t.graph, t.a, NULL), 3);
    zq_graph_replace_uses(t.graph, t.y, t.z);
    assert_true(zq_graph_is_output(t.graph, t.z));
    zq_graph_drop(t.graph);
}

static void test_clean(void **state) {
    (void)state;
    chain t = make_chain();
    const int unused = add_value(t.graph, "unused");
    assert_true(unused >= 0);
    assert_int_equal(zq_graph_clean(t.graph, NULL), ZQ_OK); /* z and its node go */
    assert_int_equal(t.graph->n_nodes, 3);
    assert_int_equal(t.graph->n_values, 5);
    assert_int_equal(zq_graph_find_value(t.graph, "z"), -1);
    for (int n = 0; n < 3; n++)
        assert_int_equal(t.graph->values[t.graph->nodes[n].outputs[0]].producer, n);
    assert_string_equal(NAME(t.graph, t.graph->nodes[1].inputs[1]), "c");
    assert_non_null(t.graph->values[t.graph->nodes[1].inputs[1]].constant);

    /* without the node in the middle, b must come from elsewhere: the constant */
    const int b = zq_graph_find_value(t.graph, "b"), c = zq_graph_find_value(t.graph, "c");
    zq_graph_remove_node(t.graph, 1);
    assert_int_equal(t.graph->values[b].producer, -1);
    zq_graph_replace_uses(t.graph, b, c);
    assert_int_equal(zq_graph_clean(t.graph, NULL), ZQ_OK);
    assert_int_equal(t.graph->n_nodes, 1);
    assert_int_equal(t.graph->n_values, 3);
    assert_string_equal(NAME(t.graph, t.graph->inputs[0]),
                        "x"); /* inputs stay, even when nobody reads them */
    assert_string_equal(NAME(t.graph, t.graph->outputs[0]), "y");
    zq_graph_drop(t.graph);
}

static void test_copy(void **state) {
    (void)state;
    chain t = make_chain();
    t.graph->free_batch = true;
    t.graph->opset = 13;
    t.graph->producer = zq_strdup("somebody 1.0");
    zq_node_set_int(&t.graph->nodes[1], "axis", 3);
    zq_value_set_stats(&t.graph->values[t.a], zq_stats_new(3));
    zq_graph *copy = zq_graph_copy(t.graph), *other = zq_graph_copy(t.graph);
    assert_non_null(copy);
    assert_non_null(other);
    assert_ptr_equal(other->values[t.c].constant, t.graph->values[t.c].constant); /* shared ... */
    zq_tensor *own = zq_value_own_constant(&other->values[t.c]);
    assert_ptr_not_equal(own, t.graph->values[t.c].constant); /* ... until one is to be written */
    assert_ptr_equal(own, zq_value_own_constant(&other->values[t.c]));
    ((float *)own->data)[1] = 7;
    zq_graph_drop(other);
    zq_graph_drop(t.graph);
    assert_true(copy->free_batch && copy->opset == 13 && copy->n_nodes == 4 && copy->n_values == 6);
    assert_string_equal(copy->producer, "somebody 1.0");
    assert_string_equal(NAME(copy, t.c), "c");
    assert_true(zq_tensor_item(copy->values[t.c].constant, 1) == 2);
    assert_int_equal(copy->values[t.a].stats->n_channels, 3);
    assert_int_equal(copy->values[t.b].producer, 1);
    assert_int_equal(zq_node_attr(&copy->nodes[1], "axis")->i, 3);
    assert_int_equal(copy->nodes[1].inputs[2], t.a);
    assert_int_equal(copy->outputs[0], t.y);
    assert_int_equal(zq_graph_find_value(copy, "z"), t.z);
    zq_graph_drop(copy);
}

/* ---- order */

static void test_sort(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    const int x = add_value(graph, "x"), a = add_value(graph, "a"), b = add_value(graph, "b");
    const int c = add_value(graph, "c"), y = add_value(graph, "y");
    add_node(graph, "last", LIST(c, b), y);
    add_node(graph, "third", LIST(b, a), c);
    add_node(graph, "second", LIST(a, x), b);
    add_node(graph, "first", LIST(x), a);
    zq_graph_add_input(graph, x);
    zq_graph_add_output(graph, y);
    assert_int_equal(zq_graph_sort(graph, NULL), ZQ_OK);
    static const char *const names[] = {"first", "second", "third", "last"};
    for (int n = 0; n < 4; n++) {
        assert_string_equal(graph->nodes[n].name, names[n]);
        assert_int_equal(graph->values[graph->nodes[n].outputs[0]].producer, n);
    }
    zq_graph_drop(graph);
}

static void test_sort_is_stable(void **state) {
    (void)state;
    chain t = make_chain();
    assert_int_equal(zq_graph_sort(t.graph, NULL), ZQ_OK);
    static const char *const names[] = {"n0", "n1", "n2", "n3"};
    for (int n = 0; n < 4; n++)
        assert_string_equal(t.graph->nodes[n].name, names[n]);
    zq_graph_drop(t.graph);
}

static void test_sort_refuses_cycles(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    const int x = add_value(graph, "x"), a = add_value(graph, "a"), b = add_value(graph, "b");
    add_node(graph, "before", LIST(x), add_value(graph, "fine"));
    add_node(graph, "one", LIST(x, b), a);
    add_node(graph, "two", LIST(a), b);
    zq_graph_add_input(graph, x);
    zq_graph_add_output(graph, b);
    zq_error err;
    assert_int_equal(zq_graph_sort(graph, &err), ZQ_ERR_FORMAT);
    assert_sentence(&err, "a cycle");
    assert_sentence(&err, "'one'");
    zq_graph_drop(graph);
}

static void test_sort_refuses_a_cycle_of_one(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    const int a = add_value(graph, "a");
    add_node(graph, "self", LIST(a), a);
    zq_error err;
    assert_int_equal(zq_graph_sort(graph, &err), ZQ_ERR_FORMAT);
    assert_sentence(&err, "a cycle");
    zq_graph_drop(graph);
}

static void test_sort_refuses_missing_values(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    add_node(graph, "n", LIST(add_value(graph, "nowhere")), add_value(graph, "y"));
    zq_error err;
    assert_int_equal(zq_graph_sort(graph, &err), ZQ_ERR_FORMAT);
    assert_sentence(&err, "Any node 'n' reads 'nowhere', which no node, input or initializer provides");
    zq_graph_drop(graph);
}

/* Deeper than any stack of calls would go. */
static void test_sort_of_a_long_chain(void **state) {
    (void)state;
    enum { LONG = 50000 };
    zq_graph *graph = zq_graph_new();
    const int first = add_value(graph, "v");
    for (int k = 1; k <= LONG; k++)
        add_value(graph, "v");
    for (int k = LONG; k > 0; k--)
        add_node(graph, "n", LIST(first + k - 1), first + k);
    zq_graph_add_input(graph, first);
    zq_graph_add_output(graph, first + LONG);
    assert_int_equal(zq_graph_sort(graph, NULL), ZQ_OK);
    assert_int_equal(graph->nodes[0].inputs[0], first);
    assert_int_equal(zq_graph_clean(graph, NULL), ZQ_OK);
    assert_int_equal(graph->n_nodes, LONG);
    zq_graph_drop(graph);
}

/* ---- out of memory: each allocation fails in turn; leaks show under the address sanitizer */

static zq_status build_and_change(void) {
    zq_status status = ZQ_ERR_MEMORY;
    zq_graph *graph = zq_graph_new(), *copy = NULL;
    if (graph == NULL)
        return status;
    const int x = zq_graph_add_value(graph, "x", ZQ_F32, NULL),
              y = zq_graph_add_value(graph, "x", ZQ_F32, NULL);
    const int c = zq_graph_add_constant(graph, "c", zq_tensor_new_i64(1, (const int64_t[]){1}));
    const int node =
        x < 0 || y < 0 || c < 0 ? -1 : zq_graph_add_node(graph, &op_test, "n", LIST(x, c), 1, &y);
    if (node >= 0 && zq_graph_add_input(graph, x) && zq_graph_add_output(graph, y) &&
        zq_node_set_ints(&graph->nodes[node], "pads", 1, (const int64_t[]){1}) &&
        zq_node_set_tensor(&graph->nodes[node], "value", zq_tensor_new_f32(-1, (const float[]){1})) &&
        zq_graph_rename_value(graph, y, "y"))
        status = zq_node_parse(&graph->nodes[node], NULL);
    if (status == ZQ_OK)
        status = zq_graph_sort(graph, NULL);
    if (status == ZQ_OK && (copy = zq_graph_copy(graph)) == NULL)
        status = ZQ_ERR_MEMORY;
    if (status == ZQ_OK)
        status = zq_graph_clean(copy, NULL);
    zq_graph_drop(copy);
    zq_graph_drop(graph);
    return status;
}

static void test_out_of_memory(void **state) {
    (void)state;
    for (long k = 1;; k++) {
        zq_alloc_fail_at(k);
        const zq_status status = build_and_change();
        zq_alloc_fail_at(0);
        if (status == ZQ_OK)
            break;
        assert_int_equal(status, ZQ_ERR_MEMORY);
        assert_true(k < 1000);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shape_count),
        cmocka_unit_test(test_shape_text),
        cmocka_unit_test(test_tensor_items),
        cmocka_unit_test(test_tensor_of_values),
        cmocka_unit_test(test_names_are_unique),
        cmocka_unit_test(test_many_names),
        cmocka_unit_test(test_rename),
        cmocka_unit_test(test_stats),
        cmocka_unit_test(test_attributes_have_defaults),
        cmocka_unit_test(test_attributes_are_read),
        cmocka_unit_test(test_attributes_of_the_wrong_kind),
        cmocka_unit_test(test_numbers_of_inputs_and_outputs),
        cmocka_unit_test(test_node_text_has_bounds),
        cmocka_unit_test(test_consumers),
        cmocka_unit_test(test_clean),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_sort),
        cmocka_unit_test(test_sort_is_stable),
        cmocka_unit_test(test_sort_refuses_cycles),
        cmocka_unit_test(test_sort_refuses_a_cycle_of_one),
        cmocka_unit_test(test_sort_refuses_missing_values),
        cmocka_unit_test(test_sort_of_a_long_chain),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
