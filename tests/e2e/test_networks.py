#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A network through the program, and what users are promised about the files it writes.

    test_networks.py ZEROQ TOOL_SIMULATE MODEL.onnx [DATA]

Quantizes MODEL with 8 bits, with the size of 4 bits, and with activations of 4 bits and of several, and checks the files: valid, loaded by ONNX Runtime, the
same integers there as in the simulation, run as integers, small, with the interface of the original, the same bytes
again. Images come from the data sets in the folder DATA; without them the distilled images are taken."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

try:
    import numpy as np
    import onnx
    import onnxruntime

    import images
    import integers
    import simulation
except ImportError as missing:
    print(f"SKIPPED: whole networks in ONNX Runtime, since Python has no {missing.name}")
    sys.exit(77)

N_IMAGES = 8
SIZES = {"w8": 0.30, "w4": 0.17}  # of the FP32 file, for layers of 30 KB and more on the average
MIN_INTEGER_SHARE = 0.99
# Rounding ties: ONNX Runtime's fused kernels may land one step beside; anything more frequent is another network.
MAX_DIFFERENT = 1e-2  # share of the integers
MAX_TIES = 1e-4  # share of those of the first value that differs
REPORT = Path(__file__).resolve().parents[2] / "docs" / "report.md"


class Case:
    """One size of one network: what was run, and where its results lie."""

    def __init__(self, arguments, folder, size):
        self.zeroq, self.tool, self.model = arguments[:3]
        self.size = size
        self.effort = "normal" if "demo" in Path(self.model).parts else "fast"  # only the number of images differs
        self.quantized = folder / f"{size}.q.onnx"
        self.report_path = folder / f"{size}.json"
        self.folder = folder

    def quantize(self, path, *options):
        command = [self.zeroq, "quantize", self.model, "-o", path, "--size", self.size, "--effort", self.effort, "--quiet",
                   *options]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, f"exit status {done.returncode}: {done.stderr}"
        assert done.stdout == "" and done.stderr == "", f"--quiet printed {done.stdout + done.stderr!r}"

    @property
    def report(self):
        return json.loads(self.report_path.read_text())


# ---- the checks: each raises AssertionError with what was found, and may return a remark

def check_quantizes(case):
    start = time.monotonic()
    case.quantize(case.quantized, "--json", case.report_path)
    return f"{time.monotonic() - start:.1f} s"


def check_valid(case):
    onnx.checker.check_model(str(case.quantized), full_check=True)


def check_interface(case):
    """Names, types and shapes of inputs and outputs are those of the original, a free batch included."""
    def interface(path):
        graph = onnx.load(path, load_external_data=False).graph
        constants = {t.name for t in graph.initializer}
        return [[(v.name, v.type.tensor_type.elem_type, [d.dim_value or "free" for d in v.type.tensor_type.shape.dim])
                 for v in values if v.name not in constants] for values in (graph.input, graph.output)]
    before, after = interface(case.model), interface(case.quantized)
    assert before == after, f"{after}, expected {before}"


def check_loads(case):
    """In ONNX Runtime as users open it, for one image and, where the batch is free, for three."""
    session = onnxruntime.InferenceSession(str(case.quantized), providers=["CPUExecutionProvider"])
    value = session.get_inputs()[0]
    for n in (1, 3) if not isinstance(value.shape[0], int) else (value.shape[0],):
        results = session.run(None, {value.name: np.zeros([n, *value.shape[1:]], np.float32)})
        assert all(np.isfinite(r).all() for r in results), f"outputs of {n} images aren't finite"
        assert len(results[0]) == n, f"{len(results[0])} results for {n} images"


def test_images(case, data):
    """-> images, and what they are"""
    real = images.real_images(Path(case.model), data, N_IMAGES) if data is not None else None
    if real is not None:
        return real, "real images"
    path = case.folder / "images.npy"
    command = [case.zeroq, "distill", case.model, "-o", path, "--num-images", str(N_IMAGES), "--quiet"]
    subprocess.run(command, check=True)
    return np.load(path), "distilled images, since there is no data set"


def check_simulation(case, pixels, what, all_integers=True):
    """The engine's integers are those of ONNX Runtime: one step apart at ties, which are rare except behind a layer that
    stays float, where sums are rounded in another order; later layers amplify them. The largest output is the same."""
    result = simulation.compare(case.tool, case.quantized, pixels)
    assert result.integers > 0, "no integers were compared"
    assert result.first_step <= 1, f"an integer differs by {result.first_step} steps"
    assert result.first_share <= MAX_TIES or not all_integers, f"{100 * result.first_share:.2f} % of the first value's differ"
    assert result.different <= MAX_DIFFERENT * result.integers, f"{result.different} of {result.integers} integers differ"
    assert result.different > 0 or result.argmax == 0, "all integers are equal, the largest outputs aren't"
    assert result.argmax <= 1, f"another largest output on {result.argmax} of {len(pixels)} images"
    return f"{result.different} of {result.integers} integers differ, on {len(pixels)} {what}"


def check_integers(case):
    share, stayed = integers.survey(case.quantized)
    floats = ", ".join(f"{name} ({100 * part:.2f} %)" for part, name in stayed)
    assert share >= MIN_INTEGER_SHARE, f"only {100 * share:.2f} % run as integers; float: {floats}"
    return f"{100 * share:.2f} % of multiply-accumulates" + (f"; float: {floats}" if floats else "")


def check_size(case):
    before, after = os.path.getsize(case.model), os.path.getsize(case.quantized)
    report = case.report
    reported = report["summary"]["fp32_bytes"], report["summary"]["quantized_bytes"]
    assert reported == (before, after), f"{before} and {after} bytes, but the report says {reported}"
    limit = report["limit_bytes"]
    assert after <= limit, f"{after} bytes, {limit} with {case.size[1:]} bits everywhere"
    share = after / before
    assert before < 3e4 * len(report["layers"]) or share <= SIZES[case.size], f"{share:.3f} of the FP32 file"
    return f"{after} bytes, {share:.3f} of the FP32 file"


def check_levels(case):
    """Every activation has 16 levels, but for the input and those inside a layer, and the file says so."""
    report = case.report
    assert {(a["levels"], a["wide"]) for a in report["activations"]} <= {(16, False), (256, True)}, "an activation has other levels"
    model = onnx.load(case.quantized)
    said = {t.key: t.value for t in model.metadata_props}["zeroq.activation_bits"]
    assert said == "4" and report["summary"]["activation_bits"] == 4, f"the file says {said} bits"
    names = {n.output[0]: n.input[0] for n in model.graph.node if n.op_type == "QuantizeLinear"}
    clipped = {n.input[0] for n in model.graph.node if n.op_type == "Clip"}
    functions = {n.input[0]: n.op_type for n in model.graph.node if n.op_type in ("LeakyRelu", "Sigmoid", "HardSwish", "HardSigmoid", "Tanh", "Elu")}
    readers = {n.input[0]: n.output[0] for n in model.graph.node if n.op_type == "DequantizeLinear"}
    for name in set(names) - clipped:
        is_input = names[name] in {i.name for i in model.graph.input}
        assert is_input or readers.get(name) in functions, f"no Clip behind {name}"
    assert clipped, "nothing is clipped"


def elements(value):
    """A free batch, the first dimension, counts as one image."""
    dims = [d.dim_value for d in value.type.tensor_type.shape.dim]
    return int(np.prod([dims[0] or 1, *dims[1:]]))


def check_mixed(case):
    """The widths that the report gives are those in the file, and in the mean over elements no more than asked for."""
    report, model = case.report, onnx.load(case.quantized)
    documented = set(re.findall(r"^\| `(mixed_activations[^`]*)` \|", REPORT.read_text(), re.MULTILINE))
    found = {key for key in key_paths(report) if key.split(".")[0] == "mixed_activations"}
    assert found == documented, f"only documented or only found: {', '.join(sorted(found ^ documented))}"
    limits = {n.input[0]: int(onnx.numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == n.input[2])).item())
              for n in model.graph.node if n.op_type == "Clip"}
    levels = sorted(limits.get(n.output[0], 255) + 1 for n in model.graph.node if n.op_type == "QuantizeLinear")
    assert levels == sorted(a["levels"] for a in report["activations"]), "the file has other widths than the report"
    assert all(2 ** a["bits"] == a["levels"] for a in report["activations"])
    bits = {a["name"]: a["bits"] for a in report["activations"]}
    for grid in report["mixed_activations"]["grids"]:
        assert len({bits[name] for name in grid["values"]}) == 1, f"{grid['values']} have several widths"
    inferred = onnx.shape_inference.infer_shapes(model)
    shapes = {v.name: v for v in [*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output]}
    counts = {a["name"]: elements(shapes[a["name"]]) for a in report["activations"] if not a["wide"]}
    mean = sum(counts[name] * bits[name] for name in counts) / sum(counts.values())
    assert mean <= 6 + 1e-9, f"{mean} bits in the mean"
    assert abs(mean - report["summary"]["activation_bits"]) < 1e-6, f"{mean}, the report says {report['summary']}"
    return f"{mean:.3f} bits, {', '.join(map(str, sorted(set(bits.values()))))}"


def check_choice(case):
    """The chosen candidate is marked, keeps the limit, and its widths are those of the layers."""
    report = case.report
    chosen = [c for c in report["candidates"] if c["chosen"]]
    assert len(chosen) == 1, f"{len(chosen)} candidates are marked as chosen"
    best = min(c["damage"]["kl"] for c in report["candidates"] if c["bytes"] <= report["limit_bytes"])
    most = best * (4 / 3 if chosen[0]["widths"] == "pareto" else 1)  # widths that trust two bits less, and corrected biases, ...
    most *= 1.5 if chosen[0]["biases_corrected"] else 1  # ... are believed unless they do clear harm
    assert chosen[0]["damage"]["kl"] <= most, f"chosen with KL {chosen[0]['damage']['kl']}, but there is {best}"
    bits = [layer["bits"] for layer in report["layers"]]
    widths = {t.key: t.value for t in onnx.load(case.quantized).metadata_props}["zeroq.weight_bits"]
    assert [int(b) for b in widths.split()] == bits, f"the file says {widths}, the report {bits}"
    return f"bits {widths}" if len(set(bits)) > 1 else f"{bits[0]} bits in all layers"


def key_paths(value, prefix=""):
    """{"a": [{"b": 1}]} -> a, a[].b"""
    if isinstance(value, dict):
        for key, below in value.items():
            path = f"{prefix}.{key}" if prefix else key
            yield path
            yield from key_paths(below, path)
    elif isinstance(value, list):
        for below in value:
            yield from key_paths(below, f"{prefix}[]")


def check_report(case):
    """The report has the keys that docs/report.md lists; with mixed widths it has all of them."""
    documented = set(re.findall(r"^\| `([^`]+)` \|", REPORT.read_text(), re.MULTILINE))
    found = set(key_paths(case.report))
    assert found <= documented, f"not in docs/report.md: {', '.join(sorted(found - documented))}"
    parts = {part: {key for key in documented if key.split(".")[0] == part} for part in ("plan", "comparison", "mixed_activations")}
    missing = documented - found - set.union(*parts.values()) if case.size == "w4" else set()
    assert not missing, f"documented, but not in the report: {', '.join(sorted(missing))}"
    path = case.folder / "part.json"
    commands = {"plan": ["inspect", case.model, "--gradient"],
                "comparison": ["compare", case.model, case.quantized, "--num-images", "1", "-q"]}
    for part, command in commands.items():
        subprocess.run([case.zeroq, *command, "--json", path], check=True, stdout=subprocess.DEVNULL)
        found = {key for key in key_paths(json.loads(path.read_text())) if key.split(".")[0] == part}
        assert found == parts[part], f"{part}: only documented or only found: {', '.join(sorted(found ^ parts[part]))}"


def check_repeatable(case):
    """Other numbers of threads, same seed, same bytes; another seed, another file."""
    again = case.folder / "again.q.onnx"
    for threads in ("1", "2"):
        case.quantize(again, "--threads", threads)
        same = again.read_bytes() == case.quantized.read_bytes()
        assert same, f"another file with --threads {threads} and the same seed"
    case.quantize(again, "--seed", "1")
    assert again.read_bytes() != case.quantized.read_bytes(), "the same file with another seed"


def check_controls(case, pixels, what):
    """A layer in the middle stays float in ONNX Runtime too, the ends have 8 bits, the others 4 or 8."""
    layers = [layer["name"] for layer in case.report["layers"] if not layer["affine"]]
    excluded = layers[len(layers) // 2]
    controlled = Case((case.zeroq, case.tool, case.model), case.folder, case.size)
    controlled.quantized, controlled.report_path = case.folder / "kept.q.onnx", case.folder / "kept.json"
    controlled.quantize(controlled.quantized, "--json", controlled.report_path, "--exclude", excluded,
                        "--keep-first-last", "--bits", "4,8")
    bits = {layer["name"]: layer["bits"] for layer in controlled.report["layers"]}
    assert excluded not in bits, f"{excluded} has {bits[excluded]} bits"
    assert bits[layers[0]] == bits[layers[-1]] == 8, f"{bits[layers[0]]} and {bits[layers[-1]]} bits at the ends"
    assert set(bits.values()) <= {4, 8}, f"widths are {set(bits.values())}"
    stayed = [name for _, name in integers.survey(controlled.quantized)[1]]
    assert any(name.endswith(excluded) for name in stayed), f"{excluded} runs on integers"
    return f"{excluded} excluded: {check_simulation(controlled, pixels, what, all_integers=False)}"


# ---- running them

def run_checks(label, checks, case):
    """checks: (name, check) -> number of failures"""
    failures = 0
    for name, check in checks:
        try:
            remark = check(case)
            print(f"{label} {name:11} ok   {remark or ''}".rstrip(), flush=True)
        except Exception as error:  # onnx and onnxruntime raise classes of their own
            failures += 1
            print(f"{label} {name:11} FAILED: {error}", flush=True)
            if name == "quantizes":
                break
    return failures


def run_case(case, pixels):
    """-> number of failures"""
    checks = [check_quantizes, check_valid, check_interface, check_loads, check_integers, check_size, check_choice,
              check_report, lambda case: check_simulation(case, *pixels), check_repeatable]
    checks += [lambda case: check_controls(case, *pixels)] if case.size == "w4" else []
    names = ["quantizes", "valid", "interface", "loads", "integers", "size", "choice", "report", "simulation",
             "repeatable", "controls"]
    return run_checks(case.size, zip(names, checks), case)


def run_narrow(case, pixels, activations, check_widths):
    """Narrow activations, weights of 6 bits on the average. -> number of failures"""
    checks = [("quantizes", lambda case: case.quantize(case.quantized, "--activations", activations, "--json", case.report_path)),
              ("valid", check_valid), ("interface", check_interface), ("loads", check_loads), ("integers", check_integers),
              ("choice", check_choice), ("levels", check_widths), ("simulation", lambda case: check_simulation(case, *pixels))]
    return run_checks(f"a-{activations}", checks, case)


def main():
    arguments = sys.argv[1:]
    if len(arguments) not in (3, 4):
        sys.exit(__doc__)
    if not Path(arguments[2]).is_file():
        print(f"SKIPPED: the network {arguments[2]} isn't there")
        sys.exit(77)
    data = Path(arguments[3]) if len(arguments) == 4 else None
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        pixels = test_images(Case(arguments, Path(folder), "w8"), data)
        for size in SIZES:
            failures += run_case(Case(arguments, Path(folder), size), pixels)
        for activations, check in (("4", check_levels), ("mixed", check_mixed)):
            failures += run_narrow(Case(arguments, Path(folder), "w6"), pixels, activations, check)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
