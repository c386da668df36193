"""What a catalogue knows of a model, in numbers and in one line."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tunekit.catalogue import Catalogue, Conditions, Record, toolchain_key
from tunekit.graph.task import Task
from tunekit.library import Library
from tunekit.library.coverage import Knowledge, assess, look_up, naive_seconds
from tunekit.machine.host import detect_host
from tunekit.machine.target import resolve_target
from tunekit.machine.toolchain import versions
from tunekit.recipe import Recipe


def _task(name: str, weight: int = 1, flops: float = 2e9) -> Task:
    module: Any = None  # nothing here looks at the kernel itself
    return Task(name, module, f"hash of {name}", weight, flops, bytes=1000)


def _record(task: Task, score_s: float) -> Record:
    return Record(
        trial_id=1,
        structural_hash=task.structural_hash,
        module_json="",
        trace_json="",
        samples_s=(score_s,),
        score_s=score_s,
        target_json="{}",
        host_fingerprint="host",
        measured_at=datetime.now(UTC),
    )


def _known(tasks: list[Task], seconds: dict[str, float]) -> Knowledge:
    records = [_record(task, seconds[task.name]) for task in tasks if task.name in seconds]
    return assess(tasks, {record.structural_hash: record for record in records})


def test_the_share_is_of_the_latency_and_counts_each_call() -> None:
    # 2e9 operations of naive loops are reckoned to take a second.
    tasks = [_task("conv", weight=3), _task("dense"), _task("add", flops=4e8)]
    known = _known(tasks, {"conv": 1.0, "dense": 0.8})
    assert naive_seconds(tasks[2]) == pytest.approx(0.2)
    assert known.coverage == pytest.approx(3.8 / 4.0)
    assert known.latency_s == pytest.approx(3.8)
    assert known.line() == "2 of 3 tasks known, 95 % of the estimated latency; 1 new"


def test_100_percent_means_all_of_them() -> None:
    tasks = [_task("conv", weight=1000), _task("add", flops=1e6)]
    assert _known(tasks, {"conv": 1.0}).line() == (
        "1 of 2 tasks known, 99 % of the estimated latency; 1 new"
    )
    assert _known(tasks, {"conv": 1.0, "add": 1e-6}).line() == (
        "2 of 2 tasks known, 100 % of the estimated latency"
    )


def test_where_nothing_is_known_there_is_no_latency() -> None:
    known = _known([_task("conv"), _task("add")], {})
    assert (known.line(), known.coverage, known.latency_s) == ("none of 2 tasks known", 0.0, None)


def _tasks_of(library: Library) -> list[Task]:
    module: Any = None
    return [
        Task(entry.name, module, entry.structural_hash, entry.weight, entry.flops, bytes=1)
        for entry in library.manifest.tasks
    ]


def test_what_was_tuned_is_known_with_the_seconds_that_the_library_has(tuned: Any) -> None:
    recipe: Recipe = tuned.recipe
    tasks = _tasks_of(tuned.library)
    target = resolve_target(recipe.target)
    here = Conditions(target.spec, detect_host().fingerprint, toolchain_key(versions()), "warm")
    with Catalogue.open(recipe.catalogue, create=False) as catalogue:
        known = look_up(catalogue, tasks, here)
        elsewhere = look_up(catalogue, tasks, replace(here, host="another host"))
        trials = sum(1 for _ in catalogue.trials.read())
    assert known.coverage == tuned.library.manifest.coverage == 1.0
    assert known.latency_s == tuned.library.manifest.estimated_latency_s
    assert [entry.record.score_s for entry in known.tasks if entry.record] == [
        entry.latency_s for entry in tuned.library.manifest.tasks
    ]
    assert sum(entry.trials for entry in known.tasks) == trials
    assert not elsewhere.known
    assert {entry.trials for entry in elsewhere.tasks} == {0}
