"""Where the time of a detector goes, by the stages that people compare."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
import torch
from compiled_detectors import Compiled
from targets import unoptimized

from tunekit.attribution.explain import ExplainSettings, explain_recipe
from tunekit.attribution.profilers.pytorch import timed_parts
from tunekit.attribution.results import Explanation
from tunekit.detectors import stages
from tunekit.detectors.eager import StageClock, parts_of
from tunekit.graph.prepare import prepare
from tunekit.graph.stages import stages_of
from tunekit.models import load_source
from tunekit.models.sources.detector_model import DetectorModel
from tunekit.recipe import Normalize
from tunekit.report.explanation import explanation_markdown, explanation_text

OF_REGIONS = [
    stages.PREPROCESSING,
    stages.BACKBONE,
    stages.RPN_HEAD,
    stages.PROPOSALS,
    stages.BOX_POOL,
    stages.BOX_HEAD,
]
OF_MASKS = [*OF_REGIONS, stages.MASK_FORWARD, stages.MASK_POST]
DENSE = [stages.PREPROCESSING, stages.BACKBONE, stages.HEAD, stages.POST]


def of_calls(source: DetectorModel) -> list[tuple[str, str]]:
    return stages_of(prepare(source.to_relax(), unoptimized(), "NCHWc").module)


def test_calls_of_kernels_are_in_the_stage_of_who_reads_them(detector: Any) -> None:
    calls = of_calls(detector("mask_rcnn"))
    found = [stage for _, stage in calls]
    assert sorted(set(found), key=stages.STAGES.index) == OF_MASKS
    by_stage: dict[str, list[str]] = {stage: [] for stage in found}
    for kernel, stage in calls:
        by_stage[stage].append(kernel)

    def convolutions(stage: str) -> int:
        return sum("convolution" in kernel for kernel in by_stage[stage])

    assert not convolutions(stages.PREPROCESSING)
    assert convolutions(stages.BACKBONE) == 4 + 4 + 4  # stages, lateral and output layers
    assert convolutions(stages.RPN_HEAD) == 5 * 3
    assert not convolutions(stages.BOX_HEAD)
    assert sum("matmul" in kernel for kernel in by_stage[stages.BOX_HEAD]) == 4
    pieces = sum("roi_align_chunk" in kernel for kernel in by_stage[stages.MASK_FORWARD])
    # A layer, the transposed one and the one that gives masks, of each piece.
    assert pieces > 1
    assert convolutions(stages.MASK_FORWARD) == 3 * pieces
    [proposals] = by_stage[stages.PROPOSALS]
    assert proposals.startswith("tunekit_rpn_proposals")


def test_heads_of_a_dense_detector_are_apart_from_what_both_read(compiled: Compiled) -> None:
    calls = compiled.library.manifest.stages
    found = {call.stage for call in calls}
    if compiled.source.name == "mask_rcnn":
        assert found == set(OF_MASKS)
        return
    assert found == set(DENSE)
    heads = [call.kernel for call in calls if call.stage == stages.HEAD]
    # By whichever algorithm.
    assert sum("conv" in kernel for kernel in heads) == 3 * 2
    assert calls[-1].stage == stages.POST


def test_what_is_no_detector_has_no_stages(spec: Any) -> None:
    source = load_source(spec("BodyOnly"))
    assert of_calls(source) == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mask_rcnn", OF_MASKS),
        ("keypoint_rcnn", [*OF_REGIONS, stages.KEYPOINT_FORWARD, stages.KEYPOINT_POST]),
        ("retinanet", DENSE),
    ],
)
def test_stages_in_pytorch_add_up_to_its_time(name: str, expected: list[str], spec: Any) -> None:
    source = load_source(spec(name))  # Its parts stay wrapped.
    assert isinstance(source, DetectorModel)
    picture = source.sample_inputs(5)
    before = source.reference(picture)
    clock = StageClock(parts_of(source.torch_module()))
    outputs: list[Any] = []
    began = time.perf_counter()
    seconds = clock.run(lambda: outputs.extend(source.reference(picture)))
    # Nothing is counted twice.
    assert sum(seconds.values()) <= time.perf_counter() - began
    assert sorted(seconds, key=stages.STAGES.index) == [*expected, stages.REST]
    assert min(seconds.values()) > 0
    assert all(map(torch.equal, map(torch.from_numpy, before), map(torch.from_numpy, outputs)))


def test_only_the_conversion_of_bytes_is_pre_processing(spec: Any) -> None:
    plain = spec("ssd", (1, 96, 128, 3))
    picture = {"dtype": "uint8", "layout": "NHWC", "normalize": Normalize()}
    bytes_ = plain.inputs[0].model_copy(update=picture)
    source = load_source(plain.model_copy(update={"inputs": (bytes_,)}))
    module, forward = source.torch_module(), source.torch_module().model.forward

    opened: list[str] = []

    def watched(*arguments: Any) -> Any:
        opened.append(clock._open[-1])  # such as padding of masks
        return forward(*arguments)

    module.model.forward = watched
    clock = StageClock(timed_parts(module))
    pictures = [torch.from_numpy(array) for array in source.sample_inputs(5).values()]
    with torch.no_grad():
        seconds = clock.run(lambda: module(*pictures))
    assert sorted(seconds, key=stages.STAGES.index) == [*DENSE, stages.REST]
    assert opened == [stages.REST]


@pytest.fixture(scope="module")
def explanation(compiled: Compiled) -> Explanation:
    settings = ExplainSettings(threads=1, rounds=1, turn_s=0.05)
    return explain_recipe(compiled.recipe, runtimes=("onnxruntime",), settings=settings)


def test_stages_add_up_to_the_time_from_end_to_end(explanation: Explanation) -> None:
    own = explanation.runtimes[0]
    assert [set(stage.seconds) for stage in explanation.stages] == [{"tuned", "pytorch"}] * len(
        explanation.stages
    )
    assert sum(stage.seconds["tuned"] for stage in explanation.stages) == pytest.approx(
        own.end_to_end_s
    )
    for stage in explanation.stages:
        assert all(seconds >= 0 for seconds in stage.seconds.values()), stage
    seconds = {stage.name: stage.seconds["tuned"] for stage in explanation.stages}
    assert seconds[stages.BACKBONE] > 0
    assert own.end_to_end_s is not None
    assert seconds[stages.REST] < own.end_to_end_s
    assert all(stage.seconds["pytorch"] > 0 for stage in explanation.stages[:-1])
    assert "pytorch" not in {runtime.name for runtime in explanation.runtimes}


def test_the_stages_are_shown_in_every_form(explanation: Explanation) -> None:
    names = [stage.name for stage in explanation.stages]
    text = explanation_text(explanation, 80).plain.partition("\noperator ")[0]
    rows = re.findall(r"^(\S.*?)  +[-.\de]+ +[-.\d]+% ", text, re.MULTILINE)
    shown = [row for row in rows if row not in (stages.ROI_HEAD, "total")]
    assert shown == names
    assert rows[-1] == "total"
    assert (stages.ROI_HEAD in rows) == (stages.BOX_POOL in names)
    markdown = explanation_markdown(explanation).replace("\\_", "_")
    assert [name for name in names if f"| {name} |" not in markdown] == []
    assert "| **total** |" in markdown
    assert [stage["name"] for stage in json.loads(explanation.to_json())["stages"]] == names
