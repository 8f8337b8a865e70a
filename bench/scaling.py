#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How the time of zeroq's engine grows: with the batch, the side of the images, depth and width of the network, and threads.

    scaling.py BUILD [--rounds 3]

Residual networks of 3x3 convolutions differ in one thing at a time. The exponent is that of time over work (FLOP), 1 where time is
proportional to work. Results lie in BUILD/bench: scaling.json and scaling.svg. Needs the packages numpy and onnx."""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from chart import lines

BASE = {"batch": 8, "side": 28, "depth": 4, "width": 64}
CURVES = {"batch": (1, 2, 4, 8, 16, 32), "side": (14, 28, 56, 112), "depth": (1, 2, 4, 8, 16), "width": (16, 32, 64, 128, 256)}
PASSES = {"forward": [], "step": ["--gradient"]}


def make_network(path, side, depth, width):
    """depth residual blocks of two convolutions on side x side"""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    random = np.random.default_rng(0)
    nodes, constants = [], []

    def constant(name, array):
        constants.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def node(op, inputs, **attributes):
        nodes.append(helper.make_node(op, inputs, [f"v{len(nodes)}"], name=f"n{len(nodes)}", **attributes))
        return nodes[-1].output[0]

    def layer(x, c_in, gain):
        at = len(nodes)
        w = constant(f"w{at}", random.normal(0, math.sqrt(2 / (9 * c_in)), (width, c_in, 3, 3)))
        x = node("Conv", [x, w], kernel_shape=[3, 3], pads=[1] * 4)
        parts = {"scale": gain * random.uniform(0.8, 1.2, width), "b": random.normal(0, 0.1, width), "mean": np.zeros(width),
                 "var": np.ones(width)}
        return node("BatchNormalization", [x, *(constant(f"{key}{at}", value) for key, value in parts.items())])

    x = node("Relu", [layer("images", 3, 1)])
    for _ in range(depth):
        y = layer(node("Relu", [layer(x, width, 1)]), width, 0.3)
        x = node("Relu", [node("Add", [x, y])])
    x = node("Flatten", [node("GlobalAveragePool", [x])])
    node("Gemm", [x, constant("w", random.normal(0, 0.2, (width, 10)))])
    graph = helper.make_graph(nodes, "scaling", [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, side, side])],
                              [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, ["N", 10])], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


def measure(zeroq, setting, threads, options):
    """-> ms and FLOP of a round"""
    with tempfile.TemporaryDirectory() as folder:
        make_network(f"{folder}/net.onnx", setting["side"], setting["depth"], setting["width"])
        command = [zeroq, "inspect", f"{folder}/net.onnx", "--plan", "-q", "--batch", str(setting["batch"]), "--threads",
                   str(threads), "--json", f"{folder}/plan.json", *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        plan = json.loads(Path(folder, "plan.json").read_text())["plan"]
    return plan["ms"], plan["flop"]


def points(all_threads):
    """(curve, x, setting, threads)"""
    for curve, values in CURVES.items():
        for value in values:
            yield curve, value, BASE | {curve: value}, all_threads
    threads = 1
    while threads < all_threads:
        yield "threads", threads, BASE, threads
        threads *= 2
    yield "threads", all_threads, BASE, all_threads


def slope(points):
    """Of log y over log x, by least squares"""
    xs, ys = [math.log(x) for x, _ in points], [math.log(y) for _, y in points]
    x_mean, y_mean = statistics.mean(xs), statistics.mean(ys)
    return sum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys)) / sum((x - x_mean) ** 2 for x in xs)


def print_curve(name, what, curve):
    text = "  ".join(f"{p['x']}: {p['ms']:.2f} ms, {p['flop'] / p['ms'] * 1e-6:.0f} GFLOP/s" for p in curve)
    if name == "threads":
        end = f"{curve[0]['ms'] / curve[-1]['ms']:.2f} times as fast with {curve[-1]['x']}"
    else:
        end = f"time as work to the power of {slope([(p['flop'], p['ms']) for p in curve]):.2f}"
    print(f"{name:8} {what:8} {end};  {text}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path)
    parser.add_argument("--rounds", type=int, default=3, help="medians of so many (default 3)")
    args = parser.parse_args()
    try:
        import onnx  # noqa: F401
    except ImportError:
        print("scaling not measured: this Python has no package onnx")
        return
    curves = {}
    for _ in range(args.rounds):
        for name, x, setting, threads in points(len(os.sched_getaffinity(0))):
            for what, options in PASSES.items():
                ms, flop = measure(args.build / "zeroq", setting, threads, options)
                curves.setdefault((name, what), {}).setdefault(x, {"x": x, "flop": flop, "all_ms": []})["all_ms"].append(ms)
    panels = {}
    for (name, what), found in curves.items():
        curve = [point | {"ms": statistics.median(point["all_ms"])} for point in found.values()]
        print_curve(name, what, curve)
        if len(curve) > 1:
            panels.setdefault(name, {})[what] = [(point["x"], point["ms"]) for point in curve]
    result = [{"curve": name, "pass": what, "points": list(found.values())} for (name, what), found in curves.items()]
    (args.build / "bench/scaling.json").write_text(json.dumps({"base": BASE, "curves": result}, indent=1) + "\n")
    lines(args.build / "bench/scaling.svg", [(f"ms over {name}", found) for name, found in panels.items()])


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"scaling.py: zeroq failed with status {error.returncode}")
