"""YOLO of ultralytics with the choice among its boxes, where the package is installed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

pytest.importorskip("ultralytics")

from tunekit.errors import ModelFileError
from tunekit.models import load_source
from tunekit.models.sources.detector_model import DetectorModel
from tunekit.recipe.schema import InputSpec, ModelSpec


def yolo(name: str, detector: Any, size: int = 96) -> Any:
    inputs = [{"name": "x", "shape": (1, 3, size, size)}]
    return load_source(
        ModelSpec(
            source="python:tunekit.models.packages:ultralytics",
            arguments={"name": name},
            inputs=tuple(InputSpec.model_validate(given) for given in inputs),
            detector=detector,
        )
    )


@pytest.mark.parametrize("name", ["yolov8n", "yolo11n"])
def test_it_finds_what_ultralytics_finds(name: str) -> None:
    from tunekit.recipe.detector import BoxSuppression, DetectorSpec

    source = yolo(name, DetectorSpec(nms=BoxSuppression(max_detections=50)))
    static = source.detector.static()
    for seed in range(2):
        inputs = source.sample_inputs(seed)
        reference = source.reference(inputs)
        with torch.no_grad():
            found = static(torch.from_numpy(inputs["x"]))
        assert reference[0].shape == (50, 4)
        comparison = source.compare(reference, [values.numpy() for values in found.values()])
        assert comparison.within(1e-5), comparison.reason


def test_without_a_choice_it_gives_all_its_boxes() -> None:
    source = yolo("yolov8n", None)
    assert not isinstance(source, DetectorModel)
    assert source.outputs[0].shape == (1, 84, 189)


def test_what_it_does_not_take_is_refused() -> None:
    from tunekit.recipe.detector import BoxSuppression, DetectorSpec

    chosen = DetectorSpec(nms=BoxSuppression())
    with pytest.raises(ModelFileError, match="takes multiples of 32, which 100x100 is not"):
        yolo("yolov8n", chosen, 100)
    with pytest.raises(ModelFileError, match="a head of another kind, Segment"):
        yolo("yolov8n-seg", chosen)
