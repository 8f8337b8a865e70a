#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Networks that end in nodes zeroq can't read: these are copied, and what they compute is what they computed before.

    test_tails.py ZEROQ

Each case is a small detector with one tail behind its boxes and scores. The file written must be valid, have the
interface of the original, run its convolutions on integers, and give with ONNX Runtime exactly what the original's
tail makes of the boxes and scores of the quantized part."""

import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import numpy as np
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    import integers
except ImportError as missing:
    print(f"SKIPPED: networks with tails, since Python has no {missing.name}")
    sys.exit(77)

onnxruntime.set_default_logger_severity(4)
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
CELLS, CLASSES = 64, 5


class Net:
    """A model in the making."""

    def __init__(self, batch=1, opset=13):
        self.opset, self.batch = opset, batch
        self.nodes, self.constants, self.outputs, self.functions = [], [], [], []
        self.domains = [helper.make_opsetid("", opset)]
        self.inputs = [helper.make_tensor_value_info("x", FLOAT, [batch, 3, 32, 32])]
        self.random = np.random.default_rng(5)

    def constant(self, name, array):
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def add(self, op, inputs, outputs, **attributes):
        self.nodes.append(helper.make_node(op, inputs, outputs.split(), name=f"{op}_{outputs.split()[0]}", **attributes))
        return outputs.split()[0]

    def conv(self, src, dst, n_in, n_out, kernel=3, stride=1, norm=True):
        weight = self.random.standard_normal([n_out, n_in, kernel, kernel]) / np.sqrt(n_in * kernel * kernel)
        w = self.constant(f"{dst}_w", weight.astype(np.float32))
        out = self.add("Conv", [src, w], f"{dst}_conv" if norm else dst, strides=[stride] * 2, pads=[kernel // 2] * 4)
        if not norm:
            return out
        stats = [self.random.uniform(lo, hi, n_out) for lo, hi in ((0.5, 1.5), (-1, 1), (-0.2, 0.2), (0.5, 1))]
        names = [self.constant(f"{dst}_{part}", s.astype(np.float32)) for part, s in zip("gbmv", stats)]
        return self.add("Relu", [self.add("BatchNormalization", [out, *names], f"{dst}_bn")], dst)

    def output(self, name, dtype, shape):
        self.outputs.append(helper.make_tensor_value_info(name, dtype, shape))

    def model(self):
        graph = helper.make_graph(self.nodes, "net", self.inputs, self.outputs, self.constants)
        model = helper.make_model(graph, opset_imports=self.domains, functions=self.functions, ir_version=8)
        onnx.checker.check_model(model)
        return model


def detector(batch=1, opset=13):
    net = Net(batch, opset)
    a = net.conv("x", "a", 3, 16, stride=2)
    b = net.conv(a, "b", 16, 32, stride=2)
    c = net.conv(b, "c", 32, 32)
    first = 0 if isinstance(batch, str) else batch
    for name, n in (("box", 4), ("score", CLASSES)):
        head = net.conv(c, f"{name}_head", 32, n, kernel=1, norm=False)
        net.add("Reshape", [head, net.constant(f"{name}_shape", np.int64([first, n, CELLS]))], f"{name}_rows")
    net.add("Transpose", ["box_rows"], "boxes", perm=[0, 2, 1])
    net.add("Sigmoid", ["score_rows"], "scores")
    return net


# ---- tails: each adds nodes behind boxes [N, 64, 4] and scores [N, 5, 64], and returns the operator it is about

def suppression(net):
    limits = [net.constant("most", np.int64(20)), net.constant("iou", np.float32(0.5)),
              net.constant("least", np.float32(0.3))]
    net.add("NonMaxSuppression", ["boxes", "scores", *limits], "selected")
    net.add("Gather", ["selected", net.constant("two", np.int64(2))], "cell", axis=1)
    axes = [] if net.opset < 13 else [net.constant("axes0", np.int64([0]))]
    net.add("Squeeze", ["boxes", *axes], "rows", **({"axes": [0]} if net.opset < 13 else {}))
    net.add("Gather", ["rows", "cell"], "picked", axis=0)
    net.output("selected", INT64, [None, 3])
    net.output("picked", FLOAT, [None, 4])
    return "NonMaxSuppression"


def best(net):
    """Shapes that depend on the batch are computed by the tail itself."""
    axis = {"axes": [1]} if net.opset < 18 else {}
    net.add("ReduceMax", ["scores"] + ([] if axis else [net.constant("one", np.int64([1]))]), "best", keepdims=0, **axis)
    net.add("TopK", ["best", net.constant("k", np.int64([7]))], "top index")
    net.add("Shape", ["boxes"], "size")
    net.add("Gather", ["size", net.constant("zero", np.int64([0]))], "count", axis=0)
    net.add("Concat", ["count", net.constant("seven", np.int64([7, 1]))], "target", axis=0)
    net.add("Reshape", ["top", "target"], "y")
    net.output("y", FLOAT, [net.batch, 7, 1])
    return "ReduceMax"


def loop(net):
    """A subgraph that reads boxes from outside, and has names that zeroq likes."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["q4"]), helper.make_node("Add", ["sum", "boxes"], ["d4"])],
        "body", [helper.make_tensor_value_info("i", INT64, []), helper.make_tensor_value_info("going", TensorProto.BOOL, []),
                 helper.make_tensor_value_info("sum", FLOAT, None)],
        [helper.make_tensor_value_info("q4", TensorProto.BOOL, []), helper.make_tensor_value_info("d4", FLOAT, None)])
    net.add("Loop", [net.constant("q5", np.int64(3)), net.constant("z0", np.bool_(True)), "boxes"], "total", body=body)
    for v in range(6, 40):  # q6 ... and w6 ... in a chain behind it
        net.add("Neg", ["total" if v == 6 else f"{'qw'[v % 2 == 0]}{v - 1}"], f"{'wq'[v % 2 == 0]}{v}")
    net.add("Mul", ["w39", "scores_column"], "y")
    net.nodes.insert(-1, helper.make_node("Slice", ["boxes", *(net.constant(f"s{i}", np.int64([v])) for i, v in
                                                              enumerate((0, 1, 2)))], ["scores_column"]))
    net.output("y", FLOAT, [net.batch, CELLS, 4])
    return "Loop"


def function(net):
    """A function of the model's own."""
    net.domains.append(helper.make_opsetid("own", 1))
    net.functions.append(helper.make_function("own", "Twice", ["v"], ["u"], [helper.make_node("Add", ["v", "v"], ["u"])],
                                              [helper.make_opsetid("", net.opset)]))
    net.nodes.append(helper.make_node("Twice", ["scores"], ["y"], name="twice", domain="own"))
    net.output("y", FLOAT, [net.batch, CLASSES, CELLS])
    return "Twice"


def side_input(net):
    """Boxes in pixels of the photo, whose size comes as a second input; a third one is wanted by nobody."""
    net.inputs.insert(0, helper.make_tensor_value_info("scale", FLOAT, [1, 1, 4]))
    net.inputs.append(helper.make_tensor_value_info("unused", FLOAT, ["n"]))
    net.add("Div", ["boxes", "scale"], "y")
    net.output("y", FLOAT, [net.batch, CELLS, 4])
    net.output("scores", FLOAT, [net.batch, CLASSES, CELLS])
    return "input 'scale' isn't the image"


def regions(net):
    """RoiAlign: another default from opset 16 on."""
    net.add("Squeeze", ["boxes"], "rois", axes=[0])
    net.add("RoiAlign", ["b", "rois", net.constant("batches", np.zeros(CELLS, np.int64))], "y", output_height=2, output_width=2)
    net.output("y", FLOAT, [CELLS, 32, 2, 2])
    return "RoiAlign"


def late_layer(net):
    """A layer behind the operator that can't be read."""
    net.add("Erf", ["c"], "strange")
    net.conv("strange", "late", 32, 8, norm=False)
    net.output("late", FLOAT, [net.batch, 8, 8, 8])
    net.output("boxes", FLOAT, [net.batch, CELLS, 4])
    return "Erf"


# ---- checks

def zeroq(program, model, out, *options):
    command = [program, "quantize", model, "-o", out, "--num-images", "8", "--steps", "4", *options]
    return subprocess.run(command, capture_output=True, text=True)


def run(model, feeds, names=None):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = names or [o.name for o in session.get_outputs()]
    return dict(zip(wanted, session.run(wanted, {k: v for k, v in feeds.items() if k in {i.name for i in session.get_inputs()}})))


def interface(model):
    return [[(v.name, str(v.type)) for v in values] for values in (model.graph.input, model.graph.output)]


def with_outputs(model, names):
    """The model with some of its values as further outputs."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    known = {o.name for o in copy.graph.output}
    copy.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in known)
    return copy


def tail_of(model, names):
    """The nodes behind those values alone, which are its inputs."""
    tail = onnx.ModelProto()
    tail.CopyFrom(model)
    del tail.graph.input[:], tail.graph.node[:]
    known = set(names)
    tail.graph.input.extend([helper.make_tensor_value_info(n, FLOAT, None) for n in names]
                            + [i for i in model.graph.input if i.name != "x"])
    for node in model.graph.node:
        if known & set(node.input) or node.op_type == "Loop":
            tail.graph.node.append(node)
            known |= set(node.output)
    return tail


def check_file(folder, net, about, size, batch, external=False):
    model, path, out = net.model(), folder / "net.onnx", folder / "net.q.onnx"
    copy = onnx.ModelProto()
    copy.CopyFrom(model)  # saving takes the data out of it
    onnx.save(copy, path, save_as_external_data=external, size_threshold=0)
    done = zeroq(folder.program, path, out, "--size", size)
    assert done.returncode == 0, done.stderr
    line = [l for l in done.stdout.splitlines() if l.startswith("  copied")]
    assert len(line) == 1 and about in line[0], done.stdout
    quantized = onnx.load(out)
    onnx.checker.check_model(quantized, full_check=True)
    assert interface(model) == interface(quantized), f"{interface(quantized)}, expected {interface(model)}"
    if len(net.inputs) == 1:
        share, stayed = integers.survey(out)
        assert share > 0.97, f"{share} on integers; float: {stayed}"
    random = np.random.default_rng(1)
    feeds = {"x": random.standard_normal([batch, 3, 32, 32]).astype(np.float32),
             "scale": np.float32([[[1, 2, 3, 4]]]), "unused": np.zeros(2, np.float32)}
    heads = [name for name in ("boxes", "scores") if any(name in n.output for n in quantized.graph.node)]
    found = run(with_outputs(quantized, heads), feeds)
    fp32 = run(with_outputs(model, heads), feeds)
    for name in heads:
        error = np.abs(found[name] - fp32[name]).max() / np.abs(fp32[name]).max()
        assert error < (0.25 if size == "w8" else 1), f"'{name}' differs by {error} of its largest element"
    expected = run(tail_of(model, heads), found | feeds, [o.name for o in model.graph.output])
    for name, value in expected.items():
        assert np.array_equal(found[name], value), f"output '{name}' isn't what the tail makes of the boxes and scores"
    return f"{line[0].split(':', 1)[0].strip()}"


def check_refused(folder, net, about, size, *words):
    path, out = folder / "net.onnx", folder / "net.q.onnx"
    onnx.save(net.model(), path)
    done = zeroq(folder.program, path, out, "--size", size)
    assert done.returncode == 5, f"exit status {done.returncode}, expected 5: {done.stdout}{done.stderr}"
    for word in (about, *words):
        assert word in done.stderr, f"'{word}' isn't in: {done.stderr}"
    assert not out.exists(), "a file was written"


class Folder(type(Path())):
    program = None


def cases(folder):
    for opset in (11, 13, 18):
        for size in ("w8", "w4"):
            net = detector(1, opset)
            yield f"suppression, opset {opset}, {size}", check_file, net, suppression, size, 1
    for batch, opset, size in ((1, 13, "w8"), ("N", 13, "w4"), ("N", 18, "w8"), ("N", 11, "w4")):
        yield f"best, batch {batch}, opset {opset}, {size}", check_file, detector(batch, opset), best, size, 1 if batch == 1 else 3
    yield "best, data in another file", check_file, detector(), best, "w8", 1, True
    for tail in (loop, function, side_input):
        yield f"{tail.__name__}", check_file, detector("N" if tail is side_input else 1), tail, "w8", 1
    yield "regions, opset 11, w4", check_refused, detector(1, 11), regions, "w4", "opset 16", "RoiAlign_y"
    yield "late layer", check_refused, detector(), late_layer, "w8", "late_layer"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    Folder.program = sys.argv[1]
    failures = 0
    for name, check, net, tail, size, *more in cases(None):
        with tempfile.TemporaryDirectory() as folder:
            try:
                about = tail(net)
                remark = check(Folder(folder), net, about, size, *(more if check is check_file else ()))
                print(f"{name:40} ok   {remark or ''}".rstrip(), flush=True)
            except Exception as error:  # onnx and onnxruntime raise classes of their own
                failures += 1
                print(f"{name:40} FAILED: {error}", flush=True)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
