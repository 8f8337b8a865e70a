/* SPDX-License-Identifier: Apache-2.0 */
/* What a network costs, and the limit that a user asks for. */
#ifndef ZQ_QUANT_TARGET_H
#define ZQ_QUANT_TARGET_H

#include "quant/layers.h"

typedef enum zq_target_kind {
    ZQ_TARGET_BITS,   /* no more than with so many bits in every layer that keeps no width */
    ZQ_TARGET_AMOUNT, /* no more than so many bytes or bit operations */
    ZQ_TARGET_SHARE,  /* no more than this share of FP32 */
} zq_target_kind;

typedef struct zq_target {
    zq_target_kind kind;
    double value; /* bits 2..8, units of the cost, or share 0..1 */
} zq_target;

/* "w4", "25%", "1.5MB" (also KB, B; powers of 1000); for bit operations "1.5GBOPS" (also MBOPS, TBOPS). */
zq_status zq_target_parse(const char *text, zq_cost cost, zq_target *out, zq_error *err);

/* Bytes that the integers of a layer take in the file at a width. */
uint64_t zq_layer_bytes(const zq_layer *layer, int bits);

/* What decides a file's size: bytes(file) = fixed + sum over layers of zq_layer_bytes, and what a layer
 * stored with less than 8 bits takes beyond. Taken from files that were really packed, with the same width in
 * all layers that keep none. */
typedef struct zq_file_cost {
    uint64_t fixed;
    uint64_t narrow; /* the Cast of a 4- or 2-bit constant */
    uint64_t split;  /* the nodes that put a width of 3, 5 or 6 bits together (quant/storage.h) */
} zq_file_cost;

enum { ZQ_FILES_PACKED = 3 };
extern const int zq_packed_bits[ZQ_FILES_PACKED];

zq_file_cost zq_file_cost_from(const zq_layers *layers, const uint64_t bytes[ZQ_FILES_PACKED]);

/* How costs are counted: a network's is zq_base_cost + sum over layers of zq_layer_cost. With ZQ_COST_BYTES
 * that is nearly the size of the file; the other two are exact. */
typedef struct zq_pricing {
    zq_cost cost;
    double activation_bits; /* that the limit reckons with; layers know their own */
    zq_file_cost file;
    uint64_t fp32_bytes; /* of the FP32 file */
} zq_pricing;

uint64_t zq_layer_cost(const zq_pricing *pricing, const zq_layer *layer, int bits);
uint64_t zq_base_cost(const zq_pricing *pricing, const zq_layers *layers);
uint64_t zq_network_cost(const zq_pricing *pricing, const zq_layers *layers, const int *bits);

/* The limit in units of the cost. */
uint64_t zq_target_limit(const zq_target *target, const zq_layers *layers, const zq_pricing *pricing);

const char *zq_cost_name(zq_cost cost); /* "bytes", "bits", "bops" */

/* "1234 bytes of file", for messages; returns buffer. */
enum { ZQ_COST_TEXT = 64 };
char *zq_cost_text(zq_cost cost, uint64_t amount, char buffer[ZQ_COST_TEXT]);

#endif
