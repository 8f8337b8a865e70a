#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How much the features of distilled images are like those of photos, and what their second moments cost.

    features.py --models DIR --data DIR [--zeroq PROGRAM] [--images 64] [--option=WORD ...] NAME ...

Prints for each network, as means over its dense convolutions: the share of a channel's variance that lies between the means of images,
the correlation of neighbours and of pixels 4 apart (both on photos and on distilled images); and the error of a convolution's output on
photos with weights rounded to 4 bits by error feedback on distilled images, over that with other photos: 1 would be as good as photos
(geometric mean), first as the network is, then with every BatchNormalization's mean and variance replaced by those of the distilled
images, as in zeroq's calibration network (src/quant/standard.h). Models and data: as for accuracy.py."""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

import accuracy

SAMPLES = 25600
MOST_WEIGHTS = 1200  # of an output channel
DAMPING = 0.03


def standardize(path, images, output):
    """The network whose BatchNormalization finds on these images, layer after layer, just what it expects."""
    model = onnx.load(path)
    constants = {i.name: i for i in model.graph.initializer}
    for node in [n for n in model.graph.node if n.op_type == "BatchNormalization"]:
        probe = onnx.ModelProto()
        probe.CopyFrom(model)
        probe.graph.output.append(helper.make_empty_tensor_value_info(node.input[0]))
        session = ort.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
        x = [session.run([node.input[0]], {session.get_inputs()[0].name: images[i:i + 16]})[0] for i in range(0, len(images), 16)]
        x = np.concatenate(x).astype(np.float64)
        axes = (0, *range(2, x.ndim))
        for name, found in zip(node.input[3:5], (x.mean(axes), x.var(axes))):
            constants[name].CopyFrom(numpy_helper.from_array(found.astype(np.float32), name))
    onnx.save(model, output)


class Network:
    """The folded network, whose convolutions' inputs are outputs too."""

    def __init__(self, path, folder):
        folded = folder / "folded.onnx"
        accuracy.fold(path, folded)
        model = onnx.load(folded)
        self.weights = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
        self.input = next(i.name for i in model.graph.input if i.name not in self.weights)
        self.convs = [n for n in model.graph.node if n.op_type == "Conv" and self.attribute(n, "group", 1) == 1
                      and self.weights[n.input[1]][0].size <= MOST_WEIGHTS]
        self.names = sorted({n.input[0] for n in self.convs} - {self.input})
        model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in self.names)
        self.session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    @staticmethod
    def attribute(node, name, default):
        found = [a for a in node.attribute if a.name == name]
        return helper.get_attribute_value(found[0]) if found else default

    def features(self, images):
        batch = self.session.get_inputs()[0].shape[0]
        batch = batch if isinstance(batch, int) else 16
        parts = [self.session.run(self.names, {self.input: images[i:i + batch]}) for i in range(0, len(images), batch)]
        return dict(zip(self.names, map(np.concatenate, zip(*parts)))) | {self.input: images}

    def patches(self, node, features, rng):
        """-> some rows of what the weights of an output channel are multiplied with"""
        kernel, strides = self.attribute(node, "kernel_shape", None), self.attribute(node, "strides", [1, 1])
        top, left, bottom, right = self.attribute(node, "pads", [0] * 4)
        x = np.pad(features[node.input[0]], ((0, 0), (0, 0), (top, bottom), (left, right)))
        windows = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=(2, 3))[:, :, ::strides[0], ::strides[1]]
        n, _, height, width = windows.shape[:4]
        at = rng.choice(n * height * width, min(n * height * width, SAMPLES), replace=False)
        rows = windows[at // (height * width), :, at // width % height, at % width]
        return rows.reshape(len(at), -1).astype(np.float64)


def round_weights(w, moments):
    """4 bits with error feedback (GPTQ), scales by least squares."""
    largest, lowest = 7, -8
    scale, best = np.abs(w).max(1) / largest, np.full(len(w), np.inf)
    candidates, whole = scale.copy(), scale
    for factor in np.linspace(0.4, 1, 31):
        s = whole * factor
        error = (w - np.clip(np.round(w / s[:, None]), lowest, largest) * s[:, None]) ** 2 @ np.diag(moments)
        candidates[error < best] = s[error < best]
        best = np.minimum(best, error)
    moments = moments + DAMPING * np.trace(moments) / len(moments) * np.eye(len(moments))
    order = np.argsort(-np.diag(moments))
    factor = np.linalg.cholesky(np.linalg.inv(moments[np.ix_(order, order)])).T
    rest, rounded = w[:, order].copy(), np.empty_like(w)
    for i in range(w.shape[1]):
        q = np.clip(np.round(rest[:, i] / candidates), lowest, largest) * candidates
        rest[:, i:] -= np.outer((rest[:, i] - q) / factor[i, i], factor[i, i:])
        rounded[:, order[i]] = q
    return rounded


def look(x):
    """-> share of the variance between images, correlation of neighbours, of pixels 4 apart (NaN: too small)"""
    x = x.astype(np.float64) - x.mean((0, 2, 3), keepdims=True)
    variance = np.maximum(x.var((0, 2, 3)), 1e-12)

    def correlation(by):
        return ((x[..., by:] * x[..., :-by]).mean((0, 2, 3)) / variance).mean() if x.shape[3] > 2 * by else np.nan
    return (x.mean((2, 3)).var(0) / variance).mean(), correlation(1), correlation(4)


def measure(network, standard, photos, others, distilled):
    rng = np.random.default_rng(0)
    features = [network.features(images) for images in (photos, others, distilled)] + [standard.features(distilled)]
    looks, ratios = [], []
    for node in network.convs:
        w = network.weights[node.input[1]]
        w = w.reshape(len(w), -1).astype(np.float64)
        moments = [x.T @ x / len(x) for x in (network.patches(node, f, rng) for f in features)]
        errors = [np.einsum("ij,jk,ik->", w - q, moments[0], w - q) for q in (round_weights(w, m) for m in moments[1:])]
        ratios.append([e / errors[0] for e in errors[1:]])
        looks.append([look(features[k][node.input[0]]) for k in (0, 2)])
    return np.nanmean(np.array(looks), axis=0), np.exp(np.mean(np.log(ratios), axis=0))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--zeroq", type=Path, default=accuracy.ROOT / "build" / "zeroq")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--option", action="append", default=[], help="for zeroq distill, one word each")
    arguments = parser.parse_args()
    print("| network | between images: photos, distilled | neighbours | 4 apart | error on photos over that of photos | in the calibration network |")
    print("|---|---|---|---|---|---|")
    for name in arguments.names:
        path, n = arguments.models / f"{name}.onnx", arguments.images
        spec = json.loads(path.with_suffix(".json").read_text())
        images = accuracy.read_images(arguments.data / accuracy.FOLDERS[spec["dataset"]])
        chosen = np.linspace(0, len(images) - 1, 2 * n).astype(int)
        photos = np.stack([accuracy.normalize(images[i][1], spec["input"]) for i in chosen])
        with tempfile.TemporaryDirectory() as folder:
            distilled = Path(folder) / "distilled.npy"
            subprocess.run([arguments.zeroq, "distill", path, "-o", distilled, "--num-images", str(n), "--quiet",
                            *arguments.option], check=True)
            images, standard = np.load(distilled), Path(folder) / "standard"
            standard.mkdir()
            standardize(path, images, standard / "network.onnx")
            looks, ratios = measure(Network(path, Path(folder)), Network(standard / "network.onnx", standard), photos[::2], photos[1::2],
                                    images)
        shares = " | ".join(f"{a:.2f}, {b:.2f}" for a, b in zip(*looks))
        print(f"| {name} | {shares} | {ratios[0]:.2f} | {ratios[1]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
