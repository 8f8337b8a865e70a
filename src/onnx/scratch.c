/* SPDX-License-Identifier: Apache-2.0 */
#include "onnx/scratch.h"

#include "base/memory.h"

void *zq_scratch_alloc(zq_scratch *scratch, size_t count, size_t size) {
    if (!zq_grow(&scratch->blocks, &scratch->capacity, scratch->n_blocks + 1, sizeof scratch->blocks[0]))
        return NULL;
    void *block = zq_alloc(count, size);
    if (block != NULL)
        scratch->blocks[scratch->n_blocks++] = block;
    return block;
}

void zq_scratch_clear(zq_scratch *scratch) {
    for (size_t b = 0; b < scratch->n_blocks; b++)
        zq_free(scratch->blocks[b]);
    zq_free(scratch->blocks);
    *scratch = (zq_scratch){0};
}
