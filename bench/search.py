#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How the time of each search for widths grows with the number of layers.

    search.py BUILD [--layers 10 25 50 100 200] [--rounds 1] [--json FILE] [FILE.onnx ...]

Chains of Conv-BatchNormalization-Relu on small images, which differ in their length alone, then the demo's ResNet-20 and the files
named. Images are noise: they cost nothing, and the search takes as long. Times are those of the stages round, sensitivity and
allocate; the exponents are those of time over layers in the chains. The grouped search runs the network tens of thousands of times,
so it is left out where there are many layers. No time is a failure. JSON lies in BUILD/bench/search.json unless
--json says otherwise. Needs the packages numpy and onnx."""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from scaling import slope

ROOT = Path(__file__).resolve().parent.parent
SEARCHES = {"default": [], "--sensitivity fisher": ["--sensitivity", "fisher"], "--search grouped": ["--search", "grouped"]}
MOST_GROUPED = 50
STAGES = ("round", "sensitivity", "allocate")
WIDTH, SIDE, CLASSES = 16, 16, 10


def convolve(x, w):
    """3x3, padded by one, on [N, C, H, W]"""
    import numpy as np
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    patches = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return np.einsum("nchwij,ocij->nohw", patches, w, optimize=True)


def make_chain(path, n_layers):
    """n_layers - 1 of Conv-BatchNormalization-Relu and a Gemm. Statistics are those of random images: every layer sees what its
    BatchNormalization promises."""
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

    x, name = random.normal(0, 1, (16, 3, SIDE, SIDE)), "images"
    for i in range(n_layers - 1):
        w = random.normal(0, np.sqrt(2 / (9 * x.shape[1])), (WIDTH, x.shape[1], 3, 3))
        x = convolve(x, w)
        parts = {"scale": random.uniform(0.8, 1.2, WIDTH), "b": random.normal(0, 0.1, WIDTH), "mean": x.mean((0, 2, 3)),
                 "var": x.var((0, 2, 3)) + 1e-3}
        name = node("Conv", [name, constant(f"w{i}", w)], kernel_shape=[3, 3], pads=[1] * 4)
        name = node("BatchNormalization", [name, *(constant(f"{key}{i}", value) for key, value in parts.items())])
        name = node("Relu", [name])
        scale, b, mean, var = (value[None, :, None, None] for value in parts.values())
        x = np.maximum(0, scale * (x - mean) / np.sqrt(var) + b)
    name = node("Flatten", [node("GlobalAveragePool", [name])])
    node("Gemm", [name, constant("w", random.normal(0, 1, (WIDTH, CLASSES)))])
    graph = helper.make_graph(nodes, "chain", [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
                              [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, ["N", CLASSES])], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


def measure(zeroq, path, options, folder):
    """-> layers, evaluations, seconds by stage"""
    report = folder / "frontier.json"
    subprocess.run([zeroq, "pareto", path, "--distill", "noise", "-q", "--json", report, *options], check=True)
    found = json.loads(report.read_text())
    seconds = {stage["stage"]: stage["seconds"] for stage in found["stages"]}
    return len(found["layers"]), found["search"]["evaluations"], {stage: seconds[stage] for stage in STAGES}


def measure_all(args, folder):
    paths = []
    for n in args.layers:
        paths.append((f"chain of {n}", folder / f"chain{n}.onnx"))
        make_chain(paths[-1][1], n)
    paths += [(path.stem, path) for path in (ROOT / "demo/resnet20-cifar10.onnx", *args.files)]
    rows = []
    for name, path in paths:
        for search, options in SEARCHES.items():
            if "grouped" in options and rows and rows[-1]["layers"] > MOST_GROUPED:
                continue
            found = [measure(args.build / "zeroq", path, options, folder) for _ in range(args.rounds)]
            seconds = {stage: min(each[2][stage] for each in found) for stage in STAGES}
            rows.append({"network": name, "layers": found[0][0], "search": search, "evaluations": found[0][1], "seconds": seconds,
                         "in_all": sum(seconds.values())})
            print(f"| {name} | {rows[-1]['layers']} | {search} | " + " | ".join(f"{s:.3f}" for s in seconds.values()) +
                  f" | {rows[-1]['in_all']:.3f} |", flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path)
    parser.add_argument("files", type=Path, nargs="*")
    parser.add_argument("--layers", type=int, nargs="+", default=[10, 25, 50, 100, 200])
    parser.add_argument("--rounds", type=int, default=1, help="the best of so many (default 1)")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    try:
        import onnx  # noqa: F401
    except ImportError:
        print("the search's time not measured: this Python has no package onnx")
        return
    print("| network | layers | search | round s | sensitivity s | allocate s | in all s |\n|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure_all(args, Path(folder))
    exponents = {}
    for search in SEARCHES:
        chain = [row for row in rows if row["search"] == search and row["network"].startswith("chain")]
        if len(chain) > 1:
            in_all = slope([(row["layers"], row["in_all"]) for row in chain])
            exponents[search] = {"in_all": in_all, **{stage: slope([(row["layers"], max(row["seconds"][stage], 1e-6))
                                                                    for row in chain]) for stage in STAGES}}
            print(f"{search}: time as layers to the power of {in_all:.2f} (" +
                  ", ".join(f"{stage} {exponents[search][stage]:.2f}" for stage in STAGES) + ")")
    output = args.json or args.build / "bench/search.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps({"exponents": exponents, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"search.py: zeroq failed with status {error.returncode}")
