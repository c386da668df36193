"""What the README and the results say of the models is what the files of their races have."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from bench_reports import failed, report_of, timed

ROOT = Path(__file__).parent.parent


def _load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # in which dataclasses look for what their texts name
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def models_page() -> ModuleType:
    return _load(ROOT / "docs/models_page.py")


@pytest.fixture(scope="module")
def models() -> ModuleType:
    return _load(ROOT / "benchmarks/models.py")


def test_the_picture_is_of_the_races_that_are_here(models_page: ModuleType) -> None:
    drawn = (ROOT / "benchmarks/results/models.svg").read_text("utf-8")
    assert drawn == models_page.picture(models_page.rows()), "run `python docs/models_page.py`"


def test_the_picture_of_detectors_is_of_the_races_that_are_here() -> None:
    page = _load(ROOT / "docs/detectors_page.py")
    drawn = page.PICTURE.read_text("utf-8")
    assert drawn == page.picture(), "run `python docs/detectors_page.py`"
    # Each race has points of others, and not of the library itself.
    for race in page.RESULTS.glob("*.json"):
        assert race.name.endswith(".stages.json") or f">{race.stem}</text>" in drawn


def test_the_sample_pages_hold_the_races_that_are_here(models_page: ModuleType) -> None:
    rows = {row.name: row for row in models_page.rows()}
    for name, script, reports in (
        (
            "models.html",
            "docs/models_page.py",
            [models_page.with_all(row) for row in rows.values()],
        ),
        ("resnet50.html", "benchmarks/models.py", [rows["resnet50_x86"].report]),
    ):
        expected = [json.loads(report.to_json()) for report in reports]
        file = models_page.SAMPLES / name
        assert file.stat().st_size < 5_000_000
        match = re.search(r'id="benchmarks">(.*?)</script>', file.read_text("utf-8"), re.DOTALL)
        assert match is not None
        shown = json.loads(match[1])
        medians = [[row["latency"] for row in one["runtimes"]] for one in shown]
        assert medians == [[row["latency"] for row in one["runtimes"]] for one in expected], (
            f"run `python {script}`"
        )


def test_losses_are_told_like_wins(models_page: ModuleType) -> None:
    def row(name: str, tuned: float, other: float) -> object:
        report = report_of(timed("tuned", [tuned] * 6), timed("onnxruntime", [other] * 6))
        return models_page.Row(name, report, {}, {})

    text = models_page.together([row("won", 10, 12), row("lost", 10, 8), row("level", 10, 10)])
    assert text == (
        "Each against the best of 1 runtimes, on 3 recipes: faster on 1, slower on 1, not told "
        "apart on 1; geometric mean 0.99x (measured 2026-01-02). Slower: `lost` (0.80x "
        "onnxruntime)."
    )


def test_contestants_that_were_not_in_the_race_are_shown_in_parentheses(
    models_page: ModuleType,
) -> None:
    report = report_of(timed("tuned", [10.0] * 6), failed("openvino", "SIGSEGV"))
    slow = {"status": "ok", "reason": None, "latency": {"median_ms": 250.0}}
    hung = {"status": "failed", "reason": "timeout", "latency": None}
    row = models_page.Row("one", report, {"executorch": slow, "inductor": hung}, {})
    names = ("tuned", "openvino", "executorch", "inductor", "mnn")
    shown = [models_page._median(row, name) for name in names]
    assert shown == ["10.0", "(failed)", "(250.0)", "(failed)", "-"]


def test_those_who_can_be_the_best_have_the_race_in_the_end(models: ModuleType) -> None:
    def row(median: float, status: str = "ok") -> dict[str, object]:
        return {"status": status, "latency": {"median_ms": median}}

    rows = {
        "openvino": row(12.0),
        "onnxruntime": row(10.0),
        "pytorch": row(20.1),
        "mnn": row(5.0, "wrong"),
        "ncnn": {"status": "failed", "latency": None},
    }
    assert models.finalists(rows) == ["onnxruntime", "openvino"]
    assert models.finalists({}) == []


def test_a_contestant_with_a_row_has_no_turn_again(models: ModuleType, tmp_path: Path) -> None:
    rows = {name: {"status": "failed"} for name in models.CONTESTANTS}
    assert models.meet("no recipe", rows, tmp_path / "rows.json", minutes=9, again=[]) == []
    del rows["mnn"]
    # Without time it waits for the next call.
    assert models.meet("no recipe", rows, tmp_path / "rows.json", minutes=1, again=[]) == []
    assert not (tmp_path / "rows.json").exists()
