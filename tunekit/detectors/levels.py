"""The feature maps of a detector, and the anchors on them, which are constants of a canvas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torchvision.models.detection.image_list import ImageList

from tunekit.detectors.family import Canvas


class Normalization(torch.nn.Module):
    """What a transform of torchvision does to the colors of a batch of pictures."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, transform: Any) -> None:
        super().__init__()
        for name in ("mean", "std"):
            values = torch.tensor(getattr(transform, f"image_{name}"), dtype=torch.float32)
            self.register_buffer(name, values.reshape(1, -1, 1, 1), persistent=False)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return (pictures - self.mean) / self.std


def feature_maps(backbone: torch.nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """The maps of a backbone by name, finest first; the only one of some is "0"."""
    maps = backbone(images)
    return {"0": maps} if isinstance(maps, torch.Tensor) else dict(maps)


def feature_shapes(backbone: torch.nn.Module, canvas: Canvas) -> dict[str, tuple[int, ...]]:
    """The shapes of a backbone's maps; nothing is computed."""
    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):
        maps = feature_maps(backbone, torch.empty((1, 3, *canvas)))
        return {name: tuple(map(int, values.shape)) for name, values in maps.items()}


def anchors_by_level(
    generator: Any, shapes: Mapping[str, Sequence[int]], canvas: Canvas
) -> list[torch.Tensor]:
    """A generator's anchors on each map, [height * width * anchors, 4]."""
    maps = [torch.empty((1, 1, *shape[2:])) for shape in shapes.values()]
    images = ImageList(torch.empty((1, 3, *canvas)), [canvas])
    with torch.no_grad():
        anchors = generator(images, maps)[0]
    counts = [
        count * shape[2] * shape[3]
        for count, shape in zip(generator.num_anchors_per_location(), shapes.values(), strict=True)
    ]
    return [boxes.contiguous().clone() for boxes in anchors.split(counts)]
