/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ZQ_BENCH_PEAK_H
#define ZQ_BENCH_PEAK_H

/* GFLOP/s of fp32 multiply-adds, counted as two, of all threads together. Other programs disturb it little:
 * each thread counts the time that it ran. Takes a fifth of a second. */
double peak_gflops(void);

#endif
