/* SPDX-License-Identifier: Apache-2.0 */
#include "passes/balance.h"
#include "support/build.h"

#include <math.h>

enum { C = 8, DENSE = 5, GROUPED = 6, TAPS = 9 };
static const double power = 16; /* stands in for the maximum */

/* Weights that read channel c are made smaller, for some c much. */
static void shrink(zq_graph *graph, int value, int n_in, int n_taps) {
    const zq_tensor *tensor = graph->values[value].constant;
    zq_real *w = graph->values[value].constant->data;
    const int n = (int)zq_shape_count(&tensor->shape);
    for (int i = 0; i < n; i++)
        w[i] *= (zq_real)(i / n_taps % n_in % 4 == 0 ? 0.9 : 0.2 + 0.03 * (i / n_taps % n_in));
}

/* A dense and a grouped convolution read one value of C channels. */
static zq_graph *readers(uint64_t seed, int nodes_out[2]) {
    zq_graph *graph = zq_graph_new();
    const int x = build_input(graph, "x", SHAPE(-1, C, 8, 8));
    const int dense = build_random(graph, "dense_w", SHAPE(DENSE, C, 3, 3), seed, -1, 1);
    const int grouped = build_random(graph, "grouped_w", SHAPE(GROUPED, C / 2, 1, 1), seed + 1, -1, 1);
    shrink(graph, dense, C, TAPS);
    shrink(graph, grouped, C / 2, 1);
    build_output(graph, build_node(graph, "Conv", "dense", VALUES(x, dense)));
    build_output(graph, build_node(graph, "Conv", "grouped", VALUES(x, grouped)));
    zq_node_set_int(build_last(graph), "group", 2);
    build_done(graph);
    nodes_out[0] = graph->values[zq_graph_find_value(graph, "dense")].producer;
    nodes_out[1] = graph->values[zq_graph_find_value(graph, "grouped")].producer;
    return graph;
}

static double weight(zq_graph *graph, const char *name, int64_t i) {
    return zq_tensor_item(graph->values[zq_graph_find_value(graph, name)].constant, i);
}

/* The definition: errors of 4-bit weights and of activations in one reader's outputs, over their variances.
 */
static double damage_of(zq_graph *graph, const char *name, int n_rows, int n_in, int n_taps,
                        const zq_balance_channels *balance, const double *f) {
    double range = 0, damage = 0;
    for (int c = 0; c < C; c++)
        range += pow(balance->reach[c] * f[c], power);
    range = pow(range, 1 / power);
    for (int row = 0; row < n_rows; row++) {
        const int first = n_in == C ? 0 : row / (n_rows / (C / n_in)) * n_in;
        double largest = 0, inputs = 0, squares = 0, variance = 0;
        for (int c = 0; c < n_in; c++) {
            double peak = 0;
            for (int k = 0; k < n_taps; k++) {
                const double w = weight(graph, name, (row * n_in + c) * n_taps + k);
                peak = fmax(peak, fabs(w));
                squares += w * w / (f[first + c] * f[first + c]);
                variance += w * w * balance->moment[first + c];
            }
            largest += pow(peak / f[first + c], power);
            inputs += balance->moment[first + c] * f[first + c] * f[first + c];
        }
        const double step = 2 * pow(largest, 1 / power) / (exp2(balance->weight_bits) - 1);
        const double grain = range / (exp2(balance->activation_bits) - 1);
        damage += (step * step * n_taps * inputs + grain * grain * squares) / variance;
    }
    return damage;
}

static double damage(zq_graph *graph, const zq_balance_channels *balance, const double *f) {
    return damage_of(graph, "dense_w", DENSE, C, TAPS, balance, f) +
           damage_of(graph, "grouped_w", GROUPED, C / 2, 1, balance, f);
}

static zq_graph *make(uint64_t seed, double bits, zq_balance_channels *balance, int nodes[2], double *known) {
    zq_graph *graph = readers(seed, nodes);
    for (int c = 0; c < C; c++) {
        known[c] = 0.5 + 0.2 * ((c * 5 + (int)seed) % C);
        known[C + c] = 2 + 0.3 * ((c * 3 + (int)seed) % C);
    }
    *balance = (zq_balance_channels){C, known, known + C, nodes, 2, 4, bits};
    return graph;
}

/* No channel can be moved to clearly less damage, but beyond the bounds (which move the mean). */
static void test_least_damage(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        zq_balance_channels balance;
        zq_error err;
        int nodes[2];
        double known[2 * C], f[C], one[C];
        float factor[C];
        zq_graph *graph = make(seed, seed % 2 == 0 ? 4 : 8, &balance, nodes, known);
        assert_int_equal(zq_balance_find(graph, &balance, factor, &err), ZQ_OK);
        for (int c = 0; c < C; c++) {
            f[c] = factor[c];
            one[c] = 1;
            assert_true(f[c] > 0.4999 && f[c] < 2.0001);
        }
        const double least = damage(graph, &balance, f);
        assert_true(least < damage(graph, &balance, one));
        for (int c = 0; c < C; c++)
            for (int sign = -1; sign <= 1; sign += 2) {
                const double kept = f[c];
                f[c] *= 1 + 0.02 * sign;
                if (f[c] < 2 && f[c] > 0.5 && damage(graph, &balance, f) < least * (1 - 1e-3))
                    fail_msg("seed %d: channel %d is off", (int)seed, c);
                f[c] = kept;
            }
        zq_graph_drop(graph);
    }
}

/* The precision of activations that weights of 4 bits may cost is less when they have few bits. */
static void test_activation_bits(void **state) {
    (void)state;
    double spread[2] = {0};
    for (int k = 0; k < 2; k++) {
        zq_balance_channels balance;
        zq_error err;
        int nodes[2];
        double known[2 * C];
        float factor[C];
        zq_graph *graph = make(3, k == 0 ? 8 : 2, &balance, nodes, known);
        assert_int_equal(zq_balance_find(graph, &balance, factor, &err), ZQ_OK);
        double widest = 0;
        for (int c = 0; c < C; c++)
            widest = fmax(widest, known[C + c] * factor[c]);
        for (int c = 0; c < C; c++)
            spread[k] += widest / (known[C + c] * factor[c]) / C;
        zq_graph_drop(graph);
    }
    assert_true(spread[1] < spread[0]);
}

/* Dead channels and rows, and numbers whose 16th power is none: factors are finite and within their bounds.
 */
static void test_extremes(void **state) {
    (void)state;
    static const double scale[] = {0, 1e-30, 1e30};
    for (int k = 0; k < 9; k++) {
        zq_balance_channels balance;
        zq_error err;
        int nodes[2];
        double known[2 * C];
        float factor[C];
        zq_graph *graph = make(5, 8, &balance, nodes, known);
        zq_real *w = graph->values[zq_graph_find_value(graph, "dense_w")].constant->data;
        for (int i = 0; i < C * TAPS; i++)
            w[i] *= (zq_real)scale[k % 3];
        known[1] *= scale[k / 3];
        known[C + 1] *= scale[k / 3];
        assert_int_equal(zq_balance_find(graph, &balance, factor, &err), ZQ_OK);
        for (int c = 0; c < C; c++)
            assert_true(factor[c] > 0.4999F && factor[c] < 2.0001F);
        zq_graph_drop(graph);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_least_damage),
        cmocka_unit_test(test_activation_bits),
        cmocka_unit_test(test_extremes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
