#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How far quantized classifiers are from FP32 on real, labelled images (which only judge: zeroq never sees them).

    accuracy.py --models DIR --data DIR [--seeds 5] [--size w8] [--reference] NAME ...

DIR/NAME.onnx is the network, DIR/NAME.json its preprocessing ("input": width, height, scale_to, mean, std; "dataset"). The data
folder holds cifar10-lossless/{test,train2000}.bin or imagenet-val1300/labels.txt with its JPEG files. --reference adds ONNX Runtime's
own quantize_static (min-max) calibrated on 128 real images. --folded quantizes the network after ONNX Runtime's optimizer has folded its
BatchNormalization away; --pixels tells zeroq the range of pixels."""

import argparse
import json
import statistics
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime as ort
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"imagenet-1k": "imagenet-val1300", "cifar-10": "cifar10-lossless", "imagenette": "imagenette-val1000"}


def resize(image, height, width):
    """Plain bilinear, pixel centres at half, no antialiasing."""
    def axis(n, m):
        s = np.clip((np.arange(m) + 0.5) * n / m - 0.5, 0, n - 1)
        low = np.floor(s).astype(int)
        return low, np.minimum(low + 1, n - 1), (s - low).astype(np.float32)
    y0, y1, fy = axis(image.shape[0], height)
    x0, x1, fx = axis(image.shape[1], width)
    image = image.astype(np.float32)
    rows = image[y0] * (1 - fy)[:, None, None] + image[y1] * fy[:, None, None]
    return rows[:, x0] * (1 - fx)[None, :, None] + rows[:, x1] * fx[None, :, None]


def fit(image, spec):
    h, w = spec["height"], spec["width"]
    if image.shape[:2] == (227, 227) and (h, w) == (224, 224):
        return image[1:225, 1:225]
    return image if image.shape[:2] == (h, w) else resize(image, h, w)


def normalize(image, spec):
    x = fit(image, spec).astype(np.float32)
    x = x / 255 if spec["scale_to"] == "0..1" else x
    x = (x - np.float32(spec["mean"])) / np.float32(spec["std"])
    return x.transpose(2, 0, 1).astype(np.float32)


def read_cifar(path):
    records = np.fromfile(path, np.uint8).reshape(-1, 3073)
    return [(int(r[0]), r[1:].reshape(3, 32, 32).transpose(1, 2, 0)) for r in records]


def read_images(folder):
    if (folder / "test.bin").exists():
        return read_cifar(folder / "test.bin")
    lines = [line.split() for line in (folder / "labels.txt").read_text().splitlines()]
    return [(int(label), np.asarray(Image.open(folder / name).convert("RGB"))) for name, label in lines]


def run(path, images):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    parts = [session.run(None, {name: images[i:i + 16]})[0] for i in range(0, len(images), 16)]
    return np.concatenate(parts).reshape(len(images), -1).astype(np.float64)


def log_softmax(x):
    x = x - x.max(1, keepdims=True)
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def compare(reference, logits, labels):
    """-> KL in nats, paired top-1 difference in points, agreement in percent"""
    p, q = log_softmax(reference), log_softmax(logits)
    kl = (np.exp(p) * (p - q)).sum(1).mean()
    right = (logits.argmax(1) == labels).mean() - (reference.argmax(1) == labels).mean()
    return kl, 100 * right, 100 * (logits.argmax(1) == reference.argmax(1)).mean()


def quantize_reference(model, calibration, output):
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self, name):
            self.rows = iter([{name: image[None]} for image in calibration])

        def get_next(self):
            return next(self.rows, None)

    name = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"]).get_inputs()[0].name
    prepared = output.with_suffix(".prepared.onnx")
    quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
    quantize_static(str(prepared), str(output), Reader(name), quant_format=QuantFormat.QDQ, per_channel=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)


def fold(model, output):
    """What exporters do unless told otherwise."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(output)
    ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return output


def pixel_options(spec):
    """zeroq's options for x = (p / scale - mean) / std"""
    numbers = {key: ",".join(str(v) for v in np.atleast_1d(spec[key]).astype(float)) for key in ("mean", "std")}
    return ["--input-max", "1" if spec["scale_to"] == "0..1" else "255", "--input-mean", numbers["mean"], "--input-std", numbers["std"]]


def evaluate(name, args, folder):
    model = Path(args.models) / f"{name}.onnx"
    meta = json.loads(model.with_suffix(".json").read_text())
    quantized = fold(model, folder / f"{name}.folded.onnx") if args.folded else model
    data = Path(args.data) / FOLDERS[meta["dataset"]]
    samples = read_images(data)
    images = np.stack([normalize(image, meta["input"]) for _, image in samples])
    labels = np.array([label for label, _ in samples])
    reference = run(model, images)
    rows = []
    for seed in range(args.seeds):
        output = folder / f"{name}.{seed}.onnx"
        report = folder / f"{name}.{seed}.json"
        command = [str(args.zeroq), "quantize", str(quantized), "-o", str(output), "--json", str(report), "--quiet",
                   "--size", args.size, "--seed", str(seed), *(pixel_options(meta["input"]) if args.pixels else []), *args.option]
        subprocess.run(command, check=True)
        found = json.loads(report.read_text())["summary"]
        rows.append((*compare(reference, run(output, images), labels), found["quantized_bytes"] / found["fp32_bytes"],
                     found["seconds"], found["predicted"]["kl"], 100 * found["predicted"]["agreement"]))
    median = [statistics.median(column) for column in zip(*rows)]
    print(f"| {name} | {median[0]:.4f} | {max(r[0] for r in rows):.4f} | {median[1]:+.2f} | {min(r[1] for r in rows):+.2f} | "
          f"{median[2]:.1f} | {median[6]:.1f} | {median[5]:.4f} | {median[3]:.3f} | {median[4]:.1f} |", flush=True)
    if args.reference:
        train = data / "train2000.bin"
        source = read_cifar(train) if train.exists() else samples
        chosen = np.random.default_rng(0).choice(len(source), 128, replace=False)
        calibration = [normalize(source[i][1], meta["input"]) for i in chosen]
        output = folder / f"{name}.reference.onnx"
        quantize_reference(model, calibration, output)
        kl, difference, agreement = compare(reference, run(output, images), labels)
        print(f"| {name}, quantize_static on 128 real images | {kl:.4f} | | {difference:+.2f} | | {agreement:.1f} | | | "
              f"{output.stat().st_size / model.stat().st_size:.3f} | |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+")
    parser.add_argument("--models", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--zeroq", default=ROOT / "build" / "zeroq")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--size", default="w8")
    parser.add_argument("--reference", action="store_true")
    parser.add_argument("--keep", metavar="FOLDER", help="leave the files there")
    parser.add_argument("--folded", action="store_true")
    parser.add_argument("--pixels", action="store_true")
    parser.add_argument("--option", action="append", default=[], help="passed on to zeroq quantize")
    args = parser.parse_args()
    print("| network | KL median | KL worst | top-1 difference median | worst | agreement % | predicted | predicted KL | size | seconds |\n"
          "|---|---|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.keep or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in args.names:
            evaluate(name, args, folder)


if __name__ == "__main__":
    main()
