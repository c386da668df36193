"""The keypoints of detections."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.library import custom_op
from torchvision.models.detection.roi_heads import heatmaps_to_keypoints

from tunekit.detectors.operators.boxes import padded
from tunekit.detectors.operators.glue import (
    ALL,
    Attributes,
    DetectorOperator,
    lines,
    whole,
)
from tunekit.detectors.operators.masks import head, in_order
from tunekit.extern_kernels import ExternCode, KernelTensor, Phase, register
from tunekit.extern_kernels.resources import Scratch, tasks_for


@custom_op("tunekit::keypoints", mutates_args=())
def keypoints(heatmaps: list[Tensor], boxes: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Where heatmaps are greatest, as torchvision's `heatmaps_to_keypoints` has it.

    Args:
        heatmaps: of each piece of `chunk_rows`, (rows, K, S, S).
        boxes: (D, 4), in pixels of the picture.
        count: how many of them there are, (1) int32.

    Returns:
        (D, K, 3), of each keypoint x, y in pixels of the picture and 1; and their scores, (D, K).
        Zeros behind the count.
    """
    found = int(count)
    places, scores = heatmaps_to_keypoints(in_order(heatmaps, len(boxes), found), boxes[:found])
    return padded(places, len(boxes)), padded(scores, len(boxes))


@keypoints.register_fake
def _(heatmaps: list[Tensor], boxes: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    rows, numbers = boxes.shape[0], heatmaps[0].shape[1]
    return boxes.new_empty((rows, numbers, 3)), boxes.new_empty((rows, numbers))


# As in `keypoints.h`.
_STRIP = 64


def _code(
    inputs: Sequence[KernelTensor], outputs: Sequence[KernelTensor], attributes: Attributes
) -> ExternCode:
    count, limit = whole(attributes["heatmaps"]), outputs[0].shape[0]
    tasks = tasks_for(limit)
    scratch = Scratch()
    strips = scratch.array("float", tasks * inputs[0].shape[2] * _STRIP)
    boxes = f"in{count}, *in{count + 1}"
    call = f"tkx_find_keypoints(&head, {boxes}, out0, out1, {strips}, task, tasks);"
    return ExternCode(
        phases=(Phase(lines(head(inputs[:count], limit), call), tasks),),
        headers=("keypoints.h",),
        sources=("keypoints.c", "masks.c"),
        workspace_bytes=scratch.bytes,
        collects=True,
    )


register(DetectorOperator("keypoints", _code, ALL))
