"""A detector with fixed shapes finds what the module itself does, in every family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tunekit.models import load_source
from tunekit.models.sources.detector_model import DetectorModel

TINY = (
    "faster_rcnn",
    "plain_faster_rcnn",
    "mask_rcnn",
    "keypoint_rcnn",
    "retinanet",
    "fcos",
    "ssd",
    "ssdlite",
    "wrapped",
)
Detectors = Callable[[str], DetectorModel]


def outputs_of(module: torch.nn.Module, source: DetectorModel, seed: int) -> dict[str, Any]:
    [picture] = source.sample_inputs(seed).values()
    with torch.no_grad():
        return dict(module(torch.from_numpy(picture)))


@pytest.mark.parametrize("name", TINY)
def test_fixed_shapes_find_what_the_module_finds(name: str, detector: Detectors) -> None:
    source = detector(name)
    static, original = source.detector.static(), source.module.model
    for seed in range(3):
        found, expected = (outputs_of(module, source, seed) for module in (static, original))
        assert list(found) == list(expected)
        assert int(found["count"]) == int(expected["count"]) > 0
        for output, values in expected.items():
            assert found[output].dtype == values.dtype
            assert torch.allclose(found[output], values, rtol=1e-4, atol=1e-4), output


@pytest.mark.parametrize("name", TINY)
def test_random_weights_find_some_objects_in_every_scene(name: str, detector: Detectors) -> None:
    source = detector(name)
    counts = [int(source.reference(source.sample_inputs(seed))[-1][0]) for seed in range(4)]
    assert min(counts) >= 3
    # Not as many as there may be in each.
    assert min(counts) < source.detector.rule.limit


def test_random_weights_follow_their_seed(spec: Any) -> None:
    states = [load_source(spec("ssd", seed=seed)).state() for seed in (3, 3, 4)]  # type: ignore[attr-defined]
    first, again, other = (state["head.classification_head.module_list.0.bias"] for state in states)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_module_itself_gives_the_same_as_its_reference(detector: Detectors) -> None:
    """The canvas is the picture: nothing is resized."""
    source = detector("mask_rcnn")
    module: Any = source._built
    inputs = source.sample_inputs(1)
    transform = module.transform
    before = transform.min_size, transform.max_size
    try:
        transform.min_size, transform.max_size = (96,), 128
        with torch.no_grad():
            found = module([torch.from_numpy(inputs["image"])[0]])[0]
    finally:
        transform.min_size, transform.max_size = before
    boxes, scores, labels, _, count = source.reference(inputs)
    assert len(found["boxes"]) == count[0]
    assert np.allclose(boxes[: count[0]], found["boxes"].numpy(), atol=1e-4)
    assert np.allclose(scores[: count[0]], found["scores"].numpy(), atol=1e-6)
    assert np.array_equal(labels[: count[0]], found["labels"].numpy())


def test_masks_can_be_pasted_into_the_picture(spec: Any, detector: Detectors) -> None:
    source = load_source(spec("mask_rcnn", detector={"masks": "pasted"}))
    assert isinstance(source, DetectorModel)
    assert {item.name: item.shape for item in source.outputs}["masks"] == (11, 1, 96, 128)
    found = outputs_of(source.detector.static(), source, 0)
    [masks] = [
        values
        for item, values in zip(
            source.outputs, source.reference(source.sample_inputs(0)), strict=True
        )
        if item.name == "masks"
    ]
    assert np.allclose(found["masks"].numpy(), masks, atol=1e-4)


def test_what_is_traced_has_the_outputs_of_the_module(detector: Detectors) -> None:
    source = detector("mask_rcnn")
    shapes = {item.name: item.shape for item in source.outputs}
    assert shapes == {
        "boxes": (11, 4),
        "scores": (11,),
        "labels": (11,),
        "masks": (11, 1, 28, 28),
        "count": (1,),
    }
    targets = [str(node.target) for node in source.program.graph.nodes]
    assert sum(target.startswith("tunekit.roi_align_chunk") for target in targets) == 4
    assert not any(target.startswith(("torchvision.nms", "aten.nonzero")) for target in targets)


def test_a_wrapper_that_only_uses_the_backbone_is_no_detector(spec: Any) -> None:
    source = load_source(spec("BodyOnly"))
    assert not isinstance(source, DetectorModel)
    assert source.outputs[0].shape == (1, 32, 24, 32)


def test_pictures_of_the_recipe_are_what_it_is_checked_with(spec: Any, tmp_path: Path) -> None:
    file = tmp_path / "street.npy"
    np.save(file, np.full((3, 96, 128), 0.25, "float32"))
    source = load_source(spec("faster_rcnn", detector={"samples": [str(file)]}))
    assert np.array_equal(
        source.sample_inputs(7)["image"], np.full((1, 3, 96, 128), 0.25, "float32")
    )
