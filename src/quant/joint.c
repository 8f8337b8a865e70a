/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/joint.h"

#include "base/memory.h"
#include "engine/plan.h"

/* What the values of one plan may take. */
static const double memory_limit_bytes = 1.2e9;

enum { OWN = -1 }; /* the network's own weights */

struct zq_joint {
    zq_graph *graph;
    const zq_layers *layers;
    const zq_rounding *rounding;
    zq_plan *plan; /* owned, like all below */
    int64_t n_images;
    int *now;                       /* [n_layers] number of the width, or OWN */
    float **reference, **output;    /* [n_outputs] */
    double *distance;               /* [n_images] */
    float *channel_first, *weights; /* room for the largest layer */
};

static int64_t choose_images(const zq_graph *graph, int64_t n_images) {
    double bytes = 1;
    if (!graph->free_batch)
        return zq_graph_images(graph);
    for (int v = 0; v < graph->n_values; v++) {
        const int64_t count = zq_shape_count(&graph->values[v].shape);
        if (graph->values[v].constant == NULL && count > 0)
            bytes += (double)count * sizeof(float);
    }
    const double fit = memory_limit_bytes / bytes;
    return fit < 1 ? 1 : fit < (double)n_images ? (int64_t)fit : n_images;
}

static zq_status make_outputs(zq_joint *joint, float ***outputs_out, zq_error *err) {
    const int n = joint->graph->n_outputs;
    float **outputs = *outputs_out = zq_alloc((size_t)n, sizeof *outputs);
    for (int o = 0; outputs != NULL && o < n; o++) {
        const zq_shape *shape = zq_plan_shape(joint->plan, joint->graph->outputs[o]);
        outputs[o] = zq_alloc_raw((size_t)zq_shape_count(shape), sizeof *outputs[o]);
        if (outputs[o] == NULL)
            return zq_fail_memory(err);
    }
    return outputs != NULL ? ZQ_OK : zq_fail_memory(err);
}

static void read_outputs(const zq_joint *joint, float **outputs) {
    for (int o = 0; o < joint->graph->n_outputs; o++)
        zq_plan_read(joint->plan, joint->graph->outputs[o], outputs[o]);
}

static zq_status make_room(zq_joint *joint, zq_error *err) {
    const size_t most = zq_layers_largest(joint->layers);
    joint->now = zq_alloc_raw((size_t)joint->layers->n, sizeof *joint->now);
    joint->distance = zq_alloc((size_t)joint->n_images, sizeof *joint->distance);
    joint->channel_first = zq_alloc_raw(most, sizeof *joint->channel_first);
    joint->weights = zq_alloc_raw(most, sizeof *joint->weights);
    if (joint->now == NULL || joint->distance == NULL || joint->channel_first == NULL ||
        joint->weights == NULL)
        return zq_fail_memory(err);
    for (int i = 0; i < joint->layers->n; i++)
        joint->now[i] = OWN;
    ZQ_TRY(make_outputs(joint, &joint->reference, err));
    return make_outputs(joint, &joint->output, err);
}

static zq_status start(zq_joint *joint, const zq_images *images, zq_error *err) {
    zq_plan_options options = {.n_images = joint->n_images, .keep_values = true};
    const zq_plan_room room = {.spare = 4 * zq_layers_largest(joint->layers) * sizeof(float)};
    ZQ_TRY(zq_plan_fit(joint->graph, &options, &room, &joint->plan, err));
    joint->n_images = options.n_images;
    ZQ_TRY(make_room(joint, err));
    zq_plan_set_input(joint->plan, 0, images->data);
    ZQ_TRY(zq_plan_forward(joint->plan, err));
    read_outputs(joint, joint->reference);
    return ZQ_OK;
}

zq_status zq_joint_new(zq_graph *graph, const zq_layers *layers, const zq_images *images,
                       const zq_rounding *rounding, zq_joint **joint_out, zq_error *err) {
    zq_joint *joint = zq_alloc(1, sizeof *joint);
    if (joint == NULL)
        return zq_fail_memory(err);
    joint->graph = graph;
    joint->layers = layers;
    joint->rounding = rounding;
    joint->n_images = choose_images(graph, images->shape.dims[0]);
    const zq_status status = start(joint, images, err);
    if (status != ZQ_OK) {
        zq_joint_drop(joint);
        return status;
    }
    *joint_out = joint;
    return ZQ_OK;
}

static void drop_outputs(const zq_joint *joint, float **outputs) {
    for (int o = 0; outputs != NULL && o < joint->graph->n_outputs; o++)
        zq_free(outputs[o]);
    zq_free(outputs);
}

void zq_joint_drop(zq_joint *joint) {
    if (joint == NULL)
        return;
    drop_outputs(joint, joint->reference);
    drop_outputs(joint, joint->output);
    zq_free(joint->now);
    zq_free(joint->distance);
    zq_free(joint->channel_first);
    zq_free(joint->weights);
    zq_plan_drop(joint->plan);
    zq_free(joint);
}

static zq_status set_width(zq_joint *joint, int i, int width, zq_error *err) {
    const zq_layer *layer = &joint->layers->items[i];
    if (joint->now[i] == width)
        return ZQ_OK;
    if (width != OWN) {
        zq_weights_dequantize(&joint->rounding->weights[i * joint->rounding->n_widths + width],
                              joint->channel_first);
        zq_layer_store(joint->graph, layer, joint->channel_first, joint->weights);
    }
    for (int n = 0; n < layer->n_nodes; n++)
        ZQ_TRY(zq_plan_set_weights(joint->plan, layer->nodes[n], width == OWN ? NULL : joint->weights, err));
    joint->now[i] = width;
    return ZQ_OK;
}

zq_status zq_joint_measure(zq_joint *joint, int n, const uint8_t *choice, double *damage_out, zq_error *err) {
    for (int i = 0; i < joint->layers->n; i++)
        ZQ_TRY(set_width(joint, i, i < n ? choice[i] : OWN, err));
    ZQ_TRY(zq_plan_forward_changed(joint->plan, err));
    read_outputs(joint, joint->output);
    zq_output_distance(joint->graph, joint->n_images, (const float *const *)joint->reference,
                       (const float *const *)joint->output, joint->distance, NULL);
    *damage_out = 0;
    for (int64_t i = 0; i < joint->n_images; i++)
        *damage_out += joint->distance[i] / (double)joint->n_images;
    return ZQ_OK;
}
