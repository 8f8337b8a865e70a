/* SPDX-License-Identifier: Apache-2.0 */
#include "base/random.h"
#include "engine/dense.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static float *random_matrix(int64_t k, int64_t n, uint64_t seed) {
    float *x = malloc((size_t)(k * n) * sizeof *x);
    for (int64_t i = 0; i < k * n; i++)
        x[i] = (float)zq_random_normal(seed, (uint64_t)i);
    return x;
}

static float *gram_of(int64_t k, int64_t n, const float *x) {
    float *h = calloc((size_t)(k * k), sizeof *h);
    assert_int_equal(zq_dense_add_gram(k, n, x, h, NULL), ZQ_OK);
    return h;
}

static void a_gram_matrix_is_its_definition(void **state) {
    (void)state;
    const int64_t sizes[] = {1, 9, 192, 193, 450};
    for (int s = 0; s < 5; s++) {
        const int64_t k = sizes[s], n = 37;
        float *x = random_matrix(k, n, (uint64_t)s), *h = gram_of(k, n, x);
        assert_int_equal(zq_dense_add_gram(k, n, x, h, NULL), ZQ_OK); /* it adds */
        for (int64_t i = 0; i < k; i++)
            for (int64_t j = 0; j <= i; j++) {
                double sum = 0;
                for (int64_t t = 0; t < n; t++)
                    sum += 2.0 * x[i * n + t] * x[j * n + t];
                assert_true(fabs(sum - h[i * k + j]) < 1e-3);
            }
        free(x);
        free(h);
    }
}

static void the_factor_times_itself_is_the_matrix(void **state) {
    (void)state;
    const int64_t sizes[] = {1, 9, 96, 97, 300, 450};
    for (int s = 0; s < 6; s++) {
        const int64_t k = sizes[s], n = 2 * k;
        float *x = random_matrix(k, n, (uint64_t)s), *h = gram_of(k, n, x), *l = gram_of(k, n, x);
        bool positive;
        assert_int_equal(zq_dense_cholesky(k, l, &positive, NULL), ZQ_OK);
        assert_true(positive);
        for (int64_t i = 0; i < k; i++)
            for (int64_t j = 0; j <= i; j++) {
                double sum = 0;
                for (int64_t t = 0; t <= j; t++)
                    sum += (double)l[i * k + t] * l[j * k + t];
                assert_true(fabs(sum - h[i * k + j]) < 1e-4 * (double)n);
            }
        free(x);
        free(h);
        free(l);
    }
}

static void what_is_not_positive_is_said(void **state) {
    (void)state;
    float h[] = {1, 0, 2, 1}; /* [[1, 2], [2, 1]] */
    bool positive = true;
    assert_int_equal(zq_dense_cholesky(2, h, &positive, NULL), ZQ_OK);
    assert_false(positive);
}

static void threads_change_nothing(void **state) {
    (void)state;
    enum { K = 450, N = 900 };
    float *x = random_matrix(K, N, 7), *result[2];
    for (int t = 0; t < 2; t++) {
        bool positive;
        omp_set_num_threads(t == 0 ? 1 : 3);
        result[t] = gram_of(K, N, x);
        assert_int_equal(zq_dense_cholesky(K, result[t], &positive, NULL), ZQ_OK);
    }
    assert_memory_equal(result[0], result[1], K * K * sizeof(float));
    free(x);
    free(result[0]);
    free(result[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gram_matrix_is_its_definition),
        cmocka_unit_test(the_factor_times_itself_is_the_matrix),
        cmocka_unit_test(what_is_not_positive_is_said),
        cmocka_unit_test(threads_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
