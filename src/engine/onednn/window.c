/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/onednn/window.h"

#include "base/memory.h"
#include "engine/onednn/step.h"

#include <limits.h>
#include <stdio.h>

/* oneDNN keeps sizes in int in many places. */
static bool is_size(int64_t n) {
    return n >= 1 && n <= INT_MAX / 4;
}

/* Whether [n_images, spatial..., channels] floats can be addressed. */
static bool fits(const zq_window *w, const int64_t *spatial, int64_t channels) {
    int64_t count = sizeof(float);
    bool ok =
        is_size(channels) && zq_mul_i64(count, w->n_images, &count) && zq_mul_i64(count, channels, &count);
    for (int i = 0; i < w->n_spatial; i++)
        ok = ok && is_size(spatial[i]) && zq_mul_i64(count, spatial[i], &count);
    return ok;
}

static bool is_axis(const zq_window *w, int i) {
    if (!is_size(w->kernel[i]) || !is_size(w->stride[i]) || !is_size(w->dilation[i]))
        return false;
    if (w->pad_lo[i] < 0 || w->pad_lo[i] > INT_MAX / 4 || w->pad_hi[i] < 0 || w->pad_hi[i] > INT_MAX / 4)
        return false;
    const int64_t extent = (w->kernel[i] - 1) * w->dilation[i] + 1;
    const int64_t reach = (w->out[i] - 1) * w->stride[i] + extent;
    return extent <= INT_MAX / 4 && reach <= INT_MAX / 2;
}

/* Whether each output position along an axis reads at least one input position. */
static bool meets_input(const zq_window *w, int i) {
    if ((w->out[i] - 1) * w->stride[i] - w->pad_lo[i] >= w->in[i])
        return false;
    for (int64_t begin = -w->pad_lo[i], out = 0; begin < 0 && out < w->out[i]; begin += w->stride[i], out++) {
        const int64_t tap = (-begin + w->dilation[i] - 1) / w->dilation[i]; /* the first at 0 or later */
        if (tap >= w->kernel[i] || begin + tap * w->dilation[i] >= w->in[i])
            return false;
    }
    return true;
}

static zq_status check(const zq_window *w, const char *what, zq_error *err) {
    if (w->n_spatial < 1 || w->n_spatial > ZQ_MAX_SPATIAL)
        return zq_fail(err, ZQ_ERR_UNSUPPORTED, "%s over %d spatial axes (1 to 3 are supported)", what,
                       w->n_spatial);
    bool ok = is_size(w->n_images) && fits(w, w->in, w->c_in) && fits(w, w->out, w->c_out);
    for (int i = 0; ok && i < w->n_spatial; i++)
        ok = is_axis(w, i);
    if (!ok)
        return zq_fail(err, ZQ_ERR_UNSUPPORTED, "%s with a size that is not positive or too large", what);
    /* brgconv (2.6) writes out of bounds where a window holds padding alone, and pools have no result there
     */
    for (int i = 0; i < w->n_spatial; i++)
        if (!meets_input(w, i))
            return zq_fail(err, ZQ_ERR_UNSUPPORTED, "%s with a window that holds padding alone", what);
    return ZQ_OK;
}

zq_status zq_dnn_window_check_conv(const zq_window *w, zq_error *err) {
    ZQ_TRY(check(w, "a convolution", err));
    if (w->groups < 1 || w->c_in % w->groups != 0 || w->c_out % w->groups != 0)
        return zq_fail(err, ZQ_ERR_UNSUPPORTED,
                       "a convolution of %lld to %lld channels can't have %lld groups", (long long)w->c_in,
                       (long long)w->c_out, (long long)w->groups);
    return ZQ_OK;
}

zq_status zq_dnn_window_check_pool(const zq_window *w, zq_error *err) {
    ZQ_TRY(check(w, "a pooling", err));
    if (w->c_in != w->c_out)
        return zq_fail(err, ZQ_ERR_UNSUPPORTED, "a pooling of %lld to %lld channels", (long long)w->c_in,
                       (long long)w->c_out);
    return ZQ_OK;
}

int64_t zq_dnn_window_pad_end(const zq_window *w, int i) {
    return (w->out[i] - 1) * w->stride[i] + (w->kernel[i] - 1) * w->dilation[i] + 1 - w->pad_lo[i] - w->in[i];
}

zq_status zq_dnn_window_describe(const zq_window *w, dnnl_data_type_t type, dnnl_memory_desc_t *src,
                                 dnnl_memory_desc_t *dst, compat_window *w_out, zq_error *err) {
    static const dnnl_format_tag_t channels_last[] = {dnnl_nwc, dnnl_nhwc, dnnl_ndhwc};
    const dnnl_format_tag_t tag = channels_last[w->n_spatial - 1];
    dnnl_dims_t src_dims = {w->n_images, w->c_in}, dst_dims = {w->n_images, w->c_out};
    for (int i = 0; i < w->n_spatial; i++) {
        src_dims[2 + i] = w->in[i];
        dst_dims[2 + i] = w->out[i];
        w_out->kernel[i] = w->kernel[i];
        w_out->stride[i] = w->stride[i];
        w_out->dilation[i] = w->dilation[i] - 1;
        w_out->pad_lo[i] = w->pad_lo[i];
        w_out->pad_hi[i] = zq_dnn_window_pad_end(w, i);
    }
    dnnl_status_t status = compat_desc_new(2 + w->n_spatial, src_dims, type, tag, src);
    if (status == dnnl_success)
        status = compat_desc_new(2 + w->n_spatial, dst_dims, type, tag, dst);
    if (status != dnnl_success)
        return zq_dnn_fail(status, "a channels-last tensor", err);
    w_out->src = compat_desc_lend(src);
    w_out->dst = compat_desc_lend(dst);
    return ZQ_OK;
}

static void sizes_text(int n, const int64_t *sizes, char *text, size_t n_text) {
    size_t at = 0;
    text[0] = '\0';
    for (int i = 0; i < n && at < n_text; i++)
        at += (size_t)snprintf(text + at, n_text - at, "%s%lld", i > 0 ? "x" : "", (long long)sizes[i]);
}

void zq_dnn_window_text(const zq_window *w, const char *what, char *text, size_t n_text) {
    char kernel[40], in[40];
    sizes_text(w->n_spatial, w->kernel, kernel, sizeof kernel);
    sizes_text(w->n_spatial, w->in, in, sizeof in);
    snprintf(text, n_text, "%s %s of %lld to %lld channels (groups %lld) on %s", what, kernel,
             (long long)w->c_in, (long long)w->c_out, (long long)w->groups, in);
}
