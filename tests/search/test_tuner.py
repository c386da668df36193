"""The tuning loop: what it tries follows from seed and catalogue, and nothing is tried twice."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import tuning_runs
import tvm
import tvm_ffi
from measurers import Arithmetic, PowerCutError
from tuning_runs import Quiet, begin, candidates, options, run

from tunekit.catalogue import Catalogue, Conditions, toolchain_key
from tunekit.catalogue.conditions import CpuCache
from tunekit.machine.target import ResolvedTarget
from tunekit.machine.toolchain import versions
from tunekit.measure.local.measurer import LocalMeasurer
from tunekit.measure.measurer import Candidate, MeasureOptions, MeasureResult
from tunekit.recipe import Tuning
from tunekit.search.finals import FinalEntry, run_final
from tunekit.spaces.default_schedule import default_schedule

BUDGET = 44


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    with Catalogue.open(tmp_path / "catalogue.db") as opened:
        yield opened


@pytest.fixture(scope="module")
def uninterrupted(
    native: ResolvedTarget, tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[str, str]]:
    """What a session tries that nothing disturbs."""
    with Catalogue.open(tmp_path_factory.mktemp("whole") / "catalogue.db") as opened:
        session = begin(opened, native, BUDGET)
        run(opened, session, native, Arithmetic(options(native)))
        return candidates(opened, session)


def test_the_same_seed_tries_the_same_candidates_in_the_same_order_in_another_process(
    uninterrupted: list[tuple[str, str]], tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, tuning_runs.__file__, str(tmp_path / "other.db"), str(BUDGET), "0"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [tuple(line.split()) for line in done.stdout.splitlines()] == uninterrupted


def test_threads_change_nothing_and_another_seed_changes_what_is_tried(
    uninterrupted: list[tuple[str, str]],
    catalogue: Catalogue,
    native: ResolvedTarget,
    tmp_path: Path,
) -> None:
    session = begin(catalogue, native, BUDGET)
    run(catalogue, session, native, Arithmetic(options(native, jobs=1)))
    assert candidates(catalogue, session) == uninterrupted
    with Catalogue.open(tmp_path / "seed.db") as opened:
        session = begin(opened, native, BUDGET, seed=1)
        run(opened, session, native, Arithmetic(options(native)))
        assert candidates(opened, session) != uninterrupted


def test_the_budget_is_spent_on_distinct_candidates_of_every_task(
    uninterrupted: list[tuple[str, str]],
) -> None:
    assert len(uninterrupted) == BUDGET
    assert len(set(uninterrupted)) == BUDGET
    assert {name for name, _ in uninterrupted} == {"convolution", "contraction", "relu"}


def test_the_first_trial_of_each_task_is_what_it_would_be_compiled_with_unmeasured(
    uninterrupted: list[tuple[str, str]], native: ResolvedTarget
) -> None:
    first: dict[str, str] = {}
    for name, digest in uninterrupted:
        first.setdefault(name, digest)
    for one in tuning_runs.tasks(native)[:3]:
        schedule = default_schedule(one.module, native)
        assert schedule is not None
        assert first[one.name] == str(tvm_ffi.structural_hash(schedule.mod))


class _Finals(Arithmetic):
    """Remembers which code took part in finals."""

    def __init__(self, options: MeasureOptions) -> None:
        super().__init__(options)
        self.finalists: list[str] = []

    def measure(self, candidates: Sequence[Candidate], rounds: int = 1) -> Iterator[MeasureResult]:
        if rounds > 1:
            modules = [tvm.ir.load_json(candidate.module_json) for candidate in candidates]
            self.finalists += [str(tvm_ffi.structural_hash(module)) for module in modules]
        return super().measure(candidates, rounds)


def test_the_default_takes_part_in_the_final_and_nothing_slower_is_compiled(
    catalogue: Catalogue, native: ResolvedTarget
) -> None:
    tasks = tuning_runs.tasks(native)[:2]
    session = begin(catalogue, native, 64)
    measurer = _Finals(options(native))
    run(catalogue, session, native, measurer, only=slice(2))
    here = Conditions(native.spec, session.host_fingerprint, toolchain_key(versions()))
    records = catalogue.records.to_compile(here, [task.structural_hash for task in tasks])
    for task, record in zip(tasks, records, strict=True):
        trials = catalogue.trials.read(session_id=session.id, structural_hash=task.structural_hash)
        default = next(iter(trials))
        assert default.score_s is not None
        assert record.score_s <= default.score_s
        assert default.candidate_digest in measurer.finalists


@pytest.mark.parametrize("cut_after", [1, 27])
def test_a_session_killed_within_a_batch_goes_on_as_if_nothing_had_happened(
    uninterrupted: list[tuple[str, str]],
    catalogue: Catalogue,
    native: ResolvedTarget,
    cut_after: int,
) -> None:
    session = begin(catalogue, native, BUDGET)
    with pytest.raises(PowerCutError):
        run(catalogue, session, native, Arithmetic(options(native), cut_after=cut_after))
    assert candidates(catalogue, session) == uninterrupted[:cut_after]
    again = catalogue.sessions.resume(session.id)
    result = run(catalogue, again, native, Arithmetic(options(native)))
    assert result.trials == BUDGET
    assert candidates(catalogue, session) == uninterrupted


def test_a_session_killed_in_its_finals_holds_them_when_it_goes_on_and_then_no_more(
    catalogue: Catalogue, native: ResolvedTarget
) -> None:
    budget, contraction = 12, slice(1, 2)
    session = begin(catalogue, native, budget)
    killed = Arithmetic(options(native), cut_after=budget)
    with pytest.raises(PowerCutError):
        run(catalogue, session, native, killed, only=contraction)
    assert catalogue.sessions.get(session.id).trials_left == 0
    for holds_finals in (True, False):
        again = Arithmetic(options(native))
        run(catalogue, catalogue.sessions.resume(session.id), native, again, only=contraction)
        assert bool(again.measured) == holds_finals


def test_a_session_stopped_after_each_batch_goes_on_as_if_nothing_had_happened(
    uninterrupted: list[tuple[str, str]], catalogue: Catalogue, native: ResolvedTarget
) -> None:
    session = begin(catalogue, native, BUDGET)
    for _ in range(BUDGET):
        reporter = Quiet()

        def stop(reporter: Quiet = reporter) -> bool:
            return reporter.last is not None and reporter.last.spent_now > 0

        again = catalogue.sessions.resume(session.id)
        result = run(
            catalogue, again, native, Arithmetic(options(native)), stop=stop, reporter=reporter
        )
        if result.trials == BUDGET:
            break
        assert result.ending == "interrupted"
    assert candidates(catalogue, session) == uninterrupted


def test_what_another_session_measured_is_taken_and_not_measured_again(
    catalogue: Catalogue, native: ResolvedTarget
) -> None:
    first = begin(catalogue, native, BUDGET)
    one = Arithmetic(options(native))
    run(catalogue, first, native, one)
    second = begin(catalogue, native, BUDGET)
    other = Arithmetic(options(native))
    result = run(catalogue, second, native, other)
    assert not set(candidates(catalogue, first)) & set(candidates(catalogue, second))
    assert result.trials == len(candidates(catalogue, second)) <= BUDGET
    # Failed candidates too: what cannot be built is not tried again.
    assert result.reused == catalogue.sessions.get(second.id).reused == BUDGET


def test_results_of_other_measuring_options_are_not_taken(
    catalogue: Catalogue, native: ResolvedTarget
) -> None:
    run(catalogue, begin(catalogue, native, 24), native, Arithmetic(options(native)))
    failed = sum(trial.failure is not None for trial in catalogue.trials.read())
    second = begin(catalogue, native, 24)
    # So that every task's search is opened.
    tuning = Tuning(trials=24, min_trials_per_task=4)
    result = run(catalogue, second, native, Arithmetic(options(native, repeat=2)), tuning)
    assert result.reused == failed
    good = {t.candidate_digest for t in catalogue.trials.read(session_id=second.id) if t.score_s}
    assert good


def test_seconds_with_other_caches_are_neither_taken_nor_learnt_from_nor_compiled_with(
    catalogue: Catalogue, native: ResolvedTarget
) -> None:
    """A model's weights may not fit the caches that a smaller model's did."""
    matmul, only = tuning_runs.tasks(native)[1], slice(1, 2)
    fast = Arithmetic(options(native), scale=1e-3)
    first = begin(catalogue, native, 12)
    run(catalogue, first, native, fast, only=only)
    session = begin(catalogue, native, 12)
    reporter = Quiet()
    cold = Arithmetic(options(native, cpu_cache="weights"))
    run(catalogue, session, native, cold, only=only, reporter=reporter)
    assert reporter.last is not None
    [progress] = reporter.last.tasks
    assert progress.best_s is not None
    assert progress.best_s >= 1e-4

    def compiled(cache: CpuCache) -> float:
        key = toolchain_key(versions())
        here = Conditions(native.spec, session.host_fingerprint, key, cache)
        [record] = catalogue.records.to_compile(here, [matmul.structural_hash])
        return record.score_s

    assert compiled("warm") < 1e-5 < 1e-4 <= compiled("weights")
    # What was measured warm is measured again.
    assert set(candidates(catalogue, first)) & set(candidates(catalogue, session))


def test_a_space_that_is_used_up_ends_the_session(
    catalogue: Catalogue, native: ResolvedTarget
) -> None:
    session = begin(catalogue, native, 5000)
    only = slice(2, 3)  # relu
    result = run(catalogue, session, native, Arithmetic(options(native)), only=only)
    assert result.ending == "exhausted"
    assert result.exhausted
    assert 0 < result.trials < 5000
    again = begin(catalogue, native, 5000)
    result = run(catalogue, again, native, Arithmetic(options(native)), only=only)
    assert (result.ending, result.trials) == ("exhausted", 0)


def test_seconds_of_all_phases_are_booked_over_all_runs(
    catalogue: Catalogue, native: ResolvedTarget
) -> None:
    session = begin(catalogue, native, BUDGET)
    with pytest.raises(PowerCutError):
        run(catalogue, session, native, Arithmetic(options(native), cut_after=20))
    before = catalogue.sessions.get(session.id).seconds
    result = run(
        catalogue, catalogue.sessions.resume(session.id), native, Arithmetic(options(native))
    )
    after = catalogue.sessions.get(session.id).seconds
    assert {"sample", "model", "record", "decide"} <= set(result.seconds)
    for phase, seconds in result.seconds.items():
        assert after.get(phase, 0.0) == pytest.approx(before.get(phase, 0.0) + seconds)


def test_no_more_is_searched_than_the_seconds_allow_earlier_runs_included(
    catalogue: Catalogue, native: ResolvedTarget
) -> None:
    session = begin(catalogue, native, BUDGET)
    result = run(
        catalogue,
        session,
        native,
        Arithmetic(options(native)),
        Tuning(max_seconds=1e-3),
    )
    assert (result.ending, result.trials) == ("seconds", 0)
    catalogue.sessions.add_seconds(session.id, {"measure": 3600.0})
    again = catalogue.sessions.resume(session.id)
    result = run(catalogue, again, native, Arithmetic(options(native)), Tuning(max_seconds=3600))
    assert (result.ending, result.trials) == ("seconds", 0)


def test_patience_ends_a_session_that_gains_nothing(
    catalogue: Catalogue, native: ResolvedTarget
) -> None:
    session = begin(catalogue, native, 2000)
    result = run(
        catalogue, session, native, Arithmetic(options(native)), Tuning(patience=24, trials=2000)
    )
    assert result.ending == "plateau"
    assert result.trials < 2000


def test_floor_and_ceiling_of_each_task_are_kept(
    catalogue: Catalogue, native: ResolvedTarget
) -> None:
    session = begin(catalogue, native, 45)
    tuning = Tuning(trials=45, min_trials_per_task=10, trials_per_task=20)
    run(catalogue, session, native, Arithmetic(options(native)), tuning, only=slice(2))
    spent = [summary.trials for summary in catalogue.trials.summaries(session.id)]
    assert spent == [20, 20]


def test_weights_whose_layout_a_schedule_changes_are_measured_as_changed(
    catalogue: Catalogue, native: ResolvedTarget
) -> None:
    """By the real measurer: with other arguments each of these would fail, in the final too."""
    session = begin(catalogue, native, 6)
    with LocalMeasurer(options(native)) as measurer:
        result = run(catalogue, session, native, measurer, only=slice(3, 4))
        assert (result.trials, result.failures) == (6, {})
        [trial, *_] = catalogue.trials.read(session_id=session.id)
        records = catalogue.records.best(
            structural_hashes=[trial.structural_hash], target_json=trial.target_json, top_k=3
        )
        alike = [replace(record, score_s=1.0) for record in records]
        assert run_final([FinalEntry(alike)], measurer, catalogue) != [None]
