/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"
#include "quant/estimate.h"
#include "quant/leaves.h"
#include "tiny_net.h"

enum { SIDE = 24 };

static zq_graph *net_without_stats(uint64_t seed, int64_t batch) {
    zq_graph *graph = tiny_net(seed, SIDE, batch);
    for (int v = 0; v < graph->n_values; v++)
        zq_value_set_stats(&graph->values[v], NULL);
    return graph;
}

static zq_box box_of(float lo, float hi) {
    zq_box box;
    assert_int_equal(zq_box_new(3, &box, NULL), ZQ_OK);
    for (int c = 0; c < 3; c++) {
        box.lo[c] = lo;
        box.hi[c] = hi;
    }
    return box;
}

static int estimate(zq_graph *graph, float lo, float hi) {
    zq_box box = box_of(lo, hi);
    zq_error err;
    int n;
    if (zq_estimate_stats(graph, &box, 1, &n, &err) != ZQ_OK)
        fail_msg("%s", err.text);
    zq_box_clear(&box);
    return n;
}

static const zq_stats *stats_of(zq_graph *graph, const char *name) {
    return graph->values[zq_graph_find_value(graph, name)].stats;
}

/* The classifier is no Conv, and nothing weighted reads it. */
static void convolutions_inside_get_statistics(void **state) {
    (void)state;
    for (int64_t batch = 0; batch < 4; batch += 3) {
        zq_graph *graph = net_without_stats(3, batch);
        assert_int_equal(estimate(graph, -2, 2), 2);
        for (int z = 1; z <= 2; z++) {
            const zq_stats *stats = stats_of(graph, z == 1 ? "z1" : "z2");
            assert_non_null(stats);
            for (int64_t c = 0; c < stats->n_channels; c++)
                assert_true(stats->std[c] > 0.01 && stats->std[c] < 10 && fabsf(stats->mean[c]) < 10);
        }
        assert_null(stats_of(graph, "a1"));
        assert_null(stats_of(graph, "logits"));
        zq_graph_drop(graph);
    }
}

/* In a valid Conv of one pixel every output is bias + 3 * (sum of weights), and nothing deviates. */
static void images_of_one_colour_are_computed_exactly(void **state) {
    (void)state;
    zq_graph *graph = net_without_stats(5, 0);
    zq_node *node = &graph->nodes[0];
    zq_node_set_ints(node, "pads", 4, (const int64_t[]){0, 0, 0, 0});
    assert_int_equal(zq_node_parse(node, NULL), ZQ_OK);
    zq_error err;
    assert_int_equal(zq_fold_constants(graph, NULL, &err), ZQ_OK);
    const float *weight = graph->values[node->inputs[1]].constant->data;
    const float *bias = graph->values[node->inputs[2]].constant->data;
    estimate(graph, 3, 3);
    const zq_stats *stats = stats_of(graph, "z1");
    for (int64_t c = 0; c < stats->n_channels; c++) {
        double expected = bias[c];
        for (int i = 0; i < 27; i++)
            expected += 3.0 * weight[27 * c + i];
        assert_true(fabs(stats->mean[c] - expected) < 1e-4);
        assert_true(stats->std[c] < 1e-2);
    }
    zq_graph_drop(graph);
}

static void known_statistics_stay(void **state) {
    (void)state;
    zq_graph *graph = tiny_net(4, SIDE, 0);
    const float mean = stats_of(graph, "z1")->mean[0];
    assert_int_equal(estimate(graph, -2, 2), 0);
    assert_true(stats_of(graph, "z1")->mean[0] == mean);
    zq_graph_drop(graph);
}

static void overflow_is_a_sentence(void **state) {
    (void)state;
    zq_graph *graph = net_without_stats(6, 0);
    zq_box box = box_of(-3e38F, 3e38F);
    zq_error err;
    int n;
    assert_int_equal(zq_estimate_stats(graph, &box, 1, &n, &err), ZQ_ERR_STATISTICS);
    assert_non_null(strstr(err.text, "overflows on random images"));
    zq_box_clear(&box);
    zq_graph_drop(graph);
}

static void leaves_have_edges_and_surfaces(void **state) {
    (void)state;
    enum { N = 3, PIXELS = 64 * 64 };
    static float x[N * 3 * PIXELS], first[3 * PIXELS];
    const zq_shape shape = zq_shape_of(4, (const int64_t[]){N, 3, 64, 64});
    zq_leaves_draw(7, &shape, 1.0 / 64, x);
    int n_edges = 0, n_flat = 0;
    for (int i = 0; i < N * 3 * PIXELS; i++) {
        assert_true(x[i] >= 0 && x[i] <= 1);
        if (i % 64 == 63)
            continue;
        const float step = fabsf(x[i + 1] - x[i]);
        n_edges += step > 0.1F;
        n_flat += step < 0.02F;
    }
    assert_true(n_edges > N * 3 * PIXELS / 100);
    assert_true(n_flat > N * 3 * PIXELS / 2);
    const zq_shape one = zq_shape_of(4, (const int64_t[]){1, 3, 64, 64});
    zq_leaves_draw(7, &one, 1.0 / 64, first);
    assert_memory_equal(first, x, sizeof first);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolutions_inside_get_statistics),
        cmocka_unit_test(images_of_one_colour_are_computed_exactly),
        cmocka_unit_test(known_statistics_stay),
        cmocka_unit_test(overflow_is_a_sentence),
        cmocka_unit_test(leaves_have_edges_and_surfaces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
