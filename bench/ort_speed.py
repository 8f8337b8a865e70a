#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Speed of ONNX files in ONNX Runtime, batch 1, in interleaved blocks: medians, and ratios to the first file.

    ort_speed.py [--rounds 7] [--threads 1] FIRST.onnx OTHER.onnx ...

Every block is a process of its own (the idle threads of another session would disturb it); the first calls are discarded. To compare
with ONNX Runtime's own quantization: accuracy.py --reference --keep FOLDER leaves its files there."""

import argparse
import statistics
import subprocess
import sys
import time


def block(path, threads, calls):
    """ms of one call, the median of a block"""
    import numpy as np
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0]
    shape = [d if isinstance(d, int) else 1 for d in source.shape]
    feed = {source.name: np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
    times = []
    for _ in range(calls + calls // 4 + 2):
        start = time.perf_counter()
        session.run(None, feed)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[-calls:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--calls", type=int, default=40)
    parser.add_argument("--block", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.block:
        print(block(args.files[0], args.threads, args.calls))
        return
    times = {path: [] for path in args.files}
    for _ in range(args.rounds):
        for path in args.files:
            command = [sys.executable, __file__, "--block", "--threads", str(args.threads), "--calls", str(args.calls), path]
            times[path].append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    first = times[args.files[0]]
    for path in args.files:
        ratio = statistics.median(a / b for a, b in zip(times[path], first))
        print(f"{path}: {statistics.median(times[path]):.3f} ms, {ratio:.2f} of the first's time")


if __name__ == "__main__":
    main()
