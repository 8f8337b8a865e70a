/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/target.h"

#include "quant/storage.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FP32_BITS = 32 };
static const double most = 1e18;
const int zq_packed_bits[ZQ_FILES_PACKED] = {8, 4, 6};

/* ---- what the user asks for */

typedef struct unit {
    const char *name;
    double factor;
} unit;

static const unit byte_units[] = {{"B", 1}, {"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {NULL, 0}};
static const unit operation_units[] = {{"MBOPS", 1e6}, {"GBOPS", 1e9}, {"TBOPS", 1e12}, {NULL, 0}};

static const unit *find_unit(zq_cost cost, const char *name) {
    const unit *u = cost == ZQ_COST_BOPS ? operation_units : byte_units;
    while (u->name != NULL && strcmp(u->name, name) != 0)
        u++;
    return u->name != NULL ? u : NULL;
}

zq_status zq_target_parse(const char *text, zq_cost cost, zq_target *out, zq_error *err) {
    const bool in_bits = text[0] == 'w' || text[0] == 'W';
    char *end;
    const double value = strtod(text + in_bits, &end);
    const bool is_number = end != text + in_bits && isfinite(value) && value > 0;
    const unit *unit = find_unit(cost, end);
    if (in_bits && is_number && *end == '\0' && value >= 2 && value <= 8)
        *out = (zq_target){ZQ_TARGET_BITS, value};
    else if (!in_bits && is_number && strcmp(end, "%") == 0)
        *out = (zq_target){ZQ_TARGET_SHARE, value / 100};
    else if (!in_bits && is_number && unit != NULL)
        *out = (zq_target){ZQ_TARGET_AMOUNT, value * unit->factor};
    else
        return zq_fail(
            err, ZQ_ERR_USAGE,
            "size '%s' is not understood; expected w2 to w8 (bits everywhere), a share such as 25%%, or "
            "%s",
            text,
            cost == ZQ_COST_BOPS ? "bit operations such as 500MBOPS or 1.5GBOPS"
                                 : "bytes such as 800KB or 1.5MB");
    return ZQ_OK;
}

/* ---- what files cost */

static int64_t count_weights(const zq_layer *layer) {
    return layer->n_channels * layer->per_channel;
}

uint64_t zq_layer_bytes(const zq_layer *layer, int bits) {
    return zq_storage_bytes(bits, count_weights(layer));
}

/* The width of a layer where `bits` are everywhere. */
static double bits_of(const zq_layer *layer, double bits) {
    return layer->kept != 0 ? layer->kept : bits;
}

static double sum_bytes(const zq_layers *layers, double bits) {
    double sum = 0;
    for (int i = 0; i < layers->n; i++) {
        const zq_layer *layer = &layers->items[i];
        sum += bits == floor(bits) || layer->kept != 0
                   ? (double)zq_layer_bytes(layer, (int)bits_of(layer, bits))
                   : ceil((double)count_weights(layer) * bits / 8);
    }
    return sum;
}

/* What a layer takes beyond its integers. */
static uint64_t overhead(const zq_file_cost *file, const zq_layer *layer, int bits) {
    const zq_storage s = zq_storage_of(bits, count_weights(layer));
    return s.lower_bits > 0 ? file->split : s.upper_bits < 8 ? file->narrow : 0;
}

static double sum_overheads(const zq_file_cost *file, const zq_layers *layers, double bits) {
    double sum = 0;
    for (int i = 0; i < layers->n; i++)
        sum += (double)overhead(file, &layers->items[i], (int)ceil(bits_of(&layers->items[i], bits)));
    return sum;
}

/* So many bytes more for each layer that counts make with `counted`, in a file that has rest bytes beside its
 * integers. */
static double more_each(const zq_layers *layers, const zq_file_cost *counted, double bits, double rest) {
    const double n = sum_overheads(counted, layers, bits) - sum_overheads(counted, layers, 8);
    return n > 0 ? fmax(0, ceil(rest / n)) : 0;
}

zq_file_cost zq_file_cost_from(const zq_layers *layers, const uint64_t bytes[ZQ_FILES_PACKED]) {
    double rest[ZQ_FILES_PACKED];
    for (int k = 0; k < ZQ_FILES_PACKED; k++)
        rest[k] = (double)bytes[k] - sum_bytes(layers, zq_packed_bits[k]);
    zq_file_cost file = {0};
    file.narrow = (uint64_t)more_each(layers, &(zq_file_cost){.narrow = 1}, 4, rest[1] - rest[0]);
    file.split = (uint64_t)more_each(layers, &(zq_file_cost){.split = 1}, 6, rest[2] - rest[0]);
    file.fixed = (uint64_t)fmax(0, rest[0] - sum_overheads(&file, layers, 8));
    return file;
}

/* ---- what networks cost */

/* Widths need not be whole here. */
static double ideal_cost(const zq_pricing *pricing, const zq_layer *layer, double bits,
                         double activation_bits) {
    return pricing->cost == ZQ_COST_BOPS ? layer->macs * bits * activation_bits
                                         : ceil((double)count_weights(layer) * bits / 8);
}

uint64_t zq_layer_cost(const zq_pricing *pricing, const zq_layer *layer, int bits) {
    if (pricing->cost == ZQ_COST_BYTES)
        return zq_layer_bytes(layer, bits) + overhead(&pricing->file, layer, bits);
    return (uint64_t)fmin(ideal_cost(pricing, layer, bits, layer->input_bits), most);
}

uint64_t zq_base_cost(const zq_pricing *pricing, const zq_layers *layers) {
    if (pricing->cost == ZQ_COST_BYTES)
        return pricing->file.fixed;
    return (uint64_t)fmin(pricing->cost == ZQ_COST_BOPS ? layers->float_macs * FP32_BITS * FP32_BITS
                                                        : layers->float_weights * FP32_BITS / 8,
                          most);
}

uint64_t zq_network_cost(const zq_pricing *pricing, const zq_layers *layers, const int *bits) {
    uint64_t sum = zq_base_cost(pricing, layers);
    for (int i = 0; i < layers->n; i++)
        sum += zq_layer_cost(pricing, &layers->items[i], bits[i]);
    return sum;
}

static double uniform_cost(const zq_pricing *pricing, const zq_layers *layers, double bits) {
    double sum = (double)zq_base_cost(pricing, layers);
    if (pricing->cost == ZQ_COST_BYTES)
        return sum + sum_bytes(layers, bits) + sum_overheads(&pricing->file, layers, bits);
    for (int i = 0; i < layers->n; i++)
        sum += ideal_cost(pricing, &layers->items[i], bits_of(&layers->items[i], bits),
                          pricing->activation_bits);
    return sum;
}

static double fp32_cost(const zq_pricing *pricing, const zq_layers *layers) {
    const bool bops = pricing->cost == ZQ_COST_BOPS;
    double sum = (double)zq_base_cost(pricing, layers);
    for (int i = 0; i < layers->n; i++)
        sum += bops ? layers->items[i].macs * FP32_BITS * FP32_BITS
                    : (double)count_weights(&layers->items[i]) * FP32_BITS / 8;
    return pricing->cost == ZQ_COST_BYTES ? (double)pricing->fp32_bytes : sum;
}

uint64_t zq_target_limit(const zq_target *target, const zq_layers *layers, const zq_pricing *pricing) {
    double limit = target->value;
    if (target->kind == ZQ_TARGET_BITS)
        limit = uniform_cost(pricing, layers, target->value);
    else if (target->kind == ZQ_TARGET_SHARE)
        limit = target->value * fp32_cost(pricing, layers);
    return (uint64_t)fmin(limit, most);
}

const char *zq_cost_name(zq_cost cost) {
    return cost == ZQ_COST_BYTES ? "bytes" : cost == ZQ_COST_BITS ? "bits" : "bops";
}

char *zq_cost_text(zq_cost cost, uint64_t amount, char buffer[ZQ_COST_TEXT]) {
    const unsigned long long n = amount;
    if (cost == ZQ_COST_BYTES)
        snprintf(buffer, ZQ_COST_TEXT, "%llu bytes of file", n);
    else if (cost == ZQ_COST_BITS)
        snprintf(buffer, ZQ_COST_TEXT, "%llu bytes of weights", n);
    else
        snprintf(buffer, ZQ_COST_TEXT, "%.7g MBOPS", (double)n / 1e6);
    return buffer;
}
