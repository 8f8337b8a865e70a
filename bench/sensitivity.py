#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How near the shortcuts to sensitivities come to equation 2 as it stands: rank correlation over the layers and median ratio at every
width, and the seconds of the stage.

    sensitivity.py ZEROQ [--method sampled] MODEL.onnx ..."""

import argparse
import json
import statistics
import subprocess
import tempfile
from pathlib import Path


def measure(zeroq, model, method, folder):
    """-> widths, sensitivities [layer][width], seconds"""
    out = folder / f"{method}.json"
    subprocess.run([zeroq, "pareto", str(model), "--json", str(out), "--quiet", "--sensitivity", method], check=True)
    found = json.loads(out.read_text())
    seconds = sum(stage["seconds"] for stage in found["stages"] if stage["stage"] == "sensitivity")
    return found["sensitivity_widths"], [layer["sensitivity"] for layer in found["layers"]], seconds


def ranks(values):
    result = [0] * len(values)
    for rank, at in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        result[at] = rank
    return result


def correlation(a, b):
    a, b, middle = ranks(a), ranks(b), (len(a) - 1) / 2
    return sum((x - middle) * (y - middle) for x, y in zip(a, b)) / sum((x - middle) ** 2 for x in a)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zeroq")
    parser.add_argument("--method", default="sampled", choices=["sampled", "fisher"])
    parser.add_argument("models", nargs="+", type=Path)
    args = parser.parse_args()
    print("| network | layers | rank correlation, median ratio by width | seconds, exact | |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for model in args.models:
            widths, exact, slow = measure(args.zeroq, model, "exact", Path(folder))
            _, other, fast = measure(args.zeroq, model, args.method, Path(folder))
            columns = []
            for k, width in enumerate(widths):
                a, b = [row[k] for row in exact], [row[k] for row in other]
                ratio = statistics.median(y / max(x, 1e-12) for x, y in zip(a, b))
                columns.append(f"{width} bits: {correlation(a, b):.3f}, {ratio:.2f}")
            print(f"| {model.stem} | {len(exact)} | {'; '.join(columns)} | {slow:.2f} | {fast:.2f} |", flush=True)


if __name__ == "__main__":
    main()
