"""What the box head of an R-CNN makes of its proposals."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.library import custom_op
from torchvision.ops import clip_boxes_to_image, remove_small_boxes

from tunekit.detectors.operators.boxes import (
    Detections,
    decoded,
    no_detections,
    sorted_detections,
    suppressed,
)
from tunekit.detectors.operators.glue import (
    LANES,
    Attributes,
    DetectorOperator,
    candidates,
    coder,
    kept,
    lines,
    number,
    structure,
)
from tunekit.extern_kernels import ExternCode, KernelTensor, Phase, register
from tunekit.extern_kernels.resources import TASKS, Scratch

# torchvision's: the least width and height of a detection, in pixels.
MIN_SIZE = 1e-2


@custom_op("tunekit::roi_detections", mutates_args=())
def roi_detections(
    class_logits: Tensor,
    box_regression: Tensor,
    proposals: Tensor,
    proposal_count: Tensor,
    *,
    score_threshold: float,
    nms_threshold: float,
    detections: int,
    weights: list[float],
    bbox_xform_clip: float,
    image_size: list[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Detections as torchvision's `RoIHeads.postprocess_detections` makes them, of one picture.

    Args:
        class_logits: (N, C); class 0 is the background.
        box_regression: (N, 4 * C).
        proposals: (N, 4).
        proposal_count: how many of them there are, (1) int32.
        score_threshold: the probability above which a box is looked at.
        nms_threshold: the overlap above which a box suppresses another of its label.
        detections: D, how many are kept.
        weights: what deltas of x, y, width and height are divided by.
        bbox_xform_clip: the greatest logarithm of a change of size.
        image_size: height and width that boxes are clipped to.

    Returns:
        Boxes (D, 4), scores (D), labels (D) int64, best first, zeros behind the count; and the
        count (1) int32.
    """
    found = int(proposal_count)
    height, width = image_size
    boxes = decoded(box_regression[:found], proposals[:found], weights, bbox_xform_clip)
    boxes = clip_boxes_to_image(boxes, (height, width))[:, 1:].reshape(-1, 4)
    scores = class_logits[:found].softmax(-1)[:, 1:].reshape(-1)
    labels = torch.arange(1, class_logits.shape[1]).repeat(found)
    likely = torch.where(scores > score_threshold)[0]
    likely = likely[remove_small_boxes(boxes[likely], MIN_SIZE)]
    best = likely[suppressed(boxes[likely], scores[likely], labels[likely], nms_threshold)]
    return sorted_detections(boxes[best], scores[best], labels[best], detections)


@roi_detections.register_fake
def _(
    class_logits: Tensor,
    box_regression: Tensor,
    proposals: Tensor,
    proposal_count: Tensor,
    *,
    detections: int,
    **_: object,
) -> Detections:
    return no_detections(class_logits, detections)


def _code(
    inputs: Sequence[KernelTensor], outputs: Sequence[KernelTensor], attributes: Attributes
) -> ExternCode:
    rows, classes = inputs[0].shape
    scratch = Scratch()
    boxes = candidates(
        scratch,
        parts=TASKS,
        room=-(-rows // TASKS) * (classes - 1),
        labels=classes,
        most=attributes["detections"],
        overlap=attributes["nms_threshold"],
    )
    rate = structure(
        "tkx_box_head",
        "head",
        logits="in0",
        deltas="in1",
        proposals="in2",
        count="in3",
        rows=rows,
        classes=classes,
        score_threshold=number(attributes["score_threshold"]),
        min_size=number(MIN_SIZE),
        coder=coder(attributes),
        exponentials=scratch.array("float", TASKS * (classes + LANES)),
    )
    return ExternCode(
        phases=(
            Phase(lines(rate, boxes, "tkx_rate_boxes(&head, task, &all);"), TASKS),
            *kept(boxes, classes),
        ),
        headers=("box_head.h",),
        sources=("box_head.c", "boxes.c", "candidates.c", "selection.c"),
        workspace_bytes=scratch.bytes,
    )


register(DetectorOperator("roi_detections", _code))
