/* SPDX-License-Identifier: Apache-2.0 */
/* HardSigmoid: max(0, min(1, alpha * x + beta)). */
#include "ops/elementwise.h"
#include "ops/infer.h"

typedef struct params {
    float alpha, beta;
} params;

static zq_status parse(const zq_node *node, void *params_out, zq_error *err) {
    params *p = params_out;
    ZQ_TRY(zq_node_float(node, "alpha", 0.2f, &p->alpha, err));
    return zq_node_float(node, "beta", 0.5f, &p->beta, err);
}

static inline zq_real clamp(zq_real x) {
    x = x < 0 ? 0 : x;
    return x > 1 ? 1 : x;
}

static zq_status forward(const zq_io *io, zq_error *err) {
    (void)err;
    const params *p = io->node->params;
    const zq_real alpha = p->alpha, beta = p->beta;
    ZQ_UNARY_FORWARD(io, clamp(alpha * x + beta));
    return ZQ_OK;
}

static zq_status backward(const zq_io *io, zq_error *err) {
    (void)err;
    const zq_real alpha = ((const params *)io->node->params)->alpha;
    ZQ_UNARY_BACKWARD(io, y > 0 && y < 1 ? alpha * d_y : 0);
    return ZQ_OK;
}

const zq_op zq_op_hard_sigmoid = {
    .name = "HardSigmoid",
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .traits = ZQ_OP_UNARY,
    .params_bytes = sizeof(params),
    .parse = parse,
    .infer = zq_infer_float,
    .forward = forward,
    .backward = backward,
};
