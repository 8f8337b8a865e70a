/* SPDX-License-Identifier: Apache-2.0 */
/* The size that a user asks for, in bytes of the file that is written. */
#ifndef ZQ_QUANT_TARGET_H
#define ZQ_QUANT_TARGET_H

#include "quant/layers.h"

typedef enum zq_target_kind {
    ZQ_TARGET_BITS,  /* no larger than with so many bits in every layer that keeps no width */
    ZQ_TARGET_BYTES, /* no larger than so many bytes */
    ZQ_TARGET_SHARE, /* no larger than this share of the FP32 file */
} zq_target_kind;

typedef struct zq_target {
    zq_target_kind kind;
    double value; /* bits 2..8, bytes, or share 0..1 */
} zq_target;

/* "w4", "1.5MB" (also KB, B; powers of 1000), "25%". */
zq_status zq_target_parse(const char *text, zq_target *out, zq_error *err);

/* Bytes that the integers of a layer take in the file at a width. */
uint64_t zq_layer_bytes(const zq_layer *layer, int bits);

/* What decides a file's size: bytes(file) = fixed + sum over layers of zq_layer_bytes + narrow for each layer
 * below 8 bits. Taken from two files that were really packed, with 8 and with 4 bits in all layers that keep
 * no width. */
typedef struct zq_file_cost {
    uint64_t fixed;
    uint64_t narrow; /* the Cast of a 4- or 2-bit constant */
} zq_file_cost;

zq_file_cost zq_file_cost_from(const zq_layers *layers, uint64_t bytes_uniform8, uint64_t bytes_uniform4);

/* The limit in bytes of the file. */
uint64_t zq_target_limit(const zq_target *target, const zq_layers *layers, const zq_file_cost *cost,
                         uint64_t fp32_bytes);

#endif
