/* SPDX-License-Identifier: Apache-2.0 */
#include "peak.h"

#include <omp.h>
#include <time.h>

/* Sums that fit into the registers, and enough of them to hide the latency of two multiply-adds a cycle. */
#ifdef __AVX512F__
enum { N_LANES = 16 };
#else
enum { N_LANES = 8 };
#endif
enum { N_ROWS = 12, N_ROUNDS = 400, N_REPEATS = 100000 };

/* Of this thread alone: what other programs take doesn't count. */
static double now_s(void) {
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static float multiply_add(float factor) {
    float rows[N_ROWS][N_LANES];
    for (int i = 0; i < N_ROWS * N_LANES; i++)
        rows[i / N_LANES][i % N_LANES] = (float)i;
    for (int k = 0; k < N_REPEATS; k++) {
#pragma GCC unroll 12
        for (int row = 0; row < N_ROWS; row++) {
#pragma omp simd simdlen(N_LANES)
            for (int i = 0; i < N_LANES; i++)
                rows[row][i] = __builtin_fmaf(rows[row][i], factor, 0.5f);
        }
    }
    float sum = 0;
    for (int i = 0; i < N_ROWS * N_LANES; i++)
        sum += rows[i / N_LANES][i % N_LANES];
    return sum;
}

/* Best of the middle rounds: at the begin and at the end other threads may not run, which leaves more of a
 * shared core. */
static double thread_gflops(void) {
    const double flop = 2.0 * N_ROWS * N_LANES * N_REPEATS;
    double best = 0;
    float keep = 0;
    for (int round = 0; round < N_ROUNDS; round++) {
        const double start = now_s();
        keep += multiply_add(0.999f);
        const double rate = 1e-9 * flop / (now_s() - start);
        if (rate > best && round >= N_ROUNDS / 4 && round < N_ROUNDS * 3 / 4)
            best = rate;
    }
    return keep == 1.25f ? 0 : best; /* keep must be used */
}

double peak_gflops(void) {
    const int n_threads = omp_get_max_threads(), n_cores = omp_get_num_procs();
    double sum = 0;
#pragma omp parallel num_threads(n_threads < n_cores ? n_threads : n_cores) reduction(+ : sum)
    sum += thread_gflops();
    return sum;
}
