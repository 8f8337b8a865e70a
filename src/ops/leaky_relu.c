/* SPDX-License-Identifier: Apache-2.0 */
/* LeakyRelu: x where x >= 0, alpha * x elsewhere. */
#include "ops/elementwise.h"
#include "ops/infer.h"

typedef struct params {
    float alpha;
} params;

static zq_status parse(const zq_node *node, void *params_out, zq_error *err) {
    params *p = params_out;
    return zq_node_float(node, "alpha", 0.01f, &p->alpha, err);
}

static zq_status forward(const zq_io *io, zq_error *err) {
    (void)err;
    const zq_real alpha = ((const params *)io->node->params)->alpha;
    ZQ_UNARY_FORWARD(io, x < 0 ? alpha * x : x);
    return ZQ_OK;
}

static zq_status backward(const zq_io *io, zq_error *err) {
    (void)err;
    const zq_real alpha = ((const params *)io->node->params)->alpha;
    ZQ_UNARY_BACKWARD(io, x < 0 ? alpha * d_y : d_y);
    return ZQ_OK;
}

const zq_op zq_op_leaky_relu = {
    .name = "LeakyRelu",
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .traits = ZQ_OP_UNARY | ZQ_OP_INTEGER,
    .params_bytes = sizeof(params),
    .parse = parse,
    .infer = zq_infer_float,
    .forward = forward,
    .backward = backward,
};
