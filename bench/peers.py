#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What zeroq is compared with, measured as zeroq measures itself: rounds for about a second, at least three, the best counts.

    peers.py torch FOLDER NAME BATCH THREADS    answers requests, a line of JSON each: {"pass": "forward" or "step", "type": "fp32",
                                                "bf16" or "autocast", "layout": "plain" or "channels last"}
    peers.py ort MODEL BATCH THREADS            forward in ONNX Runtime
    peers.py static MODEL THREADS               ONNX Runtime's quantize_static with 128 random images

A step is what the distillation computes: forward, the loss of all BatchNormalization statistics, its gradient to the images."""

import json
import os
import sys
import tempfile
import time
from pathlib import Path


def peak_bytes(reset=False):
    """Largest memory of this process since the last reset"""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return 1024 * int(line.split()[1])


def best(run):
    """-> wall and processor time (of all threads) of one pass, each its best"""
    run()  # the first one touches the memory
    walls, cpus = [], []
    while len(walls) < 3 or (sum(walls) < 1000 and len(walls) < 100):
        start, cpu_start = time.perf_counter(), time.process_time()
        run()
        walls.append(1000 * (time.perf_counter() - start))
        cpus.append(1000 * (time.process_time() - cpu_start))
    return {"ms": min(walls), "cpu_ms": min(cpus)}


# ---- PyTorch

def make_step(net, x):
    """Statistics by what is fastest in each layout (torch.var_mean takes up to 20 times as long), and their gradient in closed
    form, in one pass."""
    import torch

    def statistics_of(z):
        if z.is_contiguous():
            mean = z.mean((0, 2, 3))
            return mean, z.square().mean((0, 2, 3)) - mean ** 2
        _, mean, inverse_deviation = torch.native_batch_norm(z, None, None, None, None, True, 0, 1e-9)
        return mean, inverse_deviation ** -2

    class Statistics(torch.autograd.Function):
        @staticmethod
        def forward(ctx, z):
            mean, variance = statistics_of(z)
            ctx.save_for_backward(z, mean)
            return mean, variance

        @staticmethod
        def backward(ctx, d_mean, d_variance):
            z, mean = ctx.saved_tensors
            n = z.numel() // z.shape[1]
            scale = 2 * d_variance / n
            offset = d_mean / n - scale * mean
            return torch.addcmul(offset.view(1, -1, 1, 1), scale.view(1, -1, 1, 1), z)

    losses = []

    def hook(norm, inputs):
        mean, variance = Statistics.apply(inputs[0])
        wanted = norm.running_var
        losses.append(((mean - norm.running_mean) ** 2 / wanted + (variance / wanted - 1) ** 2).mean())

    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_pre_hook(hook)

    def step():
        losses.clear()
        net(x)
        torch.autograd.grad(torch.stack(losses).sum(), x)
    return step


def make_pass(folder, name, batch, request):
    import torch
    from nets import image_size, load
    dtype = torch.bfloat16 if request["type"] == "bf16" else torch.float32
    layout = torch.channels_last if request["layout"] == "channels last" else torch.contiguous_format
    net = load(folder, name).to(dtype).to(memory_format=layout)
    size = image_size(name)
    x = torch.randn(batch, 3, size, size).to(dtype).contiguous(memory_format=layout)
    if request["pass"] == "step":
        run = make_step(net, x.requires_grad_(True))
    else:
        run = torch.inference_mode()(lambda: net(x))
    return torch.autocast("cpu", torch.bfloat16)(run) if request["type"] == "autocast" else run


def serve_torch(folder, name, batch, threads):
    import torch
    torch.set_num_threads(threads)
    print(json.dumps({"version": torch.__version__}), flush=True)
    for line in sys.stdin:
        peak_bytes(reset=True)
        times = best(make_pass(folder, name, batch, json.loads(line)))
        print(json.dumps(times | {"bytes": peak_bytes()}), flush=True)


# ---- ONNX Runtime

def input_of(model):
    """-> name and shape of one image"""
    import onnx
    source = onnx.load(model, load_external_data=False).graph.input[0]
    return source.name, [d.dim_value or 1 for d in source.type.tensor_type.shape.dim]


def measure_ort(model, batch, threads):
    import numpy as np
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name, shape = input_of(model)
    feed = {name: np.random.default_rng(0).standard_normal([batch, *shape[1:]]).astype(np.float32)}
    times = best(lambda: session.run(None, feed))
    print(json.dumps(times | {"version": ort.__version__, "bytes": peak_bytes()}))


def measure_static(model, threads, n_images=128):
    import numpy as np
    import onnxruntime as ort
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process
    name, shape = input_of(model)
    generator = np.random.default_rng(0)

    class Images(CalibrationDataReader):
        left = n_images

        def get_next(self):
            self.left -= 1
            return {name: generator.standard_normal(shape).astype(np.float32)} if self.left >= 0 else None

    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])  # there is no option for threads
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        quant_pre_process(model, f"{folder}/prepared.onnx")
        quantize_static(f"{folder}/prepared.onnx", f"{folder}/quantized.onnx", Images(), quant_format=QuantFormat.QDQ,
                        per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
        seconds = time.perf_counter() - start
    print(json.dumps({"version": ort.__version__, "seconds": seconds, "bytes": peak_bytes()}))


def main():
    what, *rest = sys.argv[1:] or [""]
    if what == "torch":
        serve_torch(Path(rest[0]), rest[1], int(rest[2]), int(rest[3]))
    elif what == "ort":
        measure_ort(rest[0], int(rest[1]), int(rest[2]))
    elif what == "static":
        measure_static(rest[0], int(rest[1]))
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
