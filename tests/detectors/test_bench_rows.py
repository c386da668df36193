"""Rows of a benchmark of a detector are right where what they found is matched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench_reports import report_of, timed

from tunekit.accuracy import MatchedDetections
from tunekit.benchmark.comparison import row
from tunekit.benchmark.results import Report
from tunekit.report.benchmark import bench_markdown
from tunekit.timing.rounds import Outcome, RoundSettings


def test_outputs_in_another_order_are_right_and_boxes_elsewhere_are_not(detector: Any) -> None:
    source = detector("faster_rcnn")
    reference = source.reference(source.sample_inputs(0))
    count = int(reference[-1][0])
    order = [*reversed(range(count)), *range(count, len(reference[0]))]
    turned = [*(output[order] for output in reference[:-1]), reference[-1]]
    moved = [reference[0] + np.float32(5) * (reference[0] > 0), *reference[1:]]
    right, wrong = (
        row(Outcome("toy", outputs=[outputs]), reference, 1e-3, source.compare)
        for outputs in (turned, moved)
    )
    assert right.status == "ok"
    assert right.accuracy is not None
    assert right.accuracy.detections == MatchedDetections(count, count, 0)
    assert wrong.status == "wrong"
    assert f"0 of {count} detections matched; label" in str(wrong.reason)


def test_a_report_shows_how_many_were_matched_where_there_are_detections() -> None:
    plain = timed("tuned", [5.0, 5.1])
    assert plain.accuracy is not None
    matched = plain.accuracy.model_copy(update={"detections": MatchedDetections(21, 20, 1)})
    found = plain.model_copy(update={"accuracy": matched})
    report = report_of(found, timed("pytorch", [9.0, 9.1]))
    assert "20/21, 1 off" in bench_markdown(report)
    assert Report.from_json(report.to_json()) == report
    assert "matched" not in bench_markdown(report_of(plain))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mask_rcnn", "keypoint_rcnn", "retinanet", "fcos", "ssdlite"])
def test_every_runtime_finds_the_same(name: str, tmp_path: Path, spec: Any) -> None:
    from tunekit.benchmark.run import bench_recipe
    from tunekit.recipe import Recipe

    support = Path(__file__).parents[1] / "support"
    recipe = Recipe(
        name=name, model=spec(name, folder=support), catalogue=str(tmp_path / "catalogue.db")
    )
    report = bench_recipe(
        recipe,
        runtimes=["pytorch", "torchscript", "onnxruntime", "openvino"],
        settings=RoundSettings(rounds=1, threads=1, turn_s=0.01, warm_up_s=0.01, idle_s=0.01),
    )
    assert {found.name: found.reason for found in report.runtimes if found.status != "ok"} == {}
