"""The operators of detectors on small tensors, as they are tested."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy as np
from operators_in_c import Array, Use, tensor

import tunekit.detectors.operators  # noqa: F401  (defines them)
from tunekit.detectors.operators.chunks import chunk_rows

CANVAS = (48, 64)
_CODER = {
    "weights": [1.0, 1.0, 1.0, 1.0],
    "bbox_xform_clip": math.log(1000 / 16),
    "image_size": list(CANVAS),
}
COUNT = tensor(1, dtype="int32")


def _rpn(
    sizes: Sequence[tuple[int, int]], blocks: Sequence[int], anchors: int = 3, **changed: Any
) -> Use:
    given = list(zip(sizes, blocks, strict=True))
    attributes = {
        "pre_nms_top_n": 20,
        "post_nms_top_n": 12,
        "nms_threshold": 0.7,
        "score_threshold": 0.0,
        "min_size": 1e-3,
        **_CODER,
        **changed,
    }
    return Use(
        "rpn_proposals",
        {
            "objectness": [tensor(1, anchors, *size, block=block) for size, block in given],
            "deltas": [tensor(1, 4 * anchors, *size, block=block) for size, block in given],
            "anchors": [tensor(math.prod(size) * anchors, 4) for size in sizes],
        },
        attributes,
    )


RPN = _rpn([(6, 8), (3, 4), (1, 1)], [8, 1, 16])
# All that is looked at is kept, unless it overlaps.
RPN_LOOSE = _rpn([(6, 8), (3, 4)], [1, 1], post_nms_top_n=50, nms_threshold=0.9)
RPN_STRICT = _rpn(
    [(6, 8), (3, 4)],
    [1, 8],
    score_threshold=0.3,
    min_size=4.0,
    nms_threshold=0.3,
    post_nms_top_n=40,
)
# More than a thousand boxes: torchvision compares each level's apart.
RPN_LARGE = _rpn([(20, 20), (10, 10)], [8, 1], pre_nms_top_n=900, post_nms_top_n=300)


def _pyramid(levels: int, channels: int, block: int) -> list[Any]:
    return [tensor(1, channels, 12 >> n, 16 >> n, block=block) for n in range(levels)]


def _align(
    rows: int, bins: int, ratio: int, levels: int, channels: int, block: int, out: int
) -> Use:
    return Use(
        "roi_align",
        {"maps": _pyramid(levels, channels, block), "boxes": tensor(rows, 4), "count": COUNT},
        {
            "output_size": bins,
            "sampling_ratio": ratio,
            "scales": [0.25 / (1 << n) for n in range(levels)],
            "canonical_scale": 28,
            "canonical_level": 3,
        },
        block=out,
    )


ALIGNS = (
    _align(20, 7, 2, 3, 16, 8, 1),
    _align(20, 7, 2, 3, 16, 8, 8),
    _align(20, 3, 1, 3, 32, 16, 16),
    _align(9, 5, 4, 2, 12, 1, 1),
    _align(9, 4, 3, 1, 12, 8, 8),
    _align(5, 3, 2, 2, 8, 4, 4),
    _align(5, 3, 2, 2, 20, 8, 16),
)
LIMIT = 23
CHUNKS = tuple(
    Use(
        "roi_align_chunk",
        {"maps": _pyramid(2, 8, 8), "boxes": tensor(LIMIT, 4), "count": COUNT},
        {
            "chunk": chunk,
            "expected_detections": 5,
            "output_size": 2,
            "sampling_ratio": 2,
            "scales": [0.25, 0.125],
            "canonical_scale": 28,
            "canonical_level": 3,
        },
    )
    for chunk in range(len(chunk_rows(LIMIT)))
)


def _box_head(rows: int, classes: int, **changed: Any) -> Use:
    attributes = {
        "score_threshold": 0.05,
        "nms_threshold": 0.5,
        "detections": 15,
        **_CODER,
        "weights": [10.0, 10.0, 5.0, 5.0],
        **changed,
    }
    return Use(
        "roi_detections",
        {
            "class_logits": tensor(rows, classes),
            "box_regression": tensor(rows, 4 * classes),
            "proposals": tensor(rows, 4),
            "proposal_count": COUNT,
        },
        attributes,
    )


BOX_HEAD = _box_head(40, 6)
BOX_HEAD_LARGE = _box_head(150, 11, score_threshold=0.0, detections=200)


def _pieces(channels: int, size: int, *blocks: int) -> list[Any]:
    pieces = zip(chunk_rows(LIMIT), cycle(blocks), strict=False)
    return [tensor(rows, channels, size, size, block=block) for rows, block in pieces]


MASKS = tuple(
    Use(
        "mask_select",
        {
            "logits": _pieces(6, 5, *blocks),
            "labels": tensor(LIMIT, dtype="int64"),
            "count": COUNT,
        },
        {},
    )
    for blocks in ((1,), (8, 1, 16))
)
PASTE = Use(
    "paste_masks",
    {"masks": tensor(LIMIT, 1, 5, 5), "boxes": tensor(LIMIT, 4), "count": COUNT},
    {"height": CANVAS[0], "width": CANVAS[1]},
)
KEYPOINTS = tuple(
    Use(
        "keypoints",
        {"heatmaps": _pieces(3, 7, *blocks), "boxes": tensor(LIMIT, 4), "count": COUNT},
        {},
    )
    for blocks in ((1,), (8, 1, 16))
)


def _dense(kind: str, classes: int, blocks: Sequence[int], anchors: int, **changed: Any) -> Use:
    sizes = [(6, 8), (3, 4), (1, 2)]
    given = list(zip(sizes, blocks, strict=True))

    def maps(channels: int) -> list[Any]:
        return [tensor(1, channels, *size, block=block) for size, block in given]

    boxes = [tensor(math.prod(size) * anchors, 4) for size in sizes]
    common = {
        "score_threshold": 0.05,
        "nms_threshold": 0.5,
        "topk_candidates": 30,
        "detections": 25,
    }
    offsets = "distances" if kind == "fcos_detections" else "deltas"
    centers = {"centerness": maps(anchors)} if kind == "fcos_detections" else {}
    coder: dict[str, Any] = (
        {"normalize_by_size": True, "image_size": list(CANVAS)} if centers else dict(_CODER)
    )
    return Use(
        kind,
        {
            "logits": maps(anchors * classes),
            offsets: maps(4 * anchors),
            **centers,
            "anchors": boxes,
        },
        {**common, **coder, **changed},
    )


DENSE = (
    _dense("retinanet_detections", 5, [8, 1, 16], 3),
    # More than there is room for at once.
    _dense("retinanet_detections", 30, [1, 8, 1], 3, score_threshold=0.0),
    _dense("fcos_detections", 5, [8, 1, 16], 1, score_threshold=0.2),
    _dense("fcos_detections", 3, [1, 1, 1], 1, normalize_by_size=False, topk_candidates=1000),
    _dense("ssd_detections", 5, [1, 8, 16], 4, score_threshold=0.01),
    _dense("ssd_detections", 21, [1, 1, 1], 6, score_threshold=0.001, topk_candidates=100),
)


def _yolo(classes: int, boxes: int, **changed: Any) -> Use:
    attributes = {"confidence": 0.25, "iou": 0.45, "max_detections": 20, "agnostic": False}
    return Use(
        "yolo_detections", {"predictions": tensor(1, 4 + classes, boxes)}, {**attributes, **changed}
    )


YOLO = (
    _yolo(6, 200),
    _yolo(1, 37, agnostic=True, confidence=0.0),
    _yolo(3, 5),
)
USES = (
    *(
        RPN,
        RPN_LOOSE,
        RPN_STRICT,
        RPN_LARGE,
        *ALIGNS,
        *CHUNKS,
        BOX_HEAD,
        BOX_HEAD_LARGE,
        *MASKS,
        PASTE,
    ),
    *(*KEYPOINTS, *DENSE, *YOLO),
)


def some_boxes(
    random: np.random.Generator, count: int, wild: bool = True, *, even: bool = False
) -> Array:
    """Boxes in and around the canvas, many of them on others; wild ones are no boxes at all.
    Overlaps of even ones are often the thresholds themselves."""
    height, width = CANVAS
    corners = random.uniform(-0.2, 1.1, (count, 2)) * (width, height)
    sizes = np.exp(random.uniform(0, 4, (count, 2)))
    if even:
        corners = random.choice([0.0, 4.0, 8.0], (count, 2))
        sizes = np.full((count, 2), 20) * random.choice([0.3, 0.45, 0.5, 0.7, 1], (count, 1)) ** [
            0,
            1,
        ]
    boxes = np.concatenate([corners, corners + sizes], 1).astype("float32")
    again = random.random(count) < 0.4
    boxes[again] = boxes[random.integers(0, count, again.sum())]
    moved = random.random(count) < (0 if even else 0.2)
    boxes[moved] += random.integers(-2, 3, (moved.sum(), 4)).astype("float32")
    if wild:
        kinds = random.integers(0, 30, count)
        boxes[kinds == 0, 2:] = boxes[kinds == 0, :2]
        boxes[kinds == 1, 2:] = boxes[kinds == 1, :2] - 3
        boxes[kinds == 2] *= 1000
    return boxes


def some_scores(random: np.random.Generator, *shape: int, spread: float, wild: bool) -> Array:
    """Logits with ties; wild ones with numbers that are none, and infinite ones."""
    scores = random.normal(0, spread, shape).astype("float32")
    ties = random.random(shape) < random.choice([0.0, 0.3, 1.0])
    scores[ties] = np.round(scores[ties])
    if wild:
        for special in (np.nan, np.inf, -np.inf, 0.0, -0.0):
            scores[random.random(shape) < 0.01] = special
    return scores
