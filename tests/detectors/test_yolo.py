"""YOLO of ultralytics with the choice among its boxes, where the package is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("ultralytics")

from tunekit.errors import ModelFileError
from tunekit.models import load_source
from tunekit.models.sources.detector_model import DetectorModel
from tunekit.processes.quiet import quiet
from tunekit.recipe.schema import InputSpec, ModelSpec


def yolo(name: str, detector: Any, size: int = 96, **arguments: Any) -> Any:
    inputs = [{"name": "x", "shape": (1, 3, size, size)}]
    return load_source(
        ModelSpec(
            source="python:tunekit.models.packages:ultralytics",
            arguments={"name": name, **arguments},
            inputs=tuple(InputSpec.model_validate(given) for given in inputs),
            detector=detector,
        )
    )


@pytest.mark.parametrize("name", ["yolov8n", "yolo11n"])
def test_it_finds_what_ultralytics_finds(name: str) -> None:
    from tunekit.recipe.detector import BoxSuppression, DetectorSpec

    source = yolo(name, DetectorSpec(nms=BoxSuppression(max_detections=50)))
    assert source.outputs[0].shape == (50, 4)
    assert_static_is_right(source)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("rtdetr-l", {}), ("yolov10n", {"end2end": True}), ("yolo26n", {"end2end": True})],
)
def test_what_chooses_itself_finds_what_ultralytics_finds(
    name: str, arguments: dict[str, Any]
) -> None:
    from tunekit.recipe.detector import DetectorSpec

    chosen = DetectorSpec(confidence=0.3, expected_detections=20)
    source = yolo(name, chosen, 160, **arguments)
    assert_static_is_right(source)
    for seed in range(2):
        boxes, scores, labels, count = source.reference(source.sample_inputs(seed))
        found = int(count[0])
        assert found >= 3
        assert (scores[:found] > 0.3).all()
        assert not scores[found:].any()
        assert not boxes[found:].any()
        assert not labels[found:].any()


def test_other_runtimes_get_what_can_be_traced(tmp_path: Path) -> None:
    from tunekit.recipe.detector import BoxSuppression, DetectorSpec

    ort = pytest.importorskip("onnxruntime")
    for agnostic in (False, True):
        source = yolo("yolov8n", DetectorSpec(nms=BoxSuppression(agnostic=agnostic)))
        source.write_onnx(tmp_path / "yolo.onnx")
        session = ort.InferenceSession(str(tmp_path / "yolo.onnx"))
        inputs = source.sample_inputs(3)
        example = tuple(source.arguments(source.sample_inputs(5)))
        module = source.torch_module(traced=True)
        with quiet():  # Of what it notes of sizes: that they are those of the canvas is meant.
            traced: Any = torch.jit.trace(module, example, strict=False, check_trace=False)
        found = traced(*source.arguments(inputs))
        reference = source.reference(inputs)
        for outputs in (session.run(None, inputs), [value.numpy() for value in found]):
            comparison = source.compare(reference, outputs)
            assert comparison.within(1e-4), comparison.reason


def assert_static_is_right(source: DetectorModel) -> None:
    static = source.detector.static()
    for seed in range(2):
        inputs = source.sample_inputs(seed)
        reference = source.reference(inputs)
        with torch.no_grad():
            found = static(torch.from_numpy(inputs["x"]))
        comparison = source.compare(reference, [values.numpy() for values in found.values()])
        assert comparison.within(1e-5), comparison.reason


def test_without_a_choice_it_gives_all_its_boxes() -> None:
    source = yolo("yolov8n", None)
    assert not isinstance(source, DetectorModel)
    assert source.outputs[0].shape == (1, 84, 189)


def test_a_file_of_the_working_directory_is_not_its_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "yolov8n.yaml").write_text("model: {source: a recipe of the same name}")
    monkeypatch.chdir(tmp_path)
    assert yolo("yolov8n", None, 64).outputs[0].shape == (1, 84, 84)


def test_what_it_does_not_take_is_refused() -> None:
    from tunekit.recipe.detector import BoxSuppression, DetectorSpec

    chosen = DetectorSpec(nms=BoxSuppression())
    with pytest.raises(ModelFileError, match="takes multiples of 32, which 100x100 is not"):
        yolo("yolov8n", chosen, 100)
    with pytest.raises(ModelFileError, match="a head of another kind, Segment"):
        yolo("yolov8n-seg", chosen)
    with pytest.raises(ModelFileError, match="which has a choice among its boxes"):
        yolo("rtdetr-l", chosen)
    with pytest.raises(ModelFileError, match="which has a least score"):
        yolo("yolov8n", DetectorSpec(nms=BoxSuppression(), confidence=0.5))
    with pytest.raises(ModelFileError, match="ultralytics has no yolov8nn; did you mean 'yolov8'"):
        yolo("yolov8nn", None)
    with pytest.raises(ModelFileError, match="no head that gives each object one box"):
        yolo("yolov8n", None, end2end=True)
