"""Torch models that are known not to be importable, told before anything is tried."""

from __future__ import annotations

import torch

from tunekit.errors import ModelFileError

_DETECTORS = "torchvision.models.detection."
_QUANTIZED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized")


def require_importable(module: torch.nn.Module, name: str) -> None:
    """Look at the classes of a model's parts.

    Raises:
        ModelFileError: it is a whole detector, or has quantized modules.
    """
    if type(module).__module__.startswith(_DETECTORS) and hasattr(module, "backbone"):
        raise detector(name, type(module).__name__)
    for path, part in module.named_modules():
        if type(part).__module__.startswith(_QUANTIZED):
            raise ModelFileError(
                f"{name} has quantized modules, first {path or 'itself'} "
                f"({type(part).__name__}), which have no counterpart",
                hint="give the model of floats, or an .onnx file of it with QuantizeLinear and "
                "DequantizeLinear",
            )


def detector(name: str, kind: str) -> ModelFileError:
    """That a model is a whole detector."""
    return ModelFileError(
        f"{name} is a whole detector ({kind}): how many boxes it returns depends on the picture, "
        "and a library's outputs have fixed sizes",
        hint="give its body: a python: callable that returns a module of the backbone and the "
        "heads (tunekit.models.detection:maskrcnn_backbone is one); choose the boxes outside",
    )
