# SPDX-License-Identifier: Apache-2.0
"""Real images as a network takes them, prepared as the JSON beside the network describes."""

import json

import numpy as np
from PIL import Image

# data set -> folder beside the networks' own
FOLDERS = {"cifar-10": "cifar10-lossless", "imagenet-1k": "imagenet-val1300", "imagenette": "imagenette-val1000"}
CIFAR_RECORD = 1 + 3 * 32 * 32  # a label, then a red, a green and a blue plane


def read_cifar(path, n):
    records = np.fromfile(path, np.uint8, n * CIFAR_RECORD).reshape(n, CIFAR_RECORD)
    return records[:, 1:].reshape(n, 3, 32, 32)


def read_photos(folder, n, width, height):
    """Photos from the whole list, squashed to the size of the network: which pixels they hold doesn't matter here."""
    names = [line.split()[0] for line in (folder / "labels.txt").read_text().splitlines()]
    photos = []
    for name in names[:: max(1, len(names) // n)][:n]:
        with Image.open(folder / name) as photo:
            photos.append(np.asarray(photo.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)))
    return np.stack(photos).transpose(0, 3, 1, 2)


def real_images(network, data, n):
    """-> float32 [n, 3, height, width], or None where the data set isn't in the folder data.

    network: path of NAME.onnx, with NAME.json beside it."""
    meta = json.loads(network.with_suffix(".json").read_text())
    folder, spec = data / FOLDERS.get(meta["dataset"], meta["dataset"]), meta["input"]
    if (folder / "test.bin").is_file():
        pixels = read_cifar(folder / "test.bin", n)
    elif (folder / "labels.txt").is_file():
        pixels = read_photos(folder, n, spec["width"], spec["height"])
    else:
        return None
    if spec["channels"] == "BGR":
        pixels = pixels[:, ::-1]
    scaled = pixels.astype(np.float32) / (255 if spec["scale_to"] == "0..1" else 1)
    mean, std = (np.float32(spec[key]).reshape(1, 3, 1, 1) for key in ("mean", "std"))
    return np.ascontiguousarray((scaled - mean) / std)
