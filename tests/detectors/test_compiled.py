"""A detector from the recipe to a library that finds what the module does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compiled_detectors import Compiled, recipe_of
from targets import unoptimized

from tunekit.errors import TargetError, VerificationFailed
from tunekit.library import Library, compile_recipe
from tunekit.processes.quiet import quiet
from tunekit.recipe import recipe_digest


def run(library: Library, inputs: dict[str, Any]) -> dict[str, Any]:
    outputs = library.run(**inputs)
    assert isinstance(outputs, dict)
    return outputs


def test_the_import_and_the_library_are_matched_with_the_module(compiled: Compiled) -> None:
    manifest = compiled.library.manifest
    assert len(manifest.detections) == 2
    for found in manifest.detections:
        assert found.count >= 3
        assert found.matched + found.excused >= found.count
    assert max(manifest.relative_errors) < 1e-3
    assert any("detections matched" in line for line in compiled.said if "verified" in line)


def test_outputs_are_padded_and_counted(compiled: Compiled) -> None:
    source = compiled.source
    inputs = source.sample_inputs(5)
    found = run(compiled.library, inputs)
    count = int(found["count"][0])
    assert 0 < count <= source.detector.rule.limit
    assert not any(values[count:].any() for name, values in found.items() if name != "count")
    comparison = source.compare(source.reference(inputs), list(found.values()))
    assert comparison.within(1e-3), comparison.reason


def test_a_picture_of_nothing_is_no_error_in_use(compiled: Compiled) -> None:
    """Chunks that are not needed are left out, and no output is left over from before."""
    [entry] = compiled.library.manifest.inputs
    run(compiled.library, compiled.source.sample_inputs(5))
    gray = {entry.name: np.full(entry.shape, 0.5, "float32")}
    outputs = list(run(compiled.library, gray).values())
    reference = compiled.source.reference(gray)
    comparison = compiled.source.compare(reference, outputs)
    if "finds nothing" in str(comparison.reason):
        assert not any(output.any() for output in outputs)
    else:
        assert comparison.within(1e-3), comparison.reason


def test_a_library_for_a_gpu_is_refused_before_it_is_imported(tmp_path: Path, spec: Any) -> None:
    from tunekit.cache import ContentCache
    from tunekit.graph.pipeline import prepare_model
    from tunekit.machine.target import ResolvedTarget

    recipe = recipe_of(tmp_path, spec("ssd"))
    given = unoptimized()
    gpu = ResolvedTarget(**{**vars(given), "kind": "cuda"})
    with pytest.raises(TargetError, match="for CPUs, not for cuda"):
        prepare_model(recipe, ContentCache(tmp_path), pytest.fail, target=gpu)


def test_what_the_recipe_says_of_a_detector_is_part_of_its_identity(
    tmp_path: Path, spec: Any
) -> None:
    plain, same, other = (
        recipe_digest(recipe_of(tmp_path, spec("ssd", detector=given)))
        for given in (None, None, {"expected_detections": 3})
    )
    assert plain == same != other


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mask_rcnn", "keypoint_rcnn", "retinanet", "fcos", "ssdlite"])
def test_other_runtimes_run_the_module_itself(name: str, detector: Any, tmp_path: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    source = detector(name)
    source.write_onnx(tmp_path / "detector.onnx")
    session = ort.InferenceSession(str(tmp_path / "detector.onnx"))
    inputs = source.sample_inputs(6)
    reference = source.reference(inputs)
    comparison = source.compare(reference, session.run(None, inputs))
    assert comparison.within(1e-3), comparison.reason
    [picture] = source.arguments(source.sample_inputs(5))
    with quiet():  # Of what it notes of sizes: that they are those of the canvas is meant.
        module = source.torch_module(traced=True)
        traced: Any = torch.jit.trace(module, (picture,), check_trace=False)
    outputs = [tensor.numpy() for tensor in traced(*source.arguments(inputs))]
    comparison = source.compare(reference, outputs)
    assert comparison.within(1e-3), comparison.reason


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("fasterrcnn_mobilenet_v3_large_320_fpn", 320),
        ("fasterrcnn_resnet50_fpn", 320),
        ("fasterrcnn_resnet50_fpn_v2", 320),
        ("maskrcnn_resnet50_fpn", 320),
        ("keypointrcnn_resnet50_fpn", 320),
        ("retinanet_resnet50_fpn", 320),
        ("fcos_resnet50_fpn", 320),
        ("ssd300_vgg16", 300),
        ("ssdlite320_mobilenet_v3_large", 320),
    ],
)
def test_detectors_of_torchvision_are_compiled_whole(
    name: str, size: int, tmp_path: Path, spec: Any
) -> None:
    model = spec(f"torchvision:{name}", shape=(1, 3, size, size))
    library = compile_recipe(recipe_of(tmp_path, model), selection=False)
    for found in library.manifest.detections:
        assert found.count >= 3
        assert found.matched + found.excused >= found.count


@pytest.mark.slow
def test_a_library_that_finds_something_else_is_refused(compiled: Compiled) -> None:
    from tunekit.cache import ContentCache
    from tunekit.graph.pipeline import prepare_model
    from tunekit.library.verify import ReferenceOutputs, verify

    prepared = prepare_model(compiled.recipe, ContentCache(), lambda _: None)
    inputs = [prepared.source.sample_inputs(1)]
    [boxes, *others] = prepared.source.reference(inputs[0])
    moved = boxes + np.where(boxes.any(axis=1, keepdims=True), 3, 0).astype(boxes.dtype)
    wrong = ReferenceOutputs(inputs, [[moved, *others]], inputs[0], [])
    with pytest.raises(VerificationFailed, match=r"0 of \d+ detections matched; label"):
        verify(compiled.library.path, prepared, wrong)


def test_the_example_writes_what_it_finds_in_pictures(
    compiled: Compiled, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import importlib.util
    import json

    from PIL import Image

    example = Path(__file__).parents[2] / "examples" / "06_detect.py"
    spec = importlib.util.spec_from_file_location("detect", example)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.LEAST_SCORE = 0.0
    [[picture]] = compiled.source.sample_inputs(5).values()
    pixels = (picture.transpose(1, 2, 0) * 255).astype("uint8")
    (tmp_path / "pictures").mkdir()
    Image.fromarray(pixels).resize((256, 192)).save(tmp_path / "pictures" / "street.png")
    module.main(compiled.library.folder, tmp_path / "pictures", tmp_path / "found")
    entries = json.loads((tmp_path / "found" / "detections.json").read_text())
    assert f"{len(entries)} objects in 1 pictures" in capsys.readouterr().out
    assert entries
    for entry in entries:
        left, top, width, height = entry["bbox"]
        assert 0 <= left <= left + width <= 256.01
        assert 0 <= top <= top + height <= 192.01
    with Image.open(tmp_path / "found" / "street.png") as drawn:
        assert drawn.size == (256, 192)
