"""The masks and keypoints of detections."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from operator_uses import KEYPOINTS, LIMIT, MASKS, PASTE, some_boxes
from operators_in_c import OperatorsInC, Use

often = settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
seeds = st.integers(0, 2**32 - 1)
counts = st.integers(0, LIMIT)


@pytest.mark.parametrize("use", MASKS, ids=["plain", "blocked"])
@often
@given(seed=seeds, count=counts)
def test_masks_are_of_the_detections_labels(
    use: Use, in_c: OperatorsInC, seed: int, count: int
) -> None:
    random = np.random.default_rng(seed)
    values = {
        "logits": [
            random.normal(0, 30, one.shape).astype("float32") for one in use.tensors["logits"]
        ],
        "labels": random.integers(0, 6, LIMIT),
        "count": np.array([count], "int32"),
    }
    (expected,), (found,) = use.in_torch(values), in_c.run(use, values, threads=2)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@often
@given(seed=seeds, count=counts)
def test_pasted_masks(in_c: OperatorsInC, seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    values = {
        "masks": random.random(PASTE.tensors["masks"].shape, "float32"),
        "boxes": inside(some_boxes(random, LIMIT, wild=False)),
        "count": np.array([count], "int32"),
    }
    (expected,), (found,) = PASTE.in_torch(values), in_c.run(PASTE, values, threads=2)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("use", KEYPOINTS, ids=["plain", "blocked"])
@often
@given(seed=seeds, count=counts)
def test_keypoints(use: Use, in_c: OperatorsInC, seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    values = {
        "heatmaps": [
            random.normal(0, 1, one.shape).astype("float32") for one in use.tensors["heatmaps"]
        ],
        "boxes": some_boxes(random, LIMIT),
        "count": np.array([count], "int32"),
    }
    values["boxes"] = np.clip(values["boxes"], -50, 150)
    expected, found = use.in_torch(values), in_c.run(use, values, threads=2)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-4)


def inside(boxes: np.ndarray) -> np.ndarray:
    """Boxes as detections have them: clipped to the canvas."""
    return np.clip(boxes, 0, [64, 48, 64, 48]).astype("float32")
