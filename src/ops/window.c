/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/window.h"

#include "ops/check.h"

#include <string.h>

/* Every size, stride and pad is at most this, so that the sums and products below fit into 64 bits. */
#define SIZE_LIMIT INT64_C(0x7fffffff)

/* ---- attributes */

static zq_status read_sizes(const zq_node *node, const char *attr, int max, int64_t smallest, int64_t *values,
                            int *n, zq_error *err) {
    char name[ZQ_NODE_TEXT];
    ZQ_TRY(zq_node_ints(node, attr, max, values, n, err));
    for (int k = 0; k < *n; k++)
        if (values[k] < smallest || values[k] > SIZE_LIMIT)
            return zq_fail(err, ZQ_ERR_FORMAT, "%s: attribute %s holds %lld; expected %lld to %lld",
                           zq_node_text(node, name), attr, (long long)values[k], (long long)smallest,
                           (long long)SIZE_LIMIT);
    return ZQ_OK;
}

static zq_status read_flag(const zq_node *node, const char *attr, bool *out, zq_error *err) {
    char name[ZQ_NODE_TEXT];
    int64_t value;
    ZQ_TRY(zq_node_int(node, attr, 0, &value, err));
    if (value != 0 && value != 1)
        return zq_fail(err, ZQ_ERR_FORMAT, "%s: attribute %s is %lld; expected 0 or 1",
                       zq_node_text(node, name), attr, (long long)value);
    *out = value == 1;
    return ZQ_OK;
}

static zq_status read_auto_pad(const zq_node *node, zq_auto_pad *out, zq_error *err) {
    static const char *const names[] = {"NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"};
    char name[ZQ_NODE_TEXT];
    const char *text;
    ZQ_TRY(zq_node_string(node, "auto_pad", "NOTSET", &text, err));
    for (int k = 0; k < 4; k++)
        if (strcmp(text, names[k]) == 0) {
            *out = (zq_auto_pad)k;
            return ZQ_OK;
        }
    return zq_fail(err, ZQ_ERR_FORMAT,
                   "%s: attribute auto_pad is \"%.32s\"; expected NOTSET, VALID, SAME_UPPER or SAME_LOWER",
                   zq_node_text(node, name), text);
}

/* The kernel of a pooling node must be given; a convolution has it from the weight too. */
static zq_status check_pooling(const zq_node *node, const zq_window_params *window, zq_error *err) {
    char name[ZQ_NODE_TEXT];
    if (window->n_kernel == 0)
        return zq_fail(err, ZQ_ERR_FORMAT, "%s: attribute kernel_shape is missing", zq_node_text(node, name));
    int64_t order;
    ZQ_TRY(zq_node_int(node, "storage_order", 0, &order, err));
    if (order != 0)
        return zq_fail(err, ZQ_ERR_UNSUPPORTED,
                       "%s: attribute storage_order is %lld; 0 (row-major) is supported",
                       zq_node_text(node, name), (long long)order);
    return zq_check_single_output(node, "the indices", err);
}

zq_status zq_window_parse(const zq_node *node, void *params, zq_error *err) {
    zq_window_params *window = params;
    char name[ZQ_NODE_TEXT];
    const int max = ZQ_WINDOW_SPATIAL;
    ZQ_TRY(read_sizes(node, "kernel_shape", max, 1, window->kernel, &window->n_kernel, err));
    ZQ_TRY(read_sizes(node, "strides", max, 1, window->strides, &window->n_strides, err));
    ZQ_TRY(read_sizes(node, "dilations", max, 1, window->dilations, &window->n_dilations, err));
    ZQ_TRY(read_sizes(node, "pads", 2 * max, 0, window->pads, &window->n_pads, err));
    ZQ_TRY(read_auto_pad(node, &window->auto_pad, err));
    ZQ_TRY(read_flag(node, "ceil_mode", &window->ceil_mode, err));
    ZQ_TRY(read_flag(node, "count_include_pad", &window->count_padding, err));
    ZQ_TRY(zq_node_int(node, "group", 1, &window->groups, err));
    if (window->groups < 1 || window->groups > SIZE_LIMIT)
        return zq_fail(err, ZQ_ERR_FORMAT, "%s: attribute group is %lld; expected 1 or more",
                       zq_node_text(node, name), (long long)window->groups);
    return node->op->traits & ZQ_OP_WEIGHTED ? ZQ_OK : check_pooling(node, window, err);
}

/* ---- geometry */

static zq_status check_entries(const zq_node *node, const char *attr, int found, int expected,
                               zq_error *err) {
    char name[ZQ_NODE_TEXT];
    if (found != 0 && found != expected)
        return zq_fail(err, ZQ_ERR_FORMAT, "%s: attribute %s has %d entries; expected %d for its input",
                       zq_node_text(node, name), attr, found, expected);
    return ZQ_OK;
}

static zq_status check_source(const zq_node *node, const zq_shape *src, zq_error *err) {
    char name[ZQ_NODE_TEXT], text[ZQ_SHAPE_TEXT];
    if (src->rank < 3 || src->rank > 2 + ZQ_WINDOW_SPATIAL)
        return zq_fail(err, ZQ_ERR_UNSUPPORTED,
                       "%s: input 0 has shape %s; expected [N, C, ...] with 1 to 3 spatial dimensions",
                       zq_node_text(node, name), zq_shape_text(src, text));
    for (int k = 0; k < src->rank; k++)
        if (src->dims[k] < 1 || src->dims[k] > SIZE_LIMIT)
            return zq_fail(err, ZQ_ERR_FORMAT, "%s: dimension %d of input 0, of shape %s, isn't in 1 to %lld",
                           zq_node_text(node, name), k, zq_shape_text(src, text), (long long)SIZE_LIMIT);
    return ZQ_OK;
}

/* Channels and kernel from the weight of a convolution. */
static zq_status take_weight(const zq_node *node, const zq_shape *src, const zq_shape *weight,
                             zq_geometry *out, zq_error *err) {
    const zq_window_params *window = node->params;
    char name[ZQ_NODE_TEXT], src_text[ZQ_SHAPE_TEXT], weight_text[ZQ_SHAPE_TEXT];
    bool fits = weight->rank == src->rank;
    for (int k = 0; fits && k < weight->rank; k++)
        fits = weight->dims[k] >= 1 && weight->dims[k] <= SIZE_LIMIT;
    fits = fits && src->dims[1] % window->groups == 0 && weight->dims[1] == src->dims[1] / window->groups &&
           weight->dims[0] % window->groups == 0;
    if (!fits)
        return zq_fail(err, ZQ_ERR_FORMAT,
                       "%s: weight of shape %s doesn't fit input 0 of shape %s with group %lld; expected "
                       "[C_out, %lld, ...] with %d dimensions and C_out a multiple of group",
                       zq_node_text(node, name), zq_shape_text(weight, weight_text),
                       zq_shape_text(src, src_text), (long long)window->groups,
                       (long long)(src->dims[1] / window->groups), src->rank);
    out->c_out = weight->dims[0];
    for (int k = 0; k < out->n_spatial; k++) {
        out->kernel[k] = weight->dims[2 + k];
        if (window->n_kernel > 0 && window->kernel[k] != out->kernel[k])
            return zq_fail(
                err, ZQ_ERR_FORMAT, "%s: attribute kernel_shape says %lld where the weight has shape %s",
                zq_node_text(node, name), (long long)window->kernel[k], zq_shape_text(weight, weight_text));
    }
    return ZQ_OK;
}

static int64_t extent(const zq_geometry *geometry, int axis) {
    return (geometry->kernel[axis] - 1) * geometry->dilation[axis] + 1;
}

/* SAME: ceil(in / stride) outputs, and as much padding as they need; an odd cell goes to the end (UPPER) or
 * to the beginning (LOWER). ONNX Runtime doesn't follow the definition for dilated windows, nor where windows
 * leave gaps of two cells or more between them: a result that the quantized model won't have is of no use. */
static zq_status resolve_same(const zq_node *node, bool upper, int axis, zq_geometry *out, zq_error *err) {
    char name[ZQ_NODE_TEXT];
    const int64_t n_out = (out->in[axis] - 1) / out->stride[axis] + 1;
    const int64_t total = (n_out - 1) * out->stride[axis] + extent(out, axis) - out->in[axis];
    if (total < -1 || extent(out, axis) > out->kernel[axis])
        return zq_fail(
            err, ZQ_ERR_UNSUPPORTED,
            "%s: auto_pad SAME_UPPER or SAME_LOWER with kernel %lld, stride %lld and dilation %lld in "
            "dimension %d; expected explicit pads for such a window",
            zq_node_text(node, name), (long long)out->kernel[axis], (long long)out->stride[axis],
            (long long)out->dilation[axis], 2 + axis);
    const int64_t needed = total > 0 ? total : 0;
    out->out[axis] = n_out;
    out->pad_lo[axis] = upper ? needed / 2 : needed - needed / 2;
    out->pad_hi[axis] = needed - out->pad_lo[axis];
    return ZQ_OK;
}

static zq_status resolve_axis(const zq_node *node, int axis, zq_geometry *out, zq_error *err) {
    const zq_window_params *window = node->params;
    char name[ZQ_NODE_TEXT];
    if (window->auto_pad == ZQ_PAD_SAME_UPPER || window->auto_pad == ZQ_PAD_SAME_LOWER)
        return resolve_same(node, window->auto_pad == ZQ_PAD_SAME_UPPER, axis, out, err);
    if (window->auto_pad == ZQ_PAD_EXPLICIT && window->n_pads > 0) {
        out->pad_lo[axis] = window->pads[axis];
        out->pad_hi[axis] = window->pads[out->n_spatial + axis];
    }
    const int64_t padded = out->in[axis] + out->pad_lo[axis] + out->pad_hi[axis];
    const int64_t round_up = window->ceil_mode ? out->stride[axis] - 1 : 0;
    const int64_t room = padded - extent(out, axis) + round_up;
    if (room < 0)
        return zq_fail(
            err, ZQ_ERR_FORMAT,
            "%s: a window of %lld cells is larger than dimension %d of input 0, %lld with its padding",
            zq_node_text(node, name), (long long)extent(out, axis), 2 + axis, (long long)padded);
    out->out[axis] = room / out->stride[axis] + 1;
    /* A window that starts in the padding at the end isn't counted (ONNX opset 19, PyTorch). */
    if (window->ceil_mode && (out->out[axis] - 1) * out->stride[axis] >= out->in[axis] + out->pad_lo[axis])
        out->out[axis]--;
    return ZQ_OK;
}

/* A pooling window in the padding alone would have nothing to pool. */
static zq_status check_padding(const zq_node *node, int axis, const zq_geometry *geometry, zq_error *err) {
    char name[ZQ_NODE_TEXT];
    const int64_t kernel = extent(geometry, axis);
    if (geometry->pad_lo[axis] >= kernel || geometry->pad_hi[axis] >= kernel)
        return zq_fail(
            err, ZQ_ERR_FORMAT,
            "%s: padding of %lld and %lld cells in dimension %d; expected less than the window's %lld",
            zq_node_text(node, name), (long long)geometry->pad_lo[axis], (long long)geometry->pad_hi[axis],
            2 + axis, (long long)kernel);
    return ZQ_OK;
}

zq_status zq_window_resolve(const zq_node *node, const zq_shape *src, const zq_shape *weight,
                            zq_geometry *out, zq_error *err) {
    const zq_window_params *window = node->params;
    ZQ_TRY(check_source(node, src, err));
    const int n_spatial = src->rank - 2;
    ZQ_TRY(check_entries(node, "kernel_shape", window->n_kernel, n_spatial, err));
    ZQ_TRY(check_entries(node, "strides", window->n_strides, n_spatial, err));
    ZQ_TRY(check_entries(node, "dilations", window->n_dilations, n_spatial, err));
    ZQ_TRY(check_entries(node, "pads", window->n_pads, 2 * n_spatial, err));
    *out = (zq_geometry){.n_spatial = n_spatial,
                         .n_images = src->dims[0],
                         .c_in = src->dims[1],
                         .c_out = src->dims[1],
                         .groups = window->groups,
                         .count_padding = window->count_padding};
    for (int k = 0; k < n_spatial; k++) {
        out->in[k] = src->dims[2 + k];
        out->kernel[k] = window->kernel[k];
        out->stride[k] = window->n_strides > 0 ? window->strides[k] : 1;
        out->dilation[k] = window->n_dilations > 0 ? window->dilations[k] : 1;
    }
    if (weight != NULL)
        ZQ_TRY(take_weight(node, src, weight, out, err));
    for (int k = 0; k < n_spatial; k++) {
        ZQ_TRY(resolve_axis(node, k, out, err));
        if (weight == NULL)
            ZQ_TRY(check_padding(node, k, out, err));
    }
    return ZQ_OK;
}

zq_shape zq_geometry_shape(const zq_geometry *geometry) {
    zq_shape shape = {.rank = 2 + geometry->n_spatial, .dims = {geometry->n_images, geometry->c_out}};
    for (int k = 0; k < geometry->n_spatial; k++)
        shape.dims[2 + k] = geometry->out[k];
    return shape;
}

int64_t zq_geometry_reach(const zq_geometry *geometry, int axis) {
    return (geometry->out[axis] - 1) * geometry->stride[axis] + extent(geometry, axis) - geometry->in[axis] -
           geometry->pad_lo[axis];
}

zq_geometry zq_geometry_3d(const zq_geometry *geometry) {
    zq_geometry wide = *geometry;
    const int shift = ZQ_WINDOW_SPATIAL - geometry->n_spatial;
    wide.n_spatial = ZQ_WINDOW_SPATIAL;
    for (int k = 0; k < ZQ_WINDOW_SPATIAL; k++) {
        const int from = k - shift;
        wide.in[k] = from < 0 ? 1 : geometry->in[from];
        wide.out[k] = from < 0 ? 1 : geometry->out[from];
        wide.kernel[k] = from < 0 ? 1 : geometry->kernel[from];
        wide.stride[k] = from < 0 ? 1 : geometry->stride[from];
        wide.dilation[k] = from < 0 ? 1 : geometry->dilation[from];
        wide.pad_lo[k] = from < 0 ? 0 : geometry->pad_lo[from];
        wide.pad_hi[k] = from < 0 ? 0 : geometry->pad_hi[from];
    }
    return wide;
}

static int64_t product(int n, const int64_t *values) {
    int64_t result = 1;
    for (int k = 0; k < n; k++)
        result *= values[k];
    return result;
}

int64_t zq_geometry_cells_in(const zq_geometry *geometry) {
    return product(geometry->n_spatial, geometry->in);
}

int64_t zq_geometry_cells_out(const zq_geometry *geometry) {
    return product(geometry->n_spatial, geometry->out);
}
