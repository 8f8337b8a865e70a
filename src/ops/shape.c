/* SPDX-License-Identifier: Apache-2.0 */
/* Shape: the dimensions start .. end - 1 of input 0. Reads no data. */
#include "ops/infer.h"

typedef struct params {
    int64_t start, end;
} params;

static zq_status parse(const zq_node *node, void *params_out, zq_error *err) {
    params *p = params_out;
    ZQ_TRY(zq_node_int(node, "start", 0, &p->start, err));
    return zq_node_int(node, "end", ZQ_MAX_RANK, &p->end, err);
}

/* Counted from the end when negative, cut to 0..rank. */
static int clamp(int64_t d, int rank) {
    d = d < 0 ? d + rank : d;
    return (int)(d < 0 ? 0 : d > rank ? rank : d);
}

static zq_status infer(const zq_io *io, zq_error *err) {
    const params *p = io->node->params;
    const int rank = io->in[0]->shape.rank, start = clamp(p->start, rank), end = clamp(p->end, rank);
    const int64_t n = end > start ? end - start : 0;
    const zq_shape shape = zq_shape_of(1, &n);
    return zq_infer_output(io, 0, ZQ_I64, &shape, err);
}

static zq_status forward(const zq_io *io, zq_error *err) {
    (void)err;
    const params *p = io->node->params;
    const int start = clamp(p->start, io->in[0]->shape.rank);
    int64_t *dst = io->out[0]->data;
    for (int64_t k = 0; k < io->out[0]->shape.dims[0]; k++)
        dst[k] = io->in[0]->shape.dims[start + k];
    return ZQ_OK;
}

const zq_op zq_op_shape = {
    .name = "Shape",
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .params_bytes = sizeof(params),
    .parse = parse,
    .infer = infer,
    .forward = forward,
};
