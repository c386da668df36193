"""Tiny detectors of every family, as `python:` sources name them."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import Any

import torch
from torch import nn
from torchvision.models.detection import FCOS, FasterRCNN, KeypointRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.ssd import SSD, SSDHead
from torchvision.models.detection.ssdlite import SSDLiteHead

CANVAS = (96, 128)
CLASSES = 4
_CHANNELS = 32
_SIZES = ((8,), (16,), (32,), (64,), (96,))


def faster_rcnn(**settings: Any) -> nn.Module:
    """A Faster R-CNN with five levels."""
    return FasterRCNN(_pyramid(), **_rcnn(settings))


def mask_rcnn(**settings: Any) -> nn.Module:
    """A Mask R-CNN with five levels."""
    return MaskRCNN(
        _pyramid(),
        mask_head=MaskRCNNHeads(_CHANNELS, (16,), 1),
        mask_predictor=MaskRCNNPredictor(16, 16, CLASSES),
        **_rcnn(settings),
    )


def keypoint_rcnn(**settings: Any) -> nn.Module:
    """A Keypoint R-CNN with five levels and three keypoints."""
    return KeypointRCNN(
        _pyramid(),
        keypoint_head=KeypointRCNNHeads(_CHANNELS, (16,)),
        keypoint_predictor=KeypointRCNNPredictor(16, 3),
        **_rcnn(settings),
    )


def plain_faster_rcnn() -> nn.Module:
    """A Faster R-CNN on a single map."""
    backbone: Any = nn.Sequential(_stage(3, 16, 4), _stage(16, _CHANNELS, 4))
    backbone.out_channels = _CHANNELS
    settings = _rcnn({})
    settings["rpn_anchor_generator"] = AnchorGenerator(((16, 32, 64),), ((0.5, 1.0, 2.0),))
    return FasterRCNN(backbone, **settings)


def retinanet(**settings: Any) -> nn.Module:
    """A RetinaNet with five levels."""
    return RetinaNet(
        _pyramid(),
        CLASSES,
        anchor_generator=AnchorGenerator(_SIZES, ((0.5, 1.0, 2.0),) * 5),
        **{"detections_per_img": 20, "topk_candidates": 60, **settings},
    )


def fcos() -> nn.Module:
    """An FCOS with five levels."""
    return FCOS(_pyramid(), CLASSES, detections_per_img=20, topk_candidates=60)


def ssd() -> nn.Module:
    """An SSD with three maps."""
    return _ssd(SSDHead)


def ssdlite() -> nn.Module:
    """An SSDlite with three maps."""
    return _ssd(partial(SSDLiteHead, norm_layer=nn.BatchNorm2d))


class Wrapped(nn.Module):
    """A detector as people wrap it for an exporter."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.model([x[0]])[0].values())


def wrapped() -> nn.Module:
    """A Faster R-CNN whose caller takes a batch."""
    return Wrapped(faster_rcnn())


class BodyOnly(nn.Module):
    """Holds a whole detector, and runs its backbone alone."""

    def __init__(self) -> None:
        super().__init__()
        self.model = faster_rcnn()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps: dict[str, torch.Tensor] = self.model.backbone(x)
        return maps["0"]


class OwnForward(FasterRCNN):
    """Does something of its own."""

    def forward(self, images: Any, targets: Any = None) -> Any:
        return super().forward(images, targets)[:1]


class OwnAnchors(AnchorGenerator):
    """Might generate anything."""


def _rcnn(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        "rpn_anchor_generator": AnchorGenerator(_SIZES, ((0.5, 1.0, 2.0),) * 5),
        "box_head": TwoMLPHead(_CHANNELS * 49, 64),
        "box_predictor": FastRCNNPredictor(64, CLASSES),
        "rpn_pre_nms_top_n_test": 40,
        "rpn_post_nms_top_n_test": 50,
        "box_detections_per_img": 11,
        **settings,
    }


def _stage(taken: int, given: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(taken, given, 3, stride, 1, bias=False), nn.BatchNorm2d(given), nn.ReLU()
    )


def _pyramid() -> BackboneWithFPN:
    stages = OrderedDict(
        one=_stage(3, 16, 4), two=_stage(16, 16, 2), three=_stage(16, 24, 2), four=_stage(24, 24, 2)
    )
    names = {name: str(level) for level, name in enumerate(stages)}
    return BackboneWithFPN(nn.Sequential(stages), names, [16, 16, 24, 24], _CHANNELS)


class _ThreeMaps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList([_stage(3, 16, 8), _stage(16, 24, 2), _stage(24, 32, 2)])

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        maps = OrderedDict()
        for level, stage in enumerate(self.stages):
            x = stage(x)
            maps[str(level)] = x
        return maps


def _ssd(head: Any) -> nn.Module:
    boxes = DefaultBoxGenerator([[2], [2, 3], [2]], scales=[0.1, 0.3, 0.6, 0.9])
    return SSD(
        _ThreeMaps(),
        boxes,
        CANVAS,
        CLASSES,
        head=head([16, 24, 32], boxes.num_anchors_per_location(), num_classes=CLASSES),
        detections_per_img=20,
        topk_candidates=60,
    )
