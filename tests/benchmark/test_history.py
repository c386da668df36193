"""Benchmarks in the catalogue: every sample is kept, and what a report said is listed again."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from bench_reports import failed, report_of, timed

from tunekit.benchmark.history import keep, past_runs
from tunekit.benchmark.results import Report
from tunekit.catalogue import Catalogue, NewBenchRun, NewLibrary, NewSession
from tunekit.errors import CatalogueError
from tunekit.machine.host import detect_host
from tunekit.recipe import Recipe, load_recipe
from tunekit.report.history import history_result
from tunekit.report.output import Format, in_format

FASTER = report_of(timed("tuned", [10.0] * 6), timed("onnxruntime", [12.0] * 6))
SLOWER = report_of(timed("tuned", [15.0] * 6), timed("onnxruntime", [12.0] * 6))
EVEN = report_of(timed("tuned", [11.0, 13.0] * 3), timed("onnxruntime", [12.0] * 6))
WRONG = report_of(
    timed("tuned", [1.0] * 6, status="wrong", reason="wrong outputs", error=math.nan),
    timed("onnxruntime", [12.0] * 6),
)
CRASHED = report_of(failed("tuned", "SIGILL"), timed("onnxruntime", [12.0] * 6))
ALONE = report_of(timed("tuned", [10.0] * 6))
OTHERS = report_of(timed("pytorch", [20.0] * 6), timed("onnxruntime", [12.0] * 6))


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    file = tmp_path / "small.yaml"
    file.write_text(
        "name: small\n"
        "model: {source: 'torchvision:resnet18', inputs: [{name: x, shape: [1, 3, 64, 64]}]}\n"
        f"catalogue: {tmp_path / 'catalogue.db'}\n"
        f"output: {tmp_path / 'artifacts'}\n"
    )
    return load_recipe(file)


def test_a_kept_report_is_whole(recipe: Recipe) -> None:
    number = keep(WRONG, recipe)
    with Catalogue.open(recipe.catalogue) as catalogue:
        kept = catalogue.benchmarks.get(number)
    assert Report.from_json(json.dumps(kept.results)).to_json() == WRONG.to_json()
    assert kept.info.verdict == WRONG.verdict
    assert kept.environment == json.loads(WRONG.to_json())["environment"]
    assert kept.info.measured_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_what_a_report_said_of_the_tuned_library_is_listed_newest_first(recipe: Recipe) -> None:
    for report in (FASTER, SLOWER, EVEN, WRONG, CRASHED, ALONE, OTHERS):
        keep(report, recipe)
    with Catalogue.open(recipe.catalogue) as catalogue:
        runs = past_runs(catalogue, name="small")
        assert past_runs(catalogue, name="another") == []
        assert past_runs(catalogue, name="small", limit=2) == runs[:2]
    assert [past.outcome for past in reversed(runs)] == [
        *("faster", "slower", "no difference", "wrong", "failed", "alone", "unknown")
    ]
    faster = runs[-1]
    assert faster.median_s == pytest.approx(0.01)
    assert (faster.against, faster.ratio) == ("onnxruntime", pytest.approx(1.2))
    assert [past.median_s for past in runs if past.status in (None, "failed")] == [None, None]


def test_each_size_of_a_model_is_listed(recipe: Recipe) -> None:
    rows = [
        timed("tuned (batch 1)", [10.0] * 6).model_copy(update={"size": {"batch": 1}}),
        timed("tuned (batch 4)", [30.0] * 6).model_copy(update={"size": {"batch": 4}}),
        timed("tuned-c (batch 4)", [30.0] * 6).model_copy(update={"size": {"batch": 4}}),
    ]
    keep(report_of(*rows), recipe)
    keep(FASTER, recipe)
    with Catalogue.open(recipe.catalogue) as catalogue:
        runs = past_runs(catalogue, name="small")
    assert [(past.median_s, dict(past.size)) for past in runs] == [
        (pytest.approx(0.01), {}),
        (pytest.approx(0.01), {"batch": 1}),
        (pytest.approx(0.03), {"batch": 4}),
    ]
    lines = in_format(history_result(runs), Format.table, 120).splitlines()
    assert ["size" in lines[0], "batch 1" in lines[2], "batch 4" in lines[3]] == [True] * 3


def test_a_run_of_another_form_is_listed_by_what_it_has(tmp_path: Path) -> None:
    run = NewBenchRun("small", "recipe", {}, "host", {}, {}, {"tuned": {"samples_s": [0.1]}})
    with Catalogue.open(tmp_path / "catalogue.db") as catalogue:
        catalogue.benchmarks.add(run)
        (past,) = past_runs(catalogue)
    assert (past.run.name, past.outcome, past.median_s) == ("small", "unknown", None)


def test_a_session_has_the_benchmarks_of_its_libraries(tmp_path: Path) -> None:
    host = detect_host()
    session = NewSession(
        name="small",
        recipe_yaml="",
        recipe_digest="recipe",
        model_digest=None,
        model_name="small",
        target_json="{}",
        host=host.as_dict(),
        host_fingerprint=host.fingerprint,
        toolchain={},
        budget_trials=4,
        seed=0,
    )
    run = NewBenchRun("small", "recipe", host.as_dict(), host.fingerprint, {}, {}, {})
    with Catalogue.open(tmp_path / "catalogue.db") as catalogue:
        begun = catalogue.sessions.begin(session).id
        library = NewLibrary("small", "/a/model.so", "ab", "recipe", {}, begun)
        catalogue.libraries.add(library)
        again = catalogue.libraries.add(library)
        assert catalogue.libraries.find("/a/model.so", "ab") == again
        assert catalogue.libraries.find("/a/model.so", "other content") is None
        catalogue.benchmarks.add(run)
        kept = catalogue.benchmarks.add(replace(run, library_id=again))
        assert [past.run.id for past in past_runs(catalogue, session_id=begun)] == [kept]
        assert past_runs(catalogue, session_id="deadbeef") == []


def test_a_catalogue_that_is_none_is_said(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "catalogue.db").write_text("no database, " * 100)
    with pytest.raises(CatalogueError):
        keep(FASTER, recipe)


@pytest.mark.parametrize("width", [80, 200])
def test_the_list_fits_its_terminal_and_tells_what_matters(recipe: Recipe, width: int) -> None:
    keep(SLOWER, recipe)
    keep(CRASHED, recipe)
    with Catalogue.open(recipe.catalogue) as catalogue:
        result = history_result(past_runs(catalogue))
    lines = in_format(result, Format.table, width).splitlines()
    assert max(map(len, lines)) <= width
    assert (
        " ".join(lines[2].split())
        .replace(" onnxruntime", "")
        .endswith("15.0 0.80x 0.80 to 0.80x slower")
    )
    assert ("onnxruntime" in lines[2]) == (width == 200)
    assert lines[1].endswith("failed")
    assert [row["outcome"] for row in json.loads(result.json())] == ["failed", "slower"]
    assert in_format(result, Format.csv).count("\n") == 3
