/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/plan.h"
#include "base/memory.h"
#include "engine/build.h"
#include "engine/onednn/onednn.h"

static zq_status build(zq_plan *plan, zq_error *err) {
    ZQ_TRY(zq_build_slots(plan, err));
    ZQ_TRY(zq_build_constants(plan, err));
    ZQ_TRY(zq_build_steps(plan, err));
    ZQ_TRY(zq_build_halves(plan, err));
    return zq_build_memory(plan, err);
}

bool zq_plan_takes_half(void) {
    return zq_dnn_has_half();
}

zq_status zq_plan_new(zq_graph *graph, const zq_plan_options *options, zq_plan **plan_out, zq_error *err) {
    *plan_out = NULL;
    if (options->n_images < 1)
        return zq_fail(err, ZQ_ERR_USAGE, "a plan needs at least one image, found %lld",
                       (long long)options->n_images);
    zq_plan *plan = zq_alloc(1, sizeof *plan);
    if (plan == NULL)
        return zq_fail_memory(err);
    plan->graph = graph;
    plan->options = *options;
    plan->options.statistics = options->statistics || options->gradient;
    plan->options.half = options->half && !options->reference && !options->keep_values && !options->varied &&
                         zq_plan_takes_half();
    const zq_status status = build(plan, err);
    if (status != ZQ_OK)
        zq_plan_drop(plan);
    else
        *plan_out = plan;
    return status;
}

static void drop_step(zq_step *step) {
    if (step->state != NULL && step->kind->drop != NULL)
        step->kind->drop(step->state);
    else
        zq_free(step->state);
    zq_free(step->in);
    zq_free(step->out);
}

void zq_plan_drop(zq_plan *plan) {
    if (plan == NULL)
        return;
    for (int i = 0; i < plan->n_steps; i++)
        drop_step(&plan->steps[i]);
    for (int value = 0; plan->slots != NULL && value < plan->graph->n_values; value++)
        if (plan->slots[value].owns_constant)
            zq_tensor_drop((zq_tensor *)plan->slots[value].constant);
    zq_free(plan->steps);
    zq_free(plan->step_of_node);
    zq_free(plan->absorbed);
    zq_free(plan->affected);
    zq_free(plan->sums);
    zq_free(plan->slots);
    zq_free(plan->arena);
    zq_free(plan->scratch);
    zq_free(plan);
}

void *zq_plan_alloc(zq_plan *plan, size_t n, size_t size) {
    void *memory = zq_alloc_raw(n, size);
    if (memory != NULL)
        plan->bytes += n * size;
    return memory;
}

size_t zq_plan_bytes(const zq_plan *plan) {
    return plan->bytes;
}

const zq_shape *zq_plan_shape(const zq_plan *plan, int value) {
    return &plan->slots[value].shape;
}

static const zq_step *step_of(const zq_plan *plan, int node) {
    return plan->step_of_node[node] >= 0 ? &plan->steps[plan->step_of_node[node]] : NULL;
}

const char *zq_plan_kernel(const zq_plan *plan, int node) {
    const zq_step *step = step_of(plan, node);
    return step != NULL ? step->kernel : NULL;
}

const char *zq_plan_layout(const zq_plan *plan, int value) {
    return plan->slots[value].last ? "channels last" : "plain";
}

double zq_plan_node_ms(const zq_plan *plan, int node) {
    const zq_step *step = step_of(plan, node);
    return step != NULL && step->node == node ? step->ms : 0;
}

double zq_plan_node_backward_ms(const zq_plan *plan, int node) {
    const zq_step *step = step_of(plan, node);
    return step != NULL && step->node == node ? step->backward_ms : 0;
}
