/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 };

static atomic_long fail_at;

static atomic_size_t held;
static _Thread_local size_t limit; /* 0: none */

void zq_alloc_fail_at(long n) {
    atomic_store(&fail_at, n);
}

static bool fails_on_purpose(void) {
    return atomic_load_explicit(&fail_at, memory_order_relaxed) > 0 && atomic_fetch_sub(&fail_at, 1) == 1;
}

size_t zq_memory_held(void) {
    return atomic_load_explicit(&held, memory_order_relaxed);
}

void zq_memory_set_limit(size_t bytes) {
#ifdef __GLIBC__
    if (bytes != 0)
        mallopt(M_MMAP_THRESHOLD, 1 << 20); /* large blocks go back to the system when they are freed */
#endif
    limit = bytes;
}

size_t zq_memory_left(void) {
    const size_t now = zq_memory_held();
    return limit == 0 ? SIZE_MAX : now < limit ? limit - now : 0;
}

void zq_memory_trim(void) {
#ifdef __GLIBC__
    if (limit != 0)
        malloc_trim(0);
#endif
}

bool zq_mul_size(size_t a, size_t b, size_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}

bool zq_mul_i64(int64_t a, int64_t b, int64_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}

void *zq_alloc_raw(size_t count, size_t size) {
    size_t bytes;
    if (!zq_mul_size(count, size, &bytes) || bytes > PTRDIFF_MAX - ALIGNMENT || fails_on_purpose())
        return NULL;
    bytes = (bytes + ALIGNMENT) / ALIGNMENT * ALIGNMENT; /* a multiple, and at least one line */
    if (bytes > zq_memory_left())
        return NULL;
    void *memory = aligned_alloc(ALIGNMENT, bytes);
    atomic_fetch_add_explicit(&held, malloc_usable_size(memory), memory_order_relaxed);
    return memory;
}

void *zq_alloc(size_t count, size_t size) {
    void *memory = zq_alloc_raw(count, size);
    if (memory != NULL)
        memset(memory, 0, count * size);
    return memory;
}

bool zq_grow(void *array_ptr, size_t *capacity, size_t count, size_t size) {
    if (count <= *capacity)
        return true;
    const size_t wanted = count > *capacity + *capacity / 2 + 8 ? count : *capacity + *capacity / 2 + 8;
    void *grown = zq_alloc(wanted, size);
    if (grown == NULL)
        return false;
    void *old;
    memcpy(&old, array_ptr, sizeof old);
    if (old != NULL)
        memcpy(grown, old, *capacity * size);
    zq_free(old);
    memcpy(array_ptr, &grown, sizeof grown);
    *capacity = wanted;
    return true;
}

void zq_free(void *memory) {
    atomic_fetch_sub_explicit(&held, malloc_usable_size(memory), memory_order_relaxed);
    free(memory);
}

void *zq_memdup(const void *data, size_t bytes) {
    void *copy = zq_alloc_raw(bytes, 1);
    if (copy != NULL && bytes > 0)
        memcpy(copy, data, bytes);
    return copy;
}

char *zq_strndup(const char *text, size_t n) {
    char *copy = zq_alloc_raw(n + 1, 1);
    if (copy != NULL) {
        memcpy(copy, text, n);
        copy[n] = '\0';
    }
    return copy;
}

char *zq_strdup(const char *text) {
    return text == NULL ? NULL : zq_strndup(text, strlen(text));
}
