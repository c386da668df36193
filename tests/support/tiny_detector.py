"""A small network with every operator of detectors, as their families use them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from tunekit.detectors import operators
from tunekit.detectors.operators.chunks import chunk_rows

CANVAS = (48, 64)
LIMIT = 10
_CODER: dict[str, Any] = {
    "weights": [1.0, 1.0, 1.0, 1.0],
    "bbox_xform_clip": math.log(1000 / 16),
    "image_size": list(CANVAS),
}
_KEPT: dict[str, Any] = {"nms_threshold": 0.5, "detections": LIMIT}
_POOL: dict[str, Any] = {
    "sampling_ratio": 2,
    "scales": [0.25, 0.125],
    "canonical_scale": 28,
    "canonical_level": 3,
}
_CHANNELS, _CLASSES, _ANCHORS = 16, 5, 3


def anchors(stride: int, each: int) -> torch.Tensor:
    """Boxes of several sizes at each place of a level."""
    height, width = CANVAS
    y, x = torch.meshgrid(
        torch.arange(0.0, height, stride), torch.arange(0.0, width, stride), indexing="ij"
    )
    places = torch.stack([x, y, x, y], -1).reshape(-1, 1, 4)
    sizes = stride * 2.0 ** torch.arange(each).reshape(1, -1, 1)
    return (places + sizes * torch.tensor([-1.0, -0.5, 1.0, 0.5])).reshape(-1, 4)


class TinyDetector(nn.Module):
    """Detections of one picture, by all families at once."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ModuleList(
            [nn.Conv2d(3, _CHANNELS, 5, 4, 2), nn.Conv2d(_CHANNELS, _CHANNELS, 3, 2, 1)]
        )
        self.objectness = nn.Conv2d(_CHANNELS, _ANCHORS, 1)
        self.deltas = nn.Conv2d(_CHANNELS, 4 * _ANCHORS, 1)
        self.logits = nn.Conv2d(_CHANNELS, _ANCHORS * _CLASSES, 1)
        self.classes = nn.Conv2d(_CHANNELS, _CLASSES, 1)
        self.distances = nn.Conv2d(_CHANNELS, 4, 1)
        self.centerness = nn.Conv2d(_CHANNELS, 1, 1)
        self.box_head = nn.Linear(_CHANNELS * 9, _CLASSES * 5)
        self.mask_head = nn.Sequential(
            nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(_CHANNELS, _CLASSES, 1),
        )
        for number in range(2):
            self.register_buffer(f"anchors{number}", anchors(4 << number, _ANCHORS))
            self.register_buffer(f"points{number}", anchors(4 << number, 1))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        first = self.body[0](image).relu()
        maps = [first, self.body[1](first).relu()]
        places, points = [self.anchors0, self.anchors1], [self.points0, self.points1]
        objectness, deltas, logits = (
            [layer(level) for level in maps]
            for layer in (self.objectness, self.deltas, self.logits)
        )
        found = self.by_regions(maps, objectness, deltas, places)
        dense = {"score_threshold": 0.3, "topk_candidates": 50, **_KEPT, **_CODER}
        found += operators.retinanet_detections(logits, deltas, places, **dense)
        found += operators.ssd_detections(logits, deltas, places, **dense)
        del dense["weights"], dense["bbox_xform_clip"]
        found += operators.fcos_detections(
            [self.classes(level) for level in maps],
            [self.distances(level).relu() for level in maps],
            [self.centerness(level) for level in maps],
            points,
            normalize_by_size=True,
            **dense,
        )
        rows = torch.cat([level.flatten(2) for level in maps], 2).sigmoid()
        predictions = torch.cat([rows[:, :4] * 30, rows[:, 4:10]], 1)
        return found + operators.yolo_detections(
            predictions, confidence=0.5, iou=0.5, max_detections=LIMIT, agnostic=False
        )

    def by_regions(
        self,
        maps: list[torch.Tensor],
        objectness: list[torch.Tensor],
        deltas: list[torch.Tensor],
        places: list[torch.Tensor],
    ) -> tuple[torch.Tensor, ...]:
        """What an R-CNN does."""
        proposals, rows = operators.rpn_proposals(
            objectness,
            deltas,
            places,
            pre_nms_top_n=60,
            post_nms_top_n=30,
            nms_threshold=0.7,
            score_threshold=0.0,
            min_size=1e-3,
            **_CODER,
        )
        pooled = operators.roi_align(maps, proposals, rows, output_size=3, **_POOL)
        classes, boxes = self.box_head(pooled.flatten(1)).split([_CLASSES, 4 * _CLASSES], 1)
        found = operators.roi_detections(
            classes, boxes, proposals, rows, score_threshold=0.8, **_KEPT, **_CODER
        )
        boxes, _, labels, count = found
        chunks = [
            operators.roi_align_chunk(
                *(maps, boxes, count), chunk=chunk, expected_detections=3, output_size=8, **_POOL
            )[0]
            for chunk in range(len(chunk_rows(LIMIT)))
        ]
        pieces = [self.mask_head(chunk) for chunk in chunks]
        masks = operators.mask_select(pieces, labels, count)
        height, width = CANVAS
        pasted = operators.paste_masks(masks, boxes, count, height=height, width=width)
        return (*found, masks, pasted, *operators.keypoints(pieces, boxes, count))
