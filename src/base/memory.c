/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 };

static atomic_long fail_at;

void zq_alloc_fail_at(long n) {
    atomic_store(&fail_at, n);
}

static bool fails_on_purpose(void) {
    return atomic_load_explicit(&fail_at, memory_order_relaxed) > 0 && atomic_fetch_sub(&fail_at, 1) == 1;
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
    return aligned_alloc(ALIGNMENT, bytes);
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
