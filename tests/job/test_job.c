/* SPDX-License-Identifier: Apache-2.0 */
/* The public interface on a tiny network (cli/models/tiny.onnx): order of calls, cancelling, memory. */
#include "base/file.h"
#include "base/memory.h"

#include <zeroq/zeroq.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define OUTPUT "test_job.q.onnx"
#define SHEET "test_job.png"
#define FRONTIER "test_job.json"

static zq_options quick(const char *size) {
    zq_options options = zq_options_default();
    options.size = size;
    options.n_images = 4;
    options.n_steps = 1;
    options.n_threads = 1;
    return options;
}

static zq_job *open_job(const zq_options *options) {
    zq_job *job = zq_job_new(options);
    assert_non_null(job);
    if (zq_job_open(job, ZQ_TINY_MODEL) != ZQ_OK)
        fail_msg("%s", zq_job_message(job));
    return job;
}

static bool exists(const char *path) {
    return access(path, F_OK) == 0;
}

/* ---- order of calls */

static void test_calls_out_of_order(void **state) {
    (void)state;
    const zq_options options = quick("w8");
    zq_job *job = zq_job_new(&options);
    zq_summary summary;
    assert_int_equal(zq_job_quantize(job, OUTPUT), ZQ_ERR_USAGE);
    assert_int_equal(zq_job_distill(job), ZQ_ERR_USAGE);
    assert_int_equal(zq_job_write_json(job, SHEET), ZQ_ERR_USAGE);
    assert_null(zq_job_json(job));
    zq_job_summary(job, &summary);
    assert_true(summary.fp32_bytes == 0 && summary.n_layers == 0);
    assert_int_equal(zq_job_open(job, "no_such.onnx"), ZQ_ERR_IO);
    assert_non_null(strstr(zq_job_message(job), "no_such.onnx"));
    assert_int_equal(zq_job_open(job, ZQ_TINY_MODEL), ZQ_OK);
    assert_int_equal(zq_job_write_sheet(job, SHEET), ZQ_ERR_USAGE);
    assert_int_equal(zq_job_write_report(job, SHEET), ZQ_ERR_USAGE);
    assert_false(exists(OUTPUT) || exists(SHEET));
    zq_job_drop(job);
    zq_job_drop(NULL);
    assert_string_equal(zq_job_message(NULL), "out of memory");
}

static void read_output(unsigned char **bytes, size_t *n) {
    assert_int_equal(zq_file_read(OUTPUT, bytes, n, NULL), ZQ_OK);
    assert_int_equal(unlink(OUTPUT), 0);
}

static void test_same_bytes_again(void **state) {
    (void)state;
    const zq_options options = quick("w4");
    unsigned char *bytes[3];
    size_t n[3];
    zq_job *job = open_job(&options);
    for (int k = 0; k < 3; k++) { /* as it comes, with the images kept, and all anew */
        if (k == 2)
            assert_int_equal(zq_job_open(job, ZQ_TINY_MODEL), ZQ_OK);
        assert_int_equal(zq_job_quantize(job, OUTPUT), ZQ_OK);
        zq_summary summary;
        zq_job_summary(job, &summary);
        read_output(&bytes[k], &n[k]);
        assert_int_equal(summary.quantized_bytes, n[k]);
        assert_true(n[k] == n[0] && memcmp(bytes[k], bytes[0], n[0]) == 0);
    }
    for (int k = 0; k < 3; k++)
        zq_free(bytes[k]);
    zq_job_drop(job);
}

/* ---- activations of several widths */

/* In the mean over elements within what was asked for, and as much as there is to have in the tiny network.
 */
static void test_mixed_activations(void **state) {
    (void)state;
    static const double means[] = {4, 5.5, 6, 8};
    double before = 0;
    for (size_t k = 0; k < sizeof means / sizeof means[0]; k++) {
        zq_options options = quick("w8");
        options.mixed_activations = means[k];
        zq_job *job = open_job(&options);
        assert_int_equal(zq_job_quantize(job, OUTPUT), ZQ_OK);
        zq_summary summary;
        zq_job_summary(job, &summary);
        assert_true(summary.mean_activation_bits <= means[k] + 1e-9);
        assert_true(summary.mean_activation_bits >= floor(means[k]) - 0.5);
        assert_true(summary.mean_activation_bits > before);
        before = summary.mean_activation_bits;
        char *text = zq_job_json(job);
        assert_non_null(strstr(text, "\"mixed_activations\""));
        assert_non_null(strstr(text, "\"activations_mixed\": false")); /* one width for all was tried */
        free(text);
        zq_job_drop(job);
    }
    assert_int_equal(unlink(OUTPUT), 0);
    for (int wrong = 0; wrong < 3; wrong++) {
        zq_options options = quick("w8");
        options.mixed_activations = (const double[]){3.9, 8.1, -1}[wrong];
        zq_job *job = zq_job_new(&options);
        assert_int_equal(zq_job_open(job, ZQ_TINY_MODEL), ZQ_ERR_USAGE);
        assert_non_null(strstr(zq_job_message(job), "in the mean"));
        zq_job_drop(job);
    }
}

/* ---- limits of the damage */

static uint64_t smallest_bytes(double max_kl, double min_agreement, double *kl_out) {
    zq_options options = quick("w8");
    options.max_kl = max_kl;
    options.min_agreement = min_agreement;
    zq_job *job = open_job(&options);
    zq_summary summary;
    if (zq_job_quantize(job, OUTPUT) != ZQ_OK)
        fail_msg("%s", zq_job_message(job));
    zq_job_summary(job, &summary);
    zq_job_drop(job);
    assert_int_equal(unlink(OUTPUT), 0);
    assert_true((max_kl == 0 || summary.predicted_kl <= max_kl) &&
                summary.predicted_agreement >= min_agreement);
    *kl_out = summary.predicted_kl;
    return summary.quantized_bytes;
}

static void test_damage_limits(void **state) {
    (void)state;
    double kl[3];
    const uint64_t any = smallest_bytes(1e6, 0, &kl[0]), agreeing = smallest_bytes(1e6, 0.5, &kl[1]),
                   best = smallest_bytes(0, 0, &kl[2]);
    assert_true(any <= agreeing && agreeing < best && kl[2] < kl[0]);
    const uint64_t between = smallest_bytes((kl[0] + kl[2]) / 2, 0, &kl[1]);
    assert_true(any < between && between <= best);
}

static void test_damage_refused(void **state) {
    (void)state;
    zq_options options = quick("w8");
    options.max_kl = 1e-12;
    zq_job *job = open_job(&options);
    assert_int_equal(zq_job_quantize(job, OUTPUT), ZQ_ERR_LIMIT);
    assert_non_null(strstr(zq_job_message(job), "held-out"));
    zq_job_drop(job);
    options.max_kl = -1;
    job = zq_job_new(&options);
    assert_int_equal(zq_job_open(job, ZQ_TINY_MODEL), ZQ_ERR_USAGE);
    zq_job_drop(job);
    assert_false(exists(OUTPUT));
}

static void test_profile(void **state) {
    (void)state;
    const zq_options options = quick("w8");
    zq_job *job = zq_job_new(&options);
    assert_int_equal(zq_job_profile(job, 1, 0), ZQ_ERR_USAGE);
    assert_int_equal(zq_job_open(job, ZQ_TINY_MODEL), ZQ_OK);
    assert_int_equal(zq_job_profile(job, -1, 0), ZQ_ERR_USAGE);
    for (int gradient = 0; gradient < 2; gradient++) {
        assert_int_equal(zq_job_profile(job, 2, gradient), ZQ_OK);
        char *text = zq_job_json(job);
        assert_non_null(strstr(text, "\"plan\""));
        assert_non_null(strstr(text, gradient ? "\"gradient\": true" : "\"gradient\": false"));
        free(text);
    }
    assert_int_equal(zq_job_profile(job, 4097, 0), ZQ_ERR_USAGE);
    char *text = zq_job_json(job); /* a failure leaves nothing of an earlier plan */
    assert_null(strstr(text, "\"plan\""));
    free(text);
    zq_status status = ZQ_ERR_MEMORY;
    for (long k = 1; status != ZQ_OK; k++) {
        zq_alloc_fail_at(k);
        status = zq_job_profile(job, 1, 1);
        zq_alloc_fail_at(0);
        assert_true(status == ZQ_OK || status == ZQ_ERR_MEMORY);
        assert_true(k < 1000);
    }
    zq_job_drop(job);
}

/* ---- a frontier from a file */

static void save_frontier(void) {
    const zq_options options = quick("w8");
    zq_job *job = open_job(&options);
    assert_int_equal(zq_job_write_csv(job, SHEET), ZQ_ERR_USAGE);
    assert_int_equal(zq_job_pareto(job), ZQ_OK);
    assert_int_equal(zq_job_write_json(job, FRONTIER), ZQ_OK);
    assert_int_equal(zq_job_write_csv(job, SHEET), ZQ_OK);
    zq_job_drop(job);
}

static void test_from(void **state) {
    (void)state;
    save_frontier();
    zq_options options = quick("w4");
    unsigned char *bytes[3];
    size_t n[3];
    for (int k = 0; k < 3; k++) { /* measured, and twice from the file by one job */
        static zq_job *job;
        options.from = k == 0 ? NULL : FRONTIER;
        options.n_images = k == 0 ? 4 : 0;
        options.n_steps = k == 0 ? 1 : 0;
        if (k < 2)
            job = open_job(&options);
        assert_int_equal(zq_job_open(job, ZQ_TINY_MODEL), ZQ_OK);
        assert_int_equal(zq_job_quantize(job, OUTPUT), ZQ_OK);
        read_output(&bytes[k], &n[k]);
        assert_true(n[k] == n[0] && memcmp(bytes[k], bytes[0], n[0]) == 0);
        if (k != 1)
            zq_job_drop(job);
    }
    for (int k = 0; k < 3; k++)
        zq_free(bytes[k]);
    options.bits = "4,8";
    zq_job *job = zq_job_new(&options);
    assert_int_equal(zq_job_open(job, ZQ_TINY_MODEL), ZQ_ERR_USAGE);
    assert_non_null(strstr(zq_job_message(job), "--bits"));
    zq_job_drop(job);
    assert_int_equal(unlink(FRONTIER), 0);
    assert_int_equal(unlink(SHEET), 0);
}

/* ---- cancelling */

typedef struct stopper {
    int calls_left;
    bool stopped;
} stopper;

static int count_down(void *user, const char *stage, double done) {
    stopper *s = user;
    assert_non_null(stage);
    assert_true(done >= 0 && done <= 1);
    assert_false(s->stopped);
    return s->stopped = s->calls_left-- == 0;
}

static void test_cancelled_anywhere(void **state) {
    (void)state;
    zq_status status = ZQ_ERR_CANCELLED;
    for (int calls = 0; status != ZQ_OK; calls++) {
        stopper s = {.calls_left = calls};
        zq_options options = quick("w4");
        options.progress = count_down;
        options.progress_user = &s;
        zq_job *job = zq_job_new(&options);
        status = zq_job_open(job, ZQ_TINY_MODEL);
        if (status == ZQ_OK)
            status = zq_job_quantize(job, OUTPUT);
        assert_int_equal(status, s.stopped ? ZQ_ERR_CANCELLED : ZQ_OK);
        zq_job_drop(job);
        assert_true(calls < 1000);
    }
    assert_int_equal(unlink(OUTPUT), 0);
}

/* ---- memory */

static zq_status do_everything(const zq_options *options) {
    zq_job *job = zq_job_new(options);
    zq_status status = job == NULL ? ZQ_ERR_MEMORY : zq_job_open(job, ZQ_TINY_MODEL);
    if (status == ZQ_OK)
        status = zq_job_quantize(job, OUTPUT);
    if (status == ZQ_OK)
        status = zq_job_write_sheet(job, SHEET);
    if (status == ZQ_OK)
        status = zq_job_write_json(job, SHEET);
    if (status == ZQ_OK)
        status = zq_job_write_report(job, SHEET);
    if (status != ZQ_OK && zq_job_message(job)[0] == '\0')
        fail_msg("no message for status %d", (int)status);
    zq_job_drop(job);
    return status;
}

/* Some failures only make a choice for less memory, so a success isn't the end yet. */
static void fail_allocations(const zq_options *options) {
    int n_failed = 0;
    for (long k = 1, n_good = 0; n_good < 6; k += 1 + k / 12) {
        unlink(OUTPUT);
        zq_alloc_fail_at(k);
        const zq_status status = do_everything(options);
        zq_alloc_fail_at(0);
        n_good = status == ZQ_OK ? n_good + 1 : 0;
        n_failed += status != ZQ_OK;
        if (status != ZQ_OK && status != ZQ_ERR_MEMORY)
            fail_msg("allocation %ld: status %d", k, (int)status);
    }
    assert_true(n_failed > 30);
    unlink(OUTPUT);
    unlink(SHEET);
}

static void test_out_of_memory(void **state) {
    (void)state;
    const zq_options wide = quick("w8"), narrow = quick("w4");
    fail_allocations(&wide);
    fail_allocations(&narrow);
    zq_options smallest = wide;
    smallest.max_kl = 1e6;
    fail_allocations(&smallest);
    zq_options grouped = narrow;
    grouped.search = ZQ_SEARCH_GROUPED;
    fail_allocations(&grouped);
    zq_options mixed = narrow;
    mixed.mixed_activations = 6;
    fail_allocations(&mixed);
    save_frontier();
    zq_options saved = {
        .size = "w4", .n_threads = 1, .percentile = wide.percentile, .activation_bits = 8, .from = FRONTIER};
    fail_allocations(&saved);
    unlink(FRONTIER);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls_out_of_order),
        cmocka_unit_test(test_same_bytes_again),
        cmocka_unit_test(test_mixed_activations),
        cmocka_unit_test(test_damage_limits),
        cmocka_unit_test(test_damage_refused),
        cmocka_unit_test(test_from),
        cmocka_unit_test(test_profile),
        cmocka_unit_test(test_cancelled_anywhere),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
