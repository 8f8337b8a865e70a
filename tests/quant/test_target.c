/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes as users write them, and what networks cost. */
#include "quant/target.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { N_LAYERS = 4 };

/* Layers of 80 weights that are used 10 times an image: one that keeps 8 bits, one that keeps 2, two that
 * keep nothing. */
static zq_layer items[N_LAYERS];
static zq_layers layers = {.n = N_LAYERS, .items = items};

static int set_up(void **state) {
    static const int kept[N_LAYERS] = {8, 2, 0, 0};
    (void)state;
    for (int i = 0; i < N_LAYERS; i++)
        items[i] = (zq_layer){.n_channels = 10, .per_channel = 8, .macs = 800, .kept = kept[i]};
    layers.float_weights = layers.float_macs = 0;
    return 0;
}

static uint64_t limit_of(const char *size, const zq_pricing *pricing) {
    zq_target target;
    assert_int_equal(zq_target_parse(size, pricing->cost, &target, NULL), ZQ_OK);
    return zq_target_limit(&target, &layers, pricing);
}

/* What narrow and split layers take beyond their integers is found in the difference of files. */
static void test_bytes(void **state) {
    (void)state;
    const uint64_t fixed = 1000, narrow = 50, split = 70, bytes8 = fixed + 80 + (20 + narrow) + 80 + 80;
    const uint64_t packed[ZQ_FILES_PACKED] = {bytes8, bytes8 - 80 + 2 * narrow, bytes8 - 40 + 2 * split};
    const zq_file_cost file = zq_file_cost_from(&layers, packed);
    const zq_pricing pricing = {.file = file, .fp32_bytes = 9000};
    assert_int_equal(file.fixed, fixed);
    assert_int_equal(file.narrow, narrow);
    assert_int_equal(file.split, split);
    assert_int_equal(limit_of("w8", &pricing), bytes8);
    assert_int_equal(limit_of("w4", &pricing), packed[1]);
    assert_int_equal(limit_of("w6", &pricing), packed[2]);
    assert_int_equal(limit_of("w3", &pricing), bytes8 - 100 + 2 * split);
    assert_int_equal(limit_of("w5.5", &pricing), bytes8 - 50 + 2 * split);
    assert_int_equal(limit_of("10%", &pricing), 900);
    assert_int_equal(limit_of("1.5KB", &pricing), 1500);
    assert_int_equal(zq_network_cost(&pricing, &layers, (const int[]){8, 2, 3, 6}),
                     bytes8 - 50 - 20 + 2 * split);
    assert_int_equal(zq_network_cost(&pricing, &layers, (const int[]){8, 2, 4, 7}), bytes8 - 40 + narrow);
}

static void test_bits(void **state) {
    (void)state;
    const zq_pricing pricing = {.cost = ZQ_COST_BITS};
    assert_int_equal(limit_of("w3", &pricing), 80 + 20 + 30 + 30);
    assert_int_equal(limit_of("25%", &pricing), 4 * 80);
    assert_int_equal(zq_network_cost(&pricing, &layers, (const int[]){8, 2, 3, 5}), 80 + 20 + 30 + 50);
    layers.float_weights = 10; /* an excluded layer counts */
    assert_int_equal(limit_of("w3", &pricing), 80 + 20 + 30 + 30 + 40);
}

static void test_bops(void **state) {
    (void)state;
    const zq_pricing pricing = {.cost = ZQ_COST_BOPS, .activation_bits = 8};
    assert_int_equal(limit_of("w4", &pricing), 800 * 8 * (8 + 2 + 4 + 4));
    assert_int_equal(limit_of("25%", &pricing), 800 * 4 * 32 * 32 / 4);
    assert_int_equal(limit_of("1.5MBOPS", &pricing), 1500000);
    layers.items[0].input_bits = 6; /* the others have none: they cost nothing */
    assert_int_equal(zq_network_cost(&pricing, &layers, (const int[]){8, 2, 4, 4}), 800 * 6 * 8);
    layers.float_macs = 10;
    assert_int_equal(zq_base_cost(&pricing, &layers), 10 * 32 * 32);
}

static void test_refused(void **state) {
    (void)state;
    static const char *const sizes[] = {"", "w", "w1", "w9", "-5MB", "5", "5GBOPS", "nan%", "5 MB", "w25%"};
    zq_target target;
    zq_error error = {0};
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++)
        assert_int_equal(zq_target_parse(sizes[k], ZQ_COST_BYTES, &target, &error), ZQ_ERR_USAGE);
    assert_non_null(strstr(error.text, "1.5MB"));
    assert_int_equal(zq_target_parse("5MB", ZQ_COST_BOPS, &target, &error), ZQ_ERR_USAGE);
    assert_non_null(strstr(error.text, "1.5GBOPS"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_bytes, set_up),
        cmocka_unit_test_setup(test_bits, set_up),
        cmocka_unit_test_setup(test_bops, set_up),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
