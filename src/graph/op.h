/* SPDX-License-Identifier: Apache-2.0 */
/* What an operator is. Every file in ops/ defines one; ops/ops.c lists them. */
#ifndef ZQ_GRAPH_OP_H
#define ZQ_GRAPH_OP_H

#include "graph/graph.h"

/* What an operator computes on. Optional inputs that are omitted are NULL. During shape inference data is
 * NULL except for constants. Forward and backward get everything with data, dense and in logical order. */
typedef struct zq_io {
    const zq_node *node;
    int n_in, n_out;
    const zq_tensor *const *in; /* [n_in] */
    zq_tensor *const *out;      /* [n_out]; infer sets dtype and shape, forward writes data */
    /* backward only: */
    const zq_tensor *const *d_out; /* [n_out] gradient with respect to each output; NULL: zero */
    zq_tensor *const *d_in;        /* [n_in] to be written (not accumulated); NULL: not wanted */
} zq_io;

enum zq_op_traits {
    ZQ_OP_UNARY =
        1 << 0, /* out[i] depends on in[0][i] alone: any memory order serves; other inputs are scalars */
    ZQ_OP_BROADCAST = 1 << 1, /* elementwise on two inputs with broadcasting */
    ZQ_OP_SAME_SCALE =
        1 << 2, /* outputs hold values of input 0 only (or zeros): one quantization scale serves both */
    ZQ_OP_WEIGHTED = 1 << 3, /* Conv, Gemm, MatMul, ...: input 1 is a weight when constant, input 2 a bias */
    ZQ_OP_INTEGER = 1 << 4,  /* ONNX Runtime has an integer kernel for it between Q/DQ */
};

struct zq_op {
    const char *name;                     /* ONNX op_type */
    int min_in, max_in, min_out, max_out; /* max -1: any number */
    unsigned traits;
    size_t params_bytes; /* of the operator's own parameter struct; 0: none */

    /* Attributes (in the canonical form: see graph.h) into params, zeroed before. NULL when params_bytes is
     * 0. Checks everything that doesn't need a shape. */
    zq_status (*parse)(const zq_node *node, void *params, zq_error *err);

    /* Sets dtype and shape of every out. Every size is hostile until checked. */
    zq_status (*infer)(const zq_io *io, zq_error *err);

    /* The definition, in plain C. Shapes are those that infer gave. */
    zq_status (*forward)(const zq_io *io, zq_error *err);

    /* Gradient to the data: writes each d_in that is not NULL. NULL: not differentiable. */
    zq_status (*backward)(const zq_io *io, zq_error *err);

    /* Multiply-accumulates of one forward. NULL: none worth counting. */
    double (*macs)(const zq_io *io);
};

/* The operator of that name, or NULL (defined in ops/ops.c). */
const zq_op *zq_op_find(const char *name);

/* The n-th operator of the table, NULL behind the last. */
const zq_op *zq_op_at(int n);

#endif
