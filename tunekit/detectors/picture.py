"""Detections in the pixels of the picture that was brought onto the canvas."""

from __future__ import annotations

import torch
from torch import nn

from tunekit.detectors.family import Canvas
from tunekit.detectors.matching import BOXES, KEYPOINTS


class InPicture(nn.Module):
    """A detector with the size of a picture as a second input, which boxes and keypoints are in.

    The picture is as large as it fits on the canvas with its proportions, in the upper left. Boxes
    end at its edges; masks are within boxes, and stay as they are.

    Attributes:
        detector: takes the canvas, and gives a dictionary.
        canvas: its height and width.
    """

    def __init__(self, detector: nn.Module, canvas: Canvas) -> None:
        super().__init__()
        self.detector = detector
        self.canvas = canvas
        self.eval()

    def forward(self, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Of a canvas, and of the height and width of the picture, [2]."""
        image, size = inputs
        found: dict[str, torch.Tensor] = dict(self.detector(image))
        size = size.to(torch.float32)
        height, width = size[:1], size[1:]
        scale = torch.maximum(height / self.canvas[0], width / self.canvas[1])
        edges = torch.cat([width, height, width, height])
        found[BOXES] = torch.minimum(found[BOXES] * scale, edges)
        if KEYPOINTS in found:
            places = found[KEYPOINTS]
            found[KEYPOINTS] = torch.cat([places[..., :2] * scale, places[..., 2:]], dim=-1)
        return found
