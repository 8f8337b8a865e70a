/* SPDX-License-Identifier: Apache-2.0 */
#include "onnx/tensor_proto.h"

#include "wire.h"

#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static zq_status read_tensor(const message *tensor, const char *folder, zq_tensor **out, zq_error *err) {
    Onnx__TensorProto *proto = onnx__tensor_proto__unpack(NULL, tensor->n, tensor->bytes);
    zq_external external = {.folder = folder};
    assert_non_null(proto);
    *out = NULL;
    const zq_status status = zq_tensor_proto_read(proto, &external, out, err);
    zq_external_clear(&external);
    onnx__tensor_proto__free_unpacked(proto, NULL);
    return status;
}

static void expect_values(const message *tensor, zq_dtype dtype, int n, const double *values) {
    zq_tensor *read;
    zq_error err = {0};
    if (read_tensor(tensor, NULL, &read, &err) != ZQ_OK)
        fail_msg("%s", err.text);
    assert_int_equal(read->dtype, dtype);
    assert_int_equal(zq_shape_count(&read->shape), n);
    for (int i = 0; i < n; i++)
        if (zq_tensor_item(read, i) != values[i])
            fail_msg("element %d is %.17g, expected %.17g", i, zq_tensor_item(read, i), values[i]);
    zq_tensor_drop(read);
}

static void expect_refusal(const message *tensor, zq_status expected, const char *word) {
    zq_tensor *read;
    zq_error err = {0};
    const zq_status status = read_tensor(tensor, NULL, &read, &err);
    if (status != expected || strstr(err.text, word) == NULL || strstr(err.text, "'t'") == NULL)
        fail_msg("status %d, \"%s\"; expected status %d and '%s'", status, err.text, expected, word);
}

/* One row a data type: the same values as raw_data and in the typed field. */
typedef struct row {
    int data_type;
    zq_dtype dtype;
    int n;
    double values[5];
    size_t n_raw;
    const char *raw;
    int field; /* 4 float_data, 5 int32_data, 7 int64_data, 10 double_data, 11 uint64_data */
    int n_typed;
    double typed[5];
} row;

static const row rows[] = {
    {ZQ_DATA_FLOAT, ZQ_F32, 2, {1.5, -2}, 8, "\0\0\xc0\x3f\0\0\0\xc0", 4, 2, {1.5, -2}},
    {ZQ_DATA_DOUBLE, ZQ_F32, 1, {-0.5}, 8, "\0\0\0\0\0\0\xe0\xbf", 10, 1, {-0.5}},
    {ZQ_DATA_FLOAT16, ZQ_F32, 3, {1, -65504, 0x1p-24}, 6, "\0\x3c\xff\xfb\x01\0", 5, 3, {0x3c00, 0xfbff, 1}},
    {ZQ_DATA_BFLOAT16, ZQ_F32, 2, {1, -3}, 4, "\x80\x3f\x40\xc0", 5, 2, {0x3f80, 0xc040}},
    {ZQ_DATA_INT64,
     ZQ_I64,
     2,
     {-1, 5},
     16,
     "\xff\xff\xff\xff\xff\xff\xff\xff\5\0\0\0\0\0\0\0",
     7,
     2,
     {-1, 5}},
    {ZQ_DATA_INT32, ZQ_I32, 2, {-2, 7}, 8, "\xfe\xff\xff\xff\7\0\0\0", 5, 2, {-2, 7}},
    {ZQ_DATA_INT16, ZQ_I32, 2, {-2, 256}, 4, "\xfe\xff\0\1", 5, 2, {-2, 256}},
    {ZQ_DATA_UINT16, ZQ_I32, 2, {65534, 256}, 4, "\xfe\xff\0\1", 5, 2, {65534, 256}},
    {ZQ_DATA_UINT32, ZQ_I64, 1, {4294967295.0}, 4, "\xff\xff\xff\xff", 11, 1, {4294967295.0}},
    {ZQ_DATA_UINT64, ZQ_I64, 1, {3}, 8, "\3\0\0\0\0\0\0\0", 11, 1, {3}},
    {ZQ_DATA_UINT8, ZQ_U8, 3, {0, 128, 255}, 3, "\0\x80\xff", 5, 3, {0, 128, 255}},
    {ZQ_DATA_INT8, ZQ_I8, 3, {0, -128, -1}, 3, "\0\x80\xff", 5, 3, {0, -128, -1}},
    {ZQ_DATA_BOOL, ZQ_BOOL, 3, {0, 1, 1}, 3, "\0\1\2", 5, 3, {0, 1, 2}},
    {ZQ_DATA_INT4, ZQ_I4, 3, {-8, 7, -1}, 2, "\x78\x0f", 5, 2, {0x78, 0x0f}},
    {ZQ_DATA_UINT4, ZQ_U4, 3, {8, 7, 15}, 2, "\x78\x0f", 5, 2, {0x78, 0x0f}},
    {ZQ_DATA_INT2, ZQ_I2, 5, {-2, -1, 0, 1, -2}, 2, "\x4e\x02", 5, 2, {0x4e, 2}},
    {ZQ_DATA_UINT2, ZQ_U2, 5, {2, 3, 0, 1, 2}, 2, "\x4e\x02", 5, 2, {0x4e, 2}},
};
enum { N_ROWS = sizeof rows / sizeof rows[0] };

static message head_of(const row *r) {
    const int64_t n = r->n;
    return tensor_head("t", r->data_type, 1, &n);
}

static void test_raw(void **state) {
    for (int i = 0; i < N_ROWS; i++) {
        message tensor = head_of(&rows[i]);
        put_bytes(&tensor, 9, rows[i].raw, rows[i].n_raw);
        expect_values(&tensor, rows[i].dtype, rows[i].n, rows[i].values);
    }
    (void)state;
}

static void test_typed(void **state) {
    for (int i = 0; i < N_ROWS; i++) {
        const row *r = &rows[i];
        message tensor = head_of(r);
        for (int k = 0; k < r->n_typed; k++)
            if (r->field == 4)
                put_float(&tensor, 4, (float)r->typed[k]);
            else if (r->field == 10)
                put_double(&tensor, 10, r->typed[k]);
            else
                put_int(&tensor, r->field, (int64_t)r->typed[k]);
        expect_values(&tensor, r->dtype, r->n, r->values);
    }
    (void)state;
}

static void test_wrong_counts(void **state) {
    for (int i = 0; i < N_ROWS; i++) {
        message more = head_of(&rows[i]), fewer = head_of(&rows[i]), none = head_of(&rows[i]);
        char longer[32] = {0};
        memcpy(longer, rows[i].raw, rows[i].n_raw);
        put_bytes(&more, 9, longer, rows[i].n_raw + 1);
        put_bytes(&fewer, 9, rows[i].raw, rows[i].n_raw - 1);
        expect_refusal(&more, ZQ_ERR_FORMAT, "holds");
        expect_refusal(&fewer, ZQ_ERR_FORMAT, "holds");
        expect_refusal(&none, ZQ_ERR_FORMAT, "holds 0");
    }
    (void)state;
}

static void test_hostile_shapes(void **state) {
    static const int64_t overflow[] = {1LL << 40, 1LL << 40}, negative[] = {-4}, bits[] = {1LL << 60},
                         ninefold[] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    const message tensors[] = {tensor_head("t", 1, 2, overflow), tensor_head("t", 1, 1, negative),
                               tensor_head("t", 11, 1, bits), tensor_head("t", 1, 9, ninefold)};
    expect_refusal(&tensors[0], ZQ_ERR_FORMAT, "impossible");
    expect_refusal(&tensors[1], ZQ_ERR_FORMAT, "impossible");
    expect_refusal(&tensors[2], ZQ_ERR_FORMAT, "holds");
    expect_refusal(&tensors[3], ZQ_ERR_UNSUPPORTED, "9 dimensions");
    /* without a byte of data nothing may be allocated for it */
    const int64_t large = 1LL << 50;
    const message unbacked = tensor_head("t", 2, 1, &large);
    expect_refusal(&unbacked, ZQ_ERR_FORMAT, "holds 0");
    (void)state;
}

static void test_empty_and_scalar(void **state) {
    static const int64_t zero = 0;
    static const double one[] = {1.5};
    message empty = tensor_head("t", 1, 1, &zero), scalar = tensor_head("t", 1, 0, NULL);
    put_float(&scalar, 4, 1.5f);
    expect_values(&empty, ZQ_F32, 0, NULL);
    expect_values(&scalar, ZQ_F32, 1, one);
    (void)state;
}

static void test_unsupported_types(void **state) {
    static const int unsupported[] = {0, 8, 14, 15, 17, 18, 19, 20, 23, 24, 27, -1, 1 << 30};
    static const int64_t one = 1;
    for (size_t i = 0; i < sizeof unsupported / sizeof unsupported[0]; i++) {
        message tensor = tensor_head("t", unsupported[i], 1, &one);
        expect_refusal(&tensor, ZQ_ERR_UNSUPPORTED, "does not support");
    }
    message beyond = tensor_head("t", ZQ_DATA_UINT64, 1, &one);
    put_bytes(&beyond, 9, "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
    expect_refusal(&beyond, ZQ_ERR_UNSUPPORTED, "beyond");
    (void)state;
}

static void test_half_specials(void **state) {
    static const int64_t n = 6;
    message tensor = tensor_head("t", ZQ_DATA_FLOAT16, 1, &n);
    zq_tensor *read;
    zq_error err = {0};
    put_bytes(&tensor, 9, "\0\x7c\0\xfc\0\x7e\0\x80\xff\x03\0\x04", 12);
    assert_int_equal(read_tensor(&tensor, NULL, &read, &err), ZQ_OK);
    const float *values = read->data;
    assert_true(isinf(values[0]) && values[0] > 0 && isinf(values[1]) && values[1] < 0 && isnan(values[2]));
    assert_true(values[3] == 0 && signbit(values[3]));
    assert_true(values[4] == 1023 * 0x1p-24f && values[5] == 0x1p-14f);
    zq_tensor_drop(read);
    (void)state;
}

/* What is unpacked from a file packs to the same bytes. */
static void test_pack(void **state) {
    for (int i = 0; i < N_ROWS; i++) {
        const row *r = &rows[i];
        if (zq_data_type_of(r->dtype) != r->data_type || r->n_raw > 2)
            continue; /* only 4 and 2 bits are packed */
        message tensor = head_of(r);
        zq_tensor *read;
        zq_error err = {0};
        unsigned char bytes[2] = {0};
        put_bytes(&tensor, 9, r->raw, r->n_raw);
        assert_int_equal(read_tensor(&tensor, NULL, &read, &err), ZQ_OK);
        assert_int_equal(zq_tensor_proto_bytes(read), r->n_raw);
        zq_tensor_proto_pack(read, bytes);
        assert_memory_equal(bytes, r->raw, r->n_raw);
        zq_tensor_drop(read);
    }
    (void)state;
}

/* ---- external data */

static char folder[64];

static int make_folder(void **state) {
    (void)state;
    strcpy(folder, "/tmp/zeroq-test-XXXXXX");
    if (mkdtemp(folder) == NULL || chdir(folder) != 0 || mkdir("part", 0700) != 0)
        return -1;
    FILE *file = fopen("part/w.bin", "wb");
    const int written = file != NULL && fputs("0123ABCD", file) >= 0 && fclose(file) == 0;
    return written && symlink("/etc/passwd", "out") == 0 && symlink("part/w.bin", "in") == 0 ? 0 : -1;
}

static int drop_folder(void **state) {
    (void)state;
    return unlink("part/w.bin") || rmdir("part") || unlink("out") || unlink("in") || chdir("/") ||
           rmdir(folder);
}

static message external_tensor(const char *location, const char *offset, const char *length) {
    static const int64_t n = 4;
    const char *const entries[][2] = {{"location", location}, {"offset", offset}, {"length", length}};
    message tensor = tensor_head("t", ZQ_DATA_UINT8, 1, &n);
    put_int(&tensor, 14, 1);
    for (int e = 0; e < 3; e++)
        if (entries[e][1] != NULL) {
            message entry = {0};
            put_text(&entry, 1, entries[e][0]);
            put_text(&entry, 2, entries[e][1]);
            put_message(&tensor, 13, &entry);
        }
    return tensor;
}

static void expect_external(const char *location, const char *offset, const char *length,
                            const char *expected) {
    const message tensor = external_tensor(location, offset, length);
    zq_tensor *read;
    zq_error err = {0};
    if (read_tensor(&tensor, folder, &read, &err) != ZQ_OK)
        fail_msg("%s", err.text);
    assert_memory_equal(read->data, expected, 4);
    zq_tensor_drop(read);
}

static void refuse_external(const char *location, const char *offset, const char *length, zq_status expected,
                            const char *word) {
    const message tensor = external_tensor(location, offset, length);
    zq_tensor *read;
    zq_error err = {0};
    const zq_status status = read_tensor(&tensor, folder, &read, &err);
    if (status != expected || strstr(err.text, word) == NULL)
        fail_msg("status %d, \"%s\"; expected status %d and '%s'", status, err.text, expected, word);
}

static void test_external(void **state) {
    expect_external("part/w.bin", NULL, NULL, "0123");
    expect_external("part/w.bin", "4", "4", "ABCD");
    expect_external("./part//w.bin", "2", NULL, "23AB");
    expect_external("in", "0", "4", "0123");
    (void)state;
}

static void test_external_hostile(void **state) {
    refuse_external("/etc/passwd", NULL, NULL, ZQ_ERR_FORMAT, "outside");
    refuse_external("../w.bin", NULL, NULL, ZQ_ERR_FORMAT, "outside");
    refuse_external("part/../../w.bin", NULL, NULL, ZQ_ERR_FORMAT, "outside");
    refuse_external("part/..", NULL, NULL, ZQ_ERR_FORMAT, "outside");
    refuse_external("..\\w.bin", NULL, NULL, ZQ_ERR_FORMAT, "outside");
    refuse_external("out", NULL, NULL, ZQ_ERR_FORMAT, "link");
    refuse_external("part", NULL, NULL, ZQ_ERR_IO, "regular");
    refuse_external("nothing", NULL, NULL, ZQ_ERR_IO, "No such file");
    refuse_external("", NULL, NULL, ZQ_ERR_FORMAT, "location");
    refuse_external(NULL, NULL, NULL, ZQ_ERR_FORMAT, "location");
    refuse_external("part/w.bin", "5", NULL, ZQ_ERR_FORMAT, "only 8");
    refuse_external("part/w.bin", "9", NULL, ZQ_ERR_FORMAT, "only 8");
    refuse_external("part/w.bin", "9223372036854775807", NULL, ZQ_ERR_FORMAT, "only 8");
    refuse_external("part/w.bin", "99999999999999999999", NULL, ZQ_ERR_FORMAT, "no number");
    refuse_external("part/w.bin", "-1", NULL, ZQ_ERR_FORMAT, "no number");
    refuse_external("part/w.bin", "", NULL, ZQ_ERR_FORMAT, "no number");
    refuse_external("part/w.bin", "0", "3", ZQ_ERR_FORMAT, "needs 4");
    const message tensor = external_tensor("part/w.bin", NULL, NULL);
    expect_refusal(&tensor, ZQ_ERR_FORMAT, "folder");
    (void)state;
}

/* Many tensors that share a small file can't fill the memory. */
static void test_external_shared(void **state) {
    const message tensor = external_tensor("part/w.bin", NULL, NULL);
    Onnx__TensorProto *proto = onnx__tensor_proto__unpack(NULL, tensor.n, tensor.bytes);
    zq_external external = {.folder = folder};
    zq_error err = {0};
    zq_status status = ZQ_OK;
    int n_read = 0;
    for (; n_read < 100 && status == ZQ_OK; n_read++) {
        zq_tensor *read = NULL;
        status = zq_tensor_proto_read(proto, &external, &read, &err);
        zq_tensor_drop(read);
    }
    assert_int_equal(status, ZQ_ERR_FORMAT);
    assert_non_null(strstr(err.text, "shared"));
    assert_int_equal(external.file_bytes, 8);
    assert_in_range(n_read, 5, 20);
    zq_external_clear(&external);
    onnx__tensor_proto__free_unpacked(proto, NULL);
    (void)state;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_raw),
        cmocka_unit_test(test_typed),
        cmocka_unit_test(test_wrong_counts),
        cmocka_unit_test(test_hostile_shapes),
        cmocka_unit_test(test_empty_and_scalar),
        cmocka_unit_test(test_unsupported_types),
        cmocka_unit_test(test_half_specials),
        cmocka_unit_test(test_pack),
        cmocka_unit_test(test_external),
        cmocka_unit_test(test_external_hostile),
        cmocka_unit_test(test_external_shared),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
