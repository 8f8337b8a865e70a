/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"
#include "photo/photo.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Red counts columns, green counts rows, blue is 7. */
static zq_photo ramp(int64_t height, int64_t width) {
    zq_photo photo = {.height = height, .width = width, .rgb = zq_alloc((size_t)(height * width), 3)};
    for (int64_t i = 0; i < height * width; i++) {
        photo.rgb[3 * i] = (unsigned char)(i % width);
        photo.rgb[3 * i + 1] = (unsigned char)(i / width);
        photo.rgb[3 * i + 2] = 7;
    }
    return photo;
}

static void resize(int64_t height, int64_t width, zq_resize how, int64_t out_height, int64_t out_width,
                   float *planes) {
    zq_error err = {0};
    zq_photo photo = ramp(height, width);
    assert_int_equal(zq_photo_resize(&photo, how, out_height, out_width, planes, &err), ZQ_OK);
    zq_photo_clear(&photo);
}

static void the_same_size_is_left_alone(void **state) {
    (void)state;
    for (int how = ZQ_RESIZE_CROP; how <= ZQ_RESIZE_PAD; how++) {
        float planes[3 * 6];
        resize(2, 3, (zq_resize)how, 2, 3, planes);
        const float expected[] = {0, 1, 2, 0, 1, 2, 0, 0, 0, 1, 1, 1, 7, 7, 7, 7, 7, 7};
        assert_memory_equal(planes, expected, sizeof expected);
    }
}

static void a_slightly_larger_photo_is_cut_pixel_by_pixel(void **state) {
    (void)state;
    float planes[3 * 64];
    resize(9, 12, ZQ_RESIZE_CROP, 8, 8, planes); /* 9 <= 8 * 8/7 */
    assert_float_equal(planes[0], 2, 0);         /* columns 2 .. 9 of 12 */
    assert_float_equal(planes[7], 9, 0);
    assert_float_equal(planes[64], 0, 0); /* rows 0 .. 7 of 9 */
    assert_float_equal(planes[127], 7, 0);
}

static void a_large_photo_is_scaled_and_cut(void **state) {
    (void)state;
    float planes[3 * 4];
    resize(32, 64, ZQ_RESIZE_CROP, 2, 2, planes); /* the middle 28 x 28 */
    assert_float_equal(planes[0] + planes[1], 63, 1e-3);
    assert_true(fabsf(planes[1] - planes[0] - 14) < 1); /* the triangles reach over both halves */
    assert_float_equal(planes[4] + planes[6], 31, 1e-3);
    assert_float_equal(planes[8], 7, 1e-5);
}

static void shrinking_takes_all_pixels(void **state) {
    (void)state;
    float planes[3];
    resize(1, 100, ZQ_RESIZE_SQUASH, 1, 1, planes);
    assert_float_equal(planes[0], 49.5, 1e-4);
}

static void growing_interpolates(void **state) {
    (void)state;
    float planes[3 * 4];
    resize(1, 2, ZQ_RESIZE_SQUASH, 1, 4, planes);
    const float expected[] = {0, 0.25F, 0.75F, 1};
    assert_memory_equal(planes, expected, sizeof expected);
}

static void padding_is_black(void **state) {
    (void)state;
    float planes[3 * 16];
    resize(2, 4, ZQ_RESIZE_PAD, 4, 4, planes);
    for (int x = 0; x < 4; x++) {
        assert_float_equal(planes[32 + x], 0, 0);
        assert_float_equal(planes[32 + 4 + x], 7, 0);
        assert_float_equal(planes[32 + 8 + x], 7, 0);
        assert_float_equal(planes[32 + 12 + x], 0, 0);
    }
}

static void memory_may_be_refused(void **state) {
    (void)state;
    zq_photo photo = ramp(5, 5);
    float planes[3 * 4];
    for (long n = 1; n <= 5; n++) {
        zq_error err = {0};
        zq_alloc_fail_at(n);
        assert_int_equal(zq_photo_resize(&photo, ZQ_RESIZE_SQUASH, 2, 2, planes, &err), ZQ_ERR_MEMORY);
        zq_alloc_fail_at(0);
    }
    zq_photo_clear(&photo);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_size_is_left_alone),
        cmocka_unit_test(a_slightly_larger_photo_is_cut_pixel_by_pixel),
        cmocka_unit_test(a_large_photo_is_scaled_and_cut),
        cmocka_unit_test(shrinking_takes_all_pixels),
        cmocka_unit_test(growing_interpolates),
        cmocka_unit_test(padding_is_black),
        cmocka_unit_test(memory_may_be_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
