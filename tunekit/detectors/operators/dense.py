"""The detections of heads that look at every place of every level: RetinaNet, FCOS, SSD."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor
from torch.library import custom_op
from torchvision.models.detection._utils import BoxLinearCoder
from torchvision.ops import clip_boxes_to_image

from tunekit.detectors.operators.boxes import (
    Detections,
    by_anchor,
    decoded,
    no_detections,
    ranked,
    sorted_detections,
    suppressed,
)
from tunekit.detectors.operators.glue import (
    ALL,
    LANES,
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
from tunekit.extern_kernels.resources import TASKS, Scratch


@custom_op("tunekit::retinanet_detections", mutates_args=())
def retinanet_detections(
    logits: list[Tensor],
    deltas: list[Tensor],
    anchors: list[Tensor],
    *,
    score_threshold: float,
    nms_threshold: float,
    topk_candidates: int,
    detections: int,
    weights: list[float],
    bbox_xform_clip: float,
    image_size: list[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Detections as torchvision's `RetinaNet.postprocess_detections` makes them, of one picture.

    They are ordered by their logits, not by the sigmoid, which makes equal what is not.

    Args:
        logits: of each level, (1, A * C, H, W), of each anchor's classes.
        deltas: of each level, (1, A * 4, H, W).
        anchors: of each level, (H * W * A, 4).
        score_threshold: the probability above which a box is looked at.
        nms_threshold: the overlap above which a box suppresses another of its label.
        topk_candidates: how many boxes of a level are looked at.
        detections: D, how many are kept.
        weights: what deltas of x, y, width and height are divided by.
        bbox_xform_clip: the greatest logarithm of a change of size.
        image_size: height and width that boxes are clipped to.

    Returns:
        Boxes (D, 4), scores (D), labels (D) int64, best first, zeros behind the count; and the
        count (1) int32.
    """
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for scores, offsets, places in zip(logits, deltas, anchors, strict=True):
        per_place = offsets.shape[1] // 4
        by_class = by_anchor(scores, per_place)
        best = _best(
            by_class.flatten(), by_class.sigmoid().flatten(), score_threshold, topk_candidates
        )
        anchor = best // by_class.shape[1]
        boxes = decoded(
            by_anchor(offsets, per_place)[anchor], places[anchor], weights, bbox_xform_clip
        )
        found.append(
            (_clipped(boxes[:, 0], image_size), by_class.flatten()[best], best % by_class.shape[1])
        )
    boxes, scores, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
    best = suppressed(boxes, scores, labels, nms_threshold)
    return sorted_detections(boxes[best], scores[best].sigmoid(), labels[best], detections)


@custom_op("tunekit::fcos_detections", mutates_args=())
def fcos_detections(
    logits: list[Tensor],
    distances: list[Tensor],
    centerness: list[Tensor],
    anchors: list[Tensor],
    *,
    score_threshold: float,
    nms_threshold: float,
    topk_candidates: int,
    detections: int,
    normalize_by_size: bool,
    image_size: list[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Detections as torchvision's `FCOS.postprocess_detections` makes them, of one picture.

    Args:
        logits: of each level, (1, A * C, H, W), of each anchor's classes.
        distances: of each level, (1, A * 4, H, W), to the sides of a box.
        centerness: of each level, (1, A, H, W), before the sigmoid.
        anchors: of each level, (H * W * A, 4).
        score_threshold: the score above which a box is looked at.
        nms_threshold: the overlap above which a box suppresses another of its label.
        topk_candidates: how many boxes of a level are looked at.
        detections: D, how many are kept.
        normalize_by_size: whether distances are in sizes of the anchor.
        image_size: height and width that boxes are clipped to.

    Returns:
        As of `retinanet_detections`.
    """
    coder = BoxLinearCoder(normalize_by_size)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for scores, offsets, centers, places in zip(
        logits, distances, centerness, anchors, strict=True
    ):
        per_place = centers.shape[1]
        by_class = by_anchor(scores, per_place)
        central = by_anchor(centers, per_place)
        rated = (by_class.sigmoid() * central.sigmoid()).sqrt().flatten()
        best = _best(rated, rated, score_threshold, topk_candidates)
        anchor = best // by_class.shape[1]
        boxes = coder.decode(by_anchor(offsets, per_place)[anchor], places[anchor])
        found.append((_clipped(boxes, image_size), rated[best], best % by_class.shape[1]))
    boxes, scores, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
    best = suppressed(boxes, scores, labels, nms_threshold)
    return sorted_detections(boxes[best], scores[best], labels[best], detections)


@custom_op("tunekit::ssd_detections", mutates_args=())
def ssd_detections(
    logits: list[Tensor],
    deltas: list[Tensor],
    anchors: list[Tensor],
    *,
    score_threshold: float,
    nms_threshold: float,
    topk_candidates: int,
    detections: int,
    weights: list[float],
    bbox_xform_clip: float,
    image_size: list[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Detections as torchvision's `SSD.postprocess_detections` makes them, of one picture.

    Args:
        logits: of each level, (1, A * C, H, W), of each anchor's classes; 0 is the background.
        deltas: of each level, (1, A * 4, H, W).
        anchors: of each level, (H * W * A, 4).
        score_threshold: the probability above which a box is looked at.
        nms_threshold: the overlap above which a box suppresses another of its label.
        topk_candidates: how many boxes of a label are looked at.
        detections: D, how many are kept.
        weights: what deltas of x, y, width and height are divided by.
        bbox_xform_clip: the greatest logarithm of a change of size.
        image_size: height and width that boxes are clipped to.

    Returns:
        As of `retinanet_detections`.
    """
    per_place = [offsets.shape[1] // 4 for offsets in deltas]
    probabilities = torch.cat(
        [by_anchor(*pair) for pair in zip(logits, per_place, strict=True)]
    ).softmax(-1)
    offsets = torch.cat([by_anchor(*pair) for pair in zip(deltas, per_place, strict=True)])
    boxes = _clipped(
        decoded(offsets, torch.cat(anchors), weights, bbox_xform_clip)[:, 0], image_size
    )
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for label in range(1, probabilities.shape[1]):
        scores = probabilities[:, label]
        best = _best(scores, scores, score_threshold, topk_candidates)
        found.append((boxes[best], scores[best], torch.full_like(best, label)))
    boxes, scores, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
    best = suppressed(boxes, scores, labels, nms_threshold)
    return sorted_detections(boxes[best], scores[best], labels[best], detections)


def _best(order: Tensor, scores: Tensor, threshold: float, limit: int) -> Tensor:
    """Indices of the scores above a threshold, at most so many, in an order."""
    likely = torch.where(scores > threshold)[0]
    return likely[ranked(order[likely])[:limit]]


def _clipped(boxes: Tensor, image_size: list[int]) -> Tensor:
    height, width = image_size
    clipped: Tensor = clip_boxes_to_image(boxes, (height, width))
    return clipped


@retinanet_detections.register_fake
@fcos_detections.register_fake
@ssd_detections.register_fake
def _(logits: list[Tensor], *_: object, detections: int, **__: object) -> Detections:
    return no_detections(logits[0], detections)


def _dense_code(
    inputs: Sequence[KernelTensor], outputs: Sequence[KernelTensor], attributes: Attributes
) -> ExternCode:
    count, topk = whole(attributes["logits"]), whole(attributes["topk_candidates"])
    threshold = cast(float, attributes["score_threshold"])
    central = "centerness" in attributes
    lists = [inputs[start : start + count] for start in range(0, len(inputs), count)]
    anchors = lists[-1][0].shape[0] // math.prod(lists[0][0].shape[2:])
    classes = lists[0][0].shape[1] // anchors
    # With room for as many again before they are narrowed down.
    room = 2 * topk + TASKS * LANES
    scratch = Scratch()
    boxes = candidates(
        scratch,
        parts=count,
        room=topk,
        labels=classes,
        most=attributes["detections"],
        overlap=attributes["nms_threshold"],
    )
    shares = count * TASKS
    linear = (
        0 if "normalize_by_size" not in attributes else 1 + whole(attributes["normalize_by_size"])
    )
    dense = lines(
        levels("logits", lists[0], 0, classes),
        levels("deltas", lists[1], count, 4),
        *([levels("centers", lists[2], 2 * count, 1)] if central else []),
        pointers("anchors", len(inputs) - count, count),
        structure(
            "tkx_dense",
            "dense",
            levels=count,
            logits="logits",
            deltas="deltas",
            centers="centers" if central else 0,
            anchors="anchors",
            topk=topk,
            threshold=number(threshold),
            least=number(_least_logit(threshold**2 if central else threshold)),
            shares=TASKS,
            linear=linear,
            coder=coder(attributes),
            room=room,
            counts=scratch.array("int32_t", shares),
            keys=scratch.array("uint32_t", shares * room),
            indices=scratch.array("uint32_t", shares * room),
            order=scratch.array("uint32_t", shares * room),
            spare=scratch.array("uint32_t", shares * room),
        ),
    )
    return ExternCode(
        phases=(
            Phase(lines(dense, "tkx_scan(&dense, task);"), shares),
            Phase(lines(dense, boxes, "tkx_gather(&dense, task, &all);"), count),
            *kept(boxes, classes),
        ),
        headers=("dense.h",),
        sources=("boxes.c", "candidates.c", "dense.c", "selection.c"),
        workspace_bytes=scratch.bytes,
    )


def _least_logit(probability: float) -> float:
    """A little less than the logit of a probability."""
    if not 0 < probability < 1:
        return -math.inf if probability <= 0 else math.inf
    logit = math.log(probability / (1 - probability))
    return logit - 1e-3 * max(1.0, abs(logit))


def _ssd_code(
    inputs: Sequence[KernelTensor], outputs: Sequence[KernelTensor], attributes: Attributes
) -> ExternCode:
    count = whole(attributes["logits"])
    logits, deltas = inputs[:count], inputs[count : 2 * count]
    anchors = sum(tensor.shape[0] for tensor in inputs[2 * count :])
    classes = logits[0].shape[1] // (deltas[0].shape[1] // 4)
    scratch = Scratch()
    boxes = candidates(
        scratch,
        parts=classes - 1,
        room=min(whole(attributes["topk_candidates"]), anchors),
        labels=classes,
        most=attributes["detections"],
        overlap=attributes["nms_threshold"],
    )
    ssd = lines(
        levels("logits", logits, 0, classes),
        levels("deltas", deltas, count, 4),
        pointers("anchors", 2 * count, count),
        structure(
            "tkx_ssd",
            "ssd",
            levels=count,
            anchors_in_all=anchors,
            logits="logits",
            deltas="deltas",
            anchors="anchors",
            topk=attributes["topk_candidates"],
            threshold=number(attributes["score_threshold"]),
            coder=coder(attributes),
            probabilities=scratch.array("float", TASKS * (classes + LANES)),
            keys=scratch.array("uint32_t", classes * anchors),
            order=scratch.array("uint32_t", classes * anchors),
            spare=scratch.array("uint32_t", classes * anchors),
        ),
    )
    return ExternCode(
        phases=(
            Phase(lines(ssd, "tkx_rate_anchors(&ssd, task, tasks);"), TASKS),
            Phase(lines(ssd, boxes, "tkx_pick_label(&ssd, task + 1, &all);"), classes - 1),
            *kept(boxes, classes),
        ),
        headers=("ssd.h",),
        sources=("boxes.c", "candidates.c", "selection.c", "ssd.c"),
        workspace_bytes=scratch.bytes,
    )


register(DetectorOperator("retinanet_detections", _dense_code, ALL))
register(DetectorOperator("fcos_detections", _dense_code, ALL))
register(DetectorOperator("ssd_detections", _ssd_code, ALL))
