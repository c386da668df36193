"""Torch models that are known not to be importable, told before anything is tried."""

from __future__ import annotations

import torch

from tunekit.errors import ModelFileError

_QUANTIZED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized")


def require_importable(module: torch.nn.Module, name: str) -> None:
    """Look at the classes of a model's parts.

    Raises:
        ModelFileError: it has quantized modules.
    """
    for path, part in module.named_modules():
        if type(part).__module__.startswith(_QUANTIZED):
            raise ModelFileError(
                f"{name} has quantized modules, first {path or 'itself'} "
                f"({type(part).__name__}), which have no counterpart",
                hint="give the model of floats, or an .onnx file of it with QuantizeLinear and "
                "DequantizeLinear",
            )
