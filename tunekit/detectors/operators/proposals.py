"""The boxes in which a region proposal network expects an object."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.library import custom_op
from torchvision.ops import clip_boxes_to_image, remove_small_boxes

from tunekit.detectors.operators.boxes import (
    by_anchor,
    counted,
    decoded,
    padded,
    ranked,
    suppressed,
)
from tunekit.detectors.operators.glue import (
    ALL,
    Attributes,
    DetectorOperator,
    candidates,
    coder,
    kept,
    levels,
    lines,
    number,
    pointers,
    structure,
    whole,
)
from tunekit.extern_kernels import ExternCode, KernelTensor, Phase, register
from tunekit.extern_kernels.resources import Scratch


@custom_op("tunekit::rpn_proposals", mutates_args=())
def rpn_proposals(
    objectness: list[Tensor],
    deltas: list[Tensor],
    anchors: list[Tensor],
    *,
    pre_nms_top_n: int,
    post_nms_top_n: int,
    nms_threshold: float,
    score_threshold: float,
    min_size: float,
    weights: list[float],
    bbox_xform_clip: float,
    image_size: list[int],
) -> tuple[Tensor, Tensor]:
    """Proposals as torchvision's `RegionProposalNetwork` makes them in evaluation, of one picture.

    They are ordered by objectness, not by its sigmoid, which makes equal what is not.

    Args:
        objectness: of each level, (1, A, H, W), before the sigmoid.
        deltas: of each level, (1, 4 * A, H, W).
        anchors: of each level, (H * W * A, 4).
        pre_nms_top_n: how many of a level are looked at.
        post_nms_top_n: how many are kept.
        nms_threshold: the overlap above which a box suppresses another of its level.
        score_threshold: the least probability.
        min_size: the least width and height, in pixels.
        weights: what deltas of x, y, width and height are divided by.
        bbox_xform_clip: the greatest logarithm of a change of size.
        image_size: height and width that boxes are clipped to.

    Returns:
        Boxes (post_nms_top_n, 4), best first, zeros behind the count; the count (1) int32.
    """
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    height, width = image_size
    for level, (scores, offsets, places) in enumerate(
        zip(objectness, deltas, anchors, strict=True)
    ):
        logits = by_anchor(scores, scores.shape[1]).flatten()
        best = ranked(logits)[:pre_nms_top_n]
        boxes = decoded(
            by_anchor(offsets, scores.shape[1])[best], places[best], weights, bbox_xform_clip
        )
        boxes = clip_boxes_to_image(boxes[:, 0], (height, width))
        large = remove_small_boxes(boxes, min_size)
        boxes, logits = boxes[large], logits[best[large]]
        likely = torch.where(logits.sigmoid() >= score_threshold)[0]
        found.append((boxes[likely], logits[likely], torch.full_like(likely, level)))
    boxes, logits, levels = (torch.cat(parts) for parts in zip(*found, strict=True))
    best = suppressed(boxes, logits, levels, nms_threshold)[:post_nms_top_n]
    return padded(boxes[best], post_nms_top_n), counted(len(best))


@rpn_proposals.register_fake
def _(
    objectness: list[Tensor],
    deltas: list[Tensor],
    anchors: list[Tensor],
    *,
    post_nms_top_n: int,
    **_: object,
) -> tuple[Tensor, Tensor]:
    like = objectness[0]
    return like.new_empty((post_nms_top_n, 4)), like.new_empty((1,), dtype=torch.int32)


def _code(
    inputs: Sequence[KernelTensor], outputs: Sequence[KernelTensor], attributes: Attributes
) -> ExternCode:
    count = whole(attributes["objectness"])
    objectness, deltas = inputs[:count], inputs[count : 2 * count]
    anchors = [tensor.shape[0] for tensor in inputs[2 * count :]]
    scratch = Scratch()
    boxes = candidates(
        scratch,
        parts=count,
        room=min(whole(attributes["pre_nms_top_n"]), max(anchors)),
        labels=count,
        most=attributes["post_nms_top_n"],
        overlap=attributes["nms_threshold"],
    )
    propose = lines(
        levels("objectness", objectness, 0, 1),
        levels("deltas", deltas, count, 4),
        pointers("anchors", 2 * count, count),
        structure(
            "tkx_proposals",
            "from",
            objectness="objectness",
            deltas="deltas",
            anchors="anchors",
            pre_nms_top_n=attributes["pre_nms_top_n"],
            score_threshold=number(attributes["score_threshold"]),
            min_size=number(attributes["min_size"]),
            coder=coder(attributes),
            keys=scratch.array("uint32_t", sum(anchors)),
            indices=scratch.array("uint32_t", sum(anchors)),
            spare=scratch.array("uint32_t", sum(anchors)),
        ),
        boxes,
        "tkx_propose(&from, task, &all);",
    )
    found = "const tkx_found found = {out0, 0, 0, out1};"
    return ExternCode(
        phases=(Phase(propose, count), *kept(boxes, count, found=found)),
        headers=("proposals.h",),
        sources=("boxes.c", "candidates.c", "proposals.c", "selection.c"),
        workspace_bytes=scratch.bytes,
    )


register(DetectorOperator("rpn_proposals", _code, blocked_inputs=ALL))
