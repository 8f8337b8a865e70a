#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The simulation is the exported network: runs a quantized model in ONNX Runtime and in the engine on the same
images and compares the integers of every quantized value.

    simulation.py TOOL_SIMULATE MODEL.q.onnx IMAGES.npy"""

import subprocess
import sys
import tempfile
from collections import namedtuple
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

# integers compared, how many differ, the largest difference in steps, that of the first value that differs and the share of
# its integers, images on which the largest output differs
Comparison = namedtuple("Comparison", "integers different largest_step first_step first_share argmax")


def quantized_values(model):
    return [n.output[0] for n in model.graph.node if n.op_type == "QuantizeLinear"]


def run_onnxruntime(model, images, level):
    names = quantized_values(model)
    known = {o.name for o in model.graph.output}
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in known)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = level
    session = ort.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
    wanted = [o.name for o in model.graph.output] + names
    return dict(zip(wanted, session.run(wanted, {session.get_inputs()[0].name: images})))


def run_engine(tool, path, images):
    with tempfile.TemporaryDirectory() as folder:
        raw, out = Path(folder) / "images.f32", Path(folder) / "out"
        images.astype(np.float32).tofile(raw)
        command = [tool, path, raw, str(len(images)), out]
        listing = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        streams = {"": np.fromfile(out, np.uint8), "=": np.fromfile(f"{out}.f32", np.float32)}
    values, position = {}, {"": 0, "=": 0}
    for line in listing.splitlines():
        kind, line = ("=", line[2:]) if line.startswith("= ") else ("", line)
        name, count = line.rsplit(" ", 1)
        start = position[kind]
        position[kind] += int(count)
        values[name] = streams[kind][start:position[kind]]
    return values


def compare(tool, path, images, level=ort.GraphOptimizationLevel.ORT_ENABLE_ALL):
    """A file for a fixed number of images gets so many at a time. level: at which ONNX Runtime runs."""
    model = onnx.load(path)
    step = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value or len(images)
    parts = [compare_batch(tool, path, model, images[i:i + step], level) for i in range(0, len(images), step)]
    columns = list(zip(*parts))
    return Comparison(sum(columns[0]), sum(columns[1]), max(columns[2]), max(columns[3]), max(columns[4]),
                      sum(columns[5]))


def compare_batch(tool, path, model, images, level):
    expected, found = run_onnxruntime(model, images, level), run_engine(tool, path, images)
    total = different = largest = first = share = 0
    for name in quantized_values(model):
        assert name in found, f"{path}: the engine has no integers for '{name}'"
        step = np.abs(expected[name].reshape(-1).astype(int) - found[name].view(expected[name].dtype).astype(int))
        total += step.size
        different += int((step > 0).sum())
        largest = max(largest, int(step.max(initial=0)))
        first, share = (first, share) if first else (largest, (step > 0).mean())
    output = model.graph.output[0].name
    scores = [values[output].reshape(len(images), -1) for values in (expected, found)]
    return Comparison(total, different, largest, first, share, int((scores[0].argmax(1) != scores[1].argmax(1)).sum()))


def main():
    tool, path, images = sys.argv[1:]
    result = compare(tool, path, np.load(images))
    print(f"{path}: {result.integers} integers, {result.different} differ ({result.different / result.integers:.2e}), "
          f"by {result.largest_step} at most; {result.argmax} images have another argmax")


if __name__ == "__main__":
    main()
