"""The detections of YOLO's heads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.library import custom_op
from torchvision.ops import nms

from tunekit.detectors.operators.boxes import (
    Detections,
    no_detections,
    ranked,
    sorted_detections,
)
from tunekit.detectors.operators.glue import (
    LANES,
    Attributes,
    DetectorOperator,
    candidates,
    kept,
    lines,
    number,
    whole,
)
from tunekit.extern_kernels import ExternCode, KernelTensor, Phase, register
from tunekit.extern_kernels.resources import TASKS, Scratch

# As ultralytics has them: how far labels are moved apart, in pixels, and how many boxes are
# compared with each other at most.
LABEL_DISTANCE = 7680
MOST_BOXES = 30000


@custom_op("tunekit::yolo_detections", mutates_args=())
def yolo_detections(
    predictions: Tensor,
    *,
    confidence: float,
    iou: float,
    max_detections: int,
    agnostic: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Detections as ultralytics' `non_max_suppression` makes them, one label for each box.

    Args:
        predictions: (1, 4 + C, A): the centre, width and height of each box, in pixels, and the
            probability of each class.
        confidence: the probability above which a box is looked at.
        iou: the overlap above which a box suppresses another of its label.
        max_detections: D, how many are kept.
        agnostic: whether a box suppresses those of other labels, too.

    Returns:
        Boxes (D, 4) of corners, scores (D), labels (D) int64, best first, zeros behind the count;
        and the count (1) int32.
    """
    places, classes = predictions[0, :4].T, predictions[0, 4:]
    scores, labels = classes.max(0)
    likely = torch.where(scores > confidence)[0]
    likely = likely[ranked(scores[likely])[:MOST_BOXES]]
    places, scores, labels = places[likely], scores[likely], labels[likely]
    half = places[:, 2:] / 2
    boxes = torch.cat([places[:, :2] - half, places[:, :2] + half], 1)
    apart = boxes + labels[:, None].float() * (0 if agnostic else LABEL_DISTANCE)
    # So that nothing is equal when torchvision sorts them again.
    ranks = torch.arange(len(scores), 0, -1, dtype=torch.float32)
    best = nms(apart, ranks, iou)
    return sorted_detections(boxes[best], scores[best], labels[best], max_detections)


@yolo_detections.register_fake
def _(predictions: Tensor, *, max_detections: int, **_: object) -> Detections:
    return no_detections(predictions, max_detections)


def _code(
    inputs: Sequence[KernelTensor], outputs: Sequence[KernelTensor], attributes: Attributes
) -> ExternCode:
    _, channels, count = inputs[0].shape
    scratch = Scratch()
    boxes = candidates(
        scratch,
        parts=TASKS,
        room=-(-count // (TASKS * LANES)) * LANES,
        labels=1,
        most=attributes["max_detections"],
        overlap=attributes["iou"],
        first=MOST_BOXES,
        together=True,
    )
    confidence = number(attributes["confidence"])
    pick = f"tkx_pick_boxes(in0, {channels - 4}, {count}, {confidence}, task, &all);"
    distance = 0 if whole(attributes["agnostic"]) else LABEL_DISTANCE
    return ExternCode(
        phases=(
            Phase(lines(boxes, pick), TASKS),
            *kept(boxes, 1, f"tkx_group_at(&all, {number(distance)});"),
        ),
        headers=("yolo.h",),
        sources=("candidates.c", "selection.c", "yolo.c"),
        workspace_bytes=scratch.bytes,
    )


register(DetectorOperator("yolo_detections", _code))
