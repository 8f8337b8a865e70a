/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/target.h"

#include "quant/quantizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

zq_status zq_target_parse(const char *text, zq_target *out, zq_error *err) {
    static const struct {
        const char *unit;
        zq_target_kind kind;
        double factor;
    } units[] = {{"%", ZQ_TARGET_SHARE, 0.01}, {"B", ZQ_TARGET_BYTES, 1},    {"kB", ZQ_TARGET_BYTES, 1e3},
                 {"KB", ZQ_TARGET_BYTES, 1e3}, {"MB", ZQ_TARGET_BYTES, 1e6}, {"GB", ZQ_TARGET_BYTES, 1e9}};
    char *end;
    if (text[0] == 'w' || text[0] == 'W') {
        const double bits = strtod(text + 1, &end);
        if (end != text + 1 && *end == '\0' && bits >= 2 && bits <= 8) {
            *out = (zq_target){ZQ_TARGET_BITS, bits};
            return ZQ_OK;
        }
    } else {
        const double value = strtod(text, &end);
        for (size_t u = 0; end != text && u < sizeof units / sizeof units[0]; u++)
            if (strcmp(end, units[u].unit) == 0 && isfinite(value) && value > 0) {
                *out = (zq_target){units[u].kind, value * units[u].factor};
                return ZQ_OK;
            }
    }
    return zq_fail(err, ZQ_ERR_USAGE,
                   "size '%s' is not understood; expected w2 to w8 (bits everywhere), a share such as 25%%, "
                   "or bytes such "
                   "as 800KB or 1.5MB",
                   text);
}

uint64_t zq_layer_bytes(const zq_layer *layer, int bits) {
    const uint64_t count = (uint64_t)layer->n_channels * (uint64_t)layer->per_channel;
    return (count * (uint64_t)zq_container_bits(bits) + 7) / 8;
}

static double sum_bytes(const zq_layers *layers, double bits) {
    double sum = 0;
    for (int i = 0; i < layers->n; i++) {
        const zq_layer *layer = &layers->items[i];
        sum += layer->kept != 0 ? (double)zq_layer_bytes(layer, layer->kept)
                                : ceil((double)layer->n_channels * (double)layer->per_channel * bits / 8);
    }
    return sum;
}

/* Layers of less than 8 bits where `bits` are everywhere. */
static int count_narrow(const zq_layers *layers, double bits) {
    int n = 0;
    for (int i = 0; i < layers->n; i++)
        n += (layers->items[i].kept != 0 ? layers->items[i].kept : bits) < 8;
    return n;
}

zq_file_cost zq_file_cost_from(const zq_layers *layers, uint64_t bytes_uniform8, uint64_t bytes_uniform4) {
    const double rest8 = (double)bytes_uniform8 - sum_bytes(layers, 8);
    const double rest4 = (double)bytes_uniform4 - sum_bytes(layers, 4);
    const int n_narrow8 = count_narrow(layers, 8), n_more = count_narrow(layers, 4) - n_narrow8;
    const double narrow = n_more > 0 ? fmax(0, ceil((rest4 - rest8) / n_more)) : 0;
    return (zq_file_cost){.fixed = (uint64_t)fmax(0, rest8 - narrow * n_narrow8), .narrow = (uint64_t)narrow};
}

uint64_t zq_target_limit(const zq_target *target, const zq_layers *layers, const zq_file_cost *cost,
                         uint64_t fp32_bytes) {
    switch (target->kind) {
    case ZQ_TARGET_BITS:
        return cost->fixed + (uint64_t)sum_bytes(layers, target->value) +
               cost->narrow * (uint64_t)count_narrow(layers, target->value);
    case ZQ_TARGET_BYTES:
        return (uint64_t)fmin(target->value, 1e18);
    case ZQ_TARGET_SHARE:
        return (uint64_t)(target->value * (double)fp32_bytes);
    }
    return 0;
}
