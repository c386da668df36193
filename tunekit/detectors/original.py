"""What a detector is compared with: the module itself, with outputs of fixed shapes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from tunekit.detectors.matching import BOXES, COUNT, LABELS, SCORES


class CanvasTransform(GeneralizedRCNNTransform):  # type: ignore[misc]
    """torchvision's transform of pictures that have the size of the canvas: none is resized.

    Attributes:
        pastes: whether masks are pasted into pictures.
    """

    def __init__(self, given: GeneralizedRCNNTransform, *, pastes: bool) -> None:
        super().__init__(
            given.min_size,
            given.max_size,
            given.image_mean,
            given.image_std,
            given.size_divisible,
            given.fixed_size,
        )
        self.pastes = pastes

    def resize(self, image: torch.Tensor, target: Any = None) -> tuple[torch.Tensor, Any]:
        return image, target

    def postprocess(self, result: Any, image_shapes: Any, original_image_sizes: Any) -> Any:
        if not self.pastes:
            return result
        return super().postprocess(result, image_shapes, original_image_sizes)


class PaddedOriginal(nn.Module):
    """A detector of torchvision on one picture [1, 3, h, w]; detections padded to its limit.

    Attributes:
        detector: the module, which shares its layers with the one that was given.
    """

    def __init__(self, given: nn.Module, limit: int, *, pastes: bool = False) -> None:
        super().__init__()
        twin: Any = copy.copy(given)
        twin._modules = dict(given._modules)
        twin.transform = CanvasTransform(twin.transform, pastes=pastes)
        self.detector = twin
        self.limit = limit
        self.eval()

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return padded(self.detector([image[0]])[0], self.limit)


def padded(found: Mapping[str, torch.Tensor], limit: int) -> dict[str, torch.Tensor]:
    """Detections with zeros behind them up to `limit` rows, and their count.

    What this is made of can be traced, whatever the number of detections.
    """
    rows = {
        name: torch.cat([values, values.new_zeros((limit, *values.shape[1:]))])[:limit]
        for name, values in found.items()
    }
    count = torch.ones_like(found[SCORES]).sum(0, keepdim=True).to(torch.int32)
    first = (BOXES, SCORES, LABELS)
    others = {name: values for name, values in rows.items() if name not in first}
    return {**{name: rows[name] for name in first}, **others, COUNT: count}
