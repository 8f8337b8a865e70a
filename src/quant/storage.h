/* SPDX-License-Identifier: Apache-2.0 */
/* How weights of a width lie in a file. ONNX has integers of 2, 4 and 8 bits; of 3, 5 and 6 bits the upper 2
 * or 4 are stored as such and the lower ones of several weights together: w = upper * 2^lower_bits + lower.
 * Runtimes put both together once, at load (docs/onnx-forms.md). */
#ifndef ZQ_QUANT_STORAGE_H
#define ZQ_QUANT_STORAGE_H

#include "graph/graph.h"

#include <stdint.h>

typedef struct zq_storage {
    int upper_bits; /* 2, 4 or 8 */
    int lower_bits; /* 0: not split */
} zq_storage;

/* A number of weights that can't be split evenly gets the next larger container. */
zq_storage zq_storage_of(int bits, int64_t n_weights);

uint64_t zq_storage_bytes(int bits, int64_t n_weights);

/* Splits integers (INT8, of -2^(bits-1) .. 2^(bits-1) - 1) of a width below 8: *upper_out has the container's
 * type, and where there are lower bits the shape [weights that share them, the rest]; *lower_out is NULL
 * where there are none. Both are owned by the caller; false when out of memory. */
bool zq_storage_split(const zq_tensor *integers, int bits, zq_tensor **upper_out, zq_tensor **lower_out);

/* Adds the nodes that make INT8 integers of that shape from what zq_storage_split gave; number: makes names
 * unique. upper, lower: values, lower -1 where there is none. *dst_out: the value. */
zq_status zq_storage_join(zq_graph *graph, int bits, const zq_shape *shape, int number, int upper, int lower,
                          int *dst_out, zq_error *err);

#endif
