#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Networks that aren't classifiers of colour photos: they work, or are refused with a sentence that says why.

    test_kinds.py ZEROQ"""

import sys
import tempfile
from pathlib import Path

try:
    import numpy as np
    import onnx

    import integers
    from test_tails import CELLS, FLOAT, Net, detector, helper, run, zeroq
except ImportError as missing:
    print(f"SKIPPED: networks of other kinds, since Python has no {missing.name}")
    sys.exit(77)


def backbone(channels=3, stride=2):
    net = Net("N")
    net.inputs = [helper.make_tensor_value_info("x", FLOAT, ["N", channels, 32, 32])]
    net.conv("x", "a", channels, 16, stride=stride)
    net.conv("a", "b", 16, 32, stride=stride)
    return net


def grey():
    """One channel, and a number instead of classes."""
    net = backbone(1)
    net.add("GlobalAveragePool", ["b"], "pooled")
    net.add("Flatten", ["pooled"], "flat")
    net.add("Gemm", ["flat", net.constant("w", net.random.standard_normal([32, 1]).astype(np.float32))], "age")
    net.output("age", FLOAT, ["N", 1])
    return net


def depth_map():
    """As large as the image, no Softmax, resized within."""
    net = backbone()
    net.add("Resize", ["b", "", net.constant("by", np.float32([1, 1, 4, 4]))], "large", mode="nearest",
            coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    net.conv("large", "depth", 32, 1, norm=False)
    net.output("depth", FLOAT, ["N", 1, 32, 32])
    return net


def two_heads():
    net = detector("N")
    net.output("boxes", FLOAT, ["N", CELLS, 4])
    net.output("scores", FLOAT, ["N", 5, CELLS])
    return net


def one_by_one():
    """An output without the batch, so that the network can't take several images at a time."""
    net = detector(1)
    net.add("Squeeze", ["boxes", net.constant("axis", np.int64([0]))], "rows")
    net.output("rows", FLOAT, [CELLS, 4])
    net.output("scores", FLOAT, [1, 5, CELLS])
    return net


def two_images():
    net = backbone()
    net.inputs.append(helper.make_tensor_value_info("z", FLOAT, ["N", 3, 32, 32]))
    net.add("Sub", ["b", net.conv(net.conv("z", "c", 3, 16, stride=2), "d", 16, 32, stride=2)], "y")
    net.output("y", FLOAT, ["N", 32, 8, 8])
    return net


def sound():
    net = Net("N")
    net.inputs = [helper.make_tensor_value_info("x", FLOAT, ["N", 2, 64])]
    net.add("Conv", ["x", net.constant("w", net.random.standard_normal([4, 2, 3]).astype(np.float32))], "y")
    net.output("y", FLOAT, ["N", 4, 62])
    return net


def upwards():
    net = backbone()
    net.add("ConvTranspose", ["b", net.constant("up_w", np.ones([32, 16, 2, 2], np.float32))], "up", strides=[2, 2])
    net.conv("up", "y", 16, 4, norm=False)
    net.output("y", FLOAT, ["N", 4, 16, 16])
    return net


def echo():
    """The image is an output, too."""
    net = grey()
    net.outputs.append(net.inputs[0])
    return net


WORK = [grey, depth_map, two_heads, one_by_one]
REFUSED = {echo: ["'x'", "the input as it is"], two_images: ["2 inputs"], sound: ["'x'", "rank 3"], upwards: ["ConvTranspose_up", "of the weights lie behind it"]}


def check(make, folder, program):
    net = make()
    model, path, out = net.model(), folder / "net.onnx", folder / "net.q.onnx"
    onnx.save(model, path)
    done = zeroq(program, path, out, "--size", "w8")
    if make in REFUSED:
        assert done.returncode == 5, f"exit status {done.returncode}, expected 5: {done.stderr}"
        for words in REFUSED[make]:
            assert words in done.stderr, f"'{words}' isn't in: {done.stderr}"
        assert not out.exists(), "a file was written"
        return
    assert done.returncode == 0, done.stderr
    share, stayed = integers.survey(out)
    assert share > 0.97, f"{share} on integers; float: {stayed}"
    shape = [d.dim_value or 3 for d in model.graph.input[0].type.tensor_type.shape.dim]
    feeds = {"x": np.random.default_rng(1).standard_normal(shape).astype(np.float32)}
    found = run(onnx.load(out), feeds)
    for name, value in run(model, feeds).items():
        error = relative_error(found[name], value)
        assert error < 0.2, f"'{name}' differs by {error} of its size"


def relative_error(found, expected):
    return np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected ** 2))


def weights_of(path):
    """The integers of the convolutions' weights as ONNX Runtime has them after it has put them together."""
    model = integers.optimized(path)
    values = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    return [values[n.input[3]].astype(int) - int(values[n.input[5]].reshape(-1)[0])
            for n in model.graph.node if n.op_type == "QLinearConv"]


def larger():
    net = Net("N")
    net.inputs = [helper.make_tensor_value_info("x", FLOAT, ["N", 3, 32, 32])]
    net.conv("x", "a", 3, 32, stride=2)
    net.conv("a", "b", 32, 64, stride=2)
    net.add("GlobalAveragePool", ["b"], "pooled")
    net.add("Flatten", ["pooled"], "flat")
    net.add("Gemm", ["flat", net.constant("w", net.random.standard_normal([64, 10]).astype(np.float32))], "y")
    net.output("y", FLOAT, ["N", 10])
    return net


def widths(folder, program):
    """Every width takes its bits in the file, reaches all its integers in ONNX Runtime, and more bits are nearer to FP32 (until
    activations decide)."""
    model, path = larger().model(), folder / "net.onnx"
    onnx.save(model, path)
    feeds = {"x": np.random.default_rng(1).standard_normal([8, 3, 32, 32]).astype(np.float32)}
    expected = run(model, feeds)["y"]
    sizes, errors = [], []
    for bits in (2, 3, 4, 5, 6, 8):
        out = folder / f"net.w{bits}.onnx"
        done = zeroq(program, path, out, "--size", f"w{bits}", "--bits", str(bits))
        assert done.returncode == 0, done.stderr
        share, stayed = integers.survey(out)
        assert share > 0.97, f"{bits} bits: {share} on integers; float: {stayed}"
        for w in weights_of(out):
            low, high = (-127, 127) if bits == 8 else (-2 ** (bits - 1), 2 ** (bits - 1) - 1)
            assert low <= w.min() and w.max() <= high and max(-w.min(), w.max()) >= high, f"{bits} bits: {w.min()} to {w.max()}"
        sizes.append(out.stat().st_size)
        errors.append(relative_error(run(onnx.load(out), feeds)["y"], expected))
    n_weights = sum(np.prod(t.dims) for t in model.graph.initializer if len(t.dims) == 4)
    assert sizes[5] - sizes[2] > 0.4 * n_weights, f"files of {sizes} bytes for {n_weights} weights"
    assert sizes == sorted(sizes), f"files of {sizes} bytes"
    assert errors[:4] == sorted(errors[:4], reverse=True) and max(errors[3:]) < errors[2], f"errors {errors}"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    failures = 0
    for make in [*WORK, *REFUSED, widths]:
        with tempfile.TemporaryDirectory() as folder:
            try:
                if make is widths:
                    widths(Path(folder), sys.argv[1])
                else:
                    check(make, Path(folder), sys.argv[1])
                print(f"{make.__name__:12} ok", flush=True)
            except Exception as error:  # onnx and onnxruntime raise classes of their own
                failures += 1
                print(f"{make.__name__:12} FAILED: {error}", flush=True)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
