"""A small convolutional network of the project's own, as a torch module and as ONNX.

Small enough to import, compile and run in seconds, and with what larger ones are made of: plain,
strided, depthwise and pointwise convolutions, batch normalization, a residual sum, pooling and
a classifier.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    import onnx

_SIZE = 64


class VanillaCNN(nn.Module):
    """Images (n, in_channels, h, w) float32 to class scores (n, classes)."""

    def __init__(self, channels: int, classes: int, in_channels: int) -> None:
        super().__init__()
        self.stem = _block(in_channels, channels, kernel=3, stride=2)
        self.pool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.residual = nn.Sequential(
            _block(channels, channels, kernel=3),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.separable = nn.Sequential(
            _block(channels, channels, kernel=3, stride=2, groups=channels),
            _block(channels, 2 * channels, kernel=1),
        )
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * channels, classes)
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = self.pool(self.stem(image))
        features = torch.relu(self.residual(features) + features)
        scores: torch.Tensor = self.head(self.separable(features))
        return scores


def vanilla_cnn(channels: int = 32, classes: int = 10, in_channels: int = 3) -> nn.Module:
    """The network with torch's initial weights."""
    return VanillaCNN(channels, classes, in_channels)


def onnx_model(
    channels: int = 32,
    classes: int = 10,
    in_channels: int = 3,
    *,
    shape: Sequence[int] = (1, 3, _SIZE, _SIZE),
    input_name: str = "input",
    seed: int = 0,
) -> onnx.ModelProto:
    """The network with calibrated random weights, exported by torch.onnx.export.

    The input has the given name, and a batch, height and width that whoever loads it may choose.
    """
    import onnx

    from tunekit.models.weights import calibrate
    from tunekit.processes.quiet import quiet

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = vanilla_cnn(channels, classes, in_channels).eval()
        example = torch.randn(*shape)
    calibrate(module, [example], seed)
    with tempfile.TemporaryDirectory(prefix="tunekit-onnx-") as folder, quiet(), torch.no_grad():
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            module,
            (example,),
            path,
            input_names=[input_name],
            output_names=["scores"],
            dynamic_axes={
                input_name: {0: "batch", 2: "height", 3: "width"},
                "scores": {0: "batch"},
            },
            dynamo=False,
        )
        return onnx.load(str(path))


def _block(
    inputs: int, outputs: int, *, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(
            inputs,
            outputs,
            kernel,
            stride=stride,
            padding=kernel // 2,
            groups=groups,
            bias=False,
        ),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )
