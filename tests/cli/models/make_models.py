#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the tiny networks beside it. They are kept in the repository, so that testing the program needs no onnx."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).resolve().parent
CHANNELS = 4


class Network:
    """A chain of layers on images [N, 3, 8, 8] that ends in 5 scores."""

    def __init__(self, seed=1):
        self.random = np.random.default_rng(seed)
        self.nodes, self.weights, self.last = [], [], "image"

    def constant(self, name, values):
        self.weights.append(numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    def add(self, op, name, *constants, **attributes):
        self.nodes.append(helper.make_node(op, [self.last, *constants], [name], name=name, **attributes))
        self.last = name
        return self

    def conv(self, name, n_in):
        weight = self.random.normal(0, np.sqrt(2 / (9 * n_in)), (CHANNELS, n_in, 3, 3))
        return self.add("Conv", name, self.constant(f"{name}.weight", weight), pads=[1, 1, 1, 1])

    def norm(self, name, variance=1.0):
        statistics = {"scale": self.random.uniform(0.5, 1.5, CHANNELS), "bias": self.random.normal(0, 0.3, CHANNELS),
                      "mean": self.random.normal(0, 0.2, CHANNELS), "var": np.full(CHANNELS, variance)}
        constants = [self.constant(f"{name}.{key}", values) for key, values in statistics.items()]
        return self.add("BatchNormalization", name, *constants)

    def head(self):
        self.add("GlobalAveragePool", "pool").add("Flatten", "flat")
        weight = self.random.normal(0, 0.5, (5, CHANNELS))
        return self.add("Gemm", "scores", self.constant("fc.weight", weight), transB=1)

    def write(self, name):
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 8, 8])
        scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 5])
        graph = helper.make_graph(self.nodes, "tiny", [image], [scores], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.save(model, HERE / f"{name}.onnx")


def main():
    def body(network, variance=1.0):
        network.conv("conv1", 3).norm("bn1", variance).add("Relu", "relu1")
        return network.conv("conv2", CHANNELS).norm("bn2").add("Relu", "relu2")

    body(Network()).head().write("tiny")
    body(Network(), variance=-1.0).head().write("negative_variance")
    Network().conv("conv1", 3).add("Relu", "relu1").head().write("no_bn")
    Network().conv("conv1", 3).norm("bn1").add("Erf", "strange").head().write("unsupported")

    nan = body(Network()).head()
    nan.weights[0] = numpy_helper.from_array(np.full((CHANNELS, 3, 3, 3), np.nan, np.float32), "conv1.weight")
    nan.write("nan")

    missing = body(Network()).head()
    del missing.weights[0]
    missing.write("missing_weight")

    cycle = body(Network()).head()
    cycle.nodes[0].input[0] = "relu2"
    cycle.write("cycle")


if __name__ == "__main__":
    main()
