#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the files along a frontier do on real, labelled images, beside what was predicted of them.

    frontier.py --models DIR --data DIR [--points 10] [--images 350] [--json FILE] [--svg FILE] [--option=...] NAME ...

DIR is as for accuracy.py. For each network `zeroq pareto` measures the frontier once, and `quantize --from` writes points of it, evenly
spread from the smallest file to the largest. Printed are damage as predicted and as found, and every step to a larger file on
which the real KL divergence rises by more than two standard errors of the paired difference."""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from accuracy import FOLDERS, ROOT, log_softmax, normalize, read_images, run
from chart import lines


def load_images(args, name):
    spec = json.loads((args.models / f"{name}.json").read_text())
    samples = read_images(args.data / FOLDERS[spec["dataset"]])
    chosen = samples[::max(1, len(samples) // args.images)][:args.images]
    return np.stack([normalize(image, spec["input"]) for _, image in chosen])


def mean_bits(layers):
    return np.average([layer["bits"] for layer in layers], weights=[layer["weights"] for layer in layers])


def write_point(args, model, frontier, size, folder):
    """-> its report"""
    subprocess.run([args.zeroq, "quantize", model, "-o", folder / "point.onnx", "--from", frontier, "--size", f"{size:.3f}%",
                    "--json", folder / "point.json", "--quiet"], check=True)
    return json.loads((folder / "point.json").read_text())


def measure(args, name, folder):
    """-> points, from the smallest file to the largest"""
    model, frontier = args.models / f"{name}.onnx", folder / "frontier.json"
    subprocess.run([args.zeroq, "pareto", model, "--json", frontier, "--quiet", *args.option], check=True)
    found = json.loads(frontier.read_text())
    ends = [100 * found["frontier"][end]["bytes"] / found["summary"]["fp32_bytes"] for end in (0, -1)]
    images = load_images(args, name)
    reference = run(model, images)
    p, points = log_softmax(reference), []
    for size in np.linspace(ends[0] + 0.01, ends[1] + 0.01, args.points):
        report = write_point(args, model, frontier, size, folder)
        if points and points[-1]["bytes"] == report["summary"]["quantized_bytes"]:
            continue  # no better file in between
        logits, summary = run(folder / "point.onnx", images), report["summary"]
        kl = (np.exp(p) * (p - log_softmax(logits))).sum(1)
        agreement = (logits.argmax(1) == reference.argmax(1)).mean()
        point = {"bytes": summary["quantized_bytes"], "size": 100 * summary["quantized_bytes"] / summary["fp32_bytes"],
                 "bits": mean_bits(report["layers"]), "predicted": summary["predicted"], "kl": kl.mean(), "agreement": agreement,
                 "kl_of_images": kl}
        points.append(point)
        print(f"| {name} | {point['size']:.1f} | {point['bits']:.2f} | {summary['predicted']['kl']:.4f} | {point['kl']:.4f} | "
              f"{100 * summary['predicted']['agreement']:.0f} | {100 * agreement:.1f} |", flush=True)
    return points


def find_rises(points):
    """(size before, size behind, rise of KL, its standard error)"""
    rises = []
    for before, behind in zip(points, points[1:]):
        rise = behind["kl_of_images"] - before["kl_of_images"]
        error = rise.std() / np.sqrt(len(rise))
        if rise.mean() > 2 * error:
            rises.append((before["size"], behind["size"], rise.mean(), error))
    return rises


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--zeroq", default=ROOT / "build" / "zeroq")
    parser.add_argument("--points", type=int, default=10)
    parser.add_argument("--images", type=int, default=350, help="real images that judge (default 350)")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--option", action="append", default=[], help="passed on to zeroq pareto")
    args = parser.parse_args()
    print("| network | size, % of FP32 | bits a weight | KL predicted | KL | agreement % predicted | agreement % |\n"
          "|---|---|---|---|---|---|---|", flush=True)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in args.names:
            found[name] = measure(args, name, Path(folder))
            for before, behind, rise, error in find_rises(found[name]):
                print(f"{name}: from {before:.1f} to {behind:.1f} % the KL divergence rises by {rise:.4f} +- {error:.4f}")
            for point in found[name]:
                del point["kl_of_images"]
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    if args.svg is not None:
        lines(args.svg, [(f"{name}: KL", {"predicted": [(p["size"], p["predicted"]["kl"]) for p in points],
                                                         "real images": [(p["size"], p["kl"]) for p in points]})
                         for name, points in found.items()])


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"frontier.py: zeroq failed with status {error.returncode}")
