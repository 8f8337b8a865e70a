/* SPDX-License-Identifier: Apache-2.0 */
#include "report/record.h"

#include "base/memory.h"

#include <math.h>

static zq_pricing pricing_in_bytes(const zq_record *record) {
    zq_pricing pricing = *record->pricing;
    pricing.cost = ZQ_COST_BYTES;
    return pricing;
}

/* Number of the width that a layer has to have, or else k. */
static int width_of(const zq_sensitivity *sensitivity, const zq_layer *layer, int k) {
    for (int other = 0; other < sensitivity->n_widths; other++)
        if (sensitivity->widths[other] == layer->kept)
            return other;
    return k;
}

zq_uniform zq_record_uniform(const zq_record *record, int k) {
    const zq_sensitivity *sensitivity = record->sensitivity;
    const zq_pricing in_bytes = pricing_in_bytes(record);
    zq_uniform uniform = {.bits = sensitivity->widths[k],
                          .bytes = zq_base_cost(&in_bytes, record->layers),
                          .cost = zq_base_cost(record->pricing, record->layers)};
    uint8_t *choice = zq_alloc((size_t)record->layers->n, sizeof *choice);
    for (int i = 0; i < record->layers->n; i++) {
        const zq_layer *layer = &record->layers->items[i];
        const int width = width_of(sensitivity, layer, k), bits = sensitivity->widths[width];
        uniform.bytes += zq_layer_cost(&in_bytes, layer, bits);
        uniform.cost += zq_layer_cost(record->pricing, layer, bits);
        uniform.sensitivity += sensitivity->omega[i * sensitivity->n_widths + width];
        if (choice != NULL)
            choice[i] = (uint8_t)width;
    }
    if (choice == NULL ||
        zq_superposed_predict(&sensitivity->superposed, 1, choice, &uniform.joint, NULL) != ZQ_OK)
        uniform.joint = NAN;
    zq_free(choice);
    return uniform;
}

int zq_record_point_bits(const zq_record *record, int point, int layer) {
    const zq_frontier *frontier = record->frontier;
    return record->sensitivity
        ->widths[frontier->choice[(size_t)point * (size_t)frontier->n_layers + (size_t)layer]];
}

uint64_t zq_record_point_bytes(const zq_record *record, int point) {
    const zq_pricing in_bytes = pricing_in_bytes(record);
    uint64_t bytes = zq_base_cost(&in_bytes, record->layers);
    for (int i = 0; i < record->layers->n; i++)
        bytes += zq_layer_cost(&in_bytes, &record->layers->items[i], zq_record_point_bits(record, point, i));
    return bytes;
}

uint64_t zq_record_point_cost(const zq_record *record, int point) {
    return zq_base_cost(record->pricing, record->layers) + record->frontier->points[point].bytes;
}

bool zq_record_is_mixed(const zq_record *record, const zq_candidate *candidate) {
    return record->grid_choice != NULL && candidate->activations == record->allotted;
}
