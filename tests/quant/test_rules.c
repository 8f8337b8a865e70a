/* SPDX-License-Identifier: Apache-2.0 */
/* What users decide about layers. */
#include "base/memory.h"
#include "quant/rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { N_LAYERS = 5 };

/* An affine layer, then conv1, conv2, twice "twin". */
typedef struct network {
    zq_graph graph;
    zq_node nodes[N_LAYERS];
    zq_layers layers;
    zq_layer items[N_LAYERS];
    zq_rules rules;
    zq_error error;
} network;

static zq_status apply(network *net, const zq_options *options) {
    static const char *const names[N_LAYERS] = {"bn", "conv1", "conv2", "twin", "twin"};
    *net = (network){.layers = {.n = N_LAYERS}};
    net->graph = (zq_graph){.n_nodes = N_LAYERS, .nodes = net->nodes};
    net->layers.items = net->items;
    for (int i = 0; i < N_LAYERS; i++) {
        int *nodes = zq_alloc(1, sizeof *nodes);
        assert_non_null(nodes);
        nodes[0] = i;
        net->items[i] = (zq_layer){.name = names[i],
                                   .n_nodes = 1,
                                   .nodes = nodes,
                                   .n_channels = 10,
                                   .per_channel = 8,
                                   .affine = i == 0,
                                   .kept = i == 0 ? 8 : 0};
    }
    return zq_rules_apply(options, &net->graph, &net->layers, &net->rules, &net->error);
}

static void clear(network *net) {
    for (int i = 0; i < net->layers.n; i++)
        zq_free(net->items[i].nodes);
}

static void assert_kept(const network *net, int n, const int *kept) {
    assert_int_equal(net->layers.n, n);
    for (int i = 0; i < n; i++)
        assert_int_equal(net->items[i].kept, kept[i]);
}

static void test_nothing_said(void **state) {
    (void)state;
    network net;
    const zq_options options = {0};
    assert_int_equal(apply(&net, &options), ZQ_OK);
    assert_kept(&net, N_LAYERS, (const int[]){8, 0, 0, 0, 0});
    assert_int_equal(net.rules.n_widths, 6);
    for (int k = 0; k < 6; k++) {
        assert_true(zq_rules_allow(&net.rules, &net.items[1], k));
        assert_int_equal(zq_rules_allow(&net.rules, &net.items[0], k), k == 5);
    }
    assert_int_equal(zq_rules_at_most(&net.rules, &net.items[0], 4), 8);
    assert_int_equal(zq_rules_at_most(&net.rules, &net.items[1], 4), 4);
    assert_int_equal(zq_rules_at_most(&net.rules, &net.items[1], 7), 6);
    clear(&net);
}

static void test_kept(void **state) {
    (void)state;
    network net;
    const char *const keep[] = {"twin=2", "conv1=4", "conv1=4"};
    const zq_options options = {.bits = "8,4", .keep = keep, .n_keep = 3, .keep_first_last = 1};
    assert_int_equal(apply(&net, &options), ZQ_OK);
    assert_kept(&net, N_LAYERS, (const int[]){8, 4, 0, 2, 2}); /* both ends were named */
    assert_int_equal(net.rules.n_widths, 3);
    assert_false(zq_rules_allow(&net.rules, &net.items[2], 0));
    assert_int_equal(zq_rules_at_most(&net.rules, &net.items[2], 2), 4);
    assert_int_equal(zq_rules_at_most(&net.rules, &net.items[3], 8), 2);
    clear(&net);
}

/* The first layer of the user's comes after the affine one; the last of what was excluded is no longer it. */
static void test_ends(void **state) {
    (void)state;
    network net;
    const char *const exclude[] = {"twin"};
    const zq_options options = {.exclude = exclude, .n_exclude = 1, .keep_first_last = 1};
    assert_int_equal(apply(&net, &options), ZQ_OK);
    assert_kept(&net, 3, (const int[]){8, 8, 0});
    for (int n = 0; n < N_LAYERS; n++)
        assert_int_equal(net.nodes[n].keeps_float, n >= 3);
    clear(&net);
}

static void refuse(const zq_options *options, const char *part) {
    network net;
    assert_int_equal(apply(&net, options), ZQ_ERR_USAGE);
    if (strstr(net.error.text, part) == NULL)
        fail_msg("'%s' doesn't say '%s'", net.error.text, part);
    clear(&net);
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *keep[2], *part;
    } kept[] = {{{"cnov1=8", NULL}, "nearest name is 'conv1'"},
                {{"onv2=8", NULL}, "nearest name is 'conv2'"},
                {{"conv1", NULL}, "NAME=BITS"},
                {{"conv1=7", NULL}, "NAME=BITS"},
                {{"conv1=8 ", NULL}, "NAME=BITS"},
                {{"=8", NULL}, "no layer ''"},
                {{"bn=4", NULL}, "exact at 8 bits"},
                {{"conv1=4", "conv1=8"}, "both 4 and 8"}};
    for (size_t k = 0; k < sizeof kept / sizeof kept[0]; k++) {
        const zq_options options = {.keep = kept[k].keep, .n_keep = kept[k].keep[1] == NULL ? 1 : 2};
        refuse(&options, kept[k].part);
    }
    static const char *const bits[] = {"", "4,", "7", "4;8", "16", ",8"};
    for (size_t k = 0; k < sizeof bits / sizeof bits[0]; k++) {
        const zq_options options = {.bits = bits[k]};
        refuse(&options, "no list of widths");
    }
    const char *const keep[] = {"conv1=4"}, *const one[] = {"conv1"}, *const missing[] = {"conv"},
                      *const all[] = {"bn", "conv1", "conv2", "twin"};
    refuse(&(zq_options){.keep = keep, .n_keep = 1, .exclude = one, .n_exclude = 1}, "choose one");
    refuse(&(zq_options){.exclude = missing, .n_exclude = 1}, "nearest name is 'conv1'");
    refuse(&(zq_options){.exclude = all, .n_exclude = 4}, "no layer is left");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_said),
        cmocka_unit_test(test_kept),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
