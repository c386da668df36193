"""Looking back at sessions: which there are, and how one of them went."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy
from sqlalchemy import text

from tunekit.catalogue import Catalogue, Conditions, Failure, FailureKind, NewLibrary, toolchain_key
from tunekit.errors import CatalogueError

if TYPE_CHECKING:
    from tests.catalogue.conftest import Examples

WRITER = Path(__file__).parents[1] / "support" / "writer.py"


def test_sessions_are_found_by_state_name_host_and_recipe(
    catalogue: Catalogue, new: Examples
) -> None:
    running = catalogue.sessions.begin(new.session(name="a"))
    stopped = catalogue.sessions.begin(new.session(name="b", recipe_digest="other"))
    failed = catalogue.sessions.begin(new.session(name="b", host_fingerprint="elsewhere"))
    done = catalogue.sessions.begin(new.session(name="a"))
    catalogue.sessions.close(stopped.id, "interrupted")
    catalogue.sessions.close(failed.id, "failed")
    catalogue.sessions.close(done.id, "finished")

    def ids(**wanted: object) -> list[str]:
        return [found.id for found in catalogue.sessions.list(**wanted)]  # type: ignore[arg-type]

    assert ids() == [done.id, failed.id, stopped.id, running.id]
    assert ids(states=["running"]) == [running.id]
    assert ids(states=["interrupted"]) == [stopped.id]
    assert ids(states=["failed", "finished"]) == [done.id, failed.id]
    assert ids(states=["failed", "finished"], limit=1) == [done.id]
    assert ids(name="b", states=["interrupted", "failed"]) == [failed.id, stopped.id]
    assert ids(host_fingerprint="elsewhere") == [failed.id]
    assert ids(host_fingerprint="nowhere") == []
    assert ids(recipe_digest="other", target_json=new.target) == [stopped.id]
    assert ids(recipe_digest="other", target_json="{}") == []


def test_a_session_whose_process_died_is_listed_as_interrupted(
    catalogue: Catalogue, url: str
) -> None:
    command = [sys.executable, str(WRITER), url, "recipe", "1000000", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        session_id = process.stdout.readline().split()[1]
        assert [found.id for found in catalogue.sessions.list(states=["running"])] == [session_id]
        assert catalogue.sessions.list(states=["interrupted"]) == []
        process.kill()
    assert catalogue.sessions.list(states=["running"]) == []
    (found,) = catalogue.sessions.list(states=["interrupted"])
    assert (found.id, found.state) == (session_id, "interrupted")


def test_a_failed_session_is_work_to_go_on_with(catalogue: Catalogue, new: Examples) -> None:
    session = catalogue.sessions.begin(new.session())
    catalogue.sessions.close(session.id, "failed")
    found = catalogue.sessions.unfinished("recipe", new.target, "host")
    assert found is not None
    assert (found.id, found.state) == (session.id, "failed")


def test_a_session_is_found_by_the_start_of_its_id(
    catalogue: Catalogue, new: Examples, engine: sqlalchemy.Engine
) -> None:
    for public_id in ("ab12cd34", "ab99cd34", "0f00ffff"):
        session = catalogue.sessions.begin(new.session())
        with engine.begin() as connection:
            connection.execute(
                text("UPDATE sessions SET public_id = :new WHERE public_id = :old"),
                {"new": public_id, "old": session.id},
            )
    assert catalogue.sessions.find("0").id == "0f00ffff"
    assert catalogue.sessions.find("AB1 ").id == "ab12cd34"
    assert catalogue.sessions.find("ab99cd34").id == "ab99cd34"
    with pytest.raises(CatalogueError, match=r"several sessions start with 'ab': ab99cd34, ab12"):
        catalogue.sessions.find("ab")
    for missing in ("", "b", "ab12cd345", "%", "__"):
        with pytest.raises(CatalogueError, match=f"there is no session {missing!r}") as raised:
            catalogue.sessions.find(missing)
        assert raised.value.hint == "`tunekit sessions` lists them"


def test_an_account_has_tasks_outcomes_in_order_failures_and_libraries(
    catalogue: Catalogue, new: Examples
) -> None:
    session = catalogue.sessions.begin(new.session())
    first, second = catalogue.trials.ensure_tasks(session.id, new.tasks(2))

    def failed(task: int, kind: FailureKind, words: str) -> object:
        return replace(new.trial(task), samples_s=None, failure=Failure(kind, words))

    catalogue.trials.add(session.id, [new.trial(first, 4.0), new.trial(second, 1.0)])
    catalogue.trials.add(
        session.id,
        [
            failed(first, FailureKind.CRASH, "SIGILL at first"),
            failed(first, FailureKind.BUILD_ERROR, "no such intrinsic"),
            failed(second, FailureKind.CRASH, "SIGSEGV then"),
        ],  # type: ignore[list-item]
    )
    catalogue.trials.add(session.id, [new.trial(first, 3.0)])
    catalogue.libraries.add(NewLibrary("small", "/a/model.so", "00", "recipe", {}, session.id))
    catalogue.libraries.add(NewLibrary("small", "/b/model.so", "11", "recipe", {}, session.id))

    account = catalogue.sessions.report(session.id)
    assert account.session == catalogue.sessions.get(session.id)
    assert account.tasks == catalogue.trials.summaries(session.id)
    assert [(point.task_id, point.score_s) for point in account.outcomes] == [
        (first, 4.0),
        (second, 1.0),
        (first, None),
        (first, None),
        (second, None),
        (first, 3.0),
    ]
    assert [(f.kind.value, f.count, f.task_name, f.text) for f in account.failures] == [
        ("crash", 2, "conv_hash1", "SIGSEGV then"),
        ("build_error", 1, "conv_hash0", "no such intrinsic"),
    ]
    assert account.host["cpu_name"] == "AMD EPYC"
    assert account.toolchain["torch"] == "2.12.1"
    assert [library.path for library in account.libraries] == ["/b/model.so", "/a/model.so"]
    # Each task is called twice; the first trial alone says nothing about the second task.
    assert account.curve() == [(2, 10.0), (6, 8.0)]


def test_a_curve_starts_from_what_other_sessions_had_measured_before(
    catalogue: Catalogue, new: Examples
) -> None:
    earlier = catalogue.sessions.begin(new.session())
    tasks = catalogue.trials.ensure_tasks(earlier.id, new.tasks(2))
    catalogue.trials.add(earlier.id, [new.trial(tasks[0], 5.0), new.trial(tasks[1], 2.0)])
    elsewhere = catalogue.sessions.begin(new.session(host_fingerprint="elsewhere"))
    (task,) = catalogue.trials.ensure_tasks(elsewhere.id, new.tasks(1))
    catalogue.trials.add(elsewhere.id, [new.trial(task, 0.1)])

    session = catalogue.sessions.begin(new.session())
    first, second = catalogue.trials.ensure_tasks(session.id, new.tasks(2))
    catalogue.trials.add(session.id, [new.trial(first, 6.0), new.trial(first, 4.0)])
    # What comes later is not where this session started from.
    catalogue.trials.add(earlier.id, [new.trial(tasks[1], 1.0)])

    account = catalogue.sessions.report(session.id)
    assert account.known_s == {first: 5.0, second: 2.0}
    assert account.curve() == [(0, 14.0), (2, 12.0)]
    assert (
        catalogue.sessions.report(session.id, measured_with={"repeat": 3}).known_s
        == account.known_s
    )
    assert catalogue.sessions.report(session.id, measured_with={"repeat": 4}).known_s == {}


def test_a_session_without_a_time_for_each_task_has_no_curve(
    catalogue: Catalogue, new: Examples
) -> None:
    session = catalogue.sessions.begin(new.session())
    assert catalogue.sessions.report(session.id).curve() == []
    first, _ = catalogue.trials.ensure_tasks(session.id, new.tasks(2))
    catalogue.trials.add(session.id, [new.trial(first)])
    assert catalogue.sessions.report(session.id).curve() == []


def test_trials_measured_before_are_counted_over_all_sessions_under_the_same_conditions(
    catalogue: Catalogue, new: Examples
) -> None:
    for changes in ({}, {}, {"host_fingerprint": "elsewhere"}, {"toolchain": {"x": "1"}}):
        session = catalogue.sessions.begin(new.session(**changes))
        first, second = catalogue.trials.ensure_tasks(session.id, new.tasks(2))
        crashed = replace(
            new.trial(first), samples_s=None, failure=Failure(FailureKind.CRASH, "SIGILL")
        )
        catalogue.trials.add(session.id, [new.trial(first), crashed])
    catalogue.trials.add(session.id, [new.trial(second)])

    here = Conditions(new.target, "host", toolchain_key({"apache-tvm": "0.27.0.post1"}))
    hashes = ["hash0", "hash1", "unheard of", "hash0"]
    counts = catalogue.trials.measured_before(here, hashes)
    assert counts == {"hash0": 4}


def test_of_several_algorithms_for_a_convolution_the_fastest_counts(
    catalogue: Catalogue, new: Examples
) -> None:
    session = catalogue.sessions.begin(new.session())
    places = ["direct 1 64 64 56 56", "winograd4 1 64 64 56 56", "winograd4 1 64 64 56 56"]
    direct, before, after, other = catalogue.trials.ensure_tasks(
        session.id,
        [
            *(
                replace(new.task(f"site{number}", f'{{"number": {number}}}'), implementation=place)
                for number, place in enumerate(places)
            ),
            new.task("elsewhere"),
        ],
    )

    def measure(task: int, *seconds: float) -> None:
        catalogue.trials.add(session.id, [new.trial(task, score_s) for score_s in seconds])

    measure(other, 1.0)
    measure(direct, 4.0)
    measure(before, 1.0)
    assert catalogue.sessions.report(session.id).curve() == [(2, 10.0)]
    measure(after, 9.0, 2.0)
    # Each task is called twice: 2 * (1 + 1 + 2) seconds are less than 2 * (1 + 4).
    assert catalogue.sessions.report(session.id).curve() == [(2, 10.0), (5, 8.0)]
