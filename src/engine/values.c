/* SPDX-License-Identifier: Apache-2.0 */
/* Values into and out of a plan. */
#include "base/memory.h"
#include "engine/layout.h"
#include "engine/step.h"

#include <string.h>

void zq_plan_set_input(zq_plan *plan, int input, const float *data) {
    const zq_slot *slot = &plan->slots[plan->graph->inputs[input]];
    if (slot->last)
        zq_layout_to_last(slot->images, slot->channels, slot->positions, data, false, slot->data);
    else
        memcpy(slot->data, data, slot->n * sizeof *data);
}

static void read_items(const zq_tensor *tensor, size_t n, float *dst) {
    for (size_t i = 0; i < n; i++)
        dst[i] = (float)zq_tensor_item(tensor, (int64_t)i);
}

/* Halves are channels-last. */
static void read_half(const zq_slot *slot, float *dst) {
    const uint16_t *const half = slot->data;
    const int64_t n_channels = slot->channels, n_positions = slot->positions;
    for (int64_t plane = 0; plane < slot->images * n_channels; plane++)
        for (int64_t i = 0; i < n_positions; i++)
            dst[plane * n_positions + i] =
                zq_half_widen(half[(plane / n_channels * n_positions + i) * n_channels + plane % n_channels]);
}

void zq_plan_read(zq_plan *plan, int value, float *dst) {
    const zq_slot *slot = &plan->slots[value];
    if (slot->constant != NULL)
        read_items(slot->constant, slot->n, dst);
    else if (slot->data == NULL)
        memset(dst, 0, slot->n * sizeof *dst);
    else if (slot->half)
        read_half(slot, dst);
    else if (slot->last)
        zq_layout_to_plain(slot->images, slot->channels, slot->positions, slot->data, dst);
    else if (slot->dtype == ZQ_F32 || slot->dtype == ZQ_U8 || slot->dtype == ZQ_I8)
        memcpy(dst, slot->data, slot->n * sizeof *dst);
    else
        read_items(&(zq_tensor){.dtype = slot->dtype, .shape = slot->shape, .data = slot->data}, slot->n,
                   dst);
}

static bool holds_floats(const zq_slot *slot) {
    return slot->data != NULL && slot->dtype == ZQ_F32 && slot->constant == NULL && !slot->half;
}

float *zq_plan_poke(zq_plan *plan, int value, size_t *n_out) {
    zq_slot *slot = &plan->slots[value];
    if (!holds_floats(slot))
        return NULL;
    slot->summed = false;
    *n_out = slot->n;
    return slot->data;
}

int zq_plan_find(const zq_plan *plan, int value) {
    while (value >= 0) {
        const zq_slot *slot = &plan->slots[value];
        if (holds_floats(slot))
            return value;
        int *readers = NULL;
        const int n_readers = zq_graph_consumers(plan->graph, value, &readers);
        value = n_readers == 1 ? plan->graph->nodes[readers[0]].outputs[0] : -1;
        zq_free(readers);
    }
    return -1;
}

const float *zq_plan_peek(const zq_plan *plan, int value, size_t *n_out) {
    const zq_slot *slot = &plan->slots[value];
    const bool is_float = slot->dtype == ZQ_F32 || slot->dtype == ZQ_U8 || slot->dtype == ZQ_I8;
    if (slot->data == NULL || !slot->kept || !is_float || slot->half)
        return NULL;
    *n_out = slot->n;
    return slot->data;
}
