/* SPDX-License-Identifier: Apache-2.0 */
/* Random numbers by counter (SplitMix64): the same for any number of threads, since element i needs no
 * element before it. */
#ifndef ZQ_BASE_RANDOM_H
#define ZQ_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* 64 random bits for (seed, counter). */
uint64_t zq_random_bits(uint64_t seed, uint64_t counter);

/* Uniform in [0, 1). */
double zq_random_uniform(uint64_t seed, uint64_t counter);

/* Standard normal (Box-Muller on counters 2i and 2i+1). */
double zq_random_normal(uint64_t seed, uint64_t counter);

/* dst[i] = zq_random_normal(seed, first + i), and faster than one by one. */
void zq_random_normals(uint64_t seed, uint64_t first, size_t n, double *dst);

/* An independent seed for a named purpose. */
uint64_t zq_random_seed(uint64_t seed, const char *purpose);

/* The same for any bytes: tells contents apart that nobody made alike on purpose. */
uint64_t zq_random_hash(uint64_t seed, size_t n, const void *bytes);

#endif
