"""Finals: whoever wins in turns gets compiled, whatever the seconds of the session said."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import tvm
import tvm_ffi
import wild_kernels as wild
from tvm import te
from tvm.s_tir import Schedule

from tunekit.catalogue import (
    Catalogue,
    Conditions,
    FailureKind,
    NewSession,
    NewTask,
    NewTrial,
    NewWorkload,
    Record,
    toolchain_key,
)
from tunekit.graph.task import Task
from tunekit.machine.target import ResolvedTarget
from tunekit.machine.toolchain import versions
from tunekit.measure.local.measurer import LocalMeasurer
from tunekit.measure.measurer import MeasureOptions
from tunekit.search.candidates import candidate_of
from tunekit.search.finals import FinalEntry, run_final

_HOST = "host"


def _conditions(target: ResolvedTarget) -> Conditions:
    return Conditions(target.spec, _HOST, toolchain_key(versions()))


def _to_compile(catalogue: Catalogue, task: Task, target: ResolvedTarget) -> list[Record]:
    return catalogue.records.to_compile(_conditions(target), [task.structural_hash])


@pytest.fixture(scope="module")
def measurer(native: ResolvedTarget) -> Iterator[LocalMeasurer]:
    options = MeasureOptions(native.spec, "cpu", 2, 1, 60, 10, 2, 2, "warm", 2 << 30)
    with LocalMeasurer(options) as measurer:
        yield measurer


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    with Catalogue.open(tmp_path / "catalogue.db") as catalogue:
        yield catalogue


def _matmul() -> tvm.ir.IRModule:
    a, b = te.placeholder((256, 256), name="a"), te.placeholder((256, 256), name="b")
    k = te.reduce_axis((0, 256), name="k")
    c = te.compute((256, 256), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="c")
    return tvm.IRModule({"main": te.create_prim_func([a, b, c])})


def _slow(schedule: Schedule) -> None:
    """Each step of the innermost loop is a row further: ten times as slow and more."""
    i, j, k = schedule.get_loops("c")
    schedule.reorder(k, j, i)


def _fast(schedule: Schedule) -> None:
    i, j, k = schedule.get_loops("c")
    schedule.reorder(i, k, j)
    schedule.vectorize(schedule.split(j, [None, 16])[1])


def _imprecise(schedule: Schedule) -> None:
    """Adds up in half precision, which no schedule may."""
    schedule.cache_write("c", 0, "global")
    schedule.unsafe_set_dtype("c", 0, "float16")


def _trial(task_id: int, schedule: Callable[[Schedule], None], seconds: float) -> NewTrial:
    traced = Schedule(_matmul())
    schedule(traced)
    return NewTrial(
        task_id=task_id,
        candidate_digest=schedule.__name__,
        trace_json=tvm.ir.save_json(traced.trace),
        samples_s=(seconds,),
    )


def test_a_batch_of_several_rounds_measures_each_candidate_in_each(measurer: LocalMeasurer) -> None:
    candidates = [wild.candidate(key, wild.good(key)) for key in range(3)]
    outcomes = list(measurer.measure(candidates, rounds=4))
    assert sorted(outcome.key for outcome in outcomes) == [0, 1, 2]
    for outcome in outcomes:
        assert outcome.samples_s is not None
        # More, if the host was slow in all four.
        assert len(outcome.samples_s) >= 4 * measurer.options.repeat


def test_those_that_wait_for_their_turn_are_stopped(measurer: LocalMeasurer) -> None:
    """Idle threads of TVM's pool look for work for a while, on the cores of whoever is measured."""
    candidates = [wild.candidate(key, wild.good(key)) for key in range(3)]
    stopped: list[int] = []
    measured = threading.Event()

    def watch() -> None:
        while not measured.is_set():
            states = []
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    states.append(process.status())
            stopped.append(states.count(psutil.STATUS_STOPPED))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        outcomes = list(measurer.measure(candidates, rounds=40))
    finally:
        measured.set()
        watcher.join()
    assert [outcome.failure for outcome in outcomes] == [None] * 3
    assert max(stopped) >= 2


def test_what_has_clearly_lost_takes_no_further_turns(measurer: LocalMeasurer) -> None:
    candidates = []
    for key, schedule in enumerate([_slow, _fast, _slow]):
        scheduled = Schedule(_matmul())
        schedule(scheduled)
        # Not alike: equal candidates are measured once.
        scheduled.annotate(scheduled.get_sblock("c"), "number", key)
        candidates.append(
            candidate_of(
                key, scheduled.mod, _matmul(), math.inf, workload_json=tvm.ir.save_json(_matmul())
            )
        )
    # With it, what met a slow host has another turn; and tests meet slow hosts.
    measurer.options = dataclasses.replace(measurer.options, noise_guard=False)
    try:
        outcomes = {outcome.key: outcome for outcome in measurer.measure(candidates, rounds=8)}
    finally:
        measurer.options = dataclasses.replace(measurer.options, noise_guard=True)
    turns = [len(outcomes[key].samples_s or ()) for key in range(3)]
    assert turns[1] == 8 * measurer.options.repeat
    assert max(turns[0], turns[2]) < turns[1]


def test_a_lucky_second_loses_in_the_final_and_is_not_compiled(
    measurer: LocalMeasurer, catalogue: Catalogue, native: ResolvedTarget
) -> None:
    module = _matmul()
    task = Task("matmul", module, str(tvm_ffi.structural_hash(module)), 1, 1.0, 1)
    session = catalogue.sessions.begin(
        NewSession("m", "", "d", None, "m", native.spec, {}, _HOST, versions(), 9, 0)
    )
    workload = NewWorkload(task.structural_hash, tvm.ir.save_json(module), "", "matmul")
    (task_id,) = catalogue.trials.ensure_tasks(session.id, [NewTask(workload, "matmul", 1.0)])
    lucky, better = catalogue.trials.add(
        session.id, [_trial(task_id, _slow, 1e-6), _trial(task_id, _fast, 1.25e-6)]
    )

    def chosen() -> list[int]:
        return [record.trial_id for record in _to_compile(catalogue, task, native)]

    assert chosen() == [lucky]
    records = catalogue.records.best(
        structural_hashes=[task.structural_hash],
        target_json=native.spec,
        host_fingerprint=_HOST,
        toolchain_key=toolchain_key(versions()),
        top_k=4,
    )
    (seconds,) = run_final([FinalEntry(records)], measurer, catalogue)
    assert seconds is not None
    assert len(seconds) >= 3 * measurer.options.repeat
    assert chosen() == [better]

    # A trial that is measured later and is faster than the winner was takes its place.
    (later,) = catalogue.trials.add(session.id, [_trial(task_id, _slow, min(seconds) / 2)])
    assert chosen() == [later]


def test_a_default_that_was_out_of_reach_in_the_session_can_still_win_the_final(
    measurer: LocalMeasurer, catalogue: Catalogue, native: ResolvedTarget
) -> None:
    session = catalogue.sessions.begin(
        NewSession("m", "", "d", None, "m", native.spec, {}, _HOST, versions(), 9, 0)
    )
    new = NewWorkload("1", tvm.ir.save_json(_matmul()), "", "matmul")
    (task_id,) = catalogue.trials.ensure_tasks(session.id, [NewTask(new, "matmul", 1.0)])
    lucky, default = catalogue.trials.add(
        session.id, [_trial(task_id, _slow, 1e-6), _trial(task_id, _fast, 1.0)]
    )
    where = {
        "structural_hashes": ["1"],
        "target_json": native.spec,
        "host_fingerprint": _HOST,
        "toolchain_key": toolchain_key(versions()),
    }
    best, last = catalogue.records.best(**where, top_k=2)
    assert (best.trial_id, last.trial_id) == (lucky, default)
    assert run_final([FinalEntry([best])], measurer, catalogue) == [None]
    assert run_final([FinalEntry([best], default=last)], measurer, catalogue) != [None]
    assert [
        winner.trial_id for winner in catalogue.records.winners(_conditions(native), ["1"])
    ] == [default]


def test_workloads_that_compete_are_measured_in_the_same_turns(
    measurer: LocalMeasurer, catalogue: Catalogue, native: ResolvedTarget
) -> None:
    """Whatever their trials promised, each gets a winner whose seconds compare with the others'."""
    session = catalogue.sessions.begin(
        NewSession("m", "", "d", None, "m", native.spec, {}, _HOST, versions(), 9, 0)
    )
    saved = tvm.ir.save_json(_matmul())
    first, second = (NewWorkload(digest, saved, "", digest) for digest in "12")
    tasks = catalogue.trials.ensure_tasks(
        session.id, [NewTask(first, "first", 1.0), NewTask(second, "second", 1.0)]
    )
    catalogue.trials.add(session.id, [_trial(tasks[0], _slow, 1e-6), _trial(tasks[1], _fast, 1e-3)])
    where = {
        "target_json": native.spec,
        "host_fingerprint": _HOST,
        "toolchain_key": toolchain_key(versions()),
    }
    entries = [
        FinalEntry(catalogue.records.best(structural_hashes=[one], **where, top_k=1))
        for one in "12"
    ]
    assert [len(entry.finalists) for entry in entries] == [1, 1]
    slow, fast = run_final(entries, measurer, catalogue)
    assert slow is not None
    assert fast is not None
    # The slow one is many times slower; its trial had claimed the opposite.
    assert min(slow) > min(fast)
    assert len(catalogue.records.winners(_conditions(native), ["1", "2"])) == 2


def test_a_wrong_finalist_is_marked_and_cannot_win(
    measurer: LocalMeasurer, catalogue: Catalogue, native: ResolvedTarget
) -> None:
    workload = _matmul()
    session = catalogue.sessions.begin(
        NewSession("m", "", "d", None, "m", native.spec, {}, _HOST, versions(), 9, 0)
    )
    new = NewWorkload("1", tvm.ir.save_json(workload), "", "matmul")
    (task_id,) = catalogue.trials.ensure_tasks(session.id, [NewTask(new, "matmul", 1.0)])
    right, wrong = catalogue.trials.add(
        session.id, [_trial(task_id, _slow, 1.25e-6), _trial(task_id, _imprecise, 1e-6)]
    )
    records = catalogue.records.best(
        structural_hashes=["1"],
        target_json=native.spec,
        host_fingerprint=_HOST,
        toolchain_key=toolchain_key(versions()),
        top_k=4,
    )
    assert [record.trial_id for record in records] == [wrong, right]
    assert run_final([FinalEntry(records)], measurer, catalogue) != [None]
    failures = {trial.trial_id: trial.failure for trial in catalogue.trials.read()}
    assert failures[right] is None
    marked = failures[wrong]
    assert marked is not None
    assert marked.kind is FailureKind.WRONG_OUTPUT
    assert "differs from the unscheduled function's" in marked.text


def test_a_single_candidate_needs_no_final(measurer: LocalMeasurer, catalogue: Catalogue) -> None:
    assert run_final([], measurer, catalogue) == []
    assert run_final([FinalEntry([])], measurer, catalogue) == [None]
