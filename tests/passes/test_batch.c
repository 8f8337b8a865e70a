/* SPDX-License-Identifier: Apache-2.0 */
#include "passes/passes.h"
#include "support/build.h"
#include "support/evaluate.h"

enum { SEED = 30 };

static void free_batch(zq_graph *graph) {
    zq_error err = {0};
    if (zq_fold_constants(graph, NULL, &err) != ZQ_OK || zq_free_batch(graph, &err) != ZQ_OK)
        fail_msg("%s", err.text);
}

/* x -> Relu -> Reshape to target -> y */
static zq_graph *view_net(zq_shape shape, size_t n, const int64_t *target) {
    zq_graph *graph = zq_graph_new();
    const int x = build_input(graph, "x", shape), to = build_i64(graph, "target", n, target);
    const int relu = build_node(graph, "Relu", "relu", VALUES(x));
    build_output(graph, build_node(graph, "Reshape", "y", VALUES(relu, to)));
    build_done(graph);
    return graph;
}

/* The first image gives the same alone and beside others. */
static void assert_separate(const zq_graph *graph) {
    zq_error err = {0};
    evaluation alone, beside;
    assert_int_equal(evaluate(graph, 1, SEED, &alone, &err), ZQ_OK);
    assert_int_equal(evaluate(graph, 3, SEED, &beside, &err), ZQ_OK);
    const zq_tensor *a = alone.values[graph->outputs[0]], *b = beside.values[graph->outputs[0]];
    assert_int_equal(3 * a->shape.dims[0], b->shape.dims[0]);
    for (int64_t i = 0; i < zq_shape_count(&a->shape); i++)
        assert_true(zq_tensor_item(a, i) == zq_tensor_item(b, i));
    evaluation_clear(&alone);
    evaluation_clear(&beside);
}

/* Whether the batch of the network is freed, which must change nothing for the batch of the file. */
static bool is_freed(zq_graph *graph, int64_t batch) {
    zq_graph *before = zq_graph_copy(graph);
    free_batch(graph);
    const bool freed = graph->free_batch;
    assert_int_equal(graph->fixed_batch, freed ? batch : 0);
    assert_same_outputs(before, graph, batch, SEED, 0);
    if (freed)
        assert_separate(graph);
    zq_graph_drop(before);
    zq_graph_drop(graph);
    return freed;
}

static void test_reshape(void **state) {
    (void)state;
    assert_true(is_freed(view_net(SHAPE(1, 3, 4, 5), INTS(1, -1)), 1));
    assert_true(is_freed(view_net(SHAPE(1, 3, 4, 5), INTS(1, 60)), 1));
    assert_true(is_freed(view_net(SHAPE(4, 3, 4, 5), INTS(4, 12, 5)), 4));
    assert_true(is_freed(view_net(SHAPE(4, 3, 4, 5), INTS(-1, 60)), 4));
    assert_true(is_freed(view_net(SHAPE(2, 3, 4, 5), INTS(0, -1)), 2));
}

static void test_reshape_across_images(void **state) {
    (void)state;
    assert_false(is_freed(view_net(SHAPE(2, 6, 4, 5), INTS(1, -1)), 2));
}

static void test_resize_to_sizes(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    const int x = build_input(graph, "x", SHAPE(1, 3, 4, 5)),
              sizes = build_i64(graph, "sizes", INTS(1, 3, 8, 15));
    build_output(graph, build_node(graph, "Resize", "y", VALUES(x, -1, -1, sizes)));
    build_done(graph);
    assert_true(is_freed(graph, 1));
}

/* x [1, 6, 4, 5] -> [3, 2, 20] -> [2, 3, 20] -> [2, 1, 3, 4, 5] -> node -> y: how channels are shuffled with
 * the images in front of the groups. */
static zq_graph *shuffle_net(int *shuffled_out) {
    zq_graph *graph = zq_graph_new();
    const int x = build_input(graph, "x", SHAPE(1, 6, 4, 5));
    const int pairs = build_i64(graph, "pairs", INTS(3, 2, 20)),
              halves = build_i64(graph, "halves", INTS(2, 1, 3, 4, 5));
    const int split = build_node(graph, "Reshape", "split", VALUES(x, pairs));
    const int turned = build_node(graph, "Transpose", "turned", VALUES(split));
    const int64_t perm[] = {1, 0, 2};
    zq_node_set_ints(build_last(graph), "perm", 3, perm);
    *shuffled_out = build_node(graph, "Reshape", "shuffled", VALUES(turned, halves));
    return graph;
}

static void test_images_behind_groups(void **state) {
    (void)state;
    int shuffled;
    zq_graph *graph = shuffle_net(&shuffled);
    const int second = build_scalar_i64(graph, "second", 1);
    build_output(graph, build_node(graph, "Gather", "y", VALUES(shuffled, second)));
    build_done(graph);
    assert_true(is_freed(graph, 1));
}

/* Along the axis of the images nothing may be computed. */
static void test_softmax_across_images(void **state) {
    (void)state;
    for (int axis = 0; axis <= 1; axis++) {
        int shuffled;
        zq_graph *graph = shuffle_net(&shuffled);
        const int first = build_scalar_i64(graph, "first", 0);
        const int softmax = build_node(graph, "Softmax", "softmax", VALUES(shuffled));
        zq_node_set_int(build_last(graph), "axis", axis);
        build_output(graph, build_node(graph, "Gather", "y", VALUES(softmax, first)));
        build_done(graph);
        assert_int_equal(is_freed(graph, 1), axis == 0);
    }
}

/* It would run for any number of images, but say nothing of the others. */
static void test_only_the_first_image(void **state) {
    (void)state;
    zq_graph *graph = zq_graph_new();
    const int x = build_input(graph, "x", SHAPE(1, 3, 4, 5)), first = build_scalar_i64(graph, "first", 0);
    build_output(graph, build_node(graph, "Gather", "y", VALUES(x, first)));
    build_done(graph);
    assert_false(is_freed(graph, 1));
}

static void test_a_free_batch_stays(void **state) {
    (void)state;
    zq_graph *graph = view_net(SHAPE(-1, 3, 4, 5), INTS(0, -1));
    free_batch(graph);
    assert_true(graph->free_batch);
    assert_int_equal(graph->fixed_batch, 0);
    zq_graph_drop(graph);
}

static void test_out_of_memory(void **state) {
    (void)state;
    zq_error err = {0};
    zq_graph *graph = view_net(SHAPE(1, 3, 4, 5), INTS(1, -1));
    assert_int_equal(zq_fold_constants(graph, NULL, &err), ZQ_OK);
    zq_status status = ZQ_ERR_MEMORY;
    for (long k = 1; status != ZQ_OK; k++) {
        zq_alloc_fail_at(k);
        status = zq_free_batch(graph, &err);
        zq_alloc_fail_at(0);
        assert_true(status == ZQ_OK || (status == ZQ_ERR_MEMORY && !graph->free_batch));
        assert_true(k < 1000);
    }
    assert_true(graph->free_batch);
    zq_graph_drop(graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reshape),
        cmocka_unit_test(test_reshape_across_images),
        cmocka_unit_test(test_images_behind_groups),
        cmocka_unit_test(test_softmax_across_images),
        cmocka_unit_test(test_resize_to_sizes),
        cmocka_unit_test(test_only_the_first_image),
        cmocka_unit_test(test_a_free_batch_stays),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
