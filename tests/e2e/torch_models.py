#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Networks as PyTorch's own exporters write them. Run by a Python that has torch, onnx and onnxscript:

    torch_models.py FOLDER          writes FOLDER/NAME.onnx, and FOLDER/NAME.refused where BatchNormalization is gone"""

import sys
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, n):
        super().__init__()
        self.down, self.up = nn.Conv2d(n, n // 4, 1), nn.Conv2d(n // 4, n, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1)))))


def block(n_in, n_out, activation, stride=1, groups=1):
    return nn.Sequential(nn.Conv2d(n_in, n_out, 3, stride, 1, groups=groups, bias=False), nn.BatchNorm2d(n_out),
                         activation())


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = block(3, 16, nn.ReLU, stride=2)
        self.left, self.right = block(8, 8, nn.ReLU6), block(8, 8, nn.SiLU, groups=8)
        self.gate = Gate(16)
        self.up = block(16, 16, nn.Hardswish)
        self.fc = nn.Linear(16, 10)

    def forward(self, x):
        x = self.stem(x)
        a, b = x.chunk(2, 1)
        x = torch.cat([self.left(a), self.right(b)], 1) + x
        n, c, h, w = x.shape  # a channel shuffle
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        x = F.interpolate(F.max_pool2d(F.pad(self.gate(x), (0, 1, 0, 1)), 2), scale_factor=2.0, mode="nearest")
        x = self.up(x).mean((2, 3))
        return self.fc(x.view(x.size(0), -1))


def network():
    torch.manual_seed(0)
    net = Network()
    with torch.no_grad():
        net.train()(torch.randn(32, 3, 16, 16))  # statistics that fit the weights
        for _ in range(20):
            net(torch.randn(32, 3, 16, 16))
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.3)
    return net.eval()


def export(path, **options):
    image = torch.randn(2, 3, 16, 16)
    torch.onnx.export(network(), (image,), path, input_names=["image"], output_names=["scores"], **options)


def main():
    folder = Path(sys.argv[1])
    warnings.simplefilter("ignore")
    keep = {"dynamo": False, "training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    free = {"dynamic_axes": {"image": {0: "batch"}, "scores": {0: "batch"}}}
    for opset in (9, 11, 13, 15, 17, 18, 20):
        export(folder / f"script_{opset}.onnx", opset_version=opset, **keep, **free)
    export(folder / "script_fixed_batch.onnx", opset_version=17, **keep)
    export(folder / "script_folded.onnx", opset_version=17, dynamo=False, **free)
    (folder / "script_folded.refused").touch()
    batch = {"dynamic_shapes": ({0: torch.export.Dim("batch")},)}
    for opset in (18, 20, 22):
        export(folder / f"dynamo_{opset}.onnx", opset_version=opset, dynamo=True, optimize=False, **batch)
    export(folder / "dynamo_fixed_batch.onnx", dynamo=True, optimize=False)
    export(folder / "dynamo_one_file.onnx", dynamo=True, optimize=False, external_data=False, **batch)
    export(folder / "dynamo_folded.onnx", dynamo=True, **batch)
    (folder / "dynamo_folded.refused").touch()


if __name__ == "__main__":
    main()
