/* SPDX-License-Identifier: Apache-2.0 */
#include "report/record.h"

/* Number of the width that a layer has to have, or else k. */
static int width_of(const zq_sensitivity *sensitivity, const zq_layer *layer, int k) {
    for (int other = 0; other < sensitivity->n_widths; other++)
        if (sensitivity->widths[other] == layer->kept)
            return other;
    return k;
}

zq_uniform zq_record_uniform(const zq_record *record, int k) {
    const zq_sensitivity *sensitivity = record->sensitivity;
    zq_uniform uniform = {.bits = sensitivity->widths[k], .bytes = record->cost->fixed};
    for (int i = 0; i < record->layers->n; i++) {
        const zq_layer *layer = &record->layers->items[i];
        const int width = width_of(sensitivity, layer, k), bits = sensitivity->widths[width];
        uniform.bytes += zq_layer_bytes(layer, bits) + (bits < 8 ? record->cost->narrow : 0);
        uniform.sensitivity += sensitivity->omega[i * sensitivity->n_widths + width];
    }
    return uniform;
}
