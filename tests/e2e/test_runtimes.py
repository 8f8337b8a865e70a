#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Files for other runtimes: OpenVINO runs its own on integers and gives what ONNX Runtime gives, and TensorRT's has the form
that TensorRT documents (which needs a GPU to run).

    test_runtimes.py ZEROQ TOOL_SIMULATE MODEL.onnx [DATA]"""

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

try:
    import numpy as np
    import onnx
    import onnxruntime
    import openvino

    import images
    import simulation
except ImportError as missing:
    print(f"SKIPPED: files for OpenVINO and TensorRT, since Python has no {missing.name}")
    sys.exit(77)

N_IMAGES = 200
MIN_AGREEMENT = 0.85  # with FP32: the network with the least loses 9 % at 8 bits in ONNX Runtime
WEIGHTED = ("Conv", "Gemm", "MatMul")


def quantize(program, model, folder, runtime):
    path = folder / f"{runtime}.onnx"
    subprocess.run([program, "quantize", model, "-o", path, "--runtime", runtime, "--quiet"], check=True)
    onnx.checker.check_model(str(path), full_check=True)
    said = {p.key: p.value for p in onnx.load(path).metadata_props}["zeroq.runtime"]
    assert said == runtime, f"the file says that it is for {said}"
    return path


def test_images(program, model, data, folder):
    found = images.real_images(model, data, N_IMAGES) if data is not None else None
    if found is None:
        path = folder / "images.npy"
        subprocess.run([program, "distill", model, "-o", path, "--seed", "1", "--quiet"], check=True)
        found = np.load(path)
    return found


def run_onnxruntime(path, pixels):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: pixels[i:i + 1]})[0] for i in range(len(pixels))])


def agreement(a, b):
    return (a.reshape(len(a), -1).argmax(1) == b.reshape(len(b), -1).argmax(1)).mean()


def check_simulation(tool, path, pixels, level):
    """Where sums stay float between layers, ties fall differently and later layers amplify them."""
    result = simulation.compare(tool, path, pixels[:8], level)
    assert result.integers > 0 and result.first_step <= 1, f"an integer differs by {result.first_step} steps"
    assert result.different <= 2e-2 * result.integers, f"{result.different} of {result.integers} integers differ"
    assert result.first_share <= 1e-3, f"{100 * result.first_share:.2f} % of the integers of the first value that differs do"
    return f"{result.different} of {result.integers} integers differ from the simulation, {result.first_share:.1e} of the first value that does"


# ---- OpenVINO

def precisions(compiled):
    """-> {(layer, precision): number} of those that multiply and accumulate"""
    info = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    pairs = [(i["layerType"].astype(str), i["runtimePrecision"].astype(str)) for i in info]
    return Counter(p for p in pairs if p[0] in ("Convolution", "FullyConnected", "MatMul"))


def check_openvino(program, tool, model, pixels, folder):
    path = quantize(program, model, folder, "openvino")
    read = openvino.Core().read_model(path)
    read.reshape([1, *pixels.shape[1:]])
    compiled = openvino.Core().compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = precisions(compiled)
    n_layers = sum(n.op_type in WEIGHTED for n in onnx.load(model).graph.node)
    assert sum(found.values()) == n_layers, f"{dict(found)}, expected {n_layers} layers"
    assert all(precision in ("u8", "i8") for _, precision in found), f"OpenVINO runs {dict(found)}"
    scores = np.concatenate([compiled([pixels[i:i + 1]])[0] for i in range(len(pixels))])
    reference = run_onnxruntime(path, pixels)
    same, fp32 = agreement(scores, reference), agreement(scores, run_onnxruntime(model, pixels))
    assert fp32 >= MIN_AGREEMENT, f"the same class as FP32 on {100 * fp32:.1f} % of the images"
    assert 1 - same <= max(0.01, (1 - fp32) / 2), f"the same class as ONNX Runtime on {100 * same:.1f} % of the images"
    all_levels = check_simulation(tool, path, pixels, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL)
    return f"{dict(found)}; the class of ONNX Runtime on {100 * same:.1f} %, of FP32 on {100 * fp32:.1f} %; {all_levels}"


# ---- TensorRT

def check_form(path):
    """Symmetric int8 with zero point 0, weights along their first axis, floats as biases; pairs in front of weighted nodes,
    and on one operand of an Add whose other one a convolution gives."""
    graph = onnx.load(path).graph
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    producer = {name: node for node in graph.node for name in node.output}
    dequantized = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    for node in graph.node:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero_point, scale = constants[node.input[2]], constants[node.input[1]]
            assert zero_point.dtype == np.int8 and not zero_point.any(), f"zero point {zero_point} of {node.output[0]}"
            assert scale.size == 1 or (node.input[0] in constants and attributes["axis"] == 0), f"axis of {node.output[0]}"
            assert node.input[0] not in constants or constants[node.input[0]].dtype == np.int8, f"weight {node.input[0]}"
        if node.op_type in WEIGHTED:
            assert {*node.input[:2]} <= dequantized, f"{node.name} reads {node.input}"
            assert len(node.input) < 3 or constants[node.input[2]].dtype == np.float32, f"bias of {node.name}"
        if node.op_type == "Add":
            plain = [name for name in node.input if name not in dequantized]
            assert len(plain) <= 1, f"no operand of {node.name} is quantized"
            assert all(producer[name].op_type in WEIGHTED for name in plain), f"{node.name} adds {plain}"
    n_plain = sum(node.op_type == "Add" and not {*node.input} <= dequantized for node in graph.node)
    return f"{n_plain} sums inside a convolution's kernel"


def check_tensorrt(program, tool, model, pixels, folder):
    path = quantize(program, model, folder, "tensorrt")
    remark = check_form(path)
    fp32 = agreement(run_onnxruntime(path, pixels), run_onnxruntime(model, pixels))
    assert fp32 >= MIN_AGREEMENT, f"the same class as FP32 on {100 * fp32:.1f} % of the images, in ONNX Runtime"
    plain = check_simulation(tool, path, pixels, onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)
    return f"{remark}; the class of FP32 on {100 * fp32:.1f} %; {plain}"


def main():
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    program, tool, model = sys.argv[1:4]
    if not Path(model).is_file():
        print(f"SKIPPED: the network {model} isn't there")
        sys.exit(77)
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        pixels = test_images(program, Path(model), Path(sys.argv[4]) if len(sys.argv) == 5 else None, folder)
        for check in (check_openvino, check_tensorrt):
            try:
                print(f"{check.__name__[6:]}: ok, {check(program, tool, model, pixels, folder)}", flush=True)
            except Exception as error:  # onnx and the runtimes raise classes of their own
                failures += 1
                print(f"{check.__name__[6:]}: FAILED: {error}", flush=True)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
