/* SPDX-License-Identifier: Apache-2.0 */
#include "base/random.h"

#include <math.h>
#include <string.h>

static uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

uint64_t zq_random_bits(uint64_t seed, uint64_t counter) {
    return mix(mix(seed + 0x9e3779b97f4a7c15ULL) + (counter + 1) * 0x9e3779b97f4a7c15ULL);
}

double zq_random_uniform(uint64_t seed, uint64_t counter) {
    return (double)(zq_random_bits(seed, counter) >> 11) * 0x1p-53;
}

double zq_random_normal(uint64_t seed, uint64_t counter) {
    const double two_pi = 6.283185307179586476925;
    const double u = 1.0 - zq_random_uniform(seed, 2 * counter); /* in (0, 1] */
    return sqrt(-2.0 * log(u)) * cos(two_pi * zq_random_uniform(seed, 2 * counter + 1));
}

uint64_t zq_random_seed(uint64_t seed, const char *purpose) {
    for (const char *c = purpose; *c != '\0'; c++)
        seed = zq_random_bits(seed, (unsigned char)*c);
    return seed;
}

uint64_t zq_random_hash(uint64_t seed, size_t n, const void *bytes) {
    const unsigned char *from = bytes;
    for (size_t i = 0; i < n; i += sizeof seed) {
        uint64_t word = 0;
        memcpy(&word, from + i, n - i < sizeof word ? n - i : sizeof word);
        seed = zq_random_bits(seed, word);
    }
    return zq_random_bits(seed, n);
}
