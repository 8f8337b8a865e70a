#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Networks to measure: torchvision's architectures and the demo's ResNet-20, with random weights.

    nets.py FOLDER [NAME ...]

writes FOLDER/NAME.onnx and, for peers.py, FOLDER/NAME.pt; what is there already stays. BatchNormalization is kept, its
statistics are those of smooth random images, and the outputs are of a size that suits a softmax, so numbers everywhere are as
large as in a trained network. They say nothing about accuracy. Needs the packages of bench/requirements.txt."""

import argparse
import sys
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("resnet20", "resnet18", "resnet50", "mobilenet_v2", "shufflenet_v2_x1_0", "regnet_y_400mf", "efficientnet_b0",
         "densenet121", "inception_v3", "resnet152")
N_IMAGES = 32


def image_size(name):
    return {"resnet20": 32, "inception_v3": 299}.get(name, 224)


def architecture(name):
    if name == "resnet20":
        sys.path.insert(0, str(ROOT / "demo"))
        from train import ResNet20
        return ResNet20()
    import torchvision
    if name not in torchvision.models.list_models():
        raise SystemExit(f"nets.py: torchvision has no network '{name}'; try one of {', '.join(NAMES)}")
    options = {"init_weights": False} if name == "inception_v3" else {}
    net = torchvision.models.get_model(name, weights=None, **options)
    if name == "inception_v3":  # its second output is for training only
        net.AuxLogits, net.aux_logits = None, False
    return net


def smooth_images(n, size, generator):
    """[n, 3, size, size] of mean 0 and deviation 1, coarse structures stronger than fine ones, like photographs"""
    x = torch.zeros(n, 3, size, size)
    cells = 1
    while cells <= size:
        noise = torch.randn(n, 3, cells, cells, generator=generator)
        x += F.interpolate(noise, size=(size, size), mode="bilinear") / cells ** 0.5
        cells *= 2
    return (x - x.mean()) / x.std()


def settle(net, x, generator):
    """Random affine parameters (the exporter would merge those of all layers if they were equal), and statistics of x."""
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    linear = [m for m in net.modules() if isinstance(m, nn.Linear)][-1]
    for m in norms:
        m.weight.copy_(torch.empty_like(m.weight).uniform_(0.6, 1.4, generator=generator))
        m.bias.copy_(torch.empty_like(m.bias).normal_(0, 0.2, generator=generator))
        m.momentum = 1.0
    net.eval()
    for m in norms:
        m.train()
    net(x)
    net.eval()
    y = net(x)
    linear.weight *= 2 / (y - y.mean(0)).std()
    if not torch.isfinite(net(x)).all():
        raise SystemExit("nets.py: outputs aren't finite")
    return net


def load(folder, name):
    net = architecture(name)
    net.load_state_dict(torch.load(folder / f"{name}.pt"))
    return net.eval().requires_grad_(False)


def make(folder, name):
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    x = smooth_images(N_IMAGES, image_size(name), generator)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = settle(architecture(name), x, generator)
        torch.onnx.export(net, (x[:2],), folder / f"{name}.onnx", input_names=["images"], output_names=["scores"],
                          dynamic_axes={"images": {0: "N"}, "scores": {0: "N"}}, opset_version=13, dynamo=False,
                          training=torch.onnx.TrainingMode.PRESERVE)
    torch.save(net.state_dict(), folder / f"{name}.pt")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: {' '.join(NAMES)}")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    for name in args.names or NAMES:
        if not all((args.folder / f"{name}{suffix}").exists() for suffix in (".onnx", ".pt")):
            make(args.folder, name)
            print(f"{args.folder / name}.onnx: {(args.folder / name).with_suffix('.onnx').stat().st_size / 1e6:.1f} MB", flush=True)


if __name__ == "__main__":
    main()
