"""What is kept of many boxes: the C decides as torchvision does."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from operator_uses import (
    BOX_HEAD,
    BOX_HEAD_LARGE,
    CANVAS,
    DENSE,
    RPN,
    RPN_LARGE,
    RPN_LOOSE,
    RPN_STRICT,
    YOLO,
    some_boxes,
    some_scores,
)
from operators_in_c import Array, OperatorsInC, Use, Values
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork

often = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
seeds = st.integers(0, 2**32 - 1)


def agree(use: Use, values: Values, in_c: OperatorsInC, threads: int = 1) -> list[Array]:
    expected, found = use.in_torch(values), in_c.run(use, values, threads=threads)
    for one, other in zip(expected, found, strict=True):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        if one.dtype.kind == "f":
            np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5)
        else:
            np.testing.assert_array_equal(other, one)
    return expected


def level_values(use: Use, seed: int, wild: bool) -> dict[str, list[Array]]:
    """Heads' outputs for all tensors that a detector of levels has."""
    random = np.random.default_rng(seed)
    spread, even = random.choice([0.5, 3.0, 30.0]), bool(random.random() < 0.4)
    values: dict[str, list[Array]] = {}
    for name, tensors in use.tensors.items():
        assert isinstance(tensors, Sequence)
        if name == "anchors":
            values[name] = [some_boxes(random, one.shape[0], wild, even=even) for one in tensors]
        elif name in ("deltas", "distances"):
            values[name] = [some_offsets(random, one.shape, wild, even) for one in tensors]
        else:
            values[name] = [
                some_scores(random, *one.shape, spread=spread, wild=wild) for one in tensors
            ]
    return values


def some_offsets(
    random: np.random.Generator, shape: Sequence[int], wild: bool, even: bool
) -> Array:
    offsets = random.normal(0, 0 if even else 0.3, shape).astype("float32")
    if wild and random.random() < 0.5:
        for special in (np.nan, np.inf, -np.inf, 1e30):
            offsets[random.random(shape) < 0.002] = special
    return offsets


@pytest.mark.parametrize(
    "use", [RPN, RPN_LOOSE, RPN_STRICT, RPN_LARGE], ids=["small", "loose", "strict", "large"]
)
@often
@given(seed=seeds, wild=st.booleans())
def test_proposals(use: Use, in_c: OperatorsInC, seed: int, wild: bool) -> None:
    agree(use, level_values(use, seed, wild), in_c, threads=1 + seed % 2)


def test_proposals_are_those_of_torchvision(in_c: OperatorsInC) -> None:
    values = level_values(RPN, 7, wild=False)
    random = np.random.default_rng(8)
    values["objectness"] = [
        random.normal(0, 1, one.shape).astype("float32") for one in values["objectness"]
    ]
    levels = {name: [torch.from_numpy(one) for one in given] for name, given in values.items()}
    network = RegionProposalNetwork(
        lambda *_: [torch.cat(levels["anchors"])],
        lambda _: (levels["objectness"], levels["deltas"]),
        *(0.7, 0.3, 256, 0.5),
        pre_nms_top_n={"testing": 20, "training": 0},
        post_nms_top_n={"testing": 12, "training": 0},
        nms_thresh=0.7,
    ).eval()

    class Images:
        image_sizes = (CANVAS,)

    (boxes,), _ = network(Images(), {"0": levels["objectness"][0]})
    found, count = agree(RPN, values, in_c)
    assert len(boxes) == count[0] > 5
    np.testing.assert_array_equal(found[: len(boxes)], boxes.numpy())


def head_values(use: Use, seed: int, wild: bool, count: int | None = None) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    tensors = use.tensors
    rows = tensors["class_logits"].shape[0]
    logits = random.normal(0, 2, tensors["class_logits"].shape).astype("float32")
    if wild:
        for special in (np.nan, np.inf, -np.inf):
            logits[random.random(logits.shape) < 0.005] = special
    even = bool(random.random() < 0.4)
    regression = random.normal(0, 1, tensors["box_regression"].shape).astype("float32")
    values = {
        "class_logits": logits,
        "box_regression": regression * (not even),
        "proposals": some_boxes(random, rows, wild, even=even),
        "proposal_count": np.array([random.integers(rows + 1)], "int32"),
    }
    # Scores that are equal are so by every way to add a row up: of equal rows, and of one row.
    logits[:, 2] = np.where(random.random(rows) < 0.5, logits[:, 1], logits[:, 2])
    same = random.random(rows) < 0.3
    for name in ("class_logits", "box_regression"):
        values[name][same] = values[name][random.integers(0, rows)]
    if count is not None:
        values["proposal_count"][0] = count
    return values


@pytest.mark.parametrize("use", [BOX_HEAD, BOX_HEAD_LARGE], ids=["small", "large"])
@often
@given(seed=seeds, wild=st.booleans())
def test_box_head(use: Use, in_c: OperatorsInC, seed: int, wild: bool) -> None:
    agree(use, head_values(use, seed, wild), in_c, threads=1 + seed % 2)


@pytest.mark.parametrize("count", [0, 1, 40])
def test_box_head_of_few_and_of_all_proposals(in_c: OperatorsInC, count: int) -> None:
    found = agree(BOX_HEAD, head_values(BOX_HEAD, 3, False, count), in_c)
    assert found[-1][0] > 0 if count == 40 else found[-1][0] <= 5 * count


def test_box_heads_detections_are_those_of_torchvision() -> None:
    values = head_values(BOX_HEAD, 5, wild=False, count=40)
    heads = RoIHeads(
        *(None, None, None, 0.5, 0.5, 512, 0.25, None),
        score_thresh=0.05,
        nms_thresh=0.5,
        detections_per_img=15,
    )
    given = [torch.from_numpy(values[n]) for n in ("class_logits", "box_regression", "proposals")]
    boxes, scores, labels = heads.postprocess_detections(*given[:2], [given[2]], [CANVAS])
    found = BOX_HEAD.in_torch(values)
    assert found[3][0] == len(boxes[0]) > 5
    for one, other in zip(found, (boxes, scores, labels), strict=False):
        np.testing.assert_array_equal(one[: len(boxes[0])], other[0].numpy())


@pytest.mark.parametrize("use", DENSE, ids=lambda use: use.operator)
@often
@given(seed=seeds, wild=st.booleans())
def test_dense_heads(use: Use, in_c: OperatorsInC, seed: int, wild: bool) -> None:
    values = level_values(use, seed, wild)
    if use.operator == "ssd_detections":
        # Equal scores by every way to add exponentials up: those of equal logits.
        random = np.random.default_rng(seed)
        values["logits"] = [
            random.normal(0, 3, one.shape).astype("float32") for one in values["logits"]
        ]
        for one in values["logits"]:
            one[..., one.shape[-1] // 2 :] = one[..., : one.shape[-1] - one.shape[-1] // 2]
    agree(use, values, in_c, threads=1 + seed % 2)


@pytest.mark.parametrize("use", YOLO, ids=["many", "one class", "five boxes"])
@often
@given(seed=seeds, wild=st.booleans())
def test_yolo(use: Use, in_c: OperatorsInC, seed: int, wild: bool) -> None:
    random = np.random.default_rng(seed)
    _, channels, count = use.tensors["predictions"].shape
    boxes = some_boxes(random, count, wild, even=bool(random.random() < 0.4))
    scores = some_scores(random, channels - 4, count, spread=1, wild=wild)
    sizes = boxes[:, 2:] - boxes[:, :2]
    predictions = np.concatenate([(boxes[:, :2] + sizes / 2).T, sizes.T, scores])[None]
    agree(use, {"predictions": predictions}, in_c, threads=1 + seed % 2)


def test_nothing_likely_gives_zeros(in_c: OperatorsInC) -> None:
    for use in DENSE:
        values = level_values(use, 1, wild=False)
        if use.attributes["score_threshold"] > 0.001 and use.operator != "ssd_detections":
            values["logits"] = [np.full_like(one, -math.inf) for one in values["logits"]]
            found = agree(use, values, in_c)
            assert not any(one.any() for one in found)
