"""Detectors of ultralytics that choose among their boxes themselves: RT-DETR, YOLOv10 and later.

They give [1, k, 6], as many rows as they have queries, the best first. Two runs that are right may
have rows of nearly the same score in another order, so that they are compared by matching.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import nn

from tunekit.detectors.family import Canvas, Detector, Refusal, odd_size
from tunekit.detectors.matching import BOXES, COUNT, LABELS, SCORES, MatchingRule
from tunekit.detectors.original import padded
from tunekit.detectors.random_weights import bias_for, outputs_of, spread
from tunekit.detectors.yolo import predictions_of, ultralytics_part

_CONFIDENCE = 0.25
"""ultralytics' own."""
_FAR_BELOW = 8.0


class EndToEndDetector(Detector):
    """A network whose rows are detections already; those whose score is too low are left out."""

    takes_confidence = True
    normalized = False
    """Whether its boxes are centre and size in parts of the canvas, and not corners in pixels."""

    @abstractmethod
    def _last_layers(self) -> tuple[list[Any], list[Any]]:
        """The layers that give the logits of the classes, and those that give the boxes."""

    def refusal(self) -> Refusal | None:
        return odd_size(self.canvas, int(self.module.stride.max()), "takes")

    @property
    def confidence(self) -> float:
        """Detections whose score is not above it are left out."""
        given = self.spec.confidence
        return _CONFIDENCE if given is None else given

    @property
    def rule(self) -> MatchingRule:
        # Nothing is dropped for what it covers.
        return MatchingRule(self.canvas, self.confidence, 1.0, self._limit)

    @cached_property
    def _limit(self) -> int:
        """The rows that it gives."""
        return int(self.rows(torch.zeros((1, 3, *self.canvas))).shape[1])

    def static(self) -> nn.Module:
        self.rows(torch.zeros((1, 3, *self.canvas)))  # Anchors are kept from a size's first run.
        return StaticRows(self.module, self.canvas, self.confidence, normalized=self.normalized)

    def original(self) -> nn.Module:
        return PaddedRows(self.module, self.canvas, self.confidence, normalized=self.normalized)

    def see(self, pictures: torch.Tensor) -> None:
        self.module(pictures)

    def settle(self, pictures: Sequence[torch.Tensor]) -> None:
        scores, boxes = self._last_layers()
        for layers, std in ((scores, 2.0), (boxes, 1.0)):
            with outputs_of(*layers) as seen:
                for picture in pictures:
                    self.module(picture)
            for layer, outputs in zip(layers, seen, strict=True):
                spread(layer, _by_channels(outputs), mean=0.0, std=std, together=True)
        given = [self.rows(picture)[0, :, 4] for picture in pictures]

        def found(shift: float) -> list[int]:
            raised = [torch.sigmoid(torch.logit(one, eps=1e-7) + shift) for one in given]
            return [int((one > self.confidence).sum()) for one in raised]

        shift = bias_for(found, self.spec.expected_detections, self._limit)
        for layer in scores:
            layer.bias += shift

    def rows(self, picture: torch.Tensor) -> torch.Tensor:
        """What it gives for a picture, [1, k, 6]: a box, its score and its label in each row."""
        with torch.no_grad():
            return predictions_of(self.module, picture)


class RTDETRDetector(EndToEndDetector):
    """A `RTDETRDetectionModel`: a transformer that looks at the best of all places."""

    kind = "an RT-DETR"
    normalized = True

    @staticmethod
    def is_kind_of(module: nn.Module) -> bool:
        return isinstance(module, ultralytics_part("nn.tasks", "RTDETRDetectionModel"))

    def steadied(self) -> nn.Module:
        # A hundred normalizations in a row, each followed by a ReLU that cuts one half off, make a
        # difference of rounding ten thousand times as large. With most values above zero they do
        # not; nor does attention that is as sharp as its first weights.
        for layer in self.module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.bias.add_(1.0)
        return nn.Sequential(*self._model()[:-1])

    def settle(self, pictures: Sequence[torch.Tensor]) -> None:
        head: Any = self._model()[-1]
        first = head.enc_score_head
        with outputs_of(first) as seen:
            for picture in pictures:
                self.module(picture)
        spread(first, _by_channels(seen[0]), mean=0.0, std=1.0, together=True)
        # Places at the border, which are all the same to it, are never among the best.
        nothing = head.enc_output(torch.zeros(1, first.in_features))[0]
        excess = first(nothing) + _FAR_BELOW
        first.weight -= torch.outer(excess, nothing) / nothing.square().sum()
        super().settle(pictures)

    def _last_layers(self) -> tuple[list[Any], list[Any]]:
        head: Any = self._model()[-1]
        last = head.decoder.eval_idx
        return [head.dec_score_head[last]], [head.dec_bbox_head[last].layers[-1]]

    def _model(self) -> Any:
        return self.module.model


class EndToEndYolo(EndToEndDetector):
    """A `DetectionModel` whose head was trained to give each object one box."""

    kind = "a YOLO that chooses among its boxes itself"

    @staticmethod
    def is_kind_of(module: nn.Module) -> bool:
        if not isinstance(module, ultralytics_part("nn.tasks", "DetectionModel")):
            return False
        head: Any = module.model[-1]
        return type(head).__name__ in ("Detect", "v10Detect") and bool(
            getattr(head, "end2end", False)
        )

    def _last_layers(self) -> tuple[list[Any], list[Any]]:
        head: Any = self.module.model[-1]
        scores, boxes = (
            [block[-1] for block in blocks] for blocks in (head.one2one_cv3, head.one2one_cv2)
        )
        return scores, boxes


class _Rows(nn.Module):
    """A network with fixed shapes, of one picture [1, 3, h, w]."""

    def __init__(
        self, given: nn.Module, canvas: Canvas, confidence: float, *, normalized: bool
    ) -> None:
        super().__init__()
        self.detector = given
        self.canvas = canvas
        self.confidence = confidence
        self.normalized = normalized
        self.eval()

    def found(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Boxes in pixels of the canvas [k, 4], scores [k], labels [k], the best first."""
        [rows] = predictions_of(self.detector, image)
        boxes, scores, labels = rows[:, :4], rows[:, 4], rows[:, 5]
        if self.normalized:
            height, width = self.canvas
            middle, half = boxes[:, :2], boxes[:, 2:] / 2
            boxes = torch.cat([middle - half, middle + half], dim=1)
            boxes = boxes * boxes.new_tensor([width, height, width, height])
        return boxes, scores, labels.to(torch.int64)


class StaticRows(_Rows):
    """Rows of too low a score are zeros."""

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        boxes, scores, labels = self.found(image)
        likely = scores > self.confidence
        return {
            BOXES: torch.where(likely[:, None], boxes, 0.0),
            SCORES: torch.where(likely, scores, 0.0),
            LABELS: torch.where(likely, labels, 0),
            COUNT: likely.sum(0, keepdim=True).to(torch.int32),
        }


class PaddedRows(_Rows):
    """Rows of too low a score are left out, as ultralytics does, and zeros are put behind."""

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        boxes, scores, labels = self.found(image)
        likely = scores > self.confidence
        found = {BOXES: boxes[likely], SCORES: scores[likely], LABELS: labels[likely]}
        return padded(found, len(scores))


def _by_channels(outputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Outputs of convolutions, or of linear layers [1, queries, channels], with channels second."""
    return [output.transpose(1, 2) if output.ndim == 3 else output for output in outputs]
