/* SPDX-License-Identifier: Apache-2.0 */
#include "base/random.h"

#include <math.h>
#include <string.h>

static inline uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

static inline uint64_t random_bits(uint64_t seed, uint64_t counter) {
    return mix(mix(seed + 0x9e3779b97f4a7c15ULL) + (counter + 1) * 0x9e3779b97f4a7c15ULL);
}

static inline double uniform(uint64_t seed, uint64_t counter) {
    return (double)(random_bits(seed, counter) >> 11) * 0x1p-53;
}

uint64_t zq_random_bits(uint64_t seed, uint64_t counter) {
    return random_bits(seed, counter);
}

double zq_random_uniform(uint64_t seed, uint64_t counter) {
    return uniform(seed, counter);
}

/* log and sin by series, to 1e-15: the same on every machine, and without a branch or a call that would keep
 * a loop of them from being vectorized. */

/* u: in (0, 1]. With m in sqrt(1/2) .. sqrt(2), s = (m - 1) / (m + 1): log m = 2 (s + s^3/3 + s^5/5 ...) */
static inline double log_of(double u) {
    const double ln_2 = 0.6931471805599453094, sqrt_2 = 1.4142135623730950488;
    uint64_t bits;
    double m;
    memcpy(&bits, &u, sizeof bits);
    const uint64_t mantissa = (bits & 0x000fffffffffffffULL) | 0x3ff0000000000000ULL;
    memcpy(&m, &mantissa, sizeof m);
    const double large = m > sqrt_2 ? 1 : 0;
    const double exponent = (double)(int64_t)(bits >> 52) - 1023 + large;
    m = m - 0.5 * large * m;
    const double s = (m - 1) / (m + 1), z = s * s;
    double sum = 1.0 / 21;
    sum = 1.0 / 19 + z * sum;
    sum = 1.0 / 17 + z * sum;
    sum = 1.0 / 15 + z * sum;
    sum = 1.0 / 13 + z * sum;
    sum = 1.0 / 11 + z * sum;
    sum = 1.0 / 9 + z * sum;
    sum = 1.0 / 7 + z * sum;
    sum = 1.0 / 5 + z * sum;
    sum = 1.0 / 3 + z * sum;
    return exponent * ln_2 + 2 * s * (1 + z * sum);
}

/* cos(2 pi v), v in [0, 1): -sin(x) with x in -pi/2 .. pi/2, by its series */
static inline double cos_of_turn(double v) {
    const double two_pi = 6.283185307179586476925, x = two_pi * (0.25 - fabs(v - 0.5)), z = x * x;
    double sum = 1.0 / (20 * 21);
    sum = 1.0 / (18 * 19) * (1 - z * sum);
    sum = 1.0 / (16 * 17) * (1 - z * sum);
    sum = 1.0 / (14 * 15) * (1 - z * sum);
    sum = 1.0 / (12 * 13) * (1 - z * sum);
    sum = 1.0 / (10 * 11) * (1 - z * sum);
    sum = 1.0 / (8 * 9) * (1 - z * sum);
    sum = 1.0 / (6 * 7) * (1 - z * sum);
    sum = 1.0 / (4 * 5) * (1 - z * sum);
    sum = 1.0 / (2 * 3) * (1 - z * sum);
    return -x * (1 - z * sum);
}

static inline double normal(uint64_t seed, uint64_t counter) {
    const double u = 1.0 - uniform(seed, 2 * counter); /* in (0, 1] */
    return sqrt(-2.0 * log_of(u)) * cos_of_turn(uniform(seed, 2 * counter + 1));
}

double zq_random_normal(uint64_t seed, uint64_t counter) {
    return normal(seed, counter);
}

void zq_random_normals(uint64_t seed, uint64_t first, size_t n, double *dst) {
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        dst[i] = normal(seed, first + i);
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
