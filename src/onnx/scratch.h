/* SPDX-License-Identifier: Apache-2.0 */
/* Memory for the many small parts of a protobuf message, dropped all at once. */
#ifndef ZQ_ONNX_SCRATCH_H
#define ZQ_ONNX_SCRATCH_H

#include <stddef.h>

typedef struct zq_scratch {
    void **blocks;
    size_t n_blocks, capacity;
} zq_scratch;

/* count * size bytes, zeroed, owned by scratch; NULL when out of memory. */
void *zq_scratch_alloc(zq_scratch *scratch, size_t count, size_t size);
void zq_scratch_clear(zq_scratch *scratch);

#endif
