/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/pixels.h"

#include "base/memory.h"
#include "base/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { N = 3, CHANNELS = 2, AREA = 35, COUNT = N * CHANNELS * AREA };

static void test_rounded_once(void **state) {
    (void)state;
    float x[COUNT], before[COUNT], once[COUNT];
    float lo[CHANNELS] = {-2.1179F, 0.3F}, hi[CHANNELS] = {2.2489F, 0.3F}; /* one channel is constant */
    const zq_box box = {.n_channels = CHANNELS, .lo = lo, .hi = hi};
    zq_images images = {.shape = {.rank = 4, .dims = {N, CHANNELS, 5, 7}}, .data = x};
    for (int i = 0; i < COUNT; i++)
        before[i] = x[i] =
            i / AREA % CHANNELS == 0 ? (float)(5 * zq_random_uniform(1, (uint64_t)i) - 2.5) : 0.3F;
    assert_int_equal(zq_images_round(&images, &box, NULL), ZQ_OK);
    for (int i = 0; i < COUNT; i++)
        assert_true(fabsf(x[i] - before[i]) <= 5 / 255.F / 2 * 1.001F);
    memcpy(once, x, sizeof x);
    assert_int_equal(zq_images_round(&images, &box, NULL), ZQ_OK);
    assert_memory_equal(x, once, sizeof x); /* rounded pixels are pixels */
}

static void test_no_memory(void **state) {
    (void)state;
    const zq_shape shape = {.rank = 4, .dims = {N, CHANNELS, 5, 7}};
    for (long k = 1; k <= 3; k++) {
        zq_pixels pixels;
        zq_alloc_fail_at(k);
        assert_int_equal(zq_pixels_new(&shape, &pixels, NULL), ZQ_ERR_MEMORY);
        zq_alloc_fail_at(0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rounded_once), cmocka_unit_test(test_no_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
