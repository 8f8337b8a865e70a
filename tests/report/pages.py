# SPDX-License-Identifier: Apache-2.0
"""Networks whose reports are hard to draw, and their reports."""

import subprocess
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

CLI_MODELS = Path(__file__).resolve().parents[1] / "cli" / "models"
HOSTILE = """<script>alert(1)</script>&"'`]]>--></title></svg>\u202e\u0007"""
NOT_UTF8 = b"not \xff\xc0\xaf\xed\xa0\x80 UTF-8 \xe2\x82"  # what Python can't write, in place of as many letters
RNG = np.random.default_rng(7)


def network(n_layers, name=lambda i: f"layer{i}", channels=4, batch_normalization=True):
    """Residual convolutions, each with its BatchNormalization and Relu, and a Gemm at the end."""
    nodes, weights, value = [], {}, "x"

    def add(op, inputs, output, **attributes):
        nodes.append(helper.make_node(op, inputs, [output], name=name(f"{op}{output}"), **attributes))
        return output

    def constant(key, array):
        weights[key] = numpy_helper.from_array(np.asarray(array, np.float32), key)
        return key

    for i in range(n_layers - 1):
        inputs = 3 if i == 0 else channels
        w = RNG.standard_normal((channels, inputs, 3, 3)) * (2 / (9 * inputs)) ** 0.5
        value = add("Conv", [value, constant(f"w{i}", w)], name(f"c{i}"), pads=[1, 1, 1, 1], kernel_shape=[3, 3])
        if batch_normalization:
            statistics = [constant(f"{k}{i}", v) for k, v in (("s", np.full(channels, 1 if i == 0 else 0.02)),
                                                              ("b", np.zeros(channels)),
                                                              ("m", np.zeros(channels)), ("v", np.ones(channels)))]
            value = add("BatchNormalization", [value, *statistics], name(f"n{i}"))
        value = add("Relu", [value], name(f"r{i}"))
        if i > 0:
            value = add("Add", [value, before], name(f"a{i}"))
        before = value
    if n_layers > 1:
        value = add("GlobalAveragePool", [value], name("pooled"))
    value = add("Flatten", [value], name("flat"))
    size = channels if n_layers > 1 else 3 * 8 * 8
    add("Gemm", [value, constant("w", 0.3 * RNG.standard_normal((10, size))), constant("bias", np.zeros(10))], "y", transB=1)
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 3, 8, 8])],
                              [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 10])], list(weights.values()))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8,
                             producer_name=name("producer")).SerializeToString()


def hostile_bytes():
    """Every name is hostile, and one of them isn't UTF-8."""
    placeholder = "Z" * len(NOT_UTF8)
    model = network(4, name=lambda i: placeholder if i == "r1" else HOSTILE + i)
    assert placeholder.encode() in model
    return model.replace(placeholder.encode(), NOT_UTF8)


CASES = {  # name of the file: its bytes, options of zeroq
    "tiny": (lambda: (CLI_MODELS / "tiny.onnx").read_bytes(), ["--size", "w4"]),
    "tiny-w8": (lambda: (CLI_MODELS / "tiny.onnx").read_bytes(), ["--size", "w8"]),
    "one-layer": (lambda: network(1), ["--size", "w4", "--distill", "noise"]),
    "noise": (lambda: network(3, batch_normalization=False), ["--size", "w4", "--distill", "noise", "--num-images", "1"]),
    "<img src=x onerror=alert(1)>&quot;'": (hostile_bytes, ["--size", "w4"]),
    "deep": (lambda: network(240, name=lambda i: f"/backbone/stage{i[-1]}/block/expand/convolution/" + i), ["--size", "w4"]),
}


def make(zeroq, folder, name):
    """Quantizes the network of that name; -> the path of its report"""
    model, options = CASES[name]
    path, report = folder / f"{name}.onnx", folder / f"{name}.html"
    path.write_bytes(model())
    command = [zeroq, "quantize", path, "-o", folder / f"{name}.q.onnx", "--report", report, "--steps", "3", "--num-images",
               "8", "--quiet", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{name}: exit status {done.returncode}: {done.stderr}"
    return report
