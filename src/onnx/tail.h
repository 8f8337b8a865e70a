/* SPDX-License-Identifier: Apache-2.0 */
/* The part of a file that isn't read, copied behind the quantized part as it is. */
#ifndef ZQ_ONNX_TAIL_H
#define ZQ_ONNX_TAIL_H

#include "onnx/cut.h"
#include "onnx/external.h"
#include "onnx/onnx.h"
#include "onnx/scratch.h"

struct zq_tail {
    Onnx__ModelProto *model; /* owned: its graph has the nodes, their initializers, and inputs and outputs of
                                the whole file */
    zq_graph *names;         /* owned; its values stand for the names that only the tail defines */
    int opset;               /* of the file */
    char reason[512];
};

/* A copy of what the cut leaves and pulls, data that lies in other files included. Owned by the caller:
 * zq_tail_drop. */
zq_status zq_tail_new(const Onnx__ModelProto *model, const zq_cut *cut, int opset, zq_external *external,
                      zq_tail **tail_out, zq_error *err);

/* Appends the tail to a model of that opset, whose lists have room: for the tail's nodes, for as many
 * initializers as it has nodes and initializers, and for its opset imports. false: out of memory. */
bool zq_tail_splice(const zq_tail *tail, int opset, zq_scratch *scratch, Onnx__ModelProto *model);

#endif
