/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/onednn/onednn.h"

#include "base/memory.h"
#include "engine/onednn/compat.h"
#include "engine/onednn/step.h"
#include "engine/onednn/window.h"

struct zq_dnn_pool {
    zq_dnn_step forward;  /* src, dst(, workspace) */
    zq_dnn_step backward; /* d_dst, d_src(, workspace) */
    size_t workspace_bytes;
};

/* The descriptors of one pooling while it is being set up. */
typedef struct zq_pool_setup {
    dnnl_engine_t engine;
    dnnl_memory_desc_t src, dst;
    compat_window window;
    dnnl_alg_kind_t algorithm;
    dnnl_primitive_attr_t attributes;
    char text[128];
} setup;

static dnnl_alg_kind_t algorithm_of(zq_pool_kind kind) {
    switch (kind) {
    case ZQ_POOL_MAX:
        return dnnl_pooling_max;
    case ZQ_POOL_AVERAGE:
        return dnnl_pooling_avg_exclude_padding;
    case ZQ_POOL_AVERAGE_PADDED:
        return dnnl_pooling_avg_include_padding;
    }
    return dnnl_alg_kind_undef;
}

/* oneDNN divides by the whole window, ONNX only by what lies inside the declared padding: they differ where
 * the output was rounded up beyond it. */
static zq_status check_padded(const zq_window *w, zq_error *err) {
    for (int i = 0; i < w->n_spatial; i++)
        if (zq_dnn_window_pad_end(w, i) > w->pad_hi[i])
            return zq_fail(err, ZQ_ERR_UNSUPPORTED,
                           "oneDNN doesn't take an average pooling that counts zeros and rounds up");
    return ZQ_OK;
}

static zq_status new_steps(const setup *s, bool workspace, bool backward, zq_dnn_pool *pool, zq_error *err) {
    /* only training writes the workspace, and inference is faster without */
    const dnnl_prop_kind_t prop = backward ? dnnl_forward_training : dnnl_forward_inference;
    dnnl_primitive_desc_t forward = NULL, desc = NULL;
    dnnl_status_t status = compat_pool_forward(s->engine, &s->window, prop, s->algorithm, s->attributes,
                                               zq_dnn_accepts, &forward);
    if (status != dnnl_success)
        return zq_dnn_fail(status, s->text, err);
    if (backward)
        status = compat_pool_backward(s->engine, &s->window, s->algorithm, s->attributes, zq_dnn_accepts,
                                      forward, &desc);
    if (status != dnnl_success) {
        dnnl_primitive_desc_destroy(forward);
        return zq_dnn_fail(status, s->text, err);
    }
    const int n_args = workspace && backward ? 3 : 2;
    zq_status done = zq_dnn_step_new(
        forward, n_args, (const int[]){DNNL_ARG_SRC, DNNL_ARG_DST, DNNL_ARG_WORKSPACE}, &pool->forward, err);
    if (desc == NULL)
        return done;
    if (done != ZQ_OK) {
        dnnl_primitive_desc_destroy(desc);
        return done;
    }
    pool->workspace_bytes = n_args == 3 ? pool->forward.bytes[2] : 0;
    return zq_dnn_step_new(desc, n_args,
                           (const int[]){DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_SRC, DNNL_ARG_WORKSPACE},
                           &pool->backward, err);
}

static zq_status describe(const zq_window *window, zq_pool_kind kind, bool half, setup *s, zq_error *err) {
    ZQ_TRY(zq_dnn_window_check_pool(window, err));
    if (kind == ZQ_POOL_AVERAGE_PADDED)
        ZQ_TRY(check_padded(window, err));
    zq_dnn_window_text(window, "a pooling", s->text, sizeof s->text);
    s->algorithm = algorithm_of(kind);
    ZQ_TRY(zq_dnn_engine(&s->engine, err));
    ZQ_TRY(zq_dnn_attributes_new(&s->attributes, err));
    return zq_dnn_window_describe(window, half ? dnnl_bf16 : dnnl_f32, &s->src, &s->dst, &s->window, err);
}

zq_status zq_dnn_pool_new(const zq_window *window, zq_pool_kind kind, bool backward, bool half,
                          zq_dnn_pool **out, zq_error *err) {
    setup s = {0};
    zq_dnn_pool *pool = zq_alloc(1, sizeof *pool);
    if (pool == NULL)
        return zq_fail_memory(err);
    zq_status status = describe(window, kind, half, &s, err);
    if (status == ZQ_OK)
        status = new_steps(&s, kind == ZQ_POOL_MAX, backward, pool, err);
    compat_desc_drop(&s.src);
    compat_desc_drop(&s.dst);
    if (s.attributes != NULL)
        dnnl_primitive_attr_destroy(s.attributes);
    if (status != ZQ_OK) {
        zq_dnn_pool_drop(pool);
        return status;
    }
    *out = pool;
    return ZQ_OK;
}

void zq_dnn_pool_drop(zq_dnn_pool *pool) {
    if (pool == NULL)
        return;
    zq_dnn_step_drop(&pool->forward);
    zq_dnn_step_drop(&pool->backward);
    zq_free(pool);
}

size_t zq_dnn_pool_workspace_bytes(const zq_dnn_pool *pool) {
    return pool->workspace_bytes;
}

void zq_dnn_pool_forward(zq_dnn_pool *pool, const void *src, void *dst, void *workspace) {
    zq_dnn_step_run(&pool->forward, (const void *const[]){src, dst, workspace});
}

void zq_dnn_pool_backward(zq_dnn_pool *pool, const void *d_dst, const void *workspace, void *d_src) {
    zq_dnn_step_run(&pool->backward, (const void *const[]){d_dst, d_src, workspace});
}

const char *zq_dnn_pool_kernel(const zq_dnn_pool *pool) {
    return pool->forward.kernel;
}
