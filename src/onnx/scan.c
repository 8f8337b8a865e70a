/* SPDX-License-Identifier: Apache-2.0 */
#include "onnx/scan.h"

#include <stdbool.h>

/* Wire types of protobuf's encoding (protobuf.dev/programming-guides/encoding). */
enum { WIRE_VARINT = 0, WIRE_64_BIT = 1, WIRE_LENGTH = 2, WIRE_32_BIT = 5 };

/* What the unpacked form may take: real models stay under 20 times the file. */
enum { MEMORY_PER_BYTE = 32, MEMORY_BASE = 64 << 20 };

/* protobuf-c keeps a pointer and an allocation for every message and every unknown field. */
enum { ALLOCATION_BYTES = 72 };

typedef struct scanner {
    const unsigned char *bytes;
    size_t at;
    size_t memory, memory_limit;
    zq_error *err;
} scanner;

typedef struct level {
    const ProtobufCMessageDescriptor *type;
    size_t end;
} level;

static zq_status damaged(const scanner *scan, const char *what) {
    return zq_fail(scan->err, ZQ_ERR_FORMAT,
                   "is damaged or not an ONNX file: at byte %zu %s; expected protobuf of an ONNX model",
                   scan->at, what);
}

static zq_status read_varint(scanner *scan, size_t end, uint64_t *out) {
    uint64_t value = 0;
    for (int shift = 0; shift < 70 && scan->at < end; shift += 7) {
        const unsigned char byte = scan->bytes[scan->at++];
        if (shift == 63 && byte > 1)
            break;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = value;
            return ZQ_OK;
        }
    }
    return damaged(scan, "a number doesn't end");
}

static zq_status charge(scanner *scan, size_t bytes) {
    scan->memory += bytes + ALLOCATION_BYTES;
    if (scan->memory > scan->memory_limit)
        return zq_fail(scan->err, ZQ_ERR_LIMIT,
                       "would need over %zu MB of memory only to be parsed, out of proportion to its size",
                       scan->memory_limit >> 20);
    return ZQ_OK;
}

static zq_status skip(scanner *scan, size_t end, uint64_t n) {
    if (n > end - scan->at)
        return damaged(scan, "a field is longer than what is left (is the file truncated?)");
    scan->at += (size_t)n;
    return ZQ_OK;
}

/* Reads one field of the innermost level; opens a new level when it is a message. */
static zq_status scan_field(scanner *scan, level *levels, int *depth) {
    const level *here = &levels[*depth - 1];
    uint64_t key = 0, n = 0;
    ZQ_TRY(read_varint(scan, here->end, &key));
    if (key >> 3 == 0 || key >> 3 > 0x1fffffff)
        return damaged(scan, "a field has an impossible number");
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field(here->type, (unsigned)(key >> 3));
    if (field == NULL)
        ZQ_TRY(charge(scan, 0));
    switch (key & 7) {
    case WIRE_VARINT:
        return read_varint(scan, here->end, &n);
    case WIRE_64_BIT:
        return skip(scan, here->end, 8);
    case WIRE_32_BIT:
        return skip(scan, here->end, 4);
    case WIRE_LENGTH:
        break;
    default:
        return damaged(scan, "a field has an unknown wire type");
    }
    ZQ_TRY(read_varint(scan, here->end, &n));
    const size_t start = scan->at;
    ZQ_TRY(skip(scan, here->end, n));
    if (field == NULL || field->type != PROTOBUF_C_TYPE_MESSAGE)
        return field != NULL && field->label == PROTOBUF_C_LABEL_REPEATED ? charge(scan, 0) : ZQ_OK;
    if (*depth == ZQ_SCAN_DEPTH)
        return zq_fail(scan->err, ZQ_ERR_FORMAT, "nests messages more than %d deep at byte %zu",
                       ZQ_SCAN_DEPTH, start);
    const ProtobufCMessageDescriptor *type = field->descriptor;
    levels[(*depth)++] = (level){type, scan->at};
    scan->at = start;
    return charge(scan, type->sizeof_message);
}

zq_status zq_scan_message(const ProtobufCMessageDescriptor *type, const unsigned char *bytes, size_t n_bytes,
                          zq_error *err) {
    if (n_bytes > INT32_MAX)
        return zq_fail(err, ZQ_ERR_UNSUPPORTED,
                       "has %zu bytes; protobuf ends at 2 GB: save the weights as external data", n_bytes);
    scanner scan = {.bytes = bytes, .memory_limit = MEMORY_PER_BYTE * n_bytes + MEMORY_BASE, .err = err};
    level levels[ZQ_SCAN_DEPTH] = {{type, n_bytes}};
    int depth = 1;
    while (depth > 0)
        if (scan.at == levels[depth - 1].end)
            depth--;
        else
            ZQ_TRY(scan_field(&scan, levels, &depth));
    return ZQ_OK;
}
