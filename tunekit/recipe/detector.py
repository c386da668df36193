"""What a recipe says of a detector: a model that finds objects, boxes and all."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from tunekit.recipe.part import RecipePart
from tunekit.recipe.values import existing_file


class BoxSuppression(RecipePart):
    """Which boxes of a YOLO stay: its score, and how far it covers a better one."""

    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.25
    """Boxes whose score is not above this are left out."""

    iou: Annotated[float, Field(gt=0, le=1)] = 0.7
    """A box that covers a better one of its class by more than this (intersection over union) is
    left out."""

    max_detections: Annotated[int, Field(ge=1, le=1000)] = 300
    """The most boxes that are kept: as many rows the outputs have."""

    agnostic: bool = False
    """Boxes of different classes cover each other, too."""


class DetectorSpec(RecipePart):
    """How a detector is compiled. Anchors, thresholds and limits are the module's own."""

    masks: Literal["raw", "pasted"] = "raw"
    """What Mask R-CNN gives: masks as its head computes them, within each box (28x28), or pasted
    into pictures of the canvas' size."""

    expected_detections: Annotated[int, Field(ge=1, le=1000)] = 10
    """So many objects are expected in a picture: it says how much the parts count that run once
    for each, and how many a detector with random weights finds."""

    nms: BoxSuppression | None = None
    """Gives a YOLO of ultralytics, whose output else is all its boxes, the choice among them as
    its last step."""

    confidence: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Of a detector of ultralytics that chooses among its boxes itself (RT-DETR; YOLOv10 and later,
    which without `detector` are compiled as any network): detections whose score is not above this
    are left out; 0.25 by default, as ultralytics does."""

    samples: Annotated[tuple[Annotated[Path, Field(strict=False)], ...], Field(strict=False)] = ()
    """Pictures that the detector finds something in (.npy files of an array of the input's shape,
    relative to the recipe), to check and time with; by default scenes are made."""

    @field_validator("samples")
    @classmethod
    def _existing_samples(cls, samples: tuple[Path, ...], info: ValidationInfo) -> tuple[Path, ...]:
        return tuple(existing_file(path, info) for path in samples)
