#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What becomes of networks: the rows of docs/networks.md.

    survey.py ZEROQ TOOL_SIMULATE [--size SIZE]... [--held-out N] MODEL.onnx... [-- OPTION...]

Each model is distilled and quantized (the options behind -- go to `zeroq quantize`, and to `zeroq distill` but for the
number of images). Printed are layers, bytes, the share of multiply-accumulates that ONNX Runtime computes on integers,
the share of integers of two distilled images that differ from those of the simulation, agreement with FP32 in ONNX
Runtime on N distilled images that served nothing else (other images of the same statistics, by another seed), the
damage that zeroq predicted, and seconds. Nothing is asserted: test_networks.py does that."""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort

import integers
import simulation

HEADER = ("| network | size | layers | MB | of FP32 | integers % | differ | agreement % | predicted | seconds |\n"
          "|---|---|---|---|---|---|---|---|---|---|")


def open_model(path):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def batch_of(path):
    """None: free"""
    batch = open_model(path).get_inputs()[0].shape[0]
    return batch if isinstance(batch, int) else None


def run(path, images):
    session = open_model(path)
    name, step = session.get_inputs()[0].name, batch_of(path) or len(images)
    parts = [session.run(None, {name: images[i:i + step]}) for i in range(0, len(images), step)]
    return [np.concatenate(outputs) for outputs in zip(*parts)]


def agreement(original, quantized, images):
    """Percent of positions at which the first output has the same largest class."""
    a, b = (run(path, images)[0] for path in (original, quantized))
    axis = 1 if a.ndim == 4 else -1
    return 100 * float((a.argmax(axis) == b.argmax(axis)).mean())


def survey(zeroq, tool, model, size, n_images, options, folder):
    quantized, report, held_out = folder / "q.onnx", folder / "report.json", folder / "images.npy"
    command = [zeroq, "quantize", model, "-o", str(quantized), "--size", size, "--json", str(report), "--quiet", *options]
    start = time.time()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.time() - start
    name = Path(model).stem
    if done.returncode != 0:
        return f"| {name} | {size} | **{done.stderr.strip()}** | | | | | | | {seconds:.1f} |"
    command = [zeroq, "distill", model, "-o", str(held_out), "--quiet", *options, "--seed", "77", "--num-images", str(n_images)]
    subprocess.run(command, check=True)
    images = np.load(held_out)
    facts = json.loads(report.read_text())
    share, _ = integers.survey(quantized)
    same = simulation.compare(tool, str(quantized), images[:2])
    bytes_ = [Path(p).stat().st_size for p in (model, quantized)]
    return (f"| {name} | {size} | {len(facts['layers'])} | {bytes_[1] / 1e6:.2f} | {bytes_[1] / bytes_[0]:.3f} | {100 * share:.2f} "
            f"| {same.different / max(same.integers, 1):.1e} | {agreement(model, quantized, images):.1f} "
            f"| {facts['summary']['predicted']['kl']:.4f} | {seconds:.1f} |")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("zeroq")
    parser.add_argument("tool")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--size", action="append")
    parser.add_argument("--held-out", type=int, default=16)
    own, options = sys.argv[1:], []
    if "--" in own:
        own, options = own[:own.index("--")], own[own.index("--") + 1:]
    given = parser.parse_args(own)
    print(HEADER)
    for model in given.models:
        for size in given.size or ["w8", "w4"]:
            with tempfile.TemporaryDirectory() as folder:
                print(survey(given.zeroq, given.tool, model, size, given.held_out, options, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
