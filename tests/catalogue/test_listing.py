"""Looking through records and taking some out."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tunekit.catalogue import Catalogue, Failure, FailureKind
from tunekit.catalogue.queries.filters import RecordFilter, target_text
from tunekit.errors import CatalogueError

if TYPE_CHECKING:
    from tests.catalogue.conftest import Examples

_MOMENT = datetime(2026, 3, 1, 12, tzinfo=UTC)
_CUDA = '{"arch":"sm_90","kind":"cuda"}'


@pytest.fixture
def filled(catalogue: Catalogue, new: Examples) -> Catalogue:
    """Two sessions: trials 1 to 4 of conv_a and conv_b here, 5 of pool_c on another machine."""
    here = catalogue.sessions.begin(new.session())
    tasks = catalogue.trials.ensure_tasks(here.id, [new.task("a"), new.task("b")])
    catalogue.trials.add(
        here.id,
        [
            new.trial(tasks[0], 4e-3, measured_at=_MOMENT),
            new.trial(tasks[0], 2e-3, measured_at=_MOMENT + timedelta(days=1)),
            new.trial(tasks[1], 8e-3, measured_at=_MOMENT + timedelta(days=2)),
            new.trial(
                tasks[1],
                candidate_digest="bad",
                samples_s=None,
                failure=Failure(FailureKind.CRASH, "SIGSEGV"),
            ),
        ],
    )
    catalogue.sessions.close(here.id, "finished")
    there = catalogue.sessions.begin(
        new.session(
            name="large",
            model_digest="other",
            model_name="vit_b_16",
            target_json=_CUDA,
            host={"cpu_name": "Neoverse", "features": ()},
            host_fingerprint="elsewhere",
        )
    )
    task = new.task("c")
    words = replace(task.workload, name="max pool 2x2")
    task = replace(task, workload=words, name="pool_c", flops=None)
    (pool,) = catalogue.trials.ensure_tasks(there.id, [task])
    catalogue.trials.add(there.id, [new.trial(pool, 1e-3, measured_at=_MOMENT)])
    catalogue.sessions.close(there.id, "finished")
    return catalogue


def _ids(catalogue: Catalogue, **wanted: object) -> list[int]:
    found = catalogue.records.listed(RecordFilter(**wanted))  # type: ignore[arg-type]
    return [record.trial_id for record in found]


def test_records_are_listed_newest_or_fastest_first_without_failures(filled: Catalogue) -> None:
    assert _ids(filled) == [5, 3, 2, 1]
    fastest = filled.records.listed(RecordFilter(), order="fastest")
    assert [record.trial_id for record in fastest] == [5, 2, 1, 3]


def test_a_list_comes_in_pages(filled: Catalogue) -> None:
    first = filled.records.listed(RecordFilter(), limit=3)
    rest = filled.records.listed(RecordFilter(), limit=3, offset=3)
    assert [record.trial_id for record in first + rest] == [5, 3, 2, 1]
    assert len(filled.records.listed(RecordFilter(), limit=None)) == 4


_FILTERS: list[tuple[dict[str, object], list[int]]] = [
    ({"model": "VIT"}, [5]),
    ({"model": "small"}, [3, 2, 1]),
    ({"model": "vit_b"}, [5]),
    ({"model": "vitxb"}, []),
    ({"operator": "conv"}, [3, 2, 1]),
    ({"operator": "conv_?"}, [3, 2, 1]),
    ({"operator": "*_B"}, [3]),
    ({"operator": "conv*a*b"}, []),
    ({"operator": "c"}, [5, 3, 2, 1]),
    ({"operator": "%"}, []),
    ({"operator": "Pool 2x2"}, [5]),
    ({"target": "llvm"}, [3, 2, 1]),
    ({"target": "-num-cores=2 llvm"}, [3, 2, 1]),
    ({"target": "sm_90"}, [5]),
    ({"target": _CUDA}, [5]),
    ({"host": "else"}, [5]),
    ({"host": "where"}, []),
    ({"host": "epyc"}, [3, 2, 1]),
    ({"since": _MOMENT + timedelta(days=1)}, [3, 2]),
    ({"until": _MOMENT + timedelta(days=1)}, [5, 1]),
    ({"ids": (2, 4, 5)}, [5, 2]),
    ({"structural_hashes": ("a", "c")}, [5, 2, 1]),
    ({"structural_hashes": ()}, []),
    ({"toolchain_key": "apache-tvm==0.27.0.post1"}, [5, 3, 2, 1]),
    ({"toolchain_key": "apache-tvm==0.19"}, []),
    ({"model": "small", "operator": "*_a", "since": _MOMENT + timedelta(hours=1)}, [2]),
]


def test_filters_narrow(filled: Catalogue) -> None:
    for wanted, ids in _FILTERS:
        assert _ids(filled, **wanted) == ids, wanted


def test_a_structural_hash_is_an_operator_too(filled: Catalogue) -> None:
    assert _ids(filled, operator="b") == [3]


def test_a_session_is_found_by_the_start_of_its_id(filled: Catalogue) -> None:
    newest = filled.sessions.list()[0]
    assert _ids(filled, session=newest.id[:6]) == [5]
    with pytest.raises(CatalogueError, match="no session 'xyz'"):
        _ids(filled, session="xyz")


def test_a_sessions_records_may_include_those_that_it_reused(
    filled: Catalogue, new: Examples
) -> None:
    session = filled.sessions.begin(new.session(recipe_digest="again"))
    (task,) = filled.trials.ensure_tasks(session.id, [new.task("a")])
    filled.trials.reuse(task, [2])
    assert _ids(filled, session=session.id) == []
    assert _ids(filled, session=session.id, with_reused=True) == [2]


def test_a_record_says_what_it_is(filled: Catalogue) -> None:
    record = filled.records.get(2)
    assert record.operator == "conv_a"
    assert record.structural_hash == "a"
    assert record.model_name == "resnet18"
    assert record.cpu_name == "AMD EPYC"
    assert record.score_s == 2e-3
    assert record.gflops == pytest.approx(500)
    assert record.winner_s is None
    filled.records.add_winner(2, [3e-3, 2.5e-3])
    filled.records.add_winner(2, [2.8e-3, 2.7e-3])
    assert filled.records.get(2).winner_s == 2.7e-3


def test_failures_and_unknown_ids_are_no_records(filled: Catalogue) -> None:
    with pytest.raises(CatalogueError, match=r"trial 4 failed \(crash\)"):
        filled.records.get(4)
    with pytest.raises(CatalogueError, match="no record 99"):
        filled.records.get(99)


def test_the_best_of_each_workload_slowest_first(filled: Catalogue) -> None:
    found = filled.records.listed_best(RecordFilter())
    assert [(best.record.trial_id, best.records) for best in found] == [(3, 1), (2, 2), (5, 1)]
    old = filled.records.listed_best(RecordFilter(until=_MOMENT + timedelta(hours=1)))
    assert [(best.record.trial_id, best.records) for best in old] == [(1, 1), (5, 1)]
    assert [
        best.record.trial_id for best in filled.records.listed_best(RecordFilter(), limit=1)
    ] == [3]


def test_the_winner_of_the_latest_final_comes_before_faster_records(filled: Catalogue) -> None:
    assert sorted(filled.records.best_ids(RecordFilter(), 1)) == [2, 3, 5]
    filled.records.add_winner(2, [2e-3])
    filled.records.add_winner(1, [3e-3])
    assert sorted(filled.records.best_ids(RecordFilter(), 1)) == [1, 3, 5]
    assert sorted(filled.records.best_ids(RecordFilter(), 2)) == [1, 2, 3, 5]


def test_counting_tells_failures_apart(filled: Catalogue) -> None:
    assert filled.records.counts(RecordFilter()) == (4, 1)
    assert filled.records.counts(RecordFilter(operator="*_b")) == (1, 1)
    assert filled.records.counts(RecordFilter(model="vit")) == (1, 0)


def test_contents_hold_what_replaying_needs(filled: Catalogue) -> None:
    contents = list(filled.records.contents(RecordFilter(model="small")))
    assert [content.trial_id for content in contents] == [1, 2, 3]
    assert contents[1].trace_json == '{"trace": []}'
    assert contents[1].samples_s == (2e-3,)
    assert filled.records.workload_module(contents[1].workload_id) == '{"module": "a"}'


def test_removed_records_leave_a_sound_catalogue(filled: Catalogue, new: Examples) -> None:
    filled.records.add_winner(2, [2e-3])
    filled.records.add_winner(3, [2e-3])
    session = filled.sessions.begin(new.session(recipe_digest="again"))
    (task,) = filled.trials.ensure_tasks(session.id, [new.task("a")])
    filled.trials.reuse(task, [2])
    with pytest.raises(CatalogueError, match=r"is being run by process .* took results"):
        filled.records.remove(RecordFilter(operator="*_a"))
    filled.sessions.close(session.id, "finished")
    assert filled.records.remove(RecordFilter(operator="*_a")) == 2
    assert _ids(filled) == [5, 3]
    assert filled.maintenance.check() == []
    trials = [(trial.trial_id, trial.position) for trial in filled.trials.read()]
    assert trials == [(3, 0), (4, 1), (5, 0)]
    facts = filled.maintenance.facts()
    assert (facts.records, facts.failures) == (2, 1)
    assert (facts.rows["winners"], facts.rows["reuses"]) == (1, 0)


def test_records_of_a_session_that_runs_stay(filled: Catalogue, new: Examples, url: str) -> None:
    command = [sys.executable, str(Path(__file__).parents[1] / "support" / "writer.py"), url]
    with subprocess.Popen(
        [*command, "recipe", "1000000", "1"], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        while "ack" not in writer.stdout.readline():
            assert writer.poll() is None
        running = filled.sessions.list()[0]
        with pytest.raises(CatalogueError, match="is being run by process"):
            filled.records.remove(RecordFilter(session=running.id))
        writer.kill()
    count, failed = filled.records.counts(RecordFilter(session=running.id))
    assert filled.records.remove(RecordFilter(session=running.id)) == count > 0
    assert filled.sessions.get(running.id).trials_done == failed
    assert filled.maintenance.check() == []


def test_a_trial_that_was_removed_since_it_was_read_is_not_noted(
    filled: Catalogue, new: Examples
) -> None:
    session = filled.sessions.begin(new.session(recipe_digest="again"))
    (task,) = filled.trials.ensure_tasks(session.id, [new.task("a")])
    filled.records.remove(RecordFilter(ids=(1,)))
    filled.trials.reuse(task, [1, 2])
    assert filled.sessions.get(session.id).reused == 1


def test_an_import_goes_with_its_last_record(catalogue: Catalogue, new: Examples) -> None:
    session = catalogue.sessions.begin(new.session(origin="import"))
    (task,) = catalogue.trials.ensure_tasks(session.id, [new.task("a")])
    catalogue.trials.add(session.id, [new.trial(task), new.trial(task, 2e-3)])
    catalogue.sessions.close(session.id, "finished")
    assert catalogue.records.remove(RecordFilter(ids=(1,))) == 1
    assert [found.id for found in catalogue.sessions.list()] == [session.id]
    assert catalogue.records.remove(RecordFilter(ids=(2,))) == 1
    assert catalogue.sessions.list() == []


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ('{"kind":"llvm","mcpu":"znver3","num-cores":2}', "llvm -mcpu=znver3 -num-cores=2"),
        ('{"kind":"llvm","mattr":["+fma","-avx"]}', "llvm -mattr=+fma,-avx"),
        ('{"kind":"cuda","host":{"kind":"llvm"}}', 'cuda -host={"kind":"llvm"}'),
        ("what", "what"),
    ],
)
def test_a_target_on_one_line(target: str, text: str) -> None:
    assert target_text(target) == text
