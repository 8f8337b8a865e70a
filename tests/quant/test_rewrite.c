/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"
#include "quant/candidate.h"
#include "quant/rewrite.h"
#include "tiny_net.h"

/* The tiny network with 8 bits everywhere, as it would be written. */
static zq_status rewrite(zq_graph *graph, zq_graph **rewritten_out, zq_error *err) {
    enum { MOST_LAYERS = 8 };
    zq_layers layers;
    zq_candidate candidate;
    const int bits[MOST_LAYERS] = {8, 8, 8, 8, 8, 8, 8, 8};
    const zq_weight_spec spec = {.bits = 8, .range = ZQ_WEIGHT_MINMAX};
    zq_activation *activations = zq_alloc((size_t)graph->n_values, sizeof *activations);
    for (int v = 0; v < graph->n_values; v++)
        activations[v] = zq_activation_from_range(0, 6, 8);
    assert_int_equal(zq_layers_find(graph, &layers, err), ZQ_OK);
    assert_int_equal(zq_place(graph, zq_form_of(ZQ_RUNTIME_ONNXRUNTIME), activations, NULL, NULL, err),
                     ZQ_OK);
    assert_true(layers.n <= MOST_LAYERS);
    zq_standard standard = {.n_layers = layers.n,
                            .graph = zq_graph_copy(graph),
                            .factor = zq_alloc((size_t)layers.n, sizeof *standard.factor)};
    const zq_candidate_source source = {.graph = graph,
                                        .standard = &standard,
                                        .layers = &layers,
                                        .activations = activations,
                                        .spec = spec,
                                        .form = zq_form_of(ZQ_RUNTIME_ONNXRUNTIME)};
    zq_status status = zq_candidate_build("test", &source, bits, NULL, &candidate, err);
    *rewritten_out = NULL;
    if (status == ZQ_OK)
        status = zq_candidate_rewrite(&candidate, &source, rewritten_out, err);
    zq_candidate_clear(&candidate, layers.n);
    zq_standard_clear(&standard);
    zq_layers_clear(&layers);
    zq_free(activations);
    return status;
}

static int count_constants(const zq_graph *graph, zq_dtype dtype, int rank) {
    int n = 0;
    for (int v = 0; v < graph->n_values; v++) {
        const zq_tensor *constant = graph->values[v].constant;
        n += constant != NULL && constant->dtype == dtype && constant->shape.rank == rank;
    }
    return n;
}

static void test_equal_constants_are_shared(void **state) {
    (void)state;
    zq_error err = {0};
    zq_graph *graph = tiny_net_with("Relu", 1, 8, 0), *rewritten;
    assert_int_equal(rewrite(graph, &rewritten, &err), ZQ_OK);
    assert_int_equal(count_constants(rewritten, ZQ_U8, 0), 1); /* all activations have the zero point 0 */
    zq_graph_drop(rewritten);
    zq_graph_drop(graph);
}

/* What is added has short names, and a model may use the same for something else. */
static void test_names_that_the_model_uses(void **state) {
    (void)state;
    zq_error err = {0};
    zq_graph *graph = tiny_net_with("Relu", 1, 8, 0), *rewritten;
    int n_renamed = 0;
    static const char *const names[] = {"z0", "z0x8", "z0x6", "z0x5"};
    for (int v = 0; v < graph->n_values; v++)
        if (graph->values[v].constant != NULL && n_renamed < 4)
            assert_true(zq_graph_rename_value(graph, v, names[n_renamed++]));
    assert_int_equal(n_renamed, 4);
    assert_int_equal(rewrite(graph, &rewritten, &err), ZQ_OK);
    zq_graph_drop(rewritten);
    zq_graph_drop(graph);
}

/* Weights and biases that somebody else reads stay floats for him. */
static void test_floats_that_others_read(void **state) {
    (void)state;
    zq_error err = {0};
    static const char *const names[] = {"w1", "b1", "w3", "b3"};
    zq_graph *graph = tiny_net_with("Relu", 1, 8, 0), *rewritten;
    for (int k = 0; k < 3; k++)
        assert_true(zq_graph_add_output(graph, zq_graph_find_value(graph, names[k])));
    const int scores[] = {graph->outputs[0], zq_graph_find_value(graph, names[3])};
    assert_true(zq_graph_add_output(graph, tiny_node(graph, "Add", "sum", 2, scores, 0)));
    assert_int_equal(rewrite(graph, &rewritten, &err), ZQ_OK);
    for (int k = 0; k < 4; k++) {
        const int value = zq_graph_find_value(rewritten, names[k]);
        assert_int_equal(rewritten->values[value].constant->dtype, ZQ_F32);
        assert_true(zq_tensor_equal(rewritten->values[value].constant,
                                    graph->values[zq_graph_find_value(graph, names[k])].constant));
    }
    zq_graph_drop(rewritten);
    zq_graph_drop(graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_constants_are_shared),
        cmocka_unit_test(test_names_that_the_model_uses),
        cmocka_unit_test(test_floats_that_others_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
