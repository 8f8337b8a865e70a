/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/storage.h"

#include "quant/blocks.h"

#include <stdio.h>

enum { ONNX_INT8 = 3, ONNX_INT32 = 6, NIBBLE = 4 /* bits that hold the lower bits of several weights */ };

zq_storage zq_storage_of(int bits, int64_t n_weights) {
    const int container = bits <= 2 ? 2 : bits <= 4 ? 4 : 8;
    const int upper = container / 2, lower = bits - upper;
    const bool split = container < 8 ? bits == 3 : bits <= 6;
    if (!split || n_weights % (NIBBLE / lower) != 0)
        return (zq_storage){.upper_bits = container};
    return (zq_storage){.upper_bits = upper, .lower_bits = lower};
}

/* ONNX packs from the start of a byte, and pads the last one. */
static uint64_t packed(int64_t n, int bits) {
    return ((uint64_t)n * (uint64_t)bits + 7) / 8;
}

uint64_t zq_storage_bytes(int bits, int64_t n_weights) {
    const zq_storage s = zq_storage_of(bits, n_weights);
    return packed(n_weights, s.upper_bits) +
           (s.lower_bits == 0 ? 0 : packed(n_weights / (NIBBLE / s.lower_bits), NIBBLE));
}

/* Weight number k n / together + i has its lower bits in element i, the first part in the uppermost ones. */
static void split_lower(const int8_t *q, int64_t n, int bits, uint8_t *lower) {
    const int together = NIBBLE / bits;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n / together; i++) {
        unsigned sum = 0;
        for (int k = 0; k < together; k++)
            sum = sum << bits | ((unsigned)q[k * (n / together) + i] & ((1U << bits) - 1));
        lower[i] = (uint8_t)sum;
    }
}

bool zq_storage_split(const zq_tensor *integers, int bits, zq_tensor **upper_out, zq_tensor **lower_out) {
    const int64_t n = zq_shape_count(&integers->shape);
    const zq_storage s = zq_storage_of(bits, n);
    const zq_dtype dtype = s.upper_bits == 2 ? ZQ_I2 : s.upper_bits == 4 ? ZQ_I4 : ZQ_I8;
    const int8_t *const q = integers->data;
    zq_shape shape = integers->shape;
    *lower_out = NULL;
    if (s.lower_bits > 0) {
        const int64_t together = NIBBLE / s.lower_bits, rest = n / together;
        const zq_shape lower_shape = zq_shape_of(1, &rest);
        shape = zq_shape_of(2, (const int64_t[]){together, rest});
        *lower_out = zq_tensor_new(ZQ_U4, &lower_shape);
        if (*lower_out == NULL)
            return false;
        split_lower(q, n, s.lower_bits, (*lower_out)->data);
    }
    *upper_out = zq_tensor_new(dtype, &shape);
    if (*upper_out == NULL) {
        zq_tensor_drop(*lower_out);
        return false;
    }
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < n; i++) /* rounds down, negative ones too */
        ((int8_t *)(*upper_out)->data)[i] =
            (int8_t)((q[i] - (q[i] & ((1 << s.lower_bits) - 1))) / (1 << s.lower_bits));
    return true;
}

/* ---- nodes */

static int share_int32(zq_graph *graph, const char *name, const zq_shape *shape, const int32_t *values) {
    zq_tensor *tensor = zq_tensor_new(ZQ_I32, shape);
    for (int64_t i = 0; tensor != NULL && i < zq_shape_count(shape); i++)
        ((int32_t *)tensor->data)[i] = values[i];
    return zq_block_share(graph, name, tensor);
}

/* 2^lower_bits */
static int share_base(zq_graph *graph, int lower_bits) {
    char name[32];
    const zq_shape scalar = zq_shape_of(0, NULL);
    snprintf(name, sizeof name, "n%d", 1 << lower_bits);
    return share_int32(graph, name, &scalar, &(int32_t){1 << lower_bits});
}

/* What brings each weight's bits of a nibble to the right end, a column. */
static int share_divisors(zq_graph *graph, int lower_bits) {
    char name[32];
    int32_t divisors[NIBBLE];
    const int64_t together = NIBBLE / lower_bits;
    const zq_shape column = zq_shape_of(2, (const int64_t[]){together, 1});
    for (int64_t k = 0; k < together; k++)
        divisors[k] = 1 << (lower_bits * (together - 1 - k));
    snprintf(name, sizeof name, "n%dx%d", 1 << lower_bits, (int)together);
    return share_int32(graph, name, &column, divisors);
}

static zq_status cast(zq_graph *graph, int src, int dst, int onnx_type, zq_error *err) {
    return zq_block_node(graph, "Cast", 1, &src, dst, "to", onnx_type, err);
}

/* upper * base + lower / divisors mod base, all in INT32, for which every runtime has kernels. */
static zq_status join_parts(zq_graph *graph, int lower_bits, int number, int upper, int lower, int dst,
                            zq_error *err) {
    const zq_shape split = graph->values[upper].shape, together = graph->values[lower].shape;
    const int base = share_base(graph, lower_bits), divisors = share_divisors(graph, lower_bits);
    const int wide = zq_block_value(graph, "g", number, ZQ_I32, &split),
              shifted = zq_block_value(graph, "h", number, ZQ_I32, &split),
              nibbles = zq_block_value(graph, "j", number, ZQ_I32, &together),
              divided = zq_block_value(graph, "k", number, ZQ_I32, &split),
              rest = zq_block_value(graph, "m", number, ZQ_I32, &split);
    ZQ_TRY(cast(graph, upper, wide, ONNX_INT32, err));
    ZQ_TRY(zq_block_node(graph, "Mul", 2, (int[]){wide, base}, shifted, NULL, 0, err));
    ZQ_TRY(cast(graph, lower, nibbles, ONNX_INT32, err));
    ZQ_TRY(zq_block_node(graph, "Div", 2, (int[]){nibbles, divisors}, divided, NULL, 0, err));
    ZQ_TRY(zq_block_node(graph, "Mod", 2, (int[]){divided, base}, rest, NULL, 0, err));
    return zq_block_node(graph, "Add", 2, (int[]){shifted, rest}, dst, NULL, 0, err);
}

zq_status zq_storage_join(zq_graph *graph, int bits, const zq_shape *shape, int number, int upper, int lower,
                          int *dst_out, zq_error *err) {
    *dst_out = zq_block_value(graph, "i", number, ZQ_I8, shape);
    if (upper < 0 || *dst_out < 0)
        return zq_fail_memory(err);
    if (lower < 0)
        return cast(graph, upper, *dst_out, ONNX_INT8, err);
    const zq_shape split = graph->values[upper].shape;
    const int joined = zq_block_value(graph, "o", number, ZQ_I32, &split),
              narrow = zq_block_value(graph, "p", number, ZQ_I8, &split);
    char name[32];
    snprintf(name, sizeof name, "r%d", number);
    const int target = zq_graph_add_constant(graph, name, zq_tensor_new_i64(shape->rank, shape->dims));
    const int lower_bits = zq_storage_of(bits, zq_shape_count(shape)).lower_bits;
    ZQ_TRY(join_parts(graph, lower_bits, number, upper, lower, joined, err));
    ZQ_TRY(cast(graph, joined, narrow, ONNX_INT8, err));
    return zq_block_node(graph, "Reshape", 2, (int[]){narrow, target}, *dst_out, NULL, 0, err);
}
