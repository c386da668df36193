"""Whether two runs of a detector found the same.

Detections are matched, not compared by their places: two that score nearly alike may change places,
and a score at its threshold may be above it in one run and below it in the other. Who has no
partner is excused where rounding decided, counted, and shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunekit.accuracy import Comparison, MatchedDetections

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.generic]
    Floats = npt.NDArray[np.float64]

BOXES, SCORES, LABELS, COUNT = "boxes", "scores", "labels", "count"
MASKS, KEYPOINTS, KEYPOINT_SCORES = "masks", "keypoints", "keypoints_scores"

# Of a detection with its partner; the public ones are those of the check in bundles, too.
# A box of a few pixels may be off by a part of one.
LEAST_IOU = 0.99
SMALL_BOX_PX = 0.05
MOST_SCORE = 1e-3
_RAW_MASK = 5e-3
LEAST_MASK_IOU = 0.99
MASK_PX = 2
_MASK_THRESHOLD = 0.5
KEYPOINT_PX = 1.0
KEYPOINT_SCORE = 1e-2
KEYPOINT_SHARE = 0.9
# So near a threshold rounding decides.
_SCORE_MARGIN = 2e-3
_IOU_MARGIN = 1e-3
EXCUSED_SHARE = 0.02


@dataclass(frozen=True)
class MatchingRule:
    """What decides about a detector's boxes, and so excuses one that has no partner.

    Attributes:
        canvas: height and width of the picture.
        score_threshold: boxes are kept whose score is above it.
        nms_threshold: boxes are dropped that cover a better one by more than it.
        limit: the most detections, and rows of the outputs.
        agnostic: whether boxes of different labels drop each other.
        pasted: the height and width of masks that are pasted into pictures; 0 where they are not.
    """

    canvas: tuple[int, int]
    score_threshold: float
    nms_threshold: float
    limit: int
    agnostic: bool = False
    pasted: int = 0


@dataclass(frozen=True)
class _Found:
    """The detections of one run: what lies before the count."""

    boxes: Floats
    scores: Floats
    labels: npt.NDArray[np.int64]
    more: Mapping[str, Floats]

    def __len__(self) -> int:
        return len(self.scores)


def count_of(outputs: Mapping[str, Array]) -> int:
    """How many objects were found."""
    return int(outputs[COUNT].reshape(-1)[0])


def compare_detections(
    reference: Mapping[str, Array], actual: Mapping[str, Array], rule: MatchingRule
) -> Comparison:
    """Match the detections of two runs, given by the outputs' names.

    Returns:
        Errors of what matched: of boxes in pixels, with the relative error that of boxes (of the
        canvas' longer side) and of scores; infinite, with a reason, where a detection has no
        partner and no excuse.
    """
    fault = _fault(reference, actual)
    if fault is not None:
        return _different(fault)
    expected, given = _found(reference), _found(actual)
    if not len(expected):
        return _different("the reference finds nothing in the picture, which says nothing")
    pairs = _pairs(expected, given, rule)
    lost = [row for row in range(len(expected)) if row not in dict(pairs)]
    taken = {partner for _, partner in pairs}
    strange = [row for row in range(len(given)) if row not in taken]
    unexcused = _unexcused(expected, lost, given, strange, rule)
    flips = max(len(lost), len(strange))
    matched = MatchedDetections(len(expected), len(pairs), flips)
    if unexcused:
        found = MatchedDetections(len(expected), len(pairs), 0)
        return _different(f"{found}; {unexcused[0]}", found)
    if flips > max(1, int(EXCUSED_SHARE * len(expected))):
        return _different(f"{matched}, which are too many", matched)
    return _errors(expected, given, pairs, rule, matched)


def _fault(reference: Mapping[str, Array], actual: Mapping[str, Array]) -> str | None:
    """What makes outputs no detections of this detector."""
    import numpy as np

    for name, output in reference.items():
        given = actual.get(name)
        if given is None:
            return f"there is no output {name}"
        if given.shape != output.shape:
            return f"{name} has shape {list(given.shape)} in place of {list(output.shape)}"
        if given.dtype != output.dtype:
            return f"{name} has dtype {given.dtype} in place of {output.dtype}"
    count = count_of(actual)
    if not 0 <= count <= len(actual[SCORES]):
        return f"count is {count}"
    for name, output in actual.items():
        if name == COUNT:
            continue
        if output[count:].any():
            return f"{name} is not zero behind the count"
        if not np.isfinite(output[:count].astype(np.float64)).all():
            return f"{name} holds NaN or infinity"
    return None


def _found(outputs: Mapping[str, Array]) -> _Found:
    import numpy as np

    count = count_of(outputs)
    kept = {name: value[:count] for name, value in outputs.items() if name != COUNT}
    return _Found(
        kept.pop(BOXES).astype(np.float64),
        kept.pop(SCORES).astype(np.float64),
        kept.pop(LABELS).astype(np.int64),
        {name: value.astype(np.float64) for name, value in kept.items()},
    )


def _pairs(expected: _Found, given: _Found, rule: MatchingRule) -> list[tuple[int, int]]:
    """Each detection with its partner, the best first."""
    free = set(range(len(given)))
    pairs = []
    overlaps = iou(expected.boxes, given.boxes)
    for row in range(len(expected)):
        near = [
            other
            for other in free
            if given.labels[other] == expected.labels[row]
            and abs(given.scores[other] - expected.scores[row]) <= MOST_SCORE
            and _same_box(expected.boxes[row], given.boxes[other], float(overlaps[row, other]))
            and _same_parts(expected, row, given, other, rule)
        ]
        if near:
            partner = max(near, key=lambda other: float(overlaps[row, other]))
            free.remove(partner)
            pairs.append((row, partner))
    return pairs


def _same_box(expected: Floats, given: Floats, overlap: float) -> bool:
    return overlap >= LEAST_IOU or float(abs(given - expected).max()) <= SMALL_BOX_PX


def _same_parts(expected: _Found, row: int, given: _Found, other: int, rule: MatchingRule) -> bool:
    """Whether masks and keypoints agree."""
    if MASKS in expected.more:
        masks = expected.more[MASKS][row], given.more[MASKS][other]
        placed = not rule.pasted or _same_pixels(
            expected.boxes[row], given.boxes[other], rule.pasted
        )
        if placed and not _same_mask(*masks, raw=not rule.pasted):
            return False
    if KEYPOINTS in expected.more:
        scores = expected.more[KEYPOINT_SCORES][row]
        difference = abs(given.more[KEYPOINT_SCORES][other] - scores)
        if float(difference.max()) > KEYPOINT_SCORE * max(1.0, float(abs(scores).max())):
            return False
        moved = abs(given.more[KEYPOINTS][other] - expected.more[KEYPOINTS][row]).max(axis=-1)
        # A second peak of the same height may be the highest.
        return float((moved <= KEYPOINT_PX).mean()) >= KEYPOINT_SHARE
    return True


def _same_pixels(expected: Floats, given: Floats, mask_size: int) -> bool:
    """Whether masks of these boxes are pasted into the same pixels, which are whole ones."""
    return bool((_pixels(expected, mask_size) == _pixels(given, mask_size)).all())


def _pixels(box: Floats, mask_size: int) -> Floats:
    """Where torchvision pastes a mask, which gets a border of one of its own pixels first."""
    import numpy as np

    middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    half = half * (mask_size + 2) / mask_size
    pixels: Floats = np.trunc(np.concatenate([middle - half, middle + half]))
    return pixels


def _same_mask(expected: Floats, given: Floats, *, raw: bool) -> bool:
    import numpy as np

    if raw and float(np.abs(given - expected).max(initial=0.0)) > _RAW_MASK:
        return False
    first, second = expected > _MASK_THRESHOLD, given > _MASK_THRESHOLD
    apart = int(np.count_nonzero(first != second))
    return apart <= MASK_PX or apart <= (1 - LEAST_MASK_IOU) * int(np.count_nonzero(first | second))


def _unexcused(
    expected: _Found, lost: Sequence[int], given: _Found, strange: Sequence[int], rule: MatchingRule
) -> list[str]:
    """Those without a partner of whom rounding did not decide, in words."""
    sides = ((expected, given), (given, expected))
    alone = (lost, strange)
    excused = [
        {row for row in rows if _at_a_threshold(mine, row, theirs, rule)}
        for (mine, theirs), rows in zip(sides, alone, strict=True)
    ]
    # What stands where another was dropped drops others in turn.
    for side, (mine, theirs) in enumerate(sides):
        overlaps = iou(mine.boxes, theirs.boxes)
        excused[side] |= {
            row
            for row in alone[side]
            for other in excused[1 - side]
            if overlaps[row, other] > rule.nms_threshold
            and (rule.agnostic or mine.labels[row] == theirs.labels[other])
        }
    return [
        f"label {mine.labels[row]} at ({', '.join(f'{value:.1f}' for value in mine.boxes[row])}) "
        f"with score {mine.scores[row]:.3f} {what}"
        for (mine, _), rows, known, what in zip(
            sides, alone, excused, ("is not found", "is found besides"), strict=True
        )
        for row in rows
        if row not in known
    ]


def _at_a_threshold(mine: _Found, row: int, theirs: _Found, rule: MatchingRule) -> bool:
    """Whether a detection is so near to what decides about it that the other run may do without:
    its score at the least one or at the last that there is room for, or what it covers of a better
    one at the most that is allowed."""
    score = float(mine.scores[row])
    full = len(theirs) == rule.limit and score <= float(theirs.scores.min()) + _SCORE_MARGIN
    if score <= rule.score_threshold + _SCORE_MARGIN or full:
        return True
    overlaps = iou(mine.boxes[[row]], theirs.boxes)[0]
    rivals = rule.agnostic | (theirs.labels == mine.labels[row])
    return bool((rivals & (abs(overlaps - rule.nms_threshold) <= _IOU_MARGIN)).any())


def _errors(
    expected: _Found,
    given: _Found,
    pairs: Sequence[tuple[int, int]],
    rule: MatchingRule,
    matched: MatchedDetections,
) -> Comparison:
    import numpy as np

    rows, partners = (list(side) for side in zip(*pairs, strict=True)) if pairs else ([], [])
    boxes = np.abs(given.boxes[partners] - expected.boxes[rows])
    scores = np.abs(given.scores[partners] - expected.scores[rows])
    longest = float(max(rule.canvas))
    return Comparison(
        mse=float(np.square(boxes).mean()) if boxes.size else 0.0,
        max_abs_error=float(boxes.max(initial=0.0)),
        max_abs_reference=longest,
        relative_error=max(float(boxes.max(initial=0.0)) / longest, float(scores.max(initial=0.0))),
        detections=matched,
    )


def iou(first: Floats, second: Floats) -> Floats:
    """Intersection over union of each box with each, [len(first), len(second)]."""
    import numpy as np

    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None, :] - common
    return np.where(union > 0, common / np.where(union > 0, union, 1), 0)


def _different(reason: str, detections: MatchedDetections | None = None) -> Comparison:
    return Comparison(math.inf, math.inf, math.nan, math.inf, reason, detections=detections)
