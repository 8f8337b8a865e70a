#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Which part of a quantized model ONNX Runtime computes on integers, counted after its own fusions.

    integers.py MODEL.q.onnx"""

import sys
import tempfile
from math import prod
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

# Operators that multiply and accumulate, fused ones included -> index of the weight (of an Add: one an element)
FLOAT = {"Conv": 1, "FusedConv": 1, "ConvTranspose": 1, "MatMul": 1, "FusedMatMul": 1, "Gemm": 1, "FusedGemm": 1,
         "MatMulNBits": 1, "Add": None}
INTEGER = {"QLinearConv": 3, "ConvInteger": 1, "QLinearMatMul": 3, "QGemm": 3, "MatMulInteger": 1,
           "MatMulIntegerToFloat": 1, "QLinearAdd": None}
COUNTED = FLOAT | INTEGER


def session(model, level, save_as=None):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = level
    if save_as is not None:
        options.optimized_model_filepath = str(save_as)
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def optimized(path):
    """The graph after the fusions that don't depend on the processor."""
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "optimized.onnx"
        session(str(path), ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED, saved)
        return onnx.load(saved)


def values_on_zeros(model, names):
    """name -> array, from a run on zeros: exact where shape inference doesn't know ONNX Runtime's own operators."""
    values = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer if t.name in names}
    missing = sorted(names - set(values))
    outputs = {o.name for o in model.graph.output}
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in missing if name not in outputs)
    run = session(probe.SerializeToString(), ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
    zeros = {i.name: np.zeros([d if isinstance(d, int) else 1 for d in i.shape], np.float32) for i in run.get_inputs()}
    return values | dict(zip(missing, run.run(missing, zeros)))


def inner_products(node, values):
    """Multiply-accumulates of a node on one image."""
    weight = COUNTED[node.op_type]
    out = values[node.output[0]]
    if weight is None:  # an Add, unless of shapes
        return out.size if out.dtype in (np.float32, np.uint8, np.int8) else 0
    if "Conv" in node.op_type:
        spread = values[node.input[0]] if node.op_type == "ConvTranspose" else out
        return spread.size * prod(values[node.input[weight]].shape[1:])
    transposed = any(a.name == "transA" and a.i for a in node.attribute)
    return out.size * values[node.input[0]].shape[-2 if transposed else -1]


def survey(path):
    """-> (share of multiply-accumulates on integers, [(share, name) of the nodes that stayed float])"""
    model = optimized(path)
    nodes = [n for n in model.graph.node if n.op_type in COUNTED]
    names = {name for n in nodes for name in (*n.input, n.output[0]) if name}
    values = values_on_zeros(model, names)
    counts = [(inner_products(n, values), n) for n in nodes]
    total = sum(count for count, _ in counts)
    stayed = [(count / total, f"{n.op_type} {n.name}") for count, n in counts if n.op_type in FLOAT and count > 0]
    return 1 - sum(share for share, _ in stayed), stayed


def main():
    share, stayed = survey(sys.argv[1])
    print(f"{sys.argv[1]}: {100 * share:.3f} % of multiply-accumulates on integers")
    for part, name in stayed:
        print(f"  float: {100 * part:7.3f} %  {name}")


if __name__ == "__main__":
    main()
