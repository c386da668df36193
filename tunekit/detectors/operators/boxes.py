"""What the operators of detectors have in common, as torch defines it.

Where torch leaves the order of equal scores open, the lower index is first.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import batched_nms

Detections = tuple[Tensor, Tensor, Tensor, Tensor]


def by_anchor(level: Tensor, anchors_per_place: int) -> Tensor:
    """What a convolution says of each anchor, (1, A * V, H, W), in the anchors' order, (HWA, V)."""
    _, _, height, width = level.shape
    split = level.reshape(anchors_per_place, -1, height, width)
    return split.permute(2, 3, 0, 1).reshape(height * width * anchors_per_place, -1)


def ranked(scores: Tensor) -> Tensor:
    """Indices of scores, the greatest first; NaN is greater than all."""
    return scores.sort(descending=True, stable=True)[1]


def decoded(deltas: Tensor, anchors: Tensor, weights: Sequence[float], clip: float) -> Tensor:
    """Boxes (n, V, 4) that deltas (n, 4 * V) make of anchors (n, 4)."""
    wx, wy, ww, wh = weights
    boxes: Tensor = BoxCoder((wx, wy, ww, wh), clip).decode_single(deltas, anchors)
    return boxes.reshape(len(anchors), deltas.shape[1] // 4, 4)


def suppressed(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """Indices of the boxes that others of their label do not suppress, the greatest score first.

    Like torchvision, it moves the labels apart where there are no more than 1000 boxes, which
    rounds their coordinates.
    """
    order = ranked(scores)
    # So that nothing is equal when torchvision sorts them again.
    ranks = torch.arange(len(order), 0, -1, dtype=torch.float32)
    kept: Tensor = batched_nms(boxes[order], ranks, labels[order], threshold)
    return order[kept]


def padded(values: Tensor, rows: int) -> Tensor:
    """Values with rows of zeros behind them."""
    whole = values.new_zeros((rows, *values.shape[1:]))
    whole[: len(values)] = values
    return whole


def counted(number: int) -> Tensor:
    """A count as the operators give it."""
    return torch.tensor([number], dtype=torch.int32)


def sorted_detections(boxes: Tensor, scores: Tensor, labels: Tensor, limit: int) -> Detections:
    """The first of sorted detections, padded, and their count."""
    found = min(len(scores), limit)
    return (
        padded(boxes[:found], limit),
        padded(scores[:found], limit),
        padded(labels[:found], limit),
        counted(found),
    )


def no_detections(like: Tensor, limit: int) -> Detections:
    """Tensors of the shapes of detections, for tracing."""
    return (
        like.new_empty((limit, 4)),
        like.new_empty((limit,)),
        like.new_empty((limit,), dtype=torch.int64),
        like.new_empty((1,), dtype=torch.int32),
    )
