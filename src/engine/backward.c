/* SPDX-License-Identifier: Apache-2.0 */
/* Backward passes: gradients flow from the seeds to graph input 0 through the steps in reverse. A value's
 * gradient is the sum of its readers' parts (the first writes, the others add) and of its seed. */
#include "engine/layout.h"
#include "engine/loops.h"
#include "engine/step.h"

#include <string.h>

bool zq_sink_open_unseeded(zq_plan *plan, int value, zq_sink *sink_out) {
    zq_slot *slot = &plan->slots[value];
    if (slot->gradient == NULL)
        return false;
    *sink_out = (zq_sink){.cells = {slot->gradient, slot->half}, .dst = slot->gradient, .add = slot->reached};
    slot->reached = true;
    return true;
}

bool zq_sink_open(zq_plan *plan, int value, zq_sink *sink_out) {
    zq_slot *slot = &plan->slots[value];
    if (!zq_sink_open_unseeded(plan, value, sink_out))
        return false;
    if (slot->seed != NULL && slot->seed->dense == NULL) {
        sink_out->seed = slot->seed;
        slot->seed = NULL;
    }
    return true;
}

void *zq_sink_begin(zq_plan *plan, int value, void *scratch) {
    zq_slot *slot = &plan->slots[value];
    if (slot->gradient == NULL)
        return NULL;
    void *const dst = slot->reached ? scratch : slot->gradient;
    slot->reached = true;
    return dst;
}

void zq_sink_end(zq_plan *plan, int value, void *written) {
    const zq_slot *slot = &plan->slots[value];
    if (written != slot->gradient)
        zq_loop_accumulate(slot->n, (zq_cells){written, slot->half}, (zq_cells){slot->gradient, slot->half});
}

/* Halves are channels-last. */
static void put_halves(const zq_slot *slot, const float *plain) {
    const zq_cells d = {slot->gradient, true};
    for (int64_t plane = 0; plane < slot->images * slot->channels; plane++)
        for (int64_t i = 0; i < slot->positions; i++) {
            const int64_t position = plane / slot->channels * slot->positions + i;
            const size_t at = (size_t)(position * slot->channels + plane % slot->channels);
            const float part = plain[plane * slot->positions + i];
            zq_cells_put(d, at, slot->reached ? zq_cells_get(d, at) + part : part);
        }
}

void zq_sink_put_plain(zq_plan *plan, int value, const float *plain) {
    zq_slot *slot = &plan->slots[value];
    if (slot->half)
        put_halves(slot, plain);
    else if (slot->last)
        zq_layout_to_last(slot->images, slot->channels, slot->positions, plain, slot->reached,
                          slot->gradient);
    else if (slot->reached)
        zq_loop_accumulate(slot->n, (zq_cells){(void *)plain, false}, (zq_cells){slot->gradient, false});
    else
        memcpy(slot->gradient, plain, slot->n * sizeof *plain);
    slot->reached = true;
}

/* c1 + c2 (z - mean) for each channel: the gradient of anything that depends on a value through the mean and
 * the variance of its channels. */
static void add_channel_seed(zq_slot *slot, const zq_plan_seed *seed) {
    const float *const z = slot->data;
    float *const d_z = slot->gradient;
    const bool add = slot->reached;
    const int64_t n_channels = slot->channels, n_positions = slot->positions;
    zq_rows rows;
    if (zq_rows_of(slot, &rows)) {
        zq_loop_seed(rows, (zq_cells){slot->data, slot->half}, seed, add,
                     (zq_cells){slot->gradient, slot->half});
        return;
    }
#pragma omp parallel for schedule(static)
    for (int64_t plane = 0; plane < slot->images * n_channels; plane++) {
        const int64_t c = plane % n_channels;
        for (int64_t i = plane * n_positions; i < (plane + 1) * n_positions; i++) {
            const float d = seed->c1[c] + seed->c2[c] * (z[i] - seed->mean[c]);
            d_z[i] = add ? d_z[i] + d : d;
        }
    }
}

/* Adds what is left of the seed before the value's own step runs. */
static void settle(zq_plan *plan, int value) {
    zq_slot *slot = &plan->slots[value];
    const zq_plan_seed *seed = slot->seed;
    if (seed == NULL || slot->gradient == NULL)
        return;
    slot->seed = NULL;
    if (seed->dense != NULL)
        zq_sink_put_plain(plan, value, seed->dense);
    else
        add_channel_seed(slot, seed);
    slot->reached = true;
}

static zq_status check_seed(const zq_plan *plan, const zq_plan_seed *seed, zq_error *err) {
    if (seed->value < 0 || seed->value >= plan->graph->n_values)
        return zq_fail(err, ZQ_ERR_INTERNAL, "a gradient enters at value %d, which doesn't exist",
                       seed->value);
    const zq_slot *slot = &plan->slots[seed->value];
    const char *name = plan->graph->values[seed->value].name;
    if (slot->data == NULL || slot->dtype != ZQ_F32)
        return zq_fail(err, ZQ_ERR_INTERNAL, "a gradient enters at value '%s', which isn't kept as float",
                       name);
    if (seed->dense == NULL && !slot->kept)
        return zq_fail(err, ZQ_ERR_INTERNAL,
                       "a gradient that depends on value '%s' enters there, but the plan doesn't keep it",
                       name);
    if (slot->seed != NULL)
        return zq_fail(err, ZQ_ERR_INTERNAL, "two gradients enter at value '%s'; add them first", name);
    return ZQ_OK;
}

static bool is_reached(const zq_plan *plan, const zq_step *step) {
    bool reached = false;
    for (int i = 0; i < step->n_out; i++)
        reached = reached || plan->slots[step->out[i]].reached;
    return reached;
}

static bool leads_to_input(const zq_plan *plan, const zq_step *step) {
    bool leads = false;
    for (int i = 0; i < step->n_in; i++)
        leads = leads || plan->slots[step->in[i]].differentiable;
    return leads;
}

static zq_status run_steps(zq_plan *plan, zq_gradient_hook hook, void *user, zq_error *err) {
    for (int i = plan->n_steps - 1; i >= 0; i--) {
        zq_step *step = &plan->steps[i];
        const double start = zq_plan_now_ms();
        for (int k = 0; k < step->n_out; k++)
            settle(plan, step->out[k]);
        float *const d_y = step->n_out > 0 ? zq_plan_gradient(plan, step->out[0]) : NULL;
        if (hook != NULL && d_y != NULL && !plan->slots[step->out[0]].half)
            ZQ_TRY(hook(user, plan, step->node, step->out[0], plan->slots[step->out[0]].n, d_y, err));
        const bool runs = is_reached(plan, step) && leads_to_input(plan, step);
        if (runs)
            ZQ_TRY(step->kind->backward(plan, step, err));
        step->backward_ms = runs ? zq_plan_now_ms() - start : 0;
    }
    return ZQ_OK;
}

static void read_input_gradient(zq_plan *plan, float *d_input) {
    const int input = plan->graph->inputs[0];
    settle(plan, input);
    const zq_slot *slot = &plan->slots[input];
    if (!slot->reached)
        memset(d_input, 0, slot->n * sizeof *d_input);
    else if (slot->last)
        zq_layout_to_plain(slot->images, slot->channels, slot->positions, slot->gradient, d_input);
    else
        memcpy(d_input, slot->gradient, slot->n * sizeof *d_input);
}

zq_status zq_plan_backward(zq_plan *plan, int n_seeds, const zq_plan_seed *seeds, float *d_input,
                           zq_error *err) {
    return zq_plan_backward_hooked(plan, n_seeds, seeds, NULL, NULL, d_input, err);
}

zq_status zq_plan_backward_hooked(zq_plan *plan, int n_seeds, const zq_plan_seed *seeds,
                                  zq_gradient_hook hook, void *user, float *d_input, zq_error *err) {
    if (!plan->options.gradient || !plan->ran)
        return zq_fail(err, ZQ_ERR_INTERNAL,
                       "a gradient needs a plan that was made for it and has run forward");
    for (int value = 0; value < plan->graph->n_values; value++) {
        plan->slots[value].reached = false;
        plan->slots[value].seed = NULL;
    }
    for (int i = 0; i < n_seeds; i++) {
        ZQ_TRY(check_seed(plan, &seeds[i], err));
        plan->slots[seeds[i].value].seed = &seeds[i];
    }
    ZQ_TRY(run_steps(plan, hook, user, err));
    if (d_input != NULL)
        read_input_gradient(plan, d_input);
    return ZQ_OK;
}
