/* SPDX-License-Identifier: Apache-2.0 */
/* ReduceMean: the mean over some axes (all, when none is named). */
#include "ops/check.h"
#include "ops/infer.h"

typedef struct params {
    int n_axes;
    int64_t axes[ZQ_MAX_RANK];
    int64_t keep_dims;
} params;

static zq_status parse(const zq_node *node, void *params_out, zq_error *err) {
    params *p = params_out;
    ZQ_TRY(zq_node_ints(node, "axes", ZQ_MAX_RANK, p->axes, &p->n_axes, err));
    return zq_node_int(node, "keepdims", 1, &p->keep_dims, err);
}

/* Which axes vanish. */
static zq_status find_axes(const zq_io *io, bool reduced[ZQ_MAX_RANK], zq_error *err) {
    const params *p = io->node->params;
    char name[ZQ_NODE_TEXT];
    for (int d = 0; d < ZQ_MAX_RANK; d++)
        reduced[d] = p->n_axes == 0;
    for (int k = 0; k < p->n_axes; k++) {
        int axis;
        ZQ_TRY(zq_infer_axis(io, p->axes[k], io->in[0]->shape.rank, &axis, err));
        if (reduced[axis])
            return zq_fail(err, ZQ_ERR_FORMAT, "%s: attribute axes names axis %d twice",
                           zq_node_text(io->node, name), axis);
        reduced[axis] = true;
    }
    return ZQ_OK;
}

static zq_status infer(const zq_io *io, zq_error *err) {
    const params *p = io->node->params;
    bool reduced[ZQ_MAX_RANK];
    ZQ_TRY(zq_check_float(io, 0, 0, ZQ_MAX_RANK, err));
    ZQ_TRY(find_axes(io, reduced, err));
    const zq_shape *src = &io->in[0]->shape;
    zq_shape shape = {0};
    for (int d = 0; d < src->rank; d++)
        if (!reduced[d] || p->keep_dims)
            shape.dims[shape.rank++] = reduced[d] ? 1 : src->dims[d];
    return zq_check_result(io, &shape, err);
}

/* Some axes of a tensor, walked in row-major order. */
typedef struct walk {
    int n_axes;
    int64_t count, dims[ZQ_MAX_RANK], steps[ZQ_MAX_RANK];
} walk;

static int64_t walk_offset(const walk *walk, int64_t index) {
    int64_t offset = 0;
    for (int k = walk->n_axes - 1; k >= 0; k--) {
        offset += index % walk->dims[k] * walk->steps[k];
        index /= walk->dims[k];
    }
    return offset;
}

static walk walk_axes(const zq_shape *shape, const bool reduced[ZQ_MAX_RANK], bool wanted) {
    walk walk = {.count = 1};
    for (int d = 0; d < shape->rank; d++)
        if (reduced[d] == wanted) {
            int64_t step = 1;
            for (int inner = d + 1; inner < shape->rank; inner++)
                step *= shape->dims[inner];
            walk.dims[walk.n_axes] = shape->dims[d];
            walk.steps[walk.n_axes++] = step;
            walk.count *= shape->dims[d];
        }
    return walk;
}

static zq_status forward(const zq_io *io, zq_error *err) {
    bool reduced[ZQ_MAX_RANK];
    ZQ_TRY(find_axes(io, reduced, err));
    const walk kept = walk_axes(&io->in[0]->shape, reduced, false),
               gone = walk_axes(&io->in[0]->shape, reduced, true);
    const zq_real *x = io->in[0]->data;
    zq_real *y = io->out[0]->data;
#pragma omp parallel for
    for (int64_t o = 0; o < kept.count; o++) {
        const zq_real *from = x + walk_offset(&kept, o);
        double sum = 0;
        for (int64_t r = 0; r < gone.count; r++)
            sum += from[walk_offset(&gone, r)];
        y[o] = (zq_real)(sum / (double)gone.count);
    }
    return ZQ_OK;
}

static zq_status backward(const zq_io *io, zq_error *err) {
    if (!zq_check_gradient(io) || io->d_in[0] == NULL)
        return ZQ_OK;
    bool reduced[ZQ_MAX_RANK];
    ZQ_TRY(find_axes(io, reduced, err));
    const walk kept = walk_axes(&io->in[0]->shape, reduced, false),
               gone = walk_axes(&io->in[0]->shape, reduced, true);
    const zq_real *d_y = io->d_out[0]->data;
    zq_real *d_x = io->d_in[0]->data;
#pragma omp parallel for
    for (int64_t o = 0; o < kept.count; o++)
        for (int64_t r = 0; r < gone.count; r++)
            d_x[walk_offset(&kept, o) + walk_offset(&gone, r)] = d_y[o] / (zq_real)gone.count;
    return ZQ_OK;
}

const zq_op zq_op_reduce_mean = {
    .name = "ReduceMean",
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .params_bytes = sizeof(params),
    .parse = parse,
    .infer = infer,
    .forward = forward,
    .backward = backward,
};
