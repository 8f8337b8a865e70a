/* SPDX-License-Identifier: Apache-2.0 */
/* Sequences, which zeroq doesn't have, where they only carry the parts of a split: as PyTorch's dynamo
 * exporter writes chunk and split. */
#ifndef ZQ_ONNX_SEQUENCE_H
#define ZQ_ONNX_SEQUENCE_H

#include "graph/graph.h"

#include <onnx/onnx.pb-c.h>

/* A SplitToSequence that isn't an output: nothing is computed until a SequenceAt takes a part. */
bool zq_sequence_is_split(const Onnx__GraphProto *file, const Onnx__NodeProto *proto);
bool zq_sequence_is_at(const Onnx__NodeProto *proto);

/* Adds a Slice for a SequenceAt with a constant position; the graph holds the constants of the file. */
zq_status zq_sequence_read_at(const Onnx__GraphProto *file, const Onnx__NodeProto *at, zq_graph *graph,
                              zq_error *err);

#endif
