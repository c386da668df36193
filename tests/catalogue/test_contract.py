"""What a user of any catalogue can rely on, whichever database keeps it."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from tunekit.catalogue import (
    Catalogue,
    Conditions,
    Failure,
    FailureKind,
    NewBenchRun,
    NewLibrary,
    NewTrial,
    toolchain_key,
)
from tunekit.catalogue.conditions import CpuCache
from tunekit.catalogue.queries.filters import RecordFilter
from tunekit.errors import CatalogueError

if TYPE_CHECKING:
    from tests.catalogue.conftest import Examples

WRITER = Path(__file__).parents[1] / "support" / "writer.py"

_CONDITIONS = Conditions(
    target='{"kind":"llvm","mcpu":"x86-64-v3","num-cores":2}',
    host="host",
    toolchain=toolchain_key({"apache-tvm": "0.27.0.post1"}),
)

seconds = st.floats(min_value=1e-12, max_value=1e8)
# What a database and JSON can hold as text; failure texts may be anything.
storable = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=300)
new_trials = st.builds(
    NewTrial,
    task_id=st.just(0),
    candidate_digest=st.text("0123456789abcdef", min_size=1, max_size=64),
    trace_json=st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | storable,
        lambda inner: st.lists(inner) | st.dictionaries(storable, inner),
        max_leaves=10,
    ).map(json.dumps),
    samples_s=st.none(),
    failure=st.builds(Failure, st.sampled_from(FailureKind), st.text(max_size=300)),
    measure_options=st.dictionaries(storable, st.integers(-(2**53), 2**53) | storable, max_size=3),
    build_s=st.none() | seconds,
    measure_s=st.none() | seconds,
    calibration_s=st.none() | seconds,
    slowdown=st.none() | st.floats(0.5, 100),
    device=st.none() | storable.map(lambda text: text[:128]).filter(bool),
    measured_at=st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
)
measured = st.lists(seconds, min_size=1, max_size=9).map(tuple)


class TestTrials:
    @settings(
        max_examples=25,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(trial=new_trials, samples_s=st.none() | measured)
    def test_a_trial_comes_back_as_it_was_given(
        self,
        catalogue: Catalogue,
        new: Examples,
        trial: NewTrial,
        samples_s: tuple[float, ...] | None,
    ) -> None:
        session = catalogue.sessions.begin(new.session())
        (task,) = catalogue.trials.ensure_tasks(session.id, new.tasks(1))
        given_trial = replace(trial, task_id=task)
        if samples_s is not None:
            given_trial = replace(given_trial, samples_s=samples_s, failure=None)

        (trial_id,) = catalogue.trials.add(session.id, [given_trial])

        (back,) = catalogue.trials.read(session_id=session.id)
        assert back.trial_id == trial_id
        for name in (
            "task_id",
            "candidate_digest",
            "trace_json",
            "samples_s",
            "score_s",
            "failure",
            "measure_options",
            "build_s",
            "measure_s",
            "calibration_s",
            "slowdown",
            "device",
            "measured_at",
        ):
            assert getattr(back, name) == getattr(given_trial, name), name

    def test_trials_keep_the_order_of_arrival_across_calls_and_pages(
        self, catalogue: Catalogue, new: Examples
    ) -> None:
        session = catalogue.sessions.begin(new.session())
        tasks = catalogue.trials.ensure_tasks(session.id, new.tasks(2))
        ids = [
            trial_id
            for call in range(13)
            for trial_id in catalogue.trials.add(
                session.id, [new.trial(tasks[n % 2], 1 + call + n) for n in range(100)]
            )
        ]

        back = list(catalogue.trials.read(session_id=session.id))

        assert [trial.trial_id for trial in back] == ids
        assert [trial.position for trial in back] == list(range(1300))

    def test_trials_can_be_written_while_they_are_read(
        self, catalogue: Catalogue, new: Examples
    ) -> None:
        session = catalogue.sessions.begin(new.session())
        (task,) = catalogue.trials.ensure_tasks(session.id, new.tasks(1))
        catalogue.trials.add(session.id, [new.trial(task, 1 + n) for n in range(3)])

        reader = catalogue.trials.read(session_id=session.id)
        next(reader)
        catalogue.trials.add(session.id, [new.trial(task)])

        assert catalogue.sessions.get(session.id).trials_done == 4
        assert len(list(reader)) >= 2

    def test_a_call_with_one_bad_trial_writes_none_of_them(
        self, catalogue: Catalogue, new: Examples
    ) -> None:
        session = catalogue.sessions.begin(new.session())
        stranger = catalogue.sessions.begin(new.session())
        (task,) = catalogue.trials.ensure_tasks(session.id, new.tasks(1))
        (foreign,) = catalogue.trials.ensure_tasks(stranger.id, new.tasks(1))

        with pytest.raises(ValueError, match=str(foreign)):
            catalogue.trials.add(session.id, [new.trial(task), new.trial(foreign)])

        assert list(catalogue.trials.read()) == []

    def test_no_trials_are_no_error(self, catalogue: Catalogue, new: Examples) -> None:
        assert catalogue.trials.add(catalogue.sessions.begin(new.session()).id, []) == []

    def test_trials_are_found_by_workload_and_target(
        self, catalogue: Catalogue, new: Examples
    ) -> None:
        for target in (new.target, "other"):
            session = catalogue.sessions.begin(new.session(target_json=target))
            tasks = catalogue.trials.ensure_tasks(session.id, new.tasks(2))
            catalogue.trials.add(session.id, [new.trial(task) for task in tasks])

        (found,) = catalogue.trials.read(structural_hash="hash1", target_json="other")

        assert (found.structural_hash, found.target_json) == ("hash1", "other")

    def test_known_candidates_are_those_measured_under_the_same_conditions(
        self, catalogue: Catalogue, new: Examples
    ) -> None:
        def measure(**changes: object) -> int:
            session = catalogue.sessions.begin(new.session(**changes))
            (task,) = catalogue.trials.ensure_tasks(session.id, new.tasks(1))
            digest = f"on {changes}"
            catalogue.trials.add(session.id, [new.trial(task, candidate_digest=digest)])
            return task

        same = measure(seed=1, toolchain={"apache-tvm": "0.27.0.post1", "torch": "3"})
        measure(target_json="other")
        measure(host_fingerprint="other")
        measure(toolchain={"apache-tvm": "0.28"})
        all_digests = [trial.candidate_digest for trial in catalogue.trials.read()]

        known = catalogue.trials.known(same, [*all_digests, "never seen"])

        assert list(known) == [all_digests[0]]
        assert catalogue.trials.known(same, all_digests, measure_options={"repeat": 3}) == known
        assert catalogue.trials.known(same, all_digests, measure_options={"repeat": 4}) == {}
        with pytest.raises(ValueError, match="12345"):
            catalogue.trials.known(12345, all_digests)

    def test_a_session_begins_with_what_others_had_measured_by_then(
        self, catalogue: Catalogue, new: Examples
    ) -> None:
        def begin(*seconds: float, **changes: object) -> tuple[str, int]:
            session = catalogue.sessions.begin(new.session(**changes))
            (task,) = catalogue.trials.ensure_tasks(session.id, new.tasks(1))
            catalogue.trials.add(session.id, [new.trial(task, value) for value in seconds])
            return session.id, task

        earlier, _ = begin(1e-3, 9e-3, 8e-3, 7e-3)
        begin(1e-4, host_fingerprint="other")
        session, task = begin(2e-3)
        begin(1e-5)

        def known(latest: int, best: int) -> list[float | None]:
            return [
                t.score_s for t in catalogue.trials.known_before(task, latest=latest, best=best)
            ]

        assert known(latest=9, best=9) == [1e-3, 9e-3, 8e-3, 7e-3]
        assert known(latest=2, best=1) == [1e-3, 8e-3, 7e-3]
        assert known(latest=0, best=1) == [1e-3]
        assert catalogue.trials.known_counts(session) == {task: 4}
        assert list(catalogue.trials.known_counts(earlier).values()) == [0]
        same, other = {"repeat": 3}, {"repeat": 4}
        assert catalogue.trials.known_counts(session, measured_with=same) == {task: 4}
        assert catalogue.trials.known_counts(session, measured_with=other) == {task: 0}
        assert len(catalogue.trials.known_before(task, latest=9, best=9, measured_with=same)) == 4
        assert catalogue.trials.known_before(task, latest=9, best=9, measured_with=other) == []
        with pytest.raises(ValueError, match="12345"):
            catalogue.trials.known_before(12345, latest=1, best=1)

    def test_a_deterministic_failure_is_known_whatever_the_options_and_a_lost_device_never(
        self, catalogue: Catalogue, new: Examples
    ) -> None:
        session = catalogue.sessions.begin(new.session())
        (task,) = catalogue.trials.ensure_tasks(session.id, new.tasks(1))
        catalogue.trials.add(
            session.id,
            [
                new.trial(
                    task,
                    samples_s=None,
                    failure=Failure(kind, "why"),
                    candidate_digest=kind.value,
                )
                for kind in FailureKind
            ],
        )
        kinds = [kind.value for kind in FailureKind]

        same = catalogue.trials.known(task, kinds, measure_options={"repeat": 3})
        other = catalogue.trials.known(task, kinds, measure_options={"repeat": 4})

        timeouts = {"build_timeout", "run_timeout"}
        assert set(other) == {k.value for k in FailureKind if k.deterministic}
        assert set(same) == set(catalogue.trials.known(task, kinds)) == set(other) | timeouts
        assert set(kinds) - set(same) == {"lost_device"}

    def test_of_several_results_the_latest_with_seconds_is_the_known_one(
        self, catalogue: Catalogue, new: Examples
    ) -> None:
        session = catalogue.sessions.begin(new.session())
        (task,) = catalogue.trials.ensure_tasks(session.id, new.tasks(1))
        crash = Failure(FailureKind.CRASH, "SIGSEGV")
        catalogue.trials.add(
            session.id,
            [
                new.trial(task, 3e-3, candidate_digest="a"),
                new.trial(task, 2e-3, candidate_digest="a"),
                new.trial(task, samples_s=None, failure=crash, candidate_digest="a"),
            ],
        )

        assert catalogue.trials.known(task, ["a"])["a"].score_s == 2e-3

    def test_seconds_measured_on_a_slowed_host_rank_corrected_and_are_kept_as_measured(
        self, catalogue: Catalogue, new: Examples
    ) -> None:
        session = catalogue.sessions.begin(new.session())
        (task,) = catalogue.trials.ensure_tasks(session.id, new.tasks(1))
        slow, quick = catalogue.trials.add(
            session.id, [new.trial(task, 4e-3, slowdown=4.0), new.trial(task, 2e-3, slowdown=None)]
        )

        found = catalogue.records.best(structural_hashes=None, target_json=new.target, top_k=2)

        assert [(r.trial_id, r.score_s) for r in found] == [(slow, 1e-3), (quick, 2e-3)]
        assert found[0].samples_s == (4e-3,)
        assert catalogue.trials.summaries(session.id)[0].best_s == 1e-3
        assert catalogue.maintenance.check() == []

    def test_a_reused_trial_counts_as_reused_once_and_costs_no_budget(
        self, catalogue: Catalogue, new: Examples
    ) -> None:
        first = catalogue.sessions.begin(new.session())
        (task,) = catalogue.trials.ensure_tasks(first.id, new.tasks(1))
        ids = catalogue.trials.add(first.id, [new.trial(task)])
        second = catalogue.sessions.begin(new.session())
        (task,) = catalogue.trials.ensure_tasks(second.id, new.tasks(1))

        catalogue.trials.reuse(task, ids + ids)
        catalogue.trials.reuse(task, ids)

        found = catalogue.sessions.get(second.id)
        assert (found.reused, found.trials_done, found.trials_left) == (1, 0, 64)


class TestTasks:
    def test_asking_for_the_same_tasks_again_gives_the_same_tasks(
        self, catalogue: Catalogue, new: Examples
    ) -> None:
        session = catalogue.sessions.begin(new.session())
        first = catalogue.trials.ensure_tasks(session.id, new.tasks(3))

        assert catalogue.trials.ensure_tasks(session.id, new.tasks(4)[::-1])[1:] == first[::-1]

    def test_one_workload_twice_in_a_model_is_refused(
        self, catalogue: Catalogue, new: Examples
    ) -> None:
        session = catalogue.sessions.begin(new.session())
        with pytest.raises(ValueError, match="hash0"):
            catalogue.trials.ensure_tasks(session.id, [*new.tasks(2), *new.tasks(1)])
        assert catalogue.trials.summaries(session.id) == []

    def test_failures_are_told_by_task_and_kind_with_the_latest_text(
        self, catalogue: Catalogue, new: Examples
    ) -> None:
        session, other = (catalogue.sessions.begin(new.session()) for _ in range(2))
        first, second = catalogue.trials.ensure_tasks(session.id, new.tasks(2))
        (elsewhere,) = catalogue.trials.ensure_tasks(other.id, new.tasks(1))
        late = Failure(FailureKind.RUN_TIMEOUT, "10 s")
        crashes = [Failure(FailureKind.CRASH, f"SIGSEGV number {n}") for n in range(3)]
        catalogue.trials.add(
            session.id,
            [
                new.trial(task, samples_s=None, failure=failure)
                for task, failure in [
                    (second, crashes[0]),
                    (first, late),
                    *((first, crash) for crash in crashes),
                ]
            ]
            + [new.trial(first, 1e-3)],
        )
        catalogue.trials.add(other.id, [new.trial(elsewhere, samples_s=None, failure=late)])

        found = catalogue.trials.failures(session.id)

        assert [(g.task_id, g.task_name, g.kind, g.count, g.example) for g in found] == [
            (first, "conv_hash0", FailureKind.CRASH, 3, crashes[2]),
            (first, "conv_hash0", FailureKind.RUN_TIMEOUT, 1, late),
            (second, "conv_hash1", FailureKind.CRASH, 1, crashes[0]),
        ]
        summaries = {s.task_id: s.failures for s in catalogue.trials.summaries(session.id)}
        for group in found:
            assert summaries[group.task_id][group.kind] == group.count
        assert [g.example.signal for g in found] == ["SIGSEGV", None, "SIGSEGV"]
        assert catalogue.trials.failures(catalogue.sessions.begin(new.session()).id) == []

    def test_a_summary_counts_trials_and_failures_and_names_the_best(
        self, catalogue: Catalogue, new: Examples
    ) -> None:
        session = catalogue.sessions.begin(new.session())
        busy, idle = catalogue.trials.ensure_tasks(session.id, new.tasks(2))
        crash = Failure(FailureKind.CRASH, "SIGSEGV")
        late = Failure(FailureKind.RUN_TIMEOUT, "10 s")
        catalogue.trials.add(
            session.id,
            [
                new.trial(busy, 3e-3),
                new.trial(busy, 2e-3, samples_s=(1e-3, 3e-3)),
                *(new.trial(busy, samples_s=None, failure=f) for f in (crash, late, crash)),
            ],
        )

        first, second = catalogue.trials.summaries(session.id)

        assert (first.task_id, first.trials, first.best_s) == (busy, 5, 2e-3)
        assert first.failures == {FailureKind.CRASH: 2, FailureKind.RUN_TIMEOUT: 1}
        assert (first.weight, first.flops, first.structural_hash) == (2.0, 1e9, "hash0")
        assert (second.task_id, second.trials, second.failures) == (idle, 0, {})
        assert second.best_s is None
        found = catalogue.sessions.get(session.id)
        assert (found.trials_done, found.failures, found.trials_left) == (5, 3, 59)

    def test_a_workload_is_named_for_people_once_somebody_says_what_it_computes(
        self, catalogue: Catalogue, new: Examples
    ) -> None:
        [task] = new.tasks(1)
        old = replace(task, workload=replace(task.workload, name=task.name))
        words = "3x3 512 to 512, 7x7 add relu"
        described = replace(task, workload=replace(task.workload, name=words))
        for number, (written, expected) in enumerate(
            ((old, task.name), (described, words), (old, words))
        ):
            session = catalogue.sessions.begin(new.session())
            (task_id,) = catalogue.trials.ensure_tasks(session.id, [written])
            catalogue.trials.add(session.id, [new.trial(task_id, candidate_digest=f"c{number}")])
            (summary,) = catalogue.trials.summaries(session.id)
            assert (summary.name, summary.operation) == (task.name, expected)

        for pattern in ("512 to 512", task.name):
            found = catalogue.records.listed(RecordFilter(operator=pattern))
            assert [record.operation for record in found] == [words] * 3
            assert {record.operator for record in found} == {task.name}


class TestRecords:
    def test_records_are_the_best_trials_of_each_workload_and_never_failures(
        self, catalogue: Catalogue, new: Examples
    ) -> None:
        for _ in range(2):  # two sessions with the same workloads
            session = catalogue.sessions.begin(new.session())
            tasks = catalogue.trials.ensure_tasks(session.id, new.tasks(3))
            failure = Failure(FailureKind.BUILD_ERROR, "no")
            catalogue.trials.add(
                session.id,
                [
                    *(new.trial(task, 1e-3 * (9 - n)) for task in tasks[:2] for n in range(4)),
                    *(new.trial(task, samples_s=None, failure=failure) for task in tasks),
                ],
            )

        records = catalogue.records.best(
            structural_hashes=["hash1", "hash2", "unknown", "hash0"],
            target_json=new.target,
            top_k=3,
        )

        assert [(r.structural_hash, r.score_s) for r in records] == [
            ("hash1", 6e-3),
            ("hash1", 6e-3),
            ("hash1", 7e-3),
            ("hash0", 6e-3),
            ("hash0", 6e-3),
            ("hash0", 7e-3),
        ]
        assert records[0].module_json == '{"module": "hash1"}'
        assert records[0].trace_json == '{"trace": []}'
        assert records[0].samples_s == (6e-3,)
        everything = catalogue.records.best(
            structural_hashes=None, target_json=new.target, top_k=None
        )
        assert len(everything) == 16
        assert len(catalogue.records.best(structural_hashes=None, target_json=new.target)) == 2
        assert catalogue.records.best(structural_hashes=[], target_json=new.target) == []

    def test_records_never_cross_targets_and_cross_hosts_and_toolchains_only_when_allowed(
        self, catalogue: Catalogue, new: Examples
    ) -> None:
        other_tvm = {"apache-tvm": "0.28"}
        conditions: list[dict[str, object]] = [
            {},
            {"target_json": "other"},
            {"host_fingerprint": "other"},
            {"toolchain": other_tvm},
        ]
        for number, changes in enumerate(conditions):
            session = catalogue.sessions.begin(new.session(**changes))
            (task,) = catalogue.trials.ensure_tasks(session.id, new.tasks(1))
            catalogue.trials.add(session.id, [new.trial(task, 4.0 - number)])

        def means(**narrower: str) -> list[float]:
            where = {"target_json": new.target, **narrower}
            found = catalogue.records.best(structural_hashes=["hash0"], top_k=None, **where)  # type: ignore[arg-type]
            return [record.score_s for record in found]

        key = toolchain_key({"apache-tvm": "0.27.0.post1", "torch": "another"})
        assert means() == [1.0, 2.0, 4.0]
        assert means(target_json="other") == [3.0]
        assert means(target_json="unknown") == []
        assert means(host_fingerprint="host") == [1.0, 4.0]
        assert means(host_fingerprint="unknown") == []
        assert means(toolchain_key=key) == [2.0, 4.0]
        assert means(host_fingerprint="host", toolchain_key=key) == [4.0]
        assert means(toolchain_key="unknown") == []

    def test_a_trial_that_turns_out_to_be_wrong_is_a_failure_and_no_record_or_winner(
        self, catalogue: Catalogue, new: Examples
    ) -> None:
        session = catalogue.sessions.begin(new.session())
        tasks = catalogue.trials.ensure_tasks(session.id, new.tasks(1))
        right, wrong = catalogue.trials.add(
            session.id, [new.trial(tasks[0], 3e-3), new.trial(tasks[0], 2e-3)]
        )
        catalogue.records.add_winner(right, [3e-3])
        catalogue.records.add_winner(wrong, [2e-3])
        catalogue.trials.mark_wrong(wrong, "argument 2 differs")
        marked = next(trial for trial in catalogue.trials.read() if trial.trial_id == wrong)
        assert marked.failure == Failure(FailureKind.WRONG_OUTPUT, "argument 2 differs")
        assert (marked.score_s, marked.samples_s) == (None, None)
        where = {
            "structural_hashes": ["hash0"],
            "target_json": new.target,
            "host_fingerprint": "host",
            "toolchain_key": toolchain_key({"apache-tvm": "0.27.0.post1"}),
        }
        assert [record.trial_id for record in catalogue.records.best(**where, top_k=9)] == [right]
        assert [r.trial_id for r in catalogue.records.winners(_CONDITIONS, ["hash0"])] == [right]
        assert catalogue.sessions.get(session.id).failures == 1
        assert catalogue.maintenance.check() == []
        with pytest.raises(ValueError, match="no trial has the id 99"):
            catalogue.trials.mark_wrong(99, "")

    def test_the_latest_winner_of_a_workload_is_found_with_the_seconds_of_its_comparison(
        self, catalogue: Catalogue, new: Examples
    ) -> None:
        session = catalogue.sessions.begin(new.session())
        tasks = catalogue.trials.ensure_tasks(session.id, new.tasks(2))
        slow, fast = catalogue.trials.add(
            session.id, [new.trial(tasks[0], 3e-3), new.trial(tasks[0], 2e-3)]
        )
        catalogue.records.add_winner(fast, [2.5e-3, 2.4e-3])
        catalogue.records.add_winner(slow, [1.9e-3, 1.8e-3, 2.0e-3])

        def winners(**changes: str) -> list[tuple[int, float, tuple[float, ...]]]:
            conditions = replace(_CONDITIONS, **changes)
            found = catalogue.records.winners(conditions, ["hash1", "hash0"])
            return [(record.trial_id, record.score_s, record.samples_s) for record in found]

        assert winners() == [(slow, 1.8e-3, (1.9e-3, 1.8e-3, 2.0e-3))]
        assert winners(target="other") == []
        assert winners(host="other") == []
        assert winners(toolchain="other") == []

    def test_seconds_under_other_options_decide_only_what_would_have_no_record_otherwise(
        self, catalogue: Catalogue, new: Examples
    ) -> None:
        warm, cold = {"cache": "warm", "repeat": 3}, {"cache": "weights", "repeat": 3}

        def add(*seconds: tuple[int, float], options: dict[str, object]) -> list[int]:
            session = catalogue.sessions.begin(new.session())
            tasks = catalogue.trials.ensure_tasks(session.id, new.tasks(3))
            return catalogue.trials.add(
                session.id,
                [
                    replace(new.trial(tasks[at], value), measure_options=options)
                    for at, value in seconds
                ],
            )

        first, second = add((0, 1e-3), (1, 1e-3), options=warm)
        slow, third, fast = add((0, 3e-3), (2, 2e-3), (0, 2e-3), options=cold)
        catalogue.records.add_winner(first, [1e-4])
        where = {
            "structural_hashes": ["hash0", "hash1", "hash2"],
            "target_json": new.target,
            "host_fingerprint": "host",
            "toolchain_key": toolchain_key({"apache-tvm": "0.27.0.post1"}),
        }

        def chosen(cache: CpuCache | None = None) -> list[int]:
            conditions = replace(_CONDITIONS, cpu_cache=cache)
            found = catalogue.records.to_compile(conditions, ["hash0", "hash1", "hash2"])
            return [record.trial_id for record in found]

        assert chosen() == [first, second, third]
        assert chosen(cache="warm") == [first, second, third]
        assert chosen(cache="weights") == [fast, second, third]
        assert chosen(cache="flush") == chosen()
        catalogue.records.add_winner(slow, [1.5e-3])
        assert chosen(cache="weights") == [slow, second, third]
        assert chosen(cache="warm") == [first, second, third]

        def records(**options: object) -> list[int]:
            found = catalogue.records.best(**where, measured_with=options, top_k=9)
            return [record.trial_id for record in found]

        assert records(cache="weights") == [fast, slow, third]
        assert records(cache="flush") == []

    def test_workloads_whose_hashes_collide_keep_their_own_modules(
        self, catalogue: Catalogue, new: Examples
    ) -> None:
        session = catalogue.sessions.begin(new.session())
        tasks = catalogue.trials.ensure_tasks(
            session.id, [new.task("same", "module a"), new.task("same", "module b")]
        )
        catalogue.trials.add(session.id, [new.trial(tasks[0], 2.0), new.trial(tasks[1], 1.0)])

        found = catalogue.records.best(structural_hashes=["same"], target_json=new.target, top_k=2)

        assert [(r.module_json, r.score_s) for r in found] == [("module b", 1.0), ("module a", 2.0)]


class TestSessions:
    def test_a_new_session_is_run_by_this_process(
        self, catalogue: Catalogue, new: Examples
    ) -> None:
        session = catalogue.sessions.begin(new.session())

        assert (session.state, session.pid) == ("running", os.getpid())
        assert (session.model_name, session.seed, session.recipe_yaml) == (
            "resnet18",
            3,
            "name: small\n",
        )
        assert session.created_at.utcoffset() == timedelta(0)
        assert catalogue.sessions.get(session.id) == session
        assert catalogue.sessions.unfinished("recipe", new.target, "host") is None

    def test_an_interrupted_session_is_found_and_resumed_with_its_trials(
        self, catalogue: Catalogue, new: Examples
    ) -> None:
        session = catalogue.sessions.begin(new.session())
        (task,) = catalogue.trials.ensure_tasks(session.id, new.tasks(1))
        catalogue.trials.add(session.id, [new.trial(task)])
        catalogue.sessions.close(session.id, "interrupted")

        found = catalogue.sessions.unfinished("recipe", new.target, "host")
        assert found is not None
        assert (found.id, found.state) == (session.id, "interrupted")
        resumed = catalogue.sessions.resume(found.id, toolchain={"apache-tvm": "0.28"})
        catalogue.sessions.set_budget(found.id, 3)
        catalogue.trials.add(session.id, [new.trial(task, 2.0)])

        assert (resumed.state, resumed.trials_done) == ("running", 1)
        after = catalogue.sessions.get(session.id)
        assert (after.trials_done, after.trials_left) == (2, 1)
        (newer,) = catalogue.records.best(
            structural_hashes=None,
            target_json=new.target,
            toolchain_key=toolchain_key({"apache-tvm": "0.28"}),
        )
        assert newer.score_s == 2.0

    def test_only_unfinished_work_on_the_same_recipe_target_and_host_is_offered(
        self, catalogue: Catalogue, new: Examples
    ) -> None:
        older, newer, done = (catalogue.sessions.begin(new.session()) for _ in range(3))
        catalogue.sessions.close(older.id, "interrupted")
        catalogue.sessions.close(newer.id, "interrupted")
        catalogue.sessions.close(done.id, "finished")

        found = catalogue.sessions.unfinished("recipe", new.target, "host")

        assert found is not None
        assert found.id == newer.id
        assert catalogue.sessions.unfinished("other", new.target, "host") is None
        assert catalogue.sessions.unfinished("recipe", "other", "host") is None
        assert catalogue.sessions.unfinished("recipe", new.target, "other") is None
        for version, expected in (("0.27.0.post1", newer.id), ("0.28", None)):
            key = toolchain_key({"apache-tvm": version})
            same = catalogue.sessions.unfinished("recipe", new.target, "host", toolchain_key=key)
            assert (same and same.id) == expected

    def test_a_session_whose_process_was_killed_can_be_resumed_at_once_but_a_living_one_not(
        self, catalogue: Catalogue, url: str
    ) -> None:
        command = [sys.executable, str(WRITER), url, "recipe", "1000000", "1"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            session_id = process.stdout.readline().split()[1]
            assert process.stdout.readline().startswith("ack")

            assert catalogue.sessions.unfinished("recipe", "{}", "host") is None
            with pytest.raises(CatalogueError, match=f"{session_id} .* process {process.pid}"):
                catalogue.sessions.resume(session_id)

            process.kill()
        found = catalogue.sessions.unfinished("recipe", "{}", "host")
        assert found is not None
        assert (found.id, found.state) == (session_id, "interrupted")
        assert catalogue.sessions.resume(session_id).trials_done >= 1

    @pytest.mark.parametrize(("age_s", "state"), [(10, "running"), (1000, "interrupted")])
    def test_on_another_machine_the_heartbeat_tells_whether_a_session_lives(
        self,
        catalogue: Catalogue,
        engine: sqlalchemy.Engine,
        new: Examples,
        age_s: float,
        state: str,
    ) -> None:
        session = catalogue.sessions.begin(new.session())
        beaten = datetime.now(UTC).replace(tzinfo=None) - timedelta(seconds=age_s)
        with engine.begin() as connection:
            connection.execute(
                text("UPDATE sessions SET owner_machine = 'elsewhere', heartbeat_at = :at"),
                {"at": beaten},
            )

        assert catalogue.sessions.get(session.id).state == state
        with pytest.raises(CatalogueError, match="taken over"):
            catalogue.sessions.heartbeat(session.id)
        # A process that lost its session keeps what it had measured, and does not revive it.
        (task,) = catalogue.trials.ensure_tasks(session.id, new.tasks(1))
        catalogue.trials.add(session.id, [new.trial(task)])
        assert catalogue.sessions.get(session.id).state == state

    def test_a_heartbeat_moves_the_session_on(self, catalogue: Catalogue, new: Examples) -> None:
        session = catalogue.sessions.begin(new.session())
        catalogue.sessions.heartbeat(session.id)
        beaten = catalogue.sessions.get(session.id)
        assert beaten.heartbeat_at > session.heartbeat_at

        (task,) = catalogue.trials.ensure_tasks(session.id, new.tasks(1))
        catalogue.trials.add(session.id, [new.trial(task)])
        assert catalogue.sessions.get(session.id).heartbeat_at > beaten.heartbeat_at
        assert catalogue.sessions.get(session.id).updated_at > session.updated_at

    def test_seconds_by_phase_add_up_over_the_runs_of_a_session(
        self, catalogue: Catalogue, new: Examples
    ) -> None:
        session = catalogue.sessions.begin(new.session())
        assert session.seconds == {}
        catalogue.sessions.add_seconds(session.id, {"search": 2.0, "measure": 1.5})
        catalogue.sessions.add_seconds(session.id, {"measure": 0.25, "import": 0.0})

        seconds = {"search": 2.0, "measure": 1.75, "import": 0.0}
        assert catalogue.sessions.get(session.id).seconds == seconds
        for bad in (-1.0, math.nan, math.inf):
            with pytest.raises(ValueError, match="search"):
                catalogue.sessions.add_seconds(session.id, {"measure": 1.0, "search": bad})
        assert catalogue.sessions.get(session.id).seconds == seconds
        assert catalogue.sessions.list()[0].seconds == seconds

    def test_sessions_are_listed_newest_first(self, catalogue: Catalogue, new: Examples) -> None:
        names = ["first", "second", "third"]
        for name in names:
            catalogue.sessions.begin(new.session(name=name))

        assert [session.name for session in catalogue.sessions.list(limit=2)] == ["third", "second"]
        assert [session.name for session in catalogue.sessions.list()] == names[::-1]

    def test_an_unknown_session_is_named_in_the_error(
        self, catalogue: Catalogue, new: Examples
    ) -> None:
        for call in (
            lambda: catalogue.sessions.get("deadbeef"),
            lambda: catalogue.sessions.resume("deadbeef"),
            lambda: catalogue.sessions.heartbeat("deadbeef"),
            lambda: catalogue.sessions.set_budget("deadbeef", 1),
            lambda: catalogue.sessions.add_seconds("deadbeef", {}),
            lambda: catalogue.trials.failures("deadbeef"),
            lambda: catalogue.trials.add("deadbeef", []),
            lambda: list(catalogue.trials.read(session_id="deadbeef")),
        ):
            with pytest.raises(CatalogueError, match="deadbeef"):
                call()

    def test_an_imported_session_needs_no_model(self, catalogue: Catalogue, new: Examples) -> None:
        session = catalogue.sessions.begin(new.session(model_digest=None, origin="import"))
        assert (session.model_name, session.origin) == (None, "import")


class TestLibrariesAndBenchmarks:
    def test_both_are_kept_with_all_they_hold(
        self, catalogue: Catalogue, engine: sqlalchemy.Engine, new: Examples
    ) -> None:
        session = catalogue.sessions.begin(new.session())
        library = catalogue.libraries.add(
            NewLibrary("small", "artifacts/small/model.so", "ab", "recipe", {"k": 1}, session.id)
        )
        run = catalogue.benchmarks.add(
            NewBenchRun(
                name="small",
                recipe_digest="recipe",
                host={"cpu_name": "AMD EPYC"},
                host_fingerprint="host",
                toolchain={"apache-tvm": "0.27.0.post1"},
                environment={"load": 0.5},
                results={"tuned": {"samples_s": [0.1, 0.2]}},
                library_id=library,
            )
        )

        query = text(
            "SELECT b.results, l.path, s.public_id FROM bench_runs b JOIN libraries l"
            " ON l.id = b.library_id JOIN sessions s ON s.id = l.session_id WHERE b.id = :id"
        )
        with engine.connect() as connection:
            results, path, public_id = connection.execute(query, {"id": run}).one()
        results = json.loads(results) if isinstance(results, str) else results
        assert results == {"tuned": {"samples_s": [0.1, 0.2]}}
        assert (path, public_id) == ("artifacts/small/model.so", session.id)

        back = catalogue.benchmarks.get(run)
        assert back.results == {"tuned": {"samples_s": [0.1, 0.2]}}
        assert (back.environment, back.host["cpu_name"]) == ({"load": 0.5}, "AMD EPYC")
        assert back.library == "artifacts/small/model.so"

    def test_benchmarks_are_listed_newest_first_with_their_verdicts(
        self, catalogue: Catalogue
    ) -> None:
        start = datetime(2026, 11, 1, tzinfo=UTC)
        ids = [
            catalogue.benchmarks.add(
                NewBenchRun(
                    name=name,
                    recipe_digest="recipe",
                    host={"cpu_name": "AMD EPYC"},
                    host_fingerprint=host,
                    toolchain={},
                    environment={},
                    results=results,
                    measured_at=start + timedelta(days=day),
                )
            )
            for name, host, results, day in (
                ("small", "here", {"verdict": "tuned is 1.3x as fast"}, 2),
                ("small", "there", {}, 1),
                ("large", "here", {"verdict": "cannot be told apart"}, 3),
            )
        ]
        small, other, large = ids

        found = catalogue.benchmarks.list()
        assert [run.id for run in found] == [large, small, other]
        assert [run.verdict for run in found][1:] == ["tuned is 1.3x as fast", None]
        assert (found[0].name, found[0].cpu_name) == ("large", "AMD EPYC")
        assert found[0].measured_at == start + timedelta(days=3)
        assert [run.id for run in catalogue.benchmarks.list(1)] == [large]
        here = catalogue.benchmarks.list(name="small", host_fingerprint="here")
        assert [run.id for run in here] == [small]
        assert catalogue.benchmarks.list(recipe_digest="another") == []
        assert catalogue.benchmarks.get(small).info == found[1]

    def test_a_benchmark_that_is_not_there_is_named(self, catalogue: Catalogue) -> None:
        with pytest.raises(CatalogueError, match="no benchmark 7"):
            catalogue.benchmarks.get(7)


class TestSoundness:
    def test_foreign_keys_are_enforced(self, catalogue: Catalogue, new: Examples) -> None:
        session = catalogue.sessions.begin(new.session())
        (task,) = catalogue.trials.ensure_tasks(session.id, [new.task("a")])
        (trial,) = catalogue.trials.add(session.id, [new.trial(task)])
        with pytest.raises(sqlalchemy.exc.IntegrityError):
            catalogue.trials.reuse(12345, [trial])
        assert catalogue.sessions.get(session.id).reused == 0
        assert catalogue.maintenance.check() == []

    def test_check_names_what_is_damaged(
        self, catalogue: Catalogue, engine: sqlalchemy.Engine, new: Examples
    ) -> None:
        session = catalogue.sessions.begin(new.session())
        tasks = catalogue.trials.ensure_tasks(session.id, new.tasks(2))
        ids = catalogue.trials.add(session.id, [new.trial(tasks[0], 1.0 + n) for n in range(5)])
        assert catalogue.maintenance.check() == []

        damage = (
            ("UPDATE trials SET mean_s = 9 WHERE id = :id", ids[0]),
            ("UPDATE trials SET trace_json = :junk WHERE id = :id", ids[1]),
            (f"UPDATE trials SET task_id = {tasks[1]}, workload_id = workload_id WHERE id = :id",
             ids[2]),
            ("DELETE FROM trials WHERE id = :id", ids[3]),
            ("UPDATE workloads SET module_json = :junk WHERE structural_hash = 'hash1'", 0),
            ("UPDATE workloads SET content_digest = 'other' WHERE structural_hash = 'hash0'", 0),
        )  # fmt: skip
        with engine.begin() as connection:
            for statement, trial_id in damage:
                values = {"id": trial_id, "junk": b"junk"}
                connection.execute(
                    text(statement),
                    {name: value for name, value in values.items() if f":{name}" in statement},
                )

        found = "\n".join(catalogue.maintenance.check())
        assert f"trial {ids[0]} has score_s 9" in found
        assert f"trial {ids[1]} has a damaged trace" in found
        assert f"trial {ids[2]} names another" in found
        assert f"session {session.id} has 4 of 5 trials" in found
        assert "damaged module" in found
        assert "another module than its digest says" in found

    def test_processes_that_write_at_once_lose_nothing(
        self, catalogue: Catalogue, url: str
    ) -> None:
        commands = [[sys.executable, str(WRITER), url, f"recipe{n}", "25", "5"] for n in range(3)]
        processes = [
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for command in commands
        ]
        outputs = [process.communicate(timeout=300) for process in processes]

        assert [process.returncode for process in processes] == [0, 0, 0], outputs
        acknowledged = {int(word) for out, _ in outputs for word in out.split() if word.isdigit()}
        stored = list(catalogue.trials.read())
        assert len(stored) == 3 * 25 * 5
        assert acknowledged >= {trial.trial_id for trial in stored}
        assert len({trial.candidate_digest for trial in stored}) == len(stored)
        assert {session.state for session in catalogue.sessions.list()} == {"finished"}
        assert catalogue.maintenance.check() == []

    def test_processes_that_open_a_new_catalogue_at_once_all_succeed(self, url: str) -> None:
        command = [sys.executable, str(WRITER), url, "recipe", "1", "1"]
        processes = [
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            for _ in range(4)
        ]
        errors = [process.communicate(timeout=300)[1] for process in processes]

        assert [process.returncode for process in processes] == [0] * 4, errors
        with Catalogue.open(url, create=False) as catalogue:
            assert len(list(catalogue.trials.read())) == 4
