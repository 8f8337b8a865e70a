/* SPDX-License-Identifier: Apache-2.0 */
/* The one place that knows that the C API of oneDNN changed between 2.x and 3.x.
 *
 * 2.x: memory descriptors are structs passed by pointer, an operation is described by a struct, and an
 * iterator walks its implementations. 3.x: memory descriptors are handles to be destroyed, and a primitive
 * descriptor walks its own implementations. Here both look like this:
 *
 *     dnnl_memory_desc_t desc;   made by compat_desc_new, released by compat_desc_drop
 *     compat_desc                a descriptor lent to a call
 *     compat_window              one convolution or pooling, for all four creating functions
 *
 * The creating functions take the first implementation whose name `accepts` approves, and return
 * dnnl_unimplemented when there is none. */
#ifndef ZQ_ENGINE_ONEDNN_COMPAT_H
#define ZQ_ENGINE_ONEDNN_COMPAT_H

#include <oneapi/dnnl/dnnl.h>

#include <stdbool.h>
#include <string.h>

typedef bool (*compat_accepts)(const char *implementation);

static inline const char *compat_implementation(const_dnnl_primitive_desc_t desc) {
    const char *name = "unknown";
    if (dnnl_primitive_desc_query(desc, dnnl_query_impl_info_str, 0, &name) != dnnl_success)
        return "unknown";
    return name;
}

#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t compat_desc;
#else
typedef const dnnl_memory_desc_t *compat_desc;
#endif

/* Spatial entries come first in the arrays; dilation 0 is dense. bias: NULL for none; kernel: pools only. */
typedef struct compat_window {
    compat_desc src, weights, bias, dst;
    dnnl_dims_t kernel, stride, dilation, pad_lo, pad_hi;
} compat_window;

#if DNNL_VERSION_MAJOR >= 3

static inline dnnl_status_t compat_desc_new(int n_dims, const dnnl_dims_t dims, dnnl_data_type_t type,
                                            dnnl_format_tag_t tag, dnnl_memory_desc_t *desc_out) {
    return dnnl_memory_desc_create_with_tag(desc_out, n_dims, dims, type, tag);
}

static inline void compat_desc_drop(dnnl_memory_desc_t *desc) {
    if (*desc != NULL)
        dnnl_memory_desc_destroy(*desc);
    *desc = NULL;
}

static inline compat_desc compat_desc_lend(const dnnl_memory_desc_t *desc) {
    return *desc;
}

static inline dnnl_status_t compat_post_sum(dnnl_post_ops_t ops) {
    return dnnl_post_ops_append_sum(ops, 1.0f, 0, dnnl_data_type_undef);
}

static inline dnnl_status_t compat_post_activation(dnnl_post_ops_t ops, dnnl_alg_kind_t kind, float alpha,
                                                   float beta) {
    return dnnl_post_ops_append_eltwise(ops, kind, alpha, beta);
}

/* Moves a fresh descriptor on to an accepted implementation, or destroys it. */
static inline dnnl_status_t compat_choose(dnnl_status_t status, compat_accepts accepts,
                                          dnnl_primitive_desc_t *desc) {
    if (status != dnnl_success)
        return status;
    while (!accepts(compat_implementation(*desc))) {
        if (dnnl_primitive_desc_next_impl(*desc) != dnnl_success) {
            dnnl_primitive_desc_destroy(*desc);
            *desc = NULL;
            return dnnl_unimplemented;
        }
    }
    return dnnl_success;
}

static inline dnnl_status_t compat_conv_forward(dnnl_engine_t engine, const compat_window *w,
                                                const_dnnl_primitive_attr_t attr, compat_accepts accepts,
                                                dnnl_primitive_desc_t *out) {
    return compat_choose(dnnl_convolution_forward_primitive_desc_create(
                             out, engine, dnnl_forward_training, dnnl_convolution_direct, w->src, w->weights,
                             w->bias, w->dst, w->stride, w->dilation, w->pad_lo, w->pad_hi, attr),
                         accepts, out);
}

static inline dnnl_status_t compat_conv_backward(dnnl_engine_t engine, const compat_window *w,
                                                 const_dnnl_primitive_attr_t attr, compat_accepts accepts,
                                                 const_dnnl_primitive_desc_t hint,
                                                 dnnl_primitive_desc_t *out) {
    return compat_choose(dnnl_convolution_backward_data_primitive_desc_create(
                             out, engine, dnnl_convolution_direct, w->src, w->weights, w->dst, w->stride,
                             w->dilation, w->pad_lo, w->pad_hi, hint, attr),
                         accepts, out);
}

static inline dnnl_status_t compat_pool_forward(dnnl_engine_t engine, const compat_window *w,
                                                dnnl_prop_kind_t prop, dnnl_alg_kind_t algorithm,
                                                const_dnnl_primitive_attr_t attr, compat_accepts accepts,
                                                dnnl_primitive_desc_t *out) {
    return compat_choose(dnnl_pooling_forward_primitive_desc_create(out, engine, prop, algorithm, w->src,
                                                                    w->dst, w->stride, w->kernel, w->dilation,
                                                                    w->pad_lo, w->pad_hi, attr),
                         accepts, out);
}

static inline dnnl_status_t compat_pool_backward(dnnl_engine_t engine, const compat_window *w,
                                                 dnnl_alg_kind_t algorithm, const_dnnl_primitive_attr_t attr,
                                                 compat_accepts accepts, const_dnnl_primitive_desc_t hint,
                                                 dnnl_primitive_desc_t *out) {
    return compat_choose(dnnl_pooling_backward_primitive_desc_create(out, engine, algorithm, w->src, w->dst,
                                                                     w->stride, w->kernel, w->dilation,
                                                                     w->pad_lo, w->pad_hi, hint, attr),
                         accepts, out);
}

#else /* 2.x */

static inline dnnl_status_t compat_desc_new(int n_dims, const dnnl_dims_t dims, dnnl_data_type_t type,
                                            dnnl_format_tag_t tag, dnnl_memory_desc_t *desc_out) {
    return dnnl_memory_desc_init_by_tag(desc_out, n_dims, dims, type, tag);
}

static inline void compat_desc_drop(dnnl_memory_desc_t *desc) {
    memset(desc, 0, sizeof *desc);
}

static inline compat_desc compat_desc_lend(const dnnl_memory_desc_t *desc) {
    return desc;
}

static inline dnnl_status_t compat_post_sum(dnnl_post_ops_t ops) {
    return dnnl_post_ops_append_sum(ops, 1.0f);
}

static inline dnnl_status_t compat_post_activation(dnnl_post_ops_t ops, dnnl_alg_kind_t kind, float alpha,
                                                   float beta) {
    return dnnl_post_ops_append_eltwise(ops, 1.0f, kind, alpha, beta);
}

/* The first accepted implementation of an operation. */
static inline dnnl_status_t compat_choose(const_dnnl_op_desc_t operation, const_dnnl_primitive_attr_t attr,
                                          dnnl_engine_t engine, const_dnnl_primitive_desc_t hint,
                                          compat_accepts accepts, dnnl_primitive_desc_t *out) {
    dnnl_primitive_desc_iterator_t iterator = NULL;
    dnnl_status_t status = dnnl_primitive_desc_iterator_create(&iterator, operation, attr, engine, hint);
    if (status != dnnl_success)
        return status;
    *out = NULL;
    for (status = dnnl_unimplemented; *out == NULL;) {
        *out = dnnl_primitive_desc_iterator_fetch(iterator);
        if (*out == NULL)
            break;
        if (accepts(compat_implementation(*out))) {
            status = dnnl_success;
            break;
        }
        dnnl_primitive_desc_destroy(*out);
        *out = NULL;
        if (dnnl_primitive_desc_iterator_next(iterator) != dnnl_success)
            break;
    }
    dnnl_primitive_desc_iterator_destroy(iterator);
    return status;
}

static inline dnnl_status_t compat_conv_forward(dnnl_engine_t engine, const compat_window *w,
                                                const_dnnl_primitive_attr_t attr, compat_accepts accepts,
                                                dnnl_primitive_desc_t *out) {
    dnnl_convolution_desc_t operation;
    const dnnl_status_t status = dnnl_dilated_convolution_forward_desc_init(
        &operation, dnnl_forward_training, dnnl_convolution_direct, w->src, w->weights, w->bias, w->dst,
        w->stride, w->dilation, w->pad_lo, w->pad_hi);
    return status != dnnl_success ? status : compat_choose(&operation, attr, engine, NULL, accepts, out);
}

static inline dnnl_status_t compat_conv_backward(dnnl_engine_t engine, const compat_window *w,
                                                 const_dnnl_primitive_attr_t attr, compat_accepts accepts,
                                                 const_dnnl_primitive_desc_t hint,
                                                 dnnl_primitive_desc_t *out) {
    dnnl_convolution_desc_t operation;
    const dnnl_status_t status = dnnl_dilated_convolution_backward_data_desc_init(
        &operation, dnnl_convolution_direct, w->src, w->weights, w->dst, w->stride, w->dilation, w->pad_lo,
        w->pad_hi);
    return status != dnnl_success ? status : compat_choose(&operation, attr, engine, hint, accepts, out);
}

static inline dnnl_status_t compat_pool_forward(dnnl_engine_t engine, const compat_window *w,
                                                dnnl_prop_kind_t prop, dnnl_alg_kind_t algorithm,
                                                const_dnnl_primitive_attr_t attr, compat_accepts accepts,
                                                dnnl_primitive_desc_t *out) {
    dnnl_pooling_v2_desc_t operation;
    const dnnl_status_t status = dnnl_pooling_v2_forward_desc_init(
        &operation, prop, algorithm, w->src, w->dst, w->stride, w->kernel, w->dilation, w->pad_lo, w->pad_hi);
    return status != dnnl_success ? status : compat_choose(&operation, attr, engine, NULL, accepts, out);
}

static inline dnnl_status_t compat_pool_backward(dnnl_engine_t engine, const compat_window *w,
                                                 dnnl_alg_kind_t algorithm, const_dnnl_primitive_attr_t attr,
                                                 compat_accepts accepts, const_dnnl_primitive_desc_t hint,
                                                 dnnl_primitive_desc_t *out) {
    dnnl_pooling_v2_desc_t operation;
    const dnnl_status_t status = dnnl_pooling_v2_backward_desc_init(
        &operation, algorithm, w->src, w->dst, w->stride, w->kernel, w->dilation, w->pad_lo, w->pad_hi);
    return status != dnnl_success ? status : compat_choose(&operation, attr, engine, hint, accepts, out);
}

#endif

#endif
