/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/onednn/onednn.h"

#include "base/memory.h"
#include "engine/onednn/compat.h"
#include "engine/onednn/step.h"
#include "engine/onednn/window.h"

#include <string.h>

struct zq_dnn_conv {
    zq_dnn_conv_options options;
    zq_dnn_step forward;       /* src, packed, dst(, bias) */
    zq_dnn_step backward;      /* d_dst, packed, d_src */
    zq_dnn_step pack;          /* plain, packed */
    zq_dnn_step pack_backward; /* plain, packed */
};

/* The descriptors of one convolution while it is being set up. */
typedef struct zq_conv_setup {
    dnnl_memory_desc_t src, dst, bias, plain, any; /* plain, any: weights as in ONNX, and as oneDNN likes */
    compat_window window;
    char text[128];
} setup;

static void setup_drop(setup *s) {
    compat_desc_drop(&s->src);
    compat_desc_drop(&s->dst);
    compat_desc_drop(&s->bias);
    compat_desc_drop(&s->plain);
    compat_desc_drop(&s->any);
}

static dnnl_data_type_t type_of(bool half) {
    return half ? dnnl_bf16 : dnnl_f32;
}

static dnnl_status_t describe_weights(const zq_window *w, bool half, setup *s) {
    static const dnnl_format_tag_t tags[] = {dnnl_abc, dnnl_abcd, dnnl_abcde, dnnl_abcdef};
    dnnl_dims_t dims = {0};
    int n = 0;
    if (w->groups > 1)
        dims[n++] = w->groups;
    dims[n++] = w->c_out / w->groups;
    dims[n++] = w->c_in / w->groups;
    for (int i = 0; i < w->n_spatial; i++)
        dims[n++] = w->kernel[i];
    const dnnl_status_t status = compat_desc_new(n, dims, dnnl_f32, tags[n - 3], &s->plain);
    return status != dnnl_success ? status
                                  : compat_desc_new(n, dims, type_of(half), dnnl_format_tag_any, &s->any);
}

static zq_status describe(const zq_window *w, const zq_dnn_conv_options *options, setup *s, zq_error *err) {
    zq_dnn_window_text(w, "a convolution", s->text, sizeof s->text);
    ZQ_TRY(zq_dnn_window_describe(w, type_of(options->half), &s->src, &s->dst, &s->window, err));
    dnnl_status_t status = describe_weights(w, options->half, s);
    if (status == dnnl_success && options->bias)
        status = compat_desc_new(1, (dnnl_dims_t){w->c_out}, dnnl_f32, dnnl_a, &s->bias);
    if (status != dnnl_success)
        return zq_dnn_fail(status, s->text, err);
    s->window.weights = compat_desc_lend(&s->any);
    s->window.bias = options->bias ? compat_desc_lend(&s->bias) : NULL;
    return ZQ_OK;
}

/* A step that reorders plain weights into the layout that desc's primitive wants. */
static zq_status new_pack(const setup *s, const_dnnl_primitive_desc_t desc, zq_dnn_step *pack,
                          zq_error *err) {
    dnnl_engine_t engine;
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_primitive_desc_t reorder;
    ZQ_TRY(zq_dnn_engine(&engine, err));
    ZQ_TRY(zq_dnn_attributes_new(&attributes, err));
    const dnnl_status_t status = dnnl_reorder_primitive_desc_create(
        &reorder, compat_desc_lend(&s->plain), engine,
        dnnl_primitive_desc_query_md(desc, dnnl_query_exec_arg_md, DNNL_ARG_WEIGHTS), engine, attributes);
    dnnl_primitive_attr_destroy(attributes);
    if (status != dnnl_success)
        return zq_dnn_fail(status, s->text, err);
    return zq_dnn_step_new(reorder, 2, (const int[]){DNNL_ARG_FROM, DNNL_ARG_TO}, pack, err);
}

static dnnl_status_t append_post_ops(const zq_dnn_conv_options *options, dnnl_primitive_attr_t attributes) {
    if (!options->sum && !options->clamps)
        return dnnl_success;
    dnnl_post_ops_t ops;
    dnnl_status_t status = dnnl_post_ops_create(&ops);
    if (status != dnnl_success)
        return status;
    if (options->sum)
        status = compat_post_sum(ops);
    if (status == dnnl_success && options->clamps)
        status = options->clamp.lo == 0 && options->clamp.hi == INFINITY
                     ? compat_post_activation(ops, dnnl_eltwise_relu, 0, 0)
                     : compat_post_activation(ops, dnnl_eltwise_clip, options->clamp.lo, options->clamp.hi);
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_post_ops(attributes, ops);
    dnnl_post_ops_destroy(ops);
    return status;
}

/* In 2.6 this one reads past the end of the sum where the channels don't fill its vectors. */
static bool accepts_sum(const char *implementation) {
    return zq_dnn_accepts(implementation) && strcmp(implementation, "jit_dw:sse41") != 0;
}

/* In 3.x brg_conv_fwd computes wrongly with one input channel where the output's last axis has one place. */
static bool accepts_single(const char *implementation) {
    return accepts_sum(implementation) && strncmp(implementation, "brg", 3) != 0;
}

static compat_accepts choose_acceptance(const zq_window *w, bool sum) {
    if (w->c_in == 1 && w->out[w->n_spatial - 1] == 1)
        return accepts_single;
    return sum ? accepts_sum : zq_dnn_accepts;
}

/* desc_out: the forward primitive descriptor, owned by the caller, as the hint for backward. */
static zq_status new_forward(const setup *s, const zq_window *w, zq_dnn_conv *conv,
                             dnnl_primitive_desc_t *desc_out, zq_error *err) {
    dnnl_engine_t engine;
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_primitive_desc_t desc = NULL;
    ZQ_TRY(zq_dnn_engine(&engine, err));
    ZQ_TRY(zq_dnn_attributes_new(&attributes, err));
    dnnl_status_t status = append_post_ops(&conv->options, attributes);
    if (status == dnnl_success)
        status = compat_conv_forward(engine, &s->window, attributes, choose_acceptance(w, conv->options.sum),
                                     &desc);
    if (status == dnnl_success)
        status = dnnl_primitive_desc_clone(desc_out, desc);
    dnnl_primitive_attr_destroy(attributes);
    if (status != dnnl_success) {
        if (desc != NULL)
            dnnl_primitive_desc_destroy(desc);
        return zq_dnn_fail(status, s->text, err);
    }
    return zq_dnn_step_new(desc, conv->options.bias ? 4 : 3,
                           (const int[]){DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_BIAS},
                           &conv->forward, err);
}

static zq_status new_backward(const setup *s, const_dnnl_primitive_desc_t hint, zq_dnn_conv *conv,
                              zq_error *err) {
    dnnl_engine_t engine;
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_primitive_desc_t desc = NULL;
    ZQ_TRY(zq_dnn_engine(&engine, err));
    ZQ_TRY(zq_dnn_attributes_new(&attributes, err));
    const dnnl_status_t status =
        compat_conv_backward(engine, &s->window, attributes, zq_dnn_accepts, hint, &desc);
    dnnl_primitive_attr_destroy(attributes);
    if (status != dnnl_success)
        return zq_dnn_fail(status, s->text, err);
    const zq_status packed = new_pack(s, desc, &conv->pack_backward, err);
    if (packed != ZQ_OK) {
        dnnl_primitive_desc_destroy(desc);
        return packed;
    }
    return zq_dnn_step_new(desc, 3, (const int[]){DNNL_ARG_DIFF_DST, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_SRC},
                           &conv->backward, err);
}

zq_status zq_dnn_conv_new(const zq_window *window, const zq_dnn_conv_options *options, zq_dnn_conv **out,
                          zq_error *err) {
    setup s = {0};
    dnnl_primitive_desc_t hint = NULL;
    zq_dnn_conv *conv = zq_alloc(1, sizeof *conv);
    if (conv == NULL)
        return zq_fail_memory(err);
    conv->options = *options;
    zq_status status = zq_dnn_window_check_conv(window, err);
    if (status == ZQ_OK)
        status = describe(window, options, &s, err);
    if (status == ZQ_OK)
        status = new_forward(&s, window, conv, &hint, err);
    if (status == ZQ_OK)
        status = new_pack(&s, hint, &conv->pack, err);
    if (status == ZQ_OK && options->backward)
        status = new_backward(&s, hint, conv, err);
    if (hint != NULL)
        dnnl_primitive_desc_destroy(hint);
    setup_drop(&s);
    if (status != ZQ_OK) {
        zq_dnn_conv_drop(conv);
        return status;
    }
    *out = conv;
    return ZQ_OK;
}

void zq_dnn_conv_drop(zq_dnn_conv *conv) {
    if (conv == NULL)
        return;
    zq_dnn_step_drop(&conv->forward);
    zq_dnn_step_drop(&conv->backward);
    zq_dnn_step_drop(&conv->pack);
    zq_dnn_step_drop(&conv->pack_backward);
    zq_free(conv);
}

size_t zq_dnn_conv_packed_bytes(const zq_dnn_conv *conv) {
    return conv->pack.bytes[1];
}

size_t zq_dnn_conv_packed_backward_bytes(const zq_dnn_conv *conv) {
    return conv->pack_backward.bytes[1];
}

void zq_dnn_conv_pack(zq_dnn_conv *conv, const float *weights, void *packed) {
    zq_dnn_step_run(&conv->pack, (const void *const[]){weights, packed});
}

void zq_dnn_conv_pack_backward(zq_dnn_conv *conv, const float *weights, void *packed) {
    zq_dnn_step_run(&conv->pack_backward, (const void *const[]){weights, packed});
}

void zq_dnn_conv_forward(zq_dnn_conv *conv, const void *src, const void *packed, const float *bias,
                         void *dst) {
    zq_dnn_step_run(&conv->forward, (const void *const[]){src, packed, dst, bias});
}

void zq_dnn_conv_backward(zq_dnn_conv *conv, const void *d_dst, const void *packed_backward, void *d_src) {
    zq_dnn_step_run(&conv->backward, (const void *const[]){d_dst, packed_backward, d_src});
}

const char *zq_dnn_conv_kernel(const zq_dnn_conv *conv, bool backward) {
    return backward ? conv->backward.kernel : conv->forward.kernel;
}
