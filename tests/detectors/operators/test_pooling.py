"""What maps show in boxes, and how detections are cut into pieces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from operator_uses import ALIGNS, CHUNKS, LIMIT, some_boxes
from operators_in_c import OperatorsInC, Use

from tunekit.detectors.operators.chunks import chunk_chance, chunk_rows, chunk_slots

often = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))


def pooling_values(use: Use, seed: int, count: int | None = None) -> dict[str, object]:
    random = np.random.default_rng(seed)
    rows = use.tensors["boxes"].shape[0]
    boxes = some_boxes(random, rows)
    # Squares of the sizes at which levels end, and hardly smaller ones.
    sizes = random.choice([14, 28, 56], rows) * random.choice([1, 1 - 2e-7], rows)
    square = random.random(rows) < 0.4
    boxes[square, :2] = 0
    boxes[square, 2:] = sizes[square, None]
    if len(use.tensors["maps"]) > 1:
        # torchvision finds no level for it.
        boxes[random.integers(rows), 1] = np.nan
    return {
        "maps": [random.normal(0, 1, one.shape).astype("float32") for one in use.tensors["maps"]],
        "boxes": boxes,
        "count": np.array([random.integers(rows + 1) if count is None else count], "int32"),
    }


@pytest.mark.parametrize("use", ALIGNS, ids=lambda use: str(use.tensors["maps"][0].block))
@often
@given(seed=st.integers(0, 2**32 - 1))
def test_roi_align(use: Use, in_c: OperatorsInC, seed: int) -> None:
    values = pooling_values(use, seed)
    (expected,), (found,) = use.in_torch(values), in_c.run(use, values, threads=1 + seed % 2)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("count", range(LIMIT + 1))
def test_chunks_hold_each_detection_once(in_c: OperatorsInC, count: int) -> None:
    held = []
    for chunk, use in enumerate(CHUNKS):
        values = pooling_values(use, 1, count)
        (expected, needed), (found, flag) = use.in_torch(values), in_c.run(use, values)
        slots = chunk_slots(LIMIT, count, chunk)
        assert flag[0] == needed[0] == bool(slots)
        if slots:
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
        held += slots
    assert sorted(held) == list(range(count))


def test_at_most_one_place_of_the_chunks_stays_empty() -> None:
    for limit in (1, 2, 3, 7, 8, 100):
        rows = chunk_rows(limit)
        for count in range(limit + 1):
            slots = [chunk_slots(limit, count, chunk) for chunk in range(len(rows))]
            used = sum(n for n, held in zip(rows, slots, strict=True) if held)
            assert count <= used <= count + 1


def test_chunks_that_more_detections_need_are_needed_less_often() -> None:
    chances = [chunk_chance(100, 10, chunk) for chunk in range(len(chunk_rows(100)))]
    assert chances[:12] == sorted(chances[:12], reverse=True)
    assert 0 < chances[11] < 0.01 < chances[0] < 1
