"""Detections of two runs are matched, and who is excused is counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tunekit.detectors.matching import MatchingRule, compare_detections

LIMIT = 6
RULE = MatchingRule((100, 200), score_threshold=0.05, nms_threshold=0.5, limit=LIMIT)
BOXES = [(10, 10, 60, 60), (100, 20, 140, 90), (12, 40, 30, 70)]
SCORES = [0.9, 0.5, 0.3]
LABELS = [1, 2, 1]


def detections(
    boxes: Any = BOXES, scores: Any = SCORES, labels: Any = LABELS, **more: Any
) -> dict[str, Any]:
    """Padded outputs, as a detector gives them."""
    rows = {
        "boxes": np.asarray(boxes, "float32").reshape(-1, 4),
        "scores": np.asarray(scores, "float32"),
        "labels": np.asarray(labels, "int64"),
        **{name: np.asarray(value, "float32") for name, value in more.items()},
    }
    padded = {
        name: np.concatenate([value, np.zeros((LIMIT - len(value), *value.shape[1:]), value.dtype)])
        for name, value in rows.items()
    }
    return {**padded, "count": np.array([len(scores)], "int32")}


def moved(by: float) -> list[tuple[float, ...]]:
    return [tuple(side + by for side in box) for box in BOXES]


def test_equal_detections_match_whatever_their_order() -> None:
    order = [1, 0, 2]
    shuffled = detections(*([values[i] for i in order] for values in (BOXES, SCORES, LABELS)))
    comparison = compare_detections(detections(), shuffled, RULE)
    assert str(comparison.detections) == "3 of 3 detections matched"
    assert comparison.relative_error == 0


def test_errors_are_those_of_boxes_and_scores_that_have_a_partner() -> None:
    comparison = compare_detections(
        detections(), detections(moved(0.02), [0.9, 0.5, 0.3 + 5e-4]), RULE
    )
    assert comparison.max_abs_error == pytest.approx(0.02, rel=1e-3)
    assert comparison.relative_error == pytest.approx(5e-4, rel=1e-3)
    assert comparison.within(1e-3)


@pytest.mark.parametrize(
    ("actual", "words"),
    [
        (detections(moved(1.0)), "is not found"),
        (detections(labels=[1, 3, 1]), "label 2 at (100.0, 20.0, 140.0, 90.0)"),
        (detections(scores=[0.9, 0.502, 0.3]), "with score 0.500 is not found"),
        (detections(BOXES[:2], SCORES[:2], LABELS[:2]), "2 of 3 detections matched; label 1"),
        (detections([*BOXES, (1, 1, 9, 9)], [*SCORES, 0.2], [*LABELS, 3]), "is found besides"),
        (detections(scores=[0.9, np.nan, 0.3]), "scores holds NaN"),
        ({**detections(), "count": np.array([9], "int32")}, "count is 9"),
        ({**detections(), "count": np.array([2], "int32")}, "boxes is not zero behind the count"),
        ({**detections(), "labels": np.zeros(LIMIT, "int32")}, "labels has dtype int32"),
        ({"boxes": detections()["boxes"]}, "there is no output scores"),
    ],
)
def test_a_difference_is_told(actual: Any, words: str) -> None:
    comparison = compare_detections(detections(), actual, RULE)
    assert not comparison.within(1.0)
    assert words in str(comparison.reason)


def test_a_reference_without_detections_says_nothing() -> None:
    nothing = detections([], [], [])
    comparison = compare_detections(nothing, nothing, RULE)
    assert not comparison.within(1.0)
    assert "finds nothing" in str(comparison.reason)


def test_a_score_at_the_threshold_is_excused_and_counted() -> None:
    actual = detections([*BOXES, (1, 1, 9, 9)], [*SCORES, 0.0501], [*LABELS, 3])
    comparison = compare_detections(detections(), actual, RULE)
    assert str(comparison.detections) == "3 of 3 detections matched, 1 at a threshold"
    assert comparison.within(1e-3)


def test_what_the_limit_cuts_off_is_excused_where_scores_are_close() -> None:
    boxes = [(20 * i, 0, 20 * i + 15, 15) for i in range(LIMIT + 1)]
    scores = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4001, 0.4]
    last = [0, 1, 2, 3, 4, 6]
    comparison = compare_detections(
        detections(boxes[:LIMIT], scores[:LIMIT], [1] * LIMIT),
        detections([boxes[i] for i in last], [scores[i] for i in last], [1] * LIMIT),
        RULE,
    )
    assert comparison.detections is not None
    assert comparison.detections.excused == 1


def test_an_overlap_at_the_threshold_is_excused() -> None:
    # Two thirds of the width: an intersection over union of one half.
    near = (10, 10 + 50 / 3, 60, 60 + 50 / 3)
    actual = detections([*BOXES, near], [*SCORES, 0.25], [*LABELS, 1])
    comparison = compare_detections(detections(), actual, RULE)
    assert comparison.detections is not None
    assert comparison.detections.excused == 1
    other_label = detections([*BOXES, near], [*SCORES, 0.25], [*LABELS, 3])
    assert not compare_detections(detections(), other_label, RULE).within(1.0)


def test_more_than_one_in_fifty_is_not_excused() -> None:
    edge = [(1, 1, 9, 9), (20, 1, 29, 9)]
    actual = detections([*BOXES, *edge], [*SCORES, 0.0501, 0.05005], [*LABELS, 3, 3])
    comparison = compare_detections(detections(), actual, RULE)
    assert "too many" in str(comparison.reason)


def masks(**changed: float) -> Any:
    values = np.full((3, 1, 28, 28), 0.2)
    values[:, :, 5:20, 5:20] = 0.9
    for place, value in changed.items():
        row, column = (int(number) for number in place[1:].split("_"))
        values[0, 0, row, column] = value
    return values


def test_raw_masks_agree_in_value_and_in_all_but_two_pixels() -> None:
    reference = detections(masks=masks(p5_5=0.501))
    assert compare_detections(reference, detections(masks=masks(p5_5=0.499)), RULE).within(1e-3)
    assert not compare_detections(reference, detections(masks=masks(p5_5=0.45)), RULE).within(1.0)


def test_pasted_masks_are_compared_where_their_boxes_fall_into_the_same_pixels() -> None:
    rule = MatchingRule((100, 200), 0.05, 0.5, LIMIT, pasted=28)
    wrong = masks()[:, :, ::-1, :]
    assert not compare_detections(detections(masks=masks()), detections(masks=wrong), rule).within(
        1.0
    )
    # Pasted from pixel 8 on, or, a little to the left, from 7 on.
    edge, before = [(10, 10, 66, 66)] * 3, [(9.999, 9.999, 66, 66)] * 3
    labels = [1, 2, 3]
    assert compare_detections(
        detections(edge, labels=labels, masks=masks()),
        detections(before, labels=labels, masks=wrong),
        rule,
    ).within(1e-3)


def keypoints(by: float = 0.0, score: float = 0.0) -> dict[str, Any]:
    places = np.tile(np.array([[20.0, 30, 1], [40, 50, 1], [25, 45, 1]]), (3, 1, 1))
    places[..., :2] += by
    return {"keypoints": places, "keypoints_scores": np.full((3, 3), 4.0 + score)}


def test_keypoints_agree_within_a_pixel_and_a_hundredth_of_the_score() -> None:
    reference = detections(**keypoints())
    assert compare_detections(reference, detections(**keypoints(0.5, 0.01)), RULE).within(1e-3)
    assert not compare_detections(reference, detections(**keypoints(3.0)), RULE).within(1.0)
    assert not compare_detections(reference, detections(**keypoints(score=0.1)), RULE).within(1.0)
