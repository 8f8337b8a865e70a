/* SPDX-License-Identifier: Apache-2.0 */
/* Allocation: overflow-checked, 64-byte aligned (a cache line, an AVX-512 register), and able to fail on
 * purpose. */
#ifndef ZQ_BASE_MEMORY_H
#define ZQ_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* count * size bytes, zeroed; never NULL for a request of 0 bytes; NULL when out of memory or on overflow.
 * Owned: free with zq_free. */
void *zq_alloc(size_t count, size_t size);

/* The same, not zeroed: for large buffers that are written before they are read. */
void *zq_alloc_raw(size_t count, size_t size);

/* Grows an array of size-byte elements to at least count elements; old elements stay, new ones are zeroed.
 * Returns false (array unchanged) when out of memory. capacity is in elements. */
bool zq_grow(void *array_ptr, size_t *capacity, size_t count, size_t size);

void zq_free(void *memory); /* NULL is allowed */

char *zq_strdup(const char *text);               /* owned copy; NULL when out of memory or text is NULL */
char *zq_strndup(const char *text, size_t n);    /* of the first n bytes */
void *zq_memdup(const void *data, size_t bytes); /* owned copy */

/* Bytes that all threads hold of what these functions gave. */
size_t zq_memory_held(void);

/* Beyond so many bytes held in all, this thread's allocations fail; 0: only where the system has no more. */
void zq_memory_set_limit(size_t bytes);

/* What this thread may still allocate; SIZE_MAX: no limit. */
size_t zq_memory_left(void);

/* Under a limit, gives what was freed back to the system. */
void zq_memory_trim(void);

/* a * b and a + b into *out; false on overflow. */
bool zq_mul_size(size_t a, size_t b, size_t *out);
bool zq_mul_i64(int64_t a, int64_t b, int64_t *out);

/* Test hook: the n-th allocation from now on fails (1: the next one; 0: none). */
void zq_alloc_fail_at(long n);

#endif
