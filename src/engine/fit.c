/* SPDX-License-Identifier: Apache-2.0 */
/* Plans as large as memory allows. */
#include "base/memory.h"
#include "engine/plan.h"

static int64_t fewer(int64_t n, int64_t divides) {
    if (divides == 0)
        return n / 2;
    for (n--; n > 0 && divides % n != 0;)
        n--;
    return n;
}

static bool fits(const zq_plan *plan, int64_t n_images, const zq_plan_room *room) {
    return (room->most == 0 || zq_plan_bytes(plan) <= room->most) &&
           zq_memory_left() >= room->spare + (size_t)n_images * room->per_image;
}

zq_status zq_plan_fit(zq_graph *graph, zq_plan_options *options, const zq_plan_room *room, zq_plan **plan_out,
                      zq_error *err) {
    for (;;) {
        zq_memory_trim();
        zq_plan_options own = *options;
        own.n_images *= room->copies > 1 ? room->copies : 1;
        const zq_status status = zq_plan_new(graph, &own, plan_out, err);
        const int64_t less = graph->free_batch ? fewer(options->n_images, room->divides) : 0;
        const bool limited =
            room->most > 0 || zq_memory_left() != SIZE_MAX; /* else memory has really run out */
        const bool may_shrink = less > 0 && (status == ZQ_OK || (limited && status == ZQ_ERR_MEMORY));
        if (!may_shrink || (status == ZQ_OK && fits(*plan_out, own.n_images, room)))
            return status;
        zq_plan_drop(*plan_out);
        options->n_images = less;
    }
}
