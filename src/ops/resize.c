/* SPDX-License-Identifier: Apache-2.0 */
/* Resize: nearest and linear interpolation, separable over any axes. Every output position along an axis has
 * two taps; an output element is the weighted sum over all combinations of its taps.
 *
 * Coordinates are computed in float like ONNX Runtime does, so that ties between two pixels fall the same
 * way. */
#include "ops/check.h"
#include "ops/elementwise.h"
#include "ops/infer.h"

#include <math.h>
#include <string.h>

enum input { X, ROI, SCALES, SIZES };

typedef enum mode { NEAREST, LINEAR } mode;
typedef enum coordinate {
    HALF_PIXEL,
    PYTORCH_HALF_PIXEL,
    ALIGN_CORNERS,
    ASYMMETRIC,
    HALF_PIXEL_SYMMETRIC
} coordinate;
typedef enum nearest { ROUND_PREFER_FLOOR, ROUND_PREFER_CEIL, FLOOR, CEIL } nearest;

typedef struct params {
    int mode, coordinate, nearest;
} params;

/* ---- attributes */

/* The index of an attribute's text in a NULL-terminated list, the first of which is its default. */
static zq_status read_choice(const zq_node *node, const char *attr, const char *const *choices, int *out,
                             zq_error *err) {
    char name[ZQ_NODE_TEXT], list[128] = "";
    const char *text;
    ZQ_TRY(zq_node_string(node, attr, choices[0], &text, err));
    for (int k = 0; choices[k] != NULL; k++) {
        if (strcmp(text, choices[k]) == 0) {
            *out = k;
            return ZQ_OK;
        }
        strncat(list, k > 0 ? ", " : "", sizeof list - strlen(list) - 1);
        strncat(list, choices[k], sizeof list - strlen(list) - 1);
    }
    return zq_fail(err, ZQ_ERR_UNSUPPORTED, "%s: attribute %s is \"%.32s\"; supported are %s",
                   zq_node_text(node, name), attr, text, list);
}

/* Attributes of later opsets that change the result unless they hold their default. */
static zq_status refuse_others(const zq_node *node, zq_error *err) {
    static const char *const stretch[] = {"stretch", NULL};
    char name[ZQ_NODE_TEXT];
    int only;
    int64_t antialias;
    ZQ_TRY(read_choice(node, "keep_aspect_ratio_policy", stretch, &only, err));
    ZQ_TRY(zq_node_int(node, "antialias", 0, &antialias, err));
    if (antialias != 0)
        return zq_fail(err, ZQ_ERR_UNSUPPORTED, "%s: attribute antialias is %lld; 0 is supported",
                       zq_node_text(node, name), (long long)antialias);
    if (zq_node_attr(node, "axes") != NULL)
        return zq_fail(err, ZQ_ERR_UNSUPPORTED,
                       "%s: attribute axes; sizes or scales for all axes are supported",
                       zq_node_text(node, name));
    return ZQ_OK;
}

static zq_status parse(const zq_node *node, void *params_out, zq_error *err) {
    static const char *const modes[] = {"nearest", "linear", NULL};
    static const char *const coordinates[] = {"half_pixel", "pytorch_half_pixel",   "align_corners",
                                              "asymmetric", "half_pixel_symmetric", NULL};
    static const char *const nearests[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil", NULL};
    params *p = params_out;
    ZQ_TRY(read_choice(node, "mode", modes, &p->mode, err));
    ZQ_TRY(read_choice(node, "coordinate_transformation_mode", coordinates, &p->coordinate, err));
    ZQ_TRY(read_choice(node, "nearest_mode", nearests, &p->nearest, err));
    return refuse_others(node, err);
}

/* ---- shapes */

/* An optional input that is given and not empty. */
static bool is_given(const zq_io *io, enum input input) {
    const zq_tensor *tensor = zq_infer_input(io, input);
    return tensor != NULL && zq_shape_count(&tensor->shape) != 0;
}

static zq_status shape_from_sizes(const zq_io *io, zq_shape *out, zq_error *err) {
    char name[ZQ_NODE_TEXT];
    int n;
    ZQ_TRY(zq_infer_ints(io, SIZES, "sizes", ZQ_MAX_RANK, out->dims, &n, err));
    if (n != out->rank)
        return zq_fail(err, ZQ_ERR_FORMAT,
                       "%s: sizes has %d entries; expected %d, one for each dimension of input 0",
                       zq_node_text(io->node, name), n, out->rank);
    return ZQ_OK;
}

static zq_status shape_from_scales(const zq_io *io, zq_shape *out, zq_error *err) {
    char name[ZQ_NODE_TEXT], text[ZQ_SHAPE_TEXT];
    const zq_tensor *scales = io->in[SCALES];
    if (scales->dtype != ZQ_F32 || scales->shape.rank != 1 || scales->shape.dims[0] != out->rank)
        return zq_fail(err, ZQ_ERR_FORMAT, "%s: scales is %s of shape %s; expected float of shape [%d]",
                       zq_node_text(io->node, name), zq_dtype_name(scales->dtype),
                       zq_shape_text(&scales->shape, text), out->rank);
    if (scales->data == NULL)
        return zq_fail(err, ZQ_ERR_UNSUPPORTED, "%s: scales is computed at run time; expected a constant",
                       zq_node_text(io->node, name));
    for (int d = 0; d < out->rank; d++) {
        const float scale = (float)zq_tensor_item(scales, d), size = scale * (float)out->dims[d];
        if (!(scale > 0) || !(size < 0x1p31f))
            return zq_fail(err, ZQ_ERR_FORMAT,
                           "%s: scale %g of dimension %d, which is %lld; expected a positive number, and a "
                           "result below 2^31",
                           zq_node_text(io->node, name), (double)scale, d, (long long)out->dims[d]);
        out->dims[d] = (int64_t)size;
    }
    return ZQ_OK;
}

static zq_status infer(const zq_io *io, zq_error *err) {
    char name[ZQ_NODE_TEXT];
    ZQ_TRY(zq_check_float(io, X, 1, ZQ_MAX_RANK, err));
    zq_shape shape = io->in[X]->shape;
    if (is_given(io, SIZES))
        ZQ_TRY(shape_from_sizes(io, &shape, err));
    else if (is_given(io, SCALES))
        ZQ_TRY(shape_from_scales(io, &shape, err));
    else
        return zq_fail(err, ZQ_ERR_FORMAT, "%s: has neither scales nor sizes", zq_node_text(io->node, name));
    return zq_check_result(io, &shape, err);
}

/* ---- interpolation */

typedef struct axis {
    int64_t in, out, step; /* step: elements of x from one position to the next */
    float scale;
} axis;

typedef struct sizes {
    params params;
    int rank;
    axis axes[ZQ_MAX_RANK];
} sizes;

static sizes resolve(const zq_io *io) {
    const zq_shape *src = &io->in[X]->shape, *dst = &io->out[0]->shape;
    const params *p = io->node->params;
    sizes s = {.params = *p, .rank = src->rank};
    int64_t step = 1;
    for (int d = src->rank - 1; d >= 0; d--) {
        s.axes[d] = (axis){.in = src->dims[d], .out = dst->dims[d], .step = step};
        s.axes[d].scale = is_given(io, SIZES) ? (float)dst->dims[d] / (float)src->dims[d]
                                              : (float)zq_tensor_item(io->in[SCALES], d);
        step *= src->dims[d];
    }
    return s;
}

/* Where an output position lies in the input. */
static float source_of(const axis *axis, int coordinate, int64_t out) {
    const float at = (float)out;
    switch (coordinate) {
    case PYTORCH_HALF_PIXEL:
        return axis->out > 1 ? (at + 0.5f) / axis->scale - 0.5f : 0;
    case ALIGN_CORNERS:
        return axis->out > 1 ? at * (float)(axis->in - 1) / (float)(axis->out - 1) : 0;
    case ASYMMETRIC:
        return at / axis->scale;
    case HALF_PIXEL_SYMMETRIC: { /* around the middle, whatever the output was rounded to */
        const float whole = axis->scale * (float)axis->in;
        return (float)axis->in / 2 * (1 - (float)axis->out / whole) + (at + 0.5f) / axis->scale - 0.5f;
    }
    default:
        return (at + 0.5f) / axis->scale - 0.5f;
    }
}

static float round_to_pixel(float source, int nearest) {
    switch (nearest) {
    case ROUND_PREFER_CEIL:
        return floorf(source) + (source - floorf(source) >= 0.5f);
    case FLOOR:
        return floorf(source);
    case CEIL:
        return ceilf(source);
    default:
        return floorf(source) + (source - floorf(source) > 0.5f);
    }
}

/* Two input positions along an axis and their weights, which add up to 1. */
typedef struct taps {
    int n; /* 1: the second has no weight */
    int64_t offset[2];
    double weight[2];
} taps;

static taps find_taps(const sizes *s, const axis *axis, int64_t out) {
    taps found = {.n = 1, .offset = {out * axis->step}, .weight = {1}};
    if (axis->in == axis->out && axis->scale == 1)
        return found;
    float source = source_of(axis, s->params.coordinate, out);
    if (s->params.mode == NEAREST)
        source = round_to_pixel(source, s->params.nearest);
    source = fminf(fmaxf(source, 0), (float)(axis->in - 1));
    int64_t low = (int64_t)source;
    low = low < axis->in ? low : axis->in - 1; /* float can't tell the largest sizes apart */
    found.offset[0] = low * axis->step;
    if (source > (float)low && low + 1 < axis->in) {
        found.n = 2;
        found.offset[1] = found.offset[0] + axis->step;
        found.weight[1] = (double)(source - (float)low);
        found.weight[0] = 1 - found.weight[1];
    }
    return found;
}

/* The taps of output element o, one entry an axis. */
static void find_all_taps(const sizes *s, int64_t o, taps all[ZQ_MAX_RANK]) {
    for (int d = s->rank - 1; d >= 0; d--) {
        all[d] = find_taps(s, &s->axes[d], o % s->axes[d].out);
        o /= s->axes[d].out;
    }
}

/* Combination number choice of taps: its weight, and its element of x; false behind the last. */
static bool combine(int rank, const taps *all, int64_t choice, double *weight, int64_t *offset) {
    *weight = 1;
    *offset = 0;
    for (int d = 0; d < rank; d++) {
        *weight *= all[d].weight[choice % all[d].n];
        *offset += all[d].offset[choice % all[d].n];
        choice /= all[d].n;
    }
    return choice == 0;
}

static zq_status forward(const zq_io *io, zq_error *err) {
    (void)err;
    const sizes s = resolve(io);
    const int64_t count = zq_shape_count(&io->out[0]->shape);
    const zq_real *x = io->in[X]->data;
    zq_real *y = io->out[0]->data;
#pragma omp parallel for
    for (int64_t o = 0; o < count; o++) {
        taps all[ZQ_MAX_RANK];
        double sum = 0, weight;
        int64_t offset;
        find_all_taps(&s, o, all);
        for (int64_t choice = 0; combine(s.rank, all, choice, &weight, &offset); choice++)
            sum += weight * x[offset];
        y[o] = (zq_real)sum;
    }
    return ZQ_OK;
}

static zq_status backward(const zq_io *io, zq_error *err) {
    (void)err;
    zq_elementwise_zero_gradients(io);
    if (io->d_out[0] == NULL || io->d_in[X] == NULL)
        return ZQ_OK;
    const sizes s = resolve(io);
    const int64_t count = zq_shape_count(&io->out[0]->shape);
    const zq_real *d_y = io->d_out[0]->data;
    zq_real *d_x = io->d_in[X]->data;
    for (int64_t o = 0; o < count; o++) {
        taps all[ZQ_MAX_RANK];
        double weight;
        int64_t offset;
        find_all_taps(&s, o, all);
        for (int64_t choice = 0; combine(s.rank, all, choice, &weight, &offset); choice++)
            d_x[offset] += (zq_real)(weight * d_y[o]);
    }
    return ZQ_OK;
}

const zq_op zq_op_resize = {
    .name = "Resize",
    .min_in = 1,
    .max_in = 4,
    .min_out = 1,
    .max_out = 1,
    .params_bytes = sizeof(params),
    .parse = parse,
    .infer = infer,
    .forward = forward,
    .backward = backward,
};
