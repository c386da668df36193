"""The stages of a detector where PyTorch runs it: by the calls of its own parts."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torchvision.models.detection import roi_heads

from tunekit.detectors import stages
from tunekit.detectors.original import PaddedOriginal
from tunekit.detectors.yolo import PaddedYolo

TimedPart = tuple[object, str, str]
"""Who has a function, by which name, and the stage that it is."""


class StageClock:
    """How long the stages of a run take: of each, without what is called in it that is another's.

    The parts stay wrapped: this is for a process of its own.
    """

    def __init__(self, parts: Iterable[TimedPart]) -> None:
        self._seconds: dict[str, float] = defaultdict(float)
        self._open = [stages.REST]
        self._since = 0.0
        for owner, name, stage in parts:
            setattr(owner, name, self._timed(getattr(owner, name), stage))

    def run(self, function: Callable[[], object]) -> dict[str, float]:
        """Seconds of each stage in a call of a function, which add up to those of the call."""
        self._seconds.clear()
        self._since = time.perf_counter()
        function()
        self._pass()
        return dict(self._seconds)

    def _timed(self, function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            self._pass()
            self._open.append(stage)
            try:
                return function(*arguments, **named)
            finally:
                self._pass()
                self._open.pop()

        return timed

    def _pass(self) -> None:
        """Counts the time until now for the stage that is open."""
        now = time.perf_counter()
        self._seconds[self._open[-1]] += now - self._since
        self._since = now


def parts_of(original: torch.nn.Module) -> Iterator[TimedPart]:
    """The parts of the detector that a `Detector.original` holds."""
    for module in original.modules():
        if isinstance(module, PaddedYolo):
            yield (module.detector, "forward", stages.NETWORK)
            yield (module, "forward", stages.POST)
        elif isinstance(module, PaddedOriginal):
            detector: Any = module.detector
            yield (detector.transform, "forward", stages.PREPROCESSING)
            yield (detector.backbone, "forward", stages.BACKBONE)
            yield from _of_regions(detector) if hasattr(detector, "rpn") else _dense(detector)


def _dense(detector: Any) -> Iterator[TimedPart]:
    yield (detector.head, "forward", stages.HEAD)
    # What is left of it are the anchors and the choice among the boxes.
    yield (detector, "forward", stages.POST)


def _of_regions(detector: Any) -> Iterator[TimedPart]:
    heads = detector.roi_heads
    yield (detector.rpn, "forward", stages.PROPOSALS)
    yield (detector.rpn.head, "forward", stages.RPN_HEAD)
    yield (heads, "forward", stages.BOX_HEAD)
    yield (heads.box_roi_pool, "forward", stages.BOX_POOL)
    if heads.has_mask():
        for name in ("mask_roi_pool", "mask_head", "mask_predictor"):
            yield (getattr(heads, name), "forward", stages.MASK_FORWARD)
        yield (roi_heads, "maskrcnn_inference", stages.MASK_POST)
        yield (detector.transform, "postprocess", stages.MASK_POST)
    if heads.has_keypoint():
        for name in ("keypoint_roi_pool", "keypoint_head", "keypoint_predictor"):
            yield (getattr(heads, name), "forward", stages.KEYPOINT_FORWARD)
        yield (roi_heads, "keypointrcnn_inference", stages.KEYPOINT_POST)
