/* SPDX-License-Identifier: Apache-2.0 */
/* Which values keep 8 bits, on small graphs. */
#include "quant/wide.h"

#include "engine/network.h"

enum { CHANNELS = 4 };

static int layer(network *net, int x, int64_t c_in) {
    return network_conv(
        net, x, &(conv_shape){.c_in = c_in, .c_out = CHANNELS, .kernel = 1, .stride = 1, .groups = 1});
}

static void finish(network *net, int value) {
    assert_true(zq_graph_add_output(net->graph, layer(net, value, CHANNELS)));
}

static void the_input_is_wide_and_what_layers_give_is_not(void **state) {
    (void)state;
    network net = network_new(1);
    const int x = network_input(&net, 3, 4, 4), z = layer(&net, x, 3),
              y = network_unary(&net, "LeakyRelu", z);
    finish(&net, y);
    assert_true(zq_is_wide(net.graph, x));
    assert_true(zq_is_wide(net.graph, z));
    assert_false(zq_is_wide(net.graph, y));
    assert_false(zq_is_wide(net.graph, net.graph->outputs[0]));
    zq_graph_drop(net.graph);
}

static void a_value_times_a_function_of_itself_is_inside(void **state) {
    (void)state;
    network net = network_new(2);
    const int z = layer(&net, network_input(&net, 3, 4, 4), 3), gate = network_unary(&net, "Sigmoid", z);
    const int y = network_binary(&net, "Mul", z, gate);
    finish(&net, y);
    assert_true(zq_is_wide(net.graph, z));
    assert_true(zq_is_wide(net.graph, gate));
    assert_false(zq_is_wide(net.graph, y));
    zq_graph_drop(net.graph);
}

static void a_gate_of_another_value_is_not(void **state) {
    (void)state;
    network net = network_new(3);
    const int x = network_unary(&net, "LeakyRelu", layer(&net, network_input(&net, 3, 4, 4), 3));
    const int z = layer(&net, network_unary(&net, "GlobalAveragePool", x), CHANNELS);
    const int gate = network_unary(&net, "Sigmoid", z);
    finish(&net, network_binary(&net, "Mul", x, gate));
    assert_true(zq_is_wide(net.graph, z));
    assert_false(zq_is_wide(net.graph, gate));
    assert_false(zq_is_wide(net.graph, x));
    zq_graph_drop(net.graph);
}

static void other_readers_see_what_is_stored(void **state) {
    (void)state;
    network net = network_new(4);
    const int z = layer(&net, network_input(&net, 3, 4, 4), 3);
    finish(&net, network_binary(&net, "Add", z, network_unary(&net, "LeakyRelu", z)));
    assert_false(zq_is_wide(net.graph, z));
    zq_graph_drop(net.graph);
}

static void nodes_that_move_elements_are_looked_through(void **state) {
    (void)state;
    network net = network_new(5);
    const int z = layer(&net, network_input(&net, 3, 4, 4), 3);
    const int moved = network_transpose(&net, z, 4, (const int64_t[]){0, 1, 3, 2});
    finish(&net, network_unary(&net, "LeakyRelu", moved));
    assert_true(zq_is_wide(net.graph, z));
    assert_true(zq_is_wide(net.graph, moved));
    zq_graph_drop(net.graph);
}

/* A model of many such nodes is answered soon, whatever the answer. */
static void long_chains_end(void **state) {
    (void)state;
    network net = network_new(6);
    const int z = layer(&net, network_input(&net, 3, 4, 4), 3);
    int moved = z;
    for (int i = 0; i < 100; i++)
        moved = network_transpose(&net, moved, 4, (const int64_t[]){0, 1, 3, 2});
    finish(&net, network_unary(&net, "LeakyRelu", moved));
    assert_false(zq_is_wide(net.graph, z));
    assert_true(zq_is_wide(net.graph, moved));
    zq_graph_drop(net.graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_input_is_wide_and_what_layers_give_is_not),
        cmocka_unit_test(a_value_times_a_function_of_itself_is_inside),
        cmocka_unit_test(a_gate_of_another_value_is_not),
        cmocka_unit_test(other_readers_see_what_is_stored),
        cmocka_unit_test(nodes_that_move_elements_are_looked_through),
        cmocka_unit_test(long_chains_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
