/* SPDX-License-Identifier: Apache-2.0 */
#include "report/markup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BAD "\xef\xbf\xbd"

typedef void put(FILE *f, const char *text);

static void check(put *function, const char *text, const char *expected) {
    char found[1024] = "";
    FILE *f = fmemopen(found, sizeof found, "w");
    assert_non_null(f);
    function(f, text);
    fclose(f);
    assert_string_equal(found, expected);
}

static void test_escapes(void **state) {
    (void)state;
    check(zq_markup_text, "layer1.0/conv", "layer1.0/conv");
    check(zq_markup_text, "<script>alert(\"1\" && '2')</script>",
          "&lt;script&gt;alert(&quot;1&quot; &amp;&amp; &#39;2&#39;)&lt;/script&gt;");
    check(zq_markup_text, "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x99\x82", "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x99\x82");
    check(zq_markup_text, "", "");
    check(zq_markup_text, NULL, "");
}

/* What isn't UTF-8 becomes one mark a byte, and nothing behind it is swallowed. */
static void test_not_utf8(void **state) {
    (void)state;
    check(zq_markup_text, "a\xff<", "a" BAD "&lt;");
    check(zq_markup_text, "\xe2\x82<", BAD BAD "&lt;"); /* cut short */
    check(zq_markup_text, "\xf0\x9f\x99", BAD BAD BAD); /* cut short by the end */
    check(zq_markup_text, "\xc0\xbc", BAD BAD);         /* < with a byte too many */
    check(zq_markup_text, "\xe0\x80\xbc", BAD BAD BAD);
    check(zq_markup_text, "\xed\xa0\x80", BAD BAD BAD);         /* a surrogate */
    check(zq_markup_text, "\xf4\x90\x80\x80", BAD BAD BAD BAD); /* above U+10FFFF */
    check(zq_markup_text, "\xf8\x88\x80\x80\x80", BAD BAD BAD BAD BAD);
}

static void test_unfit(void **state) {
    (void)state;
    check(zq_markup_text, "a\nb\tc\x01\x7f", "a" BAD "b" BAD "c" BAD BAD);
    check(zq_markup_text, "\xc2\x85", BAD);         /* a control character */
    check(zq_markup_text, "\xef\xbf\xbf", BAD);     /* U+FFFF is no character */
    check(zq_markup_text, "\xf0\x9f\xbf\xbe", BAD); /* neither is U+1FFFE */
    check(zq_markup_text,
          "\xe2\x80\xae"
          "evil",
          BAD "evil"); /* from right to left */
}

static void test_names(void **state) {
    (void)state;
    char name[401], expected[800] = "";
    check(zq_markup_name, "", "(no name)");
    check(zq_markup_name, NULL, "(no name)");
    memset(name, 'a', 96);
    name[96] = '\0';
    check(zq_markup_name, name, name);
    /* 200 characters of two bytes each */
    for (int i = 0; i < 200; i++)
        memcpy(name + 2 * i, "\xc3\xa4", 2);
    name[400] = '\0';
    for (int i = 0; i < 60; i++)
        strcat(expected, "\xc3\xa4");
    strcat(expected, "\xe2\x80\xa6");
    for (int i = 0; i < 32; i++)
        strcat(expected, "\xc3\xa4");
    check(zq_markup_name, name, expected);
}

static void check_base64(size_t n, const char *expected) {
    char found[64] = "";
    FILE *f = fmemopen(found, sizeof found, "w");
    zq_markup_base64(f, n, (const unsigned char *)"Man\xff\xfe");
    fclose(f);
    assert_string_equal(found, expected);
    uint8_t back[8] = "";
    assert_true(zq_markup_read_base64(expected, strlen(expected), n, back));
    assert_memory_equal(back, "Man\xff\xfe", n);
    assert_false(zq_markup_read_base64(expected, strlen(expected), n + 3, back));
}

static void test_base64(void **state) {
    (void)state;
    check_base64(0, "");
    check_base64(1, "TQ==");
    check_base64(2, "TWE=");
    check_base64(3, "TWFu");
    check_base64(5, "TWFu//4=");
    uint8_t byte;
    assert_false(zq_markup_read_base64("T*==", 4, 1, &byte));
}

static void test_numbers(void **state) {
    (void)state;
    char text[ZQ_NUMBER];
    assert_string_equal(zq_markup_number(0, text), "0");
    assert_string_equal(zq_markup_number(1.234, text), "1.23");
    assert_string_equal(zq_markup_number(-20.339, text), "-20.3");
    assert_string_equal(zq_markup_number(99.96, text), "100");
    assert_string_equal(zq_markup_number(0.0693674, text), "0.0694");
    assert_string_equal(zq_markup_number(0.0062, text), "0.0062");
    assert_string_equal(zq_markup_number(0.000994, text), "9.9e-4");
    assert_string_equal(zq_markup_number(4.4037e-5, text), "4.4e-5");
    assert_string_equal(zq_markup_number(-9.99e-5, text), "-1.0e-4");
    assert_string_equal(zq_markup_number(1.5e300, text), "1.5e300");
    assert_string_equal(zq_markup_number(-1.0 / 0.0, text), "infinite");
    assert_string_equal(zq_markup_number(0.0 / 0.0, text), "\xe2\x80\x93");
    assert_string_equal(zq_markup_bytes(999, text), "999 B");
    assert_string_equal(zq_markup_bytes(154124, text), "154 KB");
    assert_string_equal(zq_markup_bytes(999999, text), "1.00 MB");
    assert_string_equal(zq_markup_bytes(5e13, text), "50000 GB");
    assert_string_equal(zq_markup_count(2304, text), "2.30 k");
    assert_string_equal(zq_markup_share(1, text), "100 %");
    assert_string_equal(zq_markup_share(0.9997, text), "100.0 %");
    assert_string_equal(zq_markup_share(0.140, text), "14.0 %");
    assert_string_equal(zq_markup_share(0.00001, text), "&lt;0.01 %");
    assert_string_equal(zq_markup_share(0, text), "0 %");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_escapes), cmocka_unit_test(test_not_utf8), cmocka_unit_test(test_unfit),
        cmocka_unit_test(test_names),   cmocka_unit_test(test_base64),   cmocka_unit_test(test_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
