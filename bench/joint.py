#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How well the damage of all layers together is predicted from what each does alone.

    joint.py [--points 12] ZEROQ NET.onnx ... [-- options of zeroq pareto]

`zeroq pareto` measures the frontier once; `quantize --from` writes points of it, evenly spread from the smallest file to the
largest, and measures each as a whole (weights rounded as they were for the sensitivities, activations quantized, on the same
images). Beside it stand the sum of the sensitivities and the prediction from the scores; printed are rank correlations and the
median and extreme ratios of prediction to measurement."""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np


def rank_correlation(a, b):
    a, b = np.argsort(np.argsort(a)), np.argsort(np.argsort(b))
    return np.corrcoef(a, b)[0, 1]


def measured_at(args, model, frontier, size, folder):
    """-> bytes and damage of the frontier's point as it was built first; None where a uniform one is smaller"""
    subprocess.run([args.zeroq, "quantize", model, "-o", folder / "point.onnx", "--from", frontier, "--size", f"{size:.3f}%",
                    "--json", folder / "point.json", "--quiet"], check=True)
    candidates = json.loads((folder / "point.json").read_text())["candidates"]
    return next(((c["bytes"], c["damage"]["kl"]) for c in candidates
                 if c["widths"] == "pareto" and c["rounding"] == "error feedback"), None)


def points_of(args, model, folder):
    """-> (sum of sensitivities, predicted from the scores, measured) of each point"""
    frontier = folder / "frontier.json"
    subprocess.run([args.zeroq, "pareto", model, "--json", frontier, "--quiet", *args.options], check=True)
    found = json.loads(frontier.read_text())
    ends = [100 * found["frontier"][end]["bytes"] / found["summary"]["fp32_bytes"] for end in (0, -1)]
    points, widths = {}, found["sensitivity_widths"]
    for size in np.linspace(ends[0] + 0.01, ends[1] + 0.01, args.points):
        measured = measured_at(args, model, frontier, size, folder)
        if measured is None:
            continue
        nearest = min(found["frontier"], key=lambda point: abs(point["bytes"] - measured[0]))
        total = sum(layer["sensitivity"][widths.index(bits)] for layer, bits in zip(found["layers"], nearest["bits"]))
        points[nearest["bytes"]] = (total, nearest["joint"], measured[1])
    return [points[key] for key in sorted(points)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zeroq")
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--points", type=int, default=12)
    own, _, options = " ".join(sys.argv[1:]).partition(" -- ")
    args = parser.parse_args(own.split())
    args.options = options.split()
    print("| network | points | KL measured | rank correlation: sum, scores | ratio, sum | ratio, scores |\n|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for model in args.models:
            points = np.array(points_of(args, model, Path(folder)), dtype=float)
            ratios = points[:, :2] / points[:, 2:]
            cells = [f"{np.median(r):.2f} ({r.min():.2f} to {r.max():.2f})" for r in ratios.T]
            print(f"| {model.stem} | {len(points)} | {points[:, 2].min():.3g} to {points[:, 2].max():.3g} | "
                  f"{rank_correlation(points[:, 0], points[:, 2]):.3f}, {rank_correlation(points[:, 1], points[:, 2]):.3f} | "
                  f"{cells[0]} | {cells[1]} |", flush=True)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"joint.py: zeroq failed with status {error.returncode}")
