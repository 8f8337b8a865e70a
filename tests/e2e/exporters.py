#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Files as exporters really write them go through: quantized and the same integers as in ONNX Runtime, or a sentence.

    exporters.py ZEROQ TOOL_SIMULATE [NAME ...]     files made with onnx
    exporters.py ZEROQ TOOL_SIMULATE --long         a file of more than 2 GB, and those of PyTorch's exporters, made by
                                                    the Python that ZQ_TORCH_PYTHON names (default: this one)"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    import integers
    import simulation
except ImportError as error:
    print(f"SKIPPED: {error.name} is not installed; ./setup.sh test installs it")
    sys.exit(77)

SIDE, WIDTH, CLASSES = 16, 8, 10
LEAST_SHARE = 0.95  # of multiply-accumulates on integers
CASES = {}


def case(options=(), refused=None):
    """A function that writes a model to a path. options: for quantize. refused: words of the sentence expected."""
    def register(function):
        CASES[function.__name__] = (function, list(options), refused)
        return function
    return register


class Network:
    """Nodes one after another on the value self.last."""

    def __init__(self, opset=13, seed=0):
        self.random = np.random.default_rng(seed)
        self.opset, self.nodes, self.weights, self.last = opset, [], [], "image"
        self.input_shape = ["N", 3, SIDE, SIDE]

    def constant(self, name, values, dtype=np.float32):
        self.weights.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def add(self, op, *inputs, name=None, n_out=1, **attributes):
        name = name or f"{op.lower()}_{len(self.nodes)}"
        outputs = [name] + [f"{name}.{i}" for i in range(1, n_out)]
        self.nodes.append(helper.make_node(op, [self.last, *inputs], outputs, name=f"node {name}", **attributes))
        self.last = name
        return self

    def filters(self, n_out, n_in, side):
        return self.random.normal(0, np.sqrt(2 / (n_in * side * side)), (n_out, n_in, side, side))

    def conv(self, n_in, n_out=WIDTH, side=3, group=1, weight=None, **attributes):
        weight = weight or self.constant(f"w{len(self.weights)}", self.filters(n_out, n_in // group, side))
        if "auto_pad" not in attributes and "pads" not in attributes:
            attributes["pads"] = [side // 2] * 4
        return self.add("Conv", weight, group=group, **attributes)

    def norm(self, n=WIDTH, **attributes):
        values = {"scale": self.random.uniform(0.5, 1.5, n), "shift": self.random.normal(0, 0.4, n),
                  "mean": self.random.normal(0, 0.2, n), "var": self.random.uniform(0.5, 1.5, n)}
        names = [self.constant(f"{key}{len(self.weights)}", value) for key, value in values.items()]
        return self.add("BatchNormalization", *names, **attributes)

    def relu6(self):
        if self.opset < 11:
            return self.add("Clip", min=0.0, max=6.0)
        return self.add("Clip", self.constant(f"lo{len(self.weights)}", 0), self.constant(f"hi{len(self.weights)}", 6))

    def body(self):
        self.conv(3).norm().add("Relu")
        shortcut = self.last
        self.conv(WIDTH, group=WIDTH).norm().relu6().conv(WIDTH, side=1).norm()
        return self.add("Add", shortcut).add("Relu")

    def dense(self):
        return self.add("Gemm", self.constant("fc.w", self.random.normal(0, 0.4, (CLASSES, WIDTH))),
                        self.constant("fc.b", self.random.normal(0, 0.1, CLASSES)), transB=1)

    def head(self):
        return self.add("GlobalAveragePool").add("Flatten").dense()

    def model(self, ir_version=None, inputs=()):
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, self.input_shape)
        out = helper.make_tensor_value_info(self.last, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "net", [image, *inputs], [out], self.weights)
        ir = ir_version or (8 if self.opset < 18 else 9)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=ir)


def add_opset(opset):
    @case()
    def with_opset(path):
        onnx.save(Network(opset).body().head().model(3 if opset < 9 else None), path)
    CASES[f"opset_{opset}"] = CASES.pop("with_opset")


for number in (7, 8, *range(9, 26)):
    add_opset(number)


# ---- where constants come from


@case()
def constant_nodes(path):
    model = Network().body().head().model()
    nodes = [helper.make_node("Constant", [], [t.name], value=t) for t in model.graph.initializer]
    everything = nodes + list(model.graph.node)
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.node.extend(everything)
    onnx.save(model, path)


@case()
def weights_through_identity(path):
    model = Network().body().head().model()
    nodes = []
    for tensor in model.graph.initializer:
        nodes.append(helper.make_node("Identity", [f"{tensor.name}/read"], [tensor.name]))
        tensor.name += "/read"
    everything = nodes + list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(everything)
    onnx.save(model, path)


@case()
def weights_through_transpose(path):
    """Keras keeps filters as [height, width, in, out] and dense weights as [in, out]."""
    net = Network()
    net.constant("hwio", net.filters(WIDTH, 3, 3).transpose(2, 3, 1, 0))
    net.nodes.append(helper.make_node("Transpose", ["hwio"], ["oihw"], perm=[3, 2, 0, 1]))
    net.conv(3, weight="oihw").norm().add("Relu").add("GlobalAveragePool").add("Flatten")
    net.constant("dense", net.random.normal(0, 0.4, (CLASSES, WIDTH)))
    net.nodes.append(helper.make_node("Transpose", ["dense"], ["dense_t"], perm=[1, 0]))
    onnx.save(net.add("MatMul", "dense_t").model(), path)


@case()
def shared_initializers(path):
    """Two layers with the same weights, and one tensor of zeros for many a shift and mean."""
    net = Network()
    zeros, ones = net.constant("zeros", np.zeros(WIDTH)), net.constant("ones", np.ones(WIDTH))
    weight = net.constant("shared", net.filters(WIDTH, WIDTH, 3))
    net.conv(3).add("BatchNormalization", ones, zeros, zeros, ones).add("Relu")
    for _ in range(2):
        net.conv(WIDTH, weight=weight).add("BatchNormalization", ones, zeros, zeros, ones).add("Relu")
    onnx.save(net.head().model(), path)


@case()
def initializers_as_inputs(path):
    net = Network().body().head()
    inputs = [helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in net.weights]
    onnx.save(net.model(ir_version=3, inputs=inputs), path)


@case()
def external_data(path):
    onnx.save(Network().body().head().model(), path, save_as_external_data=True, all_tensors_to_one_file=True,
              location="weights of net.bin", size_threshold=0)


@case()
def external_data_far_into_a_large_file(path):
    """A weight 5 GB into a file that holds nothing else: no offset may be cut to 32 bits."""
    net = Network().body().head()
    model, tensor = net.model(), net.weights[0]
    bytes_, offset = numpy_helper.to_array(tensor).tobytes(), 5 << 30
    with open(path.with_name("large.bin"), "wb") as file:
        file.seek(offset)
        file.write(bytes_)
    stored = next(t for t in model.graph.initializer if t.name == tensor.name)
    stored.ClearField("raw_data")
    stored.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "large.bin"), ("offset", offset), ("length", len(bytes_))):
        stored.external_data.add(key=key, value=str(value))
    path.write_bytes(model.SerializeToString())


def larger_than_2_gb(path):
    """All filters in one tensor of 2.4 GB, each a slice of it."""
    net, n = Network(), 600_000_000
    starts = []
    for name in ("w0", "w1"):
        weight = net.filters(WIDTH, WIDTH, 3).astype(np.float32)
        at = n - (len(starts) + 1) * weight.size
        starts.append((at, weight))
        for what, value in (("from", [at]), ("to", [at + weight.size]), ("shape", weight.shape)):
            net.constant(f"{name}.{what}", value, np.int64)
        net.nodes.append(helper.make_node("Slice", ["all", f"{name}.from", f"{name}.to"], [f"{name}.flat"]))
        net.nodes.append(helper.make_node("Reshape", [f"{name}.flat", f"{name}.shape"], [name]))
    net.conv(3).norm().add("Relu").conv(WIDTH, weight="w0").norm().add("Relu").conv(WIDTH, weight="w1").norm()
    with open(path.with_name("all.bin"), "wb") as file:
        for at, weight in starts:
            file.seek(4 * at)
            file.write(weight.tobytes())
        file.truncate(4 * n)
    model = net.add("Relu").head().model()
    tensor = model.graph.initializer.add(name="all", data_type=TensorProto.FLOAT, dims=[n])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="all.bin")
    path.write_bytes(model.SerializeToString())


# ---- names and shapes


@case()
def unusual_names(path):
    """Names that zeroq gives itself, very long ones, spaces, slashes, letters of any kind; nodes without any."""
    model = Network().body().head().model()
    names = ["q1", "d1", "s3f800000", "ü/層 1", "a" * 3000, "x:0", "z8", "-", "b c", "StatefulPartitionedCall/net/bn/"
             "FusedBatchNormV3:0"]
    values = [o for n in model.graph.node for o in n.output][:-1] + [t.name for t in model.graph.initializer]
    new = {old: names[i] if i < len(names) else f"{names[i % len(names)]}{i}" for i, old in enumerate(values)}
    for node in model.graph.node:
        node.name = ""
        for names_of in (node.input, node.output):
            names_of[:] = [new.get(name, name) for name in names_of]
    for tensor in model.graph.initializer:
        tensor.name = new[tensor.name]
    onnx.save(model, path)


@case(["--shape", "image=1,3,16,16"])
def symbolic_dimensions(path):
    """Everything free, and a flatten that computes its shape, as exporters with dynamic axes write it."""
    net = Network()
    net.input_shape = ["batch", 3, "height", "width"]
    net.body().add("GlobalAveragePool")
    pooled = net.last
    net.constant("zero", 0, np.int64)
    net.constant("first", [0], np.int64)
    net.constant("rest", [-1], np.int64)
    net.add("Shape").add("Gather", "zero", axis=0).add("Unsqueeze", "first")
    net.nodes.append(helper.make_node("Concat", [net.last, "rest"], ["target"], axis=0))
    net.last = pooled
    onnx.save(net.add("Reshape", "target").dense().model(), path)


@case(refused="give them, such as with --shape")
def symbolic_dimensions_that_nobody_gives(path):
    symbolic_dimensions(path)


@case()
def empty_optional_inputs(path):
    net = Network()
    net.conv(3).norm()
    net.nodes[0].input.append("")
    net.add("Clip", "", net.constant("six", 6)).conv(WIDTH).norm().add("Clip", net.constant("zero", 0), "")
    net.add("Resize", "", net.constant("scales", [1, 1, 2, 2]), mode="nearest")
    onnx.save(net.conv(WIDTH).norm().add("Relu").head().model(), path)


# ---- other ways to say the same


@case()
def matmul_and_add(path):
    net = Network().body().add("ReduceMean", axes=[2, 3], keepdims=0)
    net.add("MatMul", net.constant("dense", net.random.normal(0, 0.4, (WIDTH, CLASSES))))
    onnx.save(net.add("Add", net.constant("shift", net.random.normal(0, 0.1, CLASSES))).model(), path)


@case()
def channels_last(path):
    """tf2onnx: images [N, H, W, C], and Transposes around what needs channels first."""
    net = Network()
    net.input_shape = ["N", SIDE, SIDE, 3]
    for n_in in (3, WIDTH):
        net.add("Transpose", perm=[0, 3, 1, 2]).conv(n_in, auto_pad="SAME_UPPER", strides=[2, 2]).norm()
        net.add("Transpose", perm=[0, 2, 3, 1]).add("Relu")
    net.add("ReduceMean", axes=[1, 2], keepdims=0)
    net.add("MatMul", net.constant("dense", net.random.normal(0, 0.4, (WIDTH, CLASSES))))
    onnx.save(net.add("Add", net.constant("shift", np.zeros(CLASSES))).add("Softmax", axis=-1).model(), path)


@case()
def transposes_that_cancel(path):
    net = Network().conv(3).norm().add("Transpose", perm=[0, 2, 3, 1]).add("Relu").add("Transpose", perm=[0, 3, 1, 2])
    onnx.save(net.conv(WIDTH).norm().add("Relu").head().model(), path)


@case()
def pads_of_their_own(path):
    """Keras and Caffe: a Pad in front of a convolution without any."""
    net = Network()
    net.add("Pad", net.constant("pads", [0, 0, 0, 0, 0, 0, 1, 1], np.int64), net.constant("by", 0))
    onnx.save(net.conv(3, strides=[2, 2], pads=[0] * 4).norm().relu6().head().model(), path)


@case()
def paddle(path):
    """paddle2onnx: a free batch of -1, scales that are divided, Identity at the end."""
    net = Network(11)
    net.conv(3).norm(epsilon=1e-5, momentum=0.9).add("HardSigmoid", alpha=1 / 6, beta=0.5)
    net.add("Mul", net.nodes[-1].input[0])
    net.conv(WIDTH).norm().add("Relu").add("GlobalAveragePool")
    net.add("Reshape", net.constant("flat", [-1, WIDTH], np.int64))
    net.add("MatMul", net.constant("dense", net.random.normal(0, 0.4, (WIDTH, CLASSES))))
    net.add("Add", net.constant("shift", np.zeros(CLASSES))).add("Softmax", axis=1)
    model = net.add("Identity").model()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    onnx.save(model, path)


@case()
def training_outputs(path):
    """Old exports with training=PRESERVE list the running statistics as outputs of BatchNormalization."""
    net = Network(13)
    net.conv(3).norm(n_out=5).add("Relu")
    onnx.save(net.conv(WIDTH).norm(n_out=5).add("Relu").add("Dropout", n_out=2).head().model(), path)


@case()
def parts_of_a_sequence(path):
    """PyTorch's dynamo exporter writes chunk and split so, and constants through CastLike."""
    net = Network(18).conv(3).norm().add("Relu")
    net.constant("four", 4, np.int64)
    net.constant("sizes", [3, 5], np.int64)
    net.constant("first", 0, np.int64)
    net.constant("last", -1, np.int64)
    whole = net.last
    a = net.add("SplitToSequence", "four", axis=1).add("SequenceAt", "first").last
    net.last = whole
    net.add("SplitToSequence", "sizes", axis=-3).add("SequenceAt", "last")
    shift = net.constant("shift", np.float32([0.5]))
    net.nodes.append(helper.make_node("CastLike", [shift, a], ["shift_cast"]))
    net.nodes.append(helper.make_node("Add", [a, "shift_cast"], ["shifted"]))
    net.conv(5, n_out=4, side=1).norm(4).add("Concat", "shifted", axis=1)
    onnx.save(net.conv(WIDTH).norm().add("Relu").head().model(), path)


@case(refused="constant part of a SplitToSequence")
def parts_of_a_sequence_without_sizes(path):
    net = Network(18).conv(3).norm().add("Relu")
    net.add("SplitToSequence", axis=1, keepdims=1).add("SequenceAt", net.constant("first", 0, np.int64))
    onnx.save(net.conv(1).norm().head().model(), path)


@case()
def a_sequence_that_others_read(path):
    """A part of it goes on; the node that counts its parts is copied behind the network, with the split."""
    net = Network(18).conv(3).norm().add("Relu")
    parts = net.add("SplitToSequence", net.constant("four", 4, np.int64), axis=1).last
    net.add("SequenceAt", net.constant("first", 0, np.int64)).conv(4).norm().add("Relu").head()
    net.nodes.append(helper.make_node("SequenceLength", [parts], ["length"]))
    model = net.model()
    model.graph.output.append(helper.make_tensor_value_info("length", TensorProto.INT64, []))
    onnx.save(model, path)


@case()
def a_sequence_as_output(path):
    """Copied; the network gives what it takes."""
    net = Network(18).body().head()
    net.nodes.append(helper.make_node("SplitToSequence", [net.last, net.constant("five", 5, np.int64)], ["parts"], axis=1))
    model = net.model()
    model.graph.output.append(helper.make_tensor_sequence_value_info("parts", TensorProto.FLOAT, None))
    onnx.save(model, path)


@case()
def one_dimensional_flatten(path):
    """Squeeze with axes, Unsqueeze back, and a Cast that changes nothing."""
    net = Network().body().add("GlobalAveragePool")
    net.add("Squeeze", net.constant("axes", [2, 3], np.int64)).add("Cast", to=TensorProto.FLOAT)
    onnx.save(net.dense().model(), path)


# ---- without BatchNormalization


def without_norm(path):
    net = Network().conv(3).add("Relu").conv(WIDTH).add("Relu").head()
    onnx.save(net.model(), path)


@case(refused="TrainingMode.PRESERVE")
def folded_norm(path):
    without_norm(path)


@case(["--distill", "noise"])
def folded_norm_on_noise(path):
    without_norm(path)


@case(["--estimate-bn", "--size", "w4"])
def folded_norm_estimated(path):
    without_norm(path)


@case(["--estimate-bn"])
def scale_and_shift(path):
    """Conv, Mul and Add with a number for each channel in place of BatchNormalization."""
    net = Network().conv(3)
    net.add("Mul", net.constant("scale", net.random.uniform(0.5, 1.5, (WIDTH, 1, 1))))
    net.add("Add", net.constant("shift", net.random.normal(0, 0.4, (1, WIDTH, 1, 1))))
    onnx.save(net.add("Relu").conv(WIDTH).add("Relu").head().model(), path)


# ---- what can't be read


@case(refused="domain")
def operators_of_a_runtime(path):
    net = Network().conv(3).norm()
    net.add("FusedConv", net.constant("w", net.filters(WIDTH, WIDTH, 1)), domain="com.microsoft")
    model = net.head().model()
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, path)


@case(refused="32-bit floats")
def half_precision(path):
    model = Network().body().head().model()
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    onnx.save(model, path)


# ---- the test


def check_runs(tool, path, quantized):
    """Same interface, on integers, and those of ONNX Runtime. -> what was found, in words"""
    before, after = onnx.load(path), onnx.load(quantized)
    constants = {t.name for t in before.graph.initializer}
    names = [[v.name for v in g.input if v.name not in constants] + [v.name for v in g.output]
             for g in (before.graph, after.graph)]
    assert names[0] == names[1], f"inputs and outputs {names[0]} became {names[1]}"
    dims = [d.dim_value if d.dim_value > 0 else 0 for d in after.graph.input[-1].type.tensor_type.shape.dim]
    n = dims[0] or 4
    pixels = np.random.default_rng(1).normal(0, 1, (n, *(d or SIDE for d in dims[1:]))).astype(np.float32)
    share, stayed = integers.survey(quantized)
    assert share >= LEAST_SHARE, f"{100 * share:.1f} % on integers; float: {stayed}"
    result = simulation.compare(tool, quantized, pixels)
    assert result.largest_step <= 1 and result.different <= 1e-3 * result.integers, \
        f"{result.different} of {result.integers} integers differ, by {result.largest_step} at most"
    return f"{100 * share:.1f} % on integers, the same as in ONNX Runtime"


def check_file(zeroq, tool, path, options=(), refused=None):
    """-> what was found, in words"""
    quantized = path.with_suffix(".q.onnx")
    done = subprocess.run([zeroq, "quantize", path, "-o", quantized, "--num-images", "8", "-q", *options],
                          capture_output=True, text=True, timeout=300)
    if refused is not None:
        assert 2 <= done.returncode <= 7 and refused in done.stderr, f"status {done.returncode}: {done.stderr}"
        assert done.stderr.count("\n") == 1 and not quantized.exists(), done.stderr
        return done.stderr.strip()
    assert done.returncode == 0, done.stderr.strip() or f"status {done.returncode}"
    return check_runs(tool, path, quantized)


class Report:
    """Every file is tried, whatever happens to those before it."""

    def __init__(self):
        self.n_files, self.failed = 0, []

    def run(self, name, function, *arguments):
        self.n_files += 1
        try:
            print(f"{name}: {function(*arguments)}", flush=True)
        except Exception as error:
            self.failed.append(name)
            print(f"{name}: FAILED: {type(error).__name__}: {str(error)[:600]}", flush=True)

    def finish(self, skipped):
        print(f"{self.n_files} files, {len(self.failed)} failed {' '.join(self.failed)}")
        sys.exit(1 if self.failed else 77 if skipped else 0)


def write_and_check(zeroq, tool, write, options=(), refused=None):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        write(path)
        return check_file(zeroq, tool, path, options, refused)


def check_torch(report, zeroq, tool):
    """False where no Python has torch."""
    python = os.environ.get("ZQ_TORCH_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import torch, onnxscript"], capture_output=True).returncode != 0:
        print("SKIPPED: the files of PyTorch's exporters: ZQ_TORCH_PYTHON names no Python with torch and onnxscript")
        return False
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([python, Path(__file__).with_name("torch_models.py"), folder], check=True, capture_output=True,
                       timeout=1200)
        for path in sorted(Path(folder).glob("*.onnx")):
            folded = path.with_suffix(".refused").exists()
            report.run(path.stem, check_file, zeroq, tool, path, (), "TrainingMode.PRESERVE" if folded else None)
    return True


def main():
    zeroq, tool, *names = sys.argv[1:]
    report = Report()
    if names == ["--long"]:
        report.run("larger_than_2_gb", write_and_check, zeroq, tool, larger_than_2_gb)
        report.finish(skipped=not check_torch(report, zeroq, tool))
    for name in names or CASES:
        report.run(name, write_and_check, zeroq, tool, *CASES[name])
    report.finish(skipped=False)


if __name__ == "__main__":
    main()
