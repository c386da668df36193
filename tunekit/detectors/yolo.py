"""YOLO networks of ultralytics (v3 to v12) with the choice among their boxes as the last step."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torchvision.ops import nms

from tunekit.detectors import operators
from tunekit.detectors.family import Detector, Refusal, odd_size
from tunekit.detectors.matching import BOXES, COUNT, LABELS, SCORES, MatchingRule
from tunekit.detectors.operators.yolo import LABEL_DISTANCE
from tunekit.detectors.original import padded
from tunekit.detectors.random_weights import bias_for, outputs_of, spread
from tunekit.recipe.detector import BoxSuppression


class YoloDetector(Detector):
    """A `DetectionModel` whose head gives centre, size and the score of each class of all boxes."""

    kind = "a YOLO"
    takes_nms = True

    @staticmethod
    def is_kind_of(module: nn.Module) -> bool:
        return isinstance(module, ultralytics_part("nn.tasks", "DetectionModel"))

    def refusal(self) -> Refusal | None:
        head = self._head()
        if type(head) is not ultralytics_part("nn.modules", "Detect"):
            return Refusal(
                f"has a head of another kind, {type(head).__name__}",
                "leave model.detector out: it is compiled up to its boxes",
            )
        if getattr(head, "end2end", False):
            return Refusal(
                "chooses among its boxes itself",
                "leave model.detector.nms out: `detector: {}` compiles it with its own choice",
            )
        return odd_size(self.canvas, int(self.module.stride.max()), "takes")

    def _head(self) -> Any:
        return self.module.model[-1]

    @property
    def choice(self) -> BoxSuppression:
        """What the recipe says of the choice among the boxes."""
        assert self.spec.nms is not None, "it is recognized by this"
        return self.spec.nms

    @property
    def rule(self) -> MatchingRule:
        choice = self.choice
        return MatchingRule(
            self.canvas, choice.confidence, choice.iou, choice.max_detections, choice.agnostic
        )

    def static(self) -> nn.Module:
        # The head keeps the places of its boxes, which are computed when it first runs.
        self.predictions(torch.zeros((1, 3, *self.canvas)))
        return StaticYolo(self.module, self.choice)

    def original(self) -> nn.Module:
        return PaddedYolo(self.module, self.choice)

    def traceable(self) -> nn.Module:
        return TraceableYolo(self.module, self.choice)

    def see(self, pictures: torch.Tensor) -> None:
        self.module(pictures)

    def settle(self, pictures: Sequence[torch.Tensor]) -> None:
        head = self._head()
        layers = [[block[-1] for block in blocks] for blocks in (head.cv3, head.cv2)]
        for last, std in zip(layers, (2.0, 1.0), strict=True):
            with outputs_of(*last) as seen:
                for picture in pictures:
                    self.module(picture)
            for layer, outputs in zip(last, seen, strict=True):
                spread(layer, outputs, mean=0.0, std=std)
        given = [self.predictions(picture) for picture in pictures]

        def found(shift: float) -> list[int]:
            return [int(_chosen(_raised(boxes, shift), self.choice)[3]) for boxes in given]

        wanted, limit = self.spec.expected_detections, self.rule.limit
        shift = bias_for(found, wanted, limit)
        for layer in layers[0]:
            layer.bias += shift

    def predictions(self, picture: torch.Tensor) -> torch.Tensor:
        """All boxes of a picture, [1, 4 + classes, boxes]."""
        return predictions_of(self.module, picture)


class StaticYolo(nn.Module):
    """A YOLO with fixed shapes, of one picture [1, 3, h, w]."""

    def __init__(self, given: nn.Module, choice: BoxSuppression) -> None:
        super().__init__()
        self.detector = given
        self.choice = choice
        self.eval()

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        boxes, scores, labels, count = _chosen(predictions_of(self.detector, image), self.choice)
        return {BOXES: boxes, SCORES: scores, LABELS: labels, COUNT: count}


class PaddedYolo(nn.Module):
    """A YOLO followed by ultralytics' own choice; detections padded to the limit.

    Attributes:
        detector: the module.
    """

    def __init__(self, given: nn.Module, choice: BoxSuppression) -> None:
        super().__init__()
        self.detector = given
        self.choice = choice
        self.suppress = ultralytics_part("utils.nms", "non_max_suppression")
        self.eval()

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        choice = self.choice
        [rows] = self.suppress(
            predictions_of(self.detector, image),
            conf_thres=choice.confidence,
            iou_thres=choice.iou,
            agnostic=choice.agnostic,
            max_det=choice.max_detections,
        )
        found = {BOXES: rows[:, :4], SCORES: rows[:, 4], LABELS: rows[:, 5].to(torch.int64)}
        return padded(found, choice.max_detections)


class TraceableYolo(nn.Module):
    """A YOLO followed by the same choice in operations that formats of others have, as there are in
    what ultralytics exports with `nms=True`; detections padded to the limit."""

    def __init__(self, given: nn.Module, choice: BoxSuppression) -> None:
        super().__init__()
        self.detector = given
        self.choice = choice
        self.eval()

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        choice = self.choice
        [predictions] = predictions_of(self.detector, image)
        middle, half = predictions[:2], predictions[2:4] / 2
        corners = torch.cat([middle - half, middle + half]).transpose(0, 1)
        best, classes = predictions[4:].max(dim=0)
        likely = best > choice.confidence
        boxes, scores, labels = corners[likely], best[likely], classes[likely]
        # Boxes of different classes lie so far apart that none covers another.
        apart = boxes if choice.agnostic else boxes + LABEL_DISTANCE * labels[:, None]
        kept = nms(apart, scores, choice.iou)[: choice.max_detections]
        found = {BOXES: boxes[kept], SCORES: scores[kept], LABELS: labels[kept]}
        return padded(found, choice.max_detections)


def predictions_of(detector: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """What a network of ultralytics predicts, without what it gives beside it."""
    given = detector(image)
    predictions: torch.Tensor = given[0] if isinstance(given, tuple | list) else given
    return predictions


def _chosen(predictions: torch.Tensor, choice: BoxSuppression) -> Any:
    return operators.yolo_detections(
        predictions,
        confidence=choice.confidence,
        iou=choice.iou,
        max_detections=choice.max_detections,
        agnostic=choice.agnostic,
    )


def _raised(predictions: torch.Tensor, shift: float) -> torch.Tensor:
    """Predictions if the scores' logits were more by the shift."""
    scores = torch.sigmoid(torch.logit(predictions[:, 4:], eps=1e-7) + shift)
    return torch.cat([predictions[:, :4], scores], dim=1)


def ultralytics_part(module: str, name: str) -> Any:
    """What a module of ultralytics has by a name."""
    return getattr(importlib.import_module(f"ultralytics.{module}"), name)
