/* SPDX-License-Identifier: Apache-2.0 */
/* Time runs from 0 (the inputs are set) over the steps forward, 1 .. n, and backward, n + 1 .. 2n. */
#include "base/memory.h"
#include "engine/arena.h"
#include "engine/build.h"

static int forward_time(int step) {
    return step + 1;
}

static int backward_time(const zq_plan *plan, int step) {
    return 2 * plan->n_steps - step;
}

static int end_time(const zq_plan *plan) {
    return 2 * plan->n_steps + 1;
}

/* What is readable after forward: what the caller may ask for, and what backward passes read. There may be
 * several of these after one forward, so it stays to the end. */
static void keep_values(zq_plan *plan) {
    const zq_graph *graph = plan->graph;
    for (int value = 0; value < graph->n_values; value++)
        plan->slots[value].kept = plan->options.keep_values || zq_graph_is_output(graph, value) ||
                                  (plan->options.gradient && graph->values[value].stats != NULL);
    for (int i = 0; i < graph->n_inputs; i++)
        plan->slots[graph->inputs[i]].kept = true;
    for (int i = 0; i < plan->n_steps && plan->options.gradient; i++) {
        const zq_step *step = &plan->steps[i];
        for (int k = 0; k < step->n_in && !step->forgets_in; k++)
            plan->slots[step->in[k]].kept = true;
        for (int k = 0; k < step->n_out && !step->forgets_out; k++)
            plan->slots[step->out[k]].kept = true;
    }
}

static bool is_read_once(const zq_plan *plan, int step, int value) {
    int n = 0;
    for (int i = 0; i < plan->steps[step].n_in; i++)
        n += plan->steps[step].in[i] == value;
    return n == 1 && plan->slots[value].reader_lo == step && plan->slots[value].reader_hi == step;
}

/* out[0] takes over the memory of in[0] where nobody reads that any more. */
static void share_values(zq_plan *plan) {
    for (int i = 0; i < plan->n_steps; i++) {
        const zq_step *step = &plan->steps[i];
        if (!step->kind->in_place || step->n_in < 1)
            continue;
        const int in = step->in[0], out = step->out[0];
        zq_slot *from = &plan->slots[in], *to = &plan->slots[out];
        const bool last_use = from->reader_hi == i && from->writer >= 0 && !from->kept;
        if (last_use && is_read_once(plan, i, in) && from->n == to->n && from->half == to->half)
            to->root = from->root;
    }
}

/* The gradient of an input takes over that of out[0], in steps that go element by element. */
static void share_gradients(zq_plan *plan) {
    for (int i = plan->n_steps - 1; i >= 0; i--) {
        const zq_step *step = &plan->steps[i];
        if (!step->kind->in_place_backward || !plan->slots[step->out[0]].differentiable)
            continue;
        for (int k = 0; k < step->n_in; k++) {
            zq_slot *in = &plan->slots[step->in[k]];
            if (!in->differentiable || in->writer < 0 || in->n != plan->slots[step->out[0]].n ||
                in->half != plan->slots[step->out[0]].half || !is_read_once(plan, i, step->in[k]))
                continue;
            in->gradient_root = plan->slots[step->out[0]].gradient_root;
            break;
        }
    }
}

static void extend(zq_arena_block *block, size_t bytes, int first, int last) {
    if (block->bytes == 0) {
        *block = (zq_arena_block){.bytes = bytes, .first = first, .last = last};
        return;
    }
    block->first = first < block->first ? first : block->first;
    block->last = last > block->last ? last : block->last;
}

static void live_value(const zq_plan *plan, int value, bool is_input, zq_arena_block *blocks) {
    const zq_slot *slot = &plan->slots[value];
    if (slot->constant != NULL || (slot->writer < 0 && !is_input))
        return; /* fused away */
    const int first = is_input ? 0 : forward_time(slot->writer);
    int last = slot->reader_hi >= 0 ? forward_time(slot->reader_hi) : first;
    if (slot->kept)
        last = end_time(plan);
    const bool is_float = slot->dtype == ZQ_F32 || slot->dtype == ZQ_U8 || slot->dtype == ZQ_I8;
    const size_t item = is_float ? zq_cells_bytes(slot->half) : zq_dtype_bytes(slot->dtype);
    extend(&blocks[slot->root], (slot->n + 1) * item, first, last);
}

static void live_gradient(const zq_plan *plan, int value, zq_arena_block *blocks) {
    const zq_slot *slot = &plan->slots[value];
    if (!plan->options.gradient || !slot->differentiable || slot->constant != NULL)
        return;
    const int last = slot->writer >= 0 ? backward_time(plan, slot->writer) : end_time(plan);
    const int first = slot->reader_hi >= 0 ? backward_time(plan, slot->reader_hi) : last;
    extend(&blocks[slot->gradient_root], (slot->n + 1) * zq_cells_bytes(slot->half), first, last);
}

static bool is_graph_input(const zq_graph *graph, int value) {
    for (int i = 0; i < graph->n_inputs; i++)
        if (graph->inputs[i] == value)
            return true;
    return false;
}

static void bind(zq_plan *plan, const zq_arena_block *blocks) {
    const int n = plan->graph->n_values;
    for (int value = 0; value < n; value++) {
        zq_slot *slot = &plan->slots[value];
        if (blocks[slot->root].bytes > 0 && slot->constant == NULL)
            slot->data = (char *)plan->arena + blocks[slot->root].offset;
        if (blocks[n + slot->gradient_root].bytes > 0 && slot->differentiable)
            slot->gradient = (char *)plan->arena + blocks[n + slot->gradient_root].offset;
    }
}

/* What statistics sum in: sums of each image and channel. */
static zq_status allocate_sums(zq_plan *plan, zq_error *err) {
    size_t most = 0;
    for (int value = 0; value < plan->graph->n_values; value++) {
        const zq_slot *slot = &plan->slots[value];
        const size_t n = slot->data != NULL ? (size_t)slot->images * (size_t)slot->channels : 0;
        most = n > most ? n : most;
    }
    plan->sums = zq_plan_alloc(plan, 2 * most, sizeof *plan->sums);
    plan->affected = zq_alloc((size_t)plan->n_steps, sizeof *plan->affected);
    return plan->sums == NULL || plan->affected == NULL ? zq_fail_memory(err) : ZQ_OK;
}

zq_status zq_build_memory(zq_plan *plan, zq_error *err) {
    const int n = plan->graph->n_values;
    zq_arena_block *blocks = zq_alloc((size_t)n * 2, sizeof *blocks); /* of values, then of gradients */
    zq_status status = ZQ_OK;
    if (blocks == NULL)
        return zq_fail_memory(err);
    keep_values(plan);
    share_values(plan);
    if (plan->options.gradient)
        share_gradients(plan);
    for (int value = 0; value < n; value++) {
        live_value(plan, value, is_graph_input(plan->graph, value), blocks);
        live_gradient(plan, value, blocks + n);
    }
    size_t bytes = 0, scratch_bytes = 0;
    status = zq_arena_plan(2 * n, blocks, &bytes, err);
    if (status != ZQ_OK)
        goto done;
    for (int i = 0; i < plan->n_steps; i++)
        if (plan->steps[i].scratch_bytes > scratch_bytes)
            scratch_bytes = plan->steps[i].scratch_bytes;
    plan->arena = zq_alloc_raw(bytes, 1);
    plan->scratch = zq_alloc_raw(scratch_bytes, 1);
    if (plan->arena == NULL || plan->scratch == NULL) {
        status =
            zq_fail(err, ZQ_ERR_MEMORY, "out of memory: running this network for %lld images takes %.1f MB",
                    (long long)plan->options.n_images, (double)(bytes + scratch_bytes) / 1e6);
        goto done;
    }
    plan->bytes += bytes + scratch_bytes;
    bind(plan, blocks);
    status = allocate_sums(plan, err);
done:
    zq_free(blocks);
    return status;
}
