/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/quantized.h"
#include "base/memory.h"
#include "graph/op.h"

#include <string.h>

static bool is_op(const zq_plan *plan, int node, const char *op) {
    return node >= 0 && strcmp(plan->graph->nodes[node].op->name, op) == 0;
}

/* Inputs 1 and 2 of QuantizeLinear or DequantizeLinear as one pair of numbers. */
static bool one_scale(const zq_plan *plan, const zq_node *node, zq_scale *out) {
    const zq_tensor *scale = plan->slots[node->inputs[1]].constant;
    const int at = node->n_inputs > 2 ? node->inputs[2] : -1;
    const zq_tensor *zero_point = at >= 0 ? plan->slots[at].constant : NULL;
    if (scale == NULL || zq_shape_count(&scale->shape) != 1 || (at >= 0 && zero_point == NULL) ||
        (zero_point != NULL && zq_shape_count(&zero_point->shape) != 1))
        return false;
    out->scale = (float)zq_tensor_item(scale, 0);
    out->zero_point = zero_point != NULL ? (float)zq_tensor_item(zero_point, 0) : 0;
    return true;
}

static bool is_byte(zq_dtype dtype) {
    return dtype == ZQ_U8 || dtype == ZQ_I8;
}

bool zq_quantized_source(const zq_plan *plan, int value, int *integers_out, zq_scale *scale_out) {
    const int at = value >= 0 ? plan->graph->values[value].producer : -1;
    if (!is_op(plan, at, "DequantizeLinear"))
        return false;
    const zq_node *node = &plan->graph->nodes[at];
    const zq_slot *integers = &plan->slots[node->inputs[0]];
    *integers_out = node->inputs[0];
    return integers->constant == NULL && is_byte(integers->dtype) && one_scale(plan, node, scale_out);
}

/* Narrows the bounds to those of an integer Clip; false where they aren't constant. */
static bool clip_integers(const zq_plan *plan, const zq_node *clip, float *lo, float *hi) {
    for (int i = 1; i < clip->n_inputs && i < 3; i++) {
        if (clip->inputs[i] < 0)
            continue;
        const zq_tensor *bound = plan->slots[clip->inputs[i]].constant;
        if (bound == NULL || zq_shape_count(&bound->shape) != 1)
            return false;
        const float value = (float)zq_tensor_item(bound, 0);
        *lo = i == 1 && value > *lo ? value : *lo;
        *hi = i == 2 && value < *hi ? value : *hi;
    }
    return *lo <= *hi;
}

/* Quantizing is monotone: clipping before it is the same as clipping the integers. */
static void clip_floats(zq_clamp clamp, zq_requantizer *r) {
    const float lo = rintf(clamp.lo / r->scale.scale), hi = rintf(clamp.hi / r->scale.scale);
    r->lo = lo > r->lo ? lo : r->lo;
    r->hi = hi < r->hi ? hi : r->hi;
    r->lo = r->lo > r->hi ? r->hi : r->lo;
}

bool zq_quantized_end(const zq_plan *plan, int at, zq_requantizer *out, int *value_out) {
    const zq_node *node = &plan->graph->nodes[at];
    if (node->n_outputs < 1 || node->outputs[0] < 0 || !is_byte(plan->slots[node->outputs[0]].dtype))
        return false;
    const bool is_unsigned = plan->slots[node->outputs[0]].dtype == ZQ_U8;
    float lo = is_unsigned ? 0 : -128, hi = is_unsigned ? 255 : 127;
    int quantize = at;
    if (is_op(plan, at, "Clip")) {
        if (plan->options.keep_values) /* the integers before it are asked for, too */
            return false;
        quantize = zq_plan_sole_producer(plan, node->inputs[0], "QuantizeLinear");
        if (!clip_integers(plan, node, &lo, &hi))
            return false;
    }
    if (!is_op(plan, quantize, "QuantizeLinear") ||
        !one_scale(plan, &plan->graph->nodes[quantize], &out->scale))
        return false;
    out->lo = lo - out->scale.zero_point;
    out->hi = hi - out->scale.zero_point;
    *value_out = plan->graph->nodes[quantize].inputs[0];
    return plan->slots[*value_out].constant == NULL;
}

static int sole_producer(const zq_plan *plan, int value) {
    return plan->slots[value].n_uses == 1 ? plan->graph->values[value].producer : -1;
}

bool zq_quantized_tail(const zq_plan *plan, int at, zq_requantizer *out, int *core_out) {
    int value;
    zq_clamp clamp;
    if (!zq_quantized_end(plan, at, out, &value))
        return false;
    *core_out = sole_producer(plan, value);
    if (*core_out >= 0 && zq_clamp_of(plan, *core_out, &clamp)) {
        *core_out = sole_producer(plan, plan->graph->nodes[*core_out].inputs[0]);
        clip_floats(clamp, out);
    }
    return *core_out >= 0;
}

void zq_quantized_absorb(zq_plan *plan, int at, int core) {
    for (int node = at; node >= 0 && node != core;
         node = plan->graph->values[plan->graph->nodes[node].inputs[0]].producer)
        zq_plan_absorb(plan, node);
}

/* ---- weights */

typedef struct integers {
    const zq_tensor *q, *scale, *zero_point; /* zero_point NULL: 0 */
    int axis;                                /* of a vector of scales */
} integers;

static bool constant_integers(const zq_plan *plan, int value, integers *out) {
    const int at = value >= 0 ? plan->graph->values[value].producer : -1;
    if (!is_op(plan, at, "DequantizeLinear"))
        return false;
    const zq_node *node = &plan->graph->nodes[at];
    const int zero_point = node->n_inputs > 2 ? node->inputs[2] : -1;
    *out = (integers){plan->slots[node->inputs[0]].constant, plan->slots[node->inputs[1]].constant,
                      zero_point >= 0 ? plan->slots[zero_point].constant : NULL, 0};
    int64_t axis;
    if (out->q == NULL || zq_node_int(node, "axis", 1, &axis, NULL) != ZQ_OK)
        return false;
    out->axis = (int)(axis < 0 ? axis + out->q->shape.rank : axis);
    return out->scale != NULL && (zero_point < 0 || out->zero_point != NULL);
}

/* A float bias, which is added to the products of integers as it is. */
static bool constant_floats(const zq_plan *plan, int value, integers *out) {
    *out = (integers){.q = plan->slots[value].constant};
    return out->q != NULL && out->q->dtype == ZQ_F32 && plan->graph->values[value].producer < 0;
}

/* One number for all or one for each channel. */
static bool fits(const zq_tensor *tensor, int64_t n_channels) {
    return tensor == NULL || zq_shape_count(&tensor->shape) == 1 ||
           zq_shape_count(&tensor->shape) == n_channels;
}

static double item_of(const zq_tensor *tensor, int64_t channel) {
    return tensor == NULL ? 0 : zq_tensor_item(tensor, zq_shape_count(&tensor->shape) == 1 ? 0 : channel);
}

static void load_row(const zq_tensor *q, int64_t first, int64_t n, double zero_point, float *dst) {
    const float zero = (float)zero_point;
    if (q->dtype == ZQ_I8 || q->dtype == ZQ_I4 || q->dtype == ZQ_I2)
        for (int64_t i = first; i < first + n; i++)
            dst[i] = (float)((const int8_t *)q->data)[i] - zero;
    else if (q->dtype == ZQ_U8 || q->dtype == ZQ_U4 || q->dtype == ZQ_U2)
        for (int64_t i = first; i < first + n; i++)
            dst[i] = (float)((const uint8_t *)q->data)[i] - zero;
    else
        for (int64_t i = first; i < first + n; i++)
            dst[i] = (float)(zq_tensor_item(q, i) - zero_point);
}

static zq_status load(const integers *w, int axis, const zq_tensor *bias, float source_scale,
                      zq_quantized_weights *out, zq_error *err) {
    const zq_shape *shape = &w->q->shape;
    int64_t inner = 1;
    for (int i = axis + 1; i < shape->rank; i++)
        inner *= shape->dims[i];
    out->n = (size_t)zq_shape_count(shape);
    out->n_channels = shape->dims[axis];
    out->weights = zq_alloc_raw(out->n, sizeof *out->weights);
    out->scale = zq_alloc((size_t)out->n_channels, sizeof *out->scale);
    out->bias = bias != NULL ? zq_alloc((size_t)out->n_channels, sizeof *out->bias) : NULL;
    if (out->weights == NULL || out->scale == NULL || (bias != NULL && out->bias == NULL)) {
        zq_quantized_weights_clear(out);
        return zq_fail_memory(err);
    }
    const int64_t n_rows = (int64_t)out->n / (inner > 0 ? inner : 1);
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < n_rows; row++)
        load_row(w->q, row * inner, inner, item_of(w->zero_point, row % out->n_channels), out->weights);
    for (int64_t c = 0; c < out->n_channels; c++) {
        out->scale[c] = (float)item_of(w->scale, c);
        if (bias != NULL)
            out->bias[c] = (float)(item_of(bias, c) /
                                   (bias->dtype == ZQ_F32 ? (double)source_scale * out->scale[c] : 1));
    }
    return ZQ_OK;
}

zq_status zq_quantized_weights_find(const zq_plan *plan, const zq_node *node, int axis, float source_scale,
                                    zq_quantized_weights *out, bool *found_out, zq_error *err) {
    integers w, b = {0};
    const int bias = node->n_inputs > 2 ? node->inputs[2] : -1;
    *out = (zq_quantized_weights){0};
    *found_out = false;
    if (!constant_integers(plan, node->inputs[1], &w) || w.q->shape.rank <= axis ||
        (bias >= 0 && !constant_integers(plan, bias, &b) && !constant_floats(plan, bias, &b)))
        return ZQ_OK;
    const int64_t n_channels = w.q->shape.dims[axis];
    if (zq_shape_count(&w.scale->shape) != 1 && w.axis != axis)
        return ZQ_OK;
    if (!fits(w.scale, n_channels) || !fits(w.zero_point, n_channels) || !fits(b.q, n_channels))
        return ZQ_OK;
    *found_out = true;
    return load(&w, axis, b.q, source_scale, out, err);
}

void zq_quantized_weights_release(zq_plan *plan, const zq_node *node) {
    zq_slot *slot = &plan->slots[node->inputs[1]];
    if (!slot->owns_constant || slot->n_uses != 1)
        return;
    plan->bytes -= slot->n * zq_dtype_bytes(slot->dtype);
    zq_tensor_drop((zq_tensor *)slot->constant);
    slot->constant = NULL;
    slot->owns_constant = false;
}

void zq_quantized_weights_clear(zq_quantized_weights *weights) {
    zq_free(weights->weights);
    zq_free(weights->scale);
    zq_free(weights->bias);
    *weights = (zq_quantized_weights){0};
}

/* ---- loops */

void zq_quantized_center(size_t n, const float *q, float zero_point, float *dst) {
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < n; i++)
        dst[i] = q[i] - zero_point;
}

void zq_quantized_quantize(size_t n, const float *x, const zq_requantizer *requantizer, float *dst) {
    const zq_requantizer r = *requantizer;
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < n; i++)
        dst[i] = zq_requantize(x[i] / r.scale.scale, &r);
}

void zq_quantized_requantize(zq_rows rows, const zq_requantizer *requantizer, int64_t n_factors,
                             const float *factor, float *acc) {
    const zq_requantizer r = *requantizer;
    const int64_t n_channels = rows.n_channels;
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows.n_rows; row++) {
        float *const x = acc + row * n_channels;
        if (n_factors == 1) {
#pragma omp simd
            for (int64_t c = 0; c < n_channels; c++)
                x[c] = zq_requantize(x[c] * factor[0], &r);
        } else {
#pragma omp simd
            for (int64_t c = 0; c < n_channels; c++)
                x[c] = zq_requantize(x[c] * factor[c], &r);
        }
    }
}
