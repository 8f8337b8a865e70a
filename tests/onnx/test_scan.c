/* SPDX-License-Identifier: Apache-2.0 */
#include "onnx/scan.h"

#include "onnx/onnx.pb-c.h"
#include "wire.h"

static zq_status scan(const message *bytes, zq_error *err) {
    return zq_scan_message(&onnx__model_proto__descriptor, bytes->bytes, bytes->n, err);
}

static void expect(const message *bytes, zq_status expected, const char *word) {
    zq_error err = {0};
    const zq_status status = scan(bytes, &err);
    if (status != expected || strstr(err.text, word) == NULL)
        fail_msg("status %d, \"%s\"; expected status %d and '%s'", status, err.text, expected, word);
}

static void test_empty_and_good(void **state) {
    message bytes = {0};
    expect(&bytes, ZQ_OK, "");
    put_int(&bytes, 1, 8);
    put_text(&bytes, 2, "producer");
    put_float(&bytes, 99, 1.5f); /* unknown fields are allowed */
    put_double(&bytes, 98, 1.5);
    put_text(&bytes, 97, "unknown");
    expect(&bytes, ZQ_OK, "");
    (void)state;
}

static void test_truncated(void **state) {
    message bytes = {0};
    put_text(&bytes, 2, "producer");
    bytes.n--;
    expect(&bytes, ZQ_ERR_FORMAT, "truncated");
    bytes.n = 0;
    put_varint(&bytes, 1 << 3);
    put_raw(&bytes, "\x80\x80", 2);
    expect(&bytes, ZQ_ERR_FORMAT, "doesn't end");
    bytes.n = 0;
    put_varint(&bytes, 1 << 3);
    put_raw(&bytes, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 10); /* beyond 64 bits */
    expect(&bytes, ZQ_ERR_FORMAT, "doesn't end");
    bytes.n = 0;
    put_varint(&bytes, 99 << 3 | 5);
    put_raw(&bytes, "abc", 3);
    expect(&bytes, ZQ_ERR_FORMAT, "truncated");
    bytes.n = 0;
    put_varint(&bytes, 99 << 3 | 1);
    put_raw(&bytes, "abcdefg", 7);
    expect(&bytes, ZQ_ERR_FORMAT, "truncated");
    (void)state;
}

static void test_wire_types(void **state) {
    static const unsigned groups_and_unknown[] = {3, 4, 6, 7};
    for (int t = 0; t < 4; t++) {
        message bytes = {0};
        put_varint(&bytes, 2 << 3 | groups_and_unknown[t]);
        put_raw(&bytes, "\0\0\0\0\0\0\0\0", 8);
        expect(&bytes, ZQ_ERR_FORMAT, "wire type");
    }
    message zero = {0};
    put_raw(&zero, "\0\0", 2);
    expect(&zero, ZQ_ERR_FORMAT, "impossible number");
    (void)state;
}

/* A field inside a message can't reach beyond that message. */
static void test_inner_length(void **state) {
    message bytes = {0}, graph = {0};
    put_varint(&graph, 2 << 3 | 2);
    put_varint(&graph, 5);
    put_message(&bytes, 7, &graph);
    put_text(&bytes, 2, "long enough for five");
    expect(&bytes, ZQ_ERR_FORMAT, "truncated");
    (void)state;
}

/* Graphs in attributes of nodes of graphs. */
static message nested(int n_graphs) {
    message inner = {0};
    for (int g = 0; g < n_graphs; g++) {
        message attr = {0}, node = {0}, graph = {0};
        put_message(&attr, 6, &inner);
        put_message(&node, 5, &attr);
        put_message(&graph, 1, &node);
        inner = graph;
    }
    message model = {0};
    put_message(&model, 7, &inner);
    return model;
}

static void test_depth(void **state) {
    const message flat = nested(5), deep = nested(40);
    expect(&flat, ZQ_OK, "");
    expect(&deep, ZQ_ERR_FORMAT, "deep");
    refuse_model(&deep, ZQ_ERR_FORMAT, "deep");
    (void)state;
}

/* Two bytes of an empty initializer would become some 300 of memory. */
static void test_memory(void **state) {
    const size_t n_tensors = 1 << 20, n_bytes = 2 * n_tensors + 5;
    unsigned char *bytes = test_malloc(n_bytes);
    zq_error err = {0};
    bytes[0] = 7 << 3 | 2;
    for (size_t i = 0; i < 4; i++)
        bytes[1 + i] = (unsigned char)((2 * n_tensors >> 7 * i & 0x7f) | (i < 3 ? 0x80 : 0));
    for (size_t t = 0; t < n_tensors; t++) {
        bytes[5 + 2 * t] = 5 << 3 | 2;
        bytes[6 + 2 * t] = 0;
    }
    assert_int_equal(zq_scan_message(&onnx__model_proto__descriptor, bytes, n_bytes, &err), ZQ_ERR_LIMIT);
    assert_non_null(strstr(err.text, "out of proportion"));
    test_free(bytes);
    (void)state;
}

static void test_two_gigabytes(void **state) {
    zq_error err = {0};
    assert_int_equal(zq_scan_message(&onnx__model_proto__descriptor, NULL, (size_t)INT32_MAX + 1, &err),
                     ZQ_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "external data"));
    (void)state;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty_and_good), cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_wire_types),     cmocka_unit_test(test_inner_length),
        cmocka_unit_test(test_depth),          cmocka_unit_test(test_memory),
        cmocka_unit_test(test_two_gigabytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
