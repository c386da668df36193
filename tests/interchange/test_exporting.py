"""Records as MetaSchedule's files: stock TVM loads and applies them."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tunekit.catalogue import (
    Catalogue,
    Failure,
    FailureKind,
    NewSession,
    NewTask,
    NewTrial,
    NewWorkload,
)
from tunekit.catalogue.queries.filters import RecordFilter
from tunekit.errors import CatalogueError, UsageError
from tunekit.interchange.exporting import export_records
from tunekit.interchange.json_files import RECORDS, WORKLOADS
from tunekit.machine.toolchain import versions

if TYPE_CHECKING:
    from tests.interchange.conftest import Tuned

_STOCK = Path(__file__).parents[1] / "support" / "stock_tvm.py"


@pytest.fixture
def catalogue(tuned: Tuned, tmp_path: Path) -> Iterator[Catalogue]:
    """A copy of the tuned model's catalogue."""
    with Catalogue.open(tuned.catalogue) as original:
        original.maintenance.backup(tmp_path / "copy.db")
    with Catalogue.open(tmp_path / "copy.db") as copy:
        yield copy


def _lines(folder: Path, name: str) -> list[object]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def test_stock_tvm_loads_applies_and_runs_what_was_exported(
    tuned: Tuned, catalogue: Catalogue, tmp_path: Path
) -> None:
    report = export_records(catalogue, RecordFilter(session=tuned.session), tmp_path / "out")
    (tmp_path / "graph.json").write_text(tuned.graph)
    target = tuned.prepared.target.spec
    done = subprocess.run(
        [sys.executable, str(_STOCK), str(tmp_path / "graph.json"), str(tmp_path / "out"), target],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    stock = json.loads(done.stdout.splitlines()[-1])
    good, _ = catalogue.records.counts(RecordFilter())
    assert stock["records"] == report.records == good
    # Every kernel whose record has an instruction at all; a kernel may be best as it is.
    assert stock["scheduled"] >= 2
    assert stock["scheduled_without"] == 0
    assert stock["error"] < 1e-4
    assert not stock["tunekit"]


def test_seconds_are_kept_exactly_and_every_record_has_its_target(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    export_records(catalogue, RecordFilter(), tmp_path / "out")
    written = _lines(tmp_path / "out", RECORDS)
    assert sorted(tuple(record[1][1]) for record in written) == sorted(  # type: ignore[index]
        record.samples_s for record in catalogue.records.listed(RecordFilter(), limit=None)
    )
    assert all(record[1][2]["kind"] == "llvm" for record in written)  # type: ignore[index]
    hashes = [line[0] for line in _lines(tmp_path / "out", WORKLOADS)]  # type: ignore[index]
    assert len(set(hashes)) == len(hashes)


def test_failures_are_left_out_and_counted(
    tuned: Tuned, catalogue: Catalogue, tmp_path: Path
) -> None:
    task = catalogue.trials.summaries(tuned.session)[0].task_id
    failed = NewTrial(task, "bad", "{}", failure=Failure(FailureKind.RUN_ERROR, "no"))
    catalogue.trials.add(tuned.session, [failed])
    before = catalogue.records.counts(RecordFilter())
    report = export_records(catalogue, RecordFilter(), tmp_path / "out")
    assert (report.records, report.failures) == before
    assert report.failures >= 1
    assert len(_lines(tmp_path / "out", RECORDS)) == report.records


def test_only_the_best_of_each_workload(catalogue: Catalogue, tmp_path: Path) -> None:
    report = export_records(catalogue, RecordFilter(), tmp_path / "out", top=1)
    (folder,) = report.folders
    assert folder.records == folder.workloads == len(catalogue.records.listed_best(RecordFilter()))
    assert report.slower == catalogue.records.counts(RecordFilter())[0] - folder.records


def test_files_that_are_there_are_replaced_by_force_only(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export_records(catalogue, RecordFilter(), out, top=1)
    before = (out / RECORDS).read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        export_records(catalogue, RecordFilter(), out)
    assert (out / RECORDS).read_bytes() == before
    report = export_records(catalogue, RecordFilter(), out, force=True)
    assert len(_lines(out, RECORDS)) == report.records > before.count(b"\n")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "copy.db") == [
        *(f"copy.db{rest}" for rest in ("-shm", "-wal")),
        "out",
    ]


def test_a_folder_may_be_on_another_disk_than_the_one_that_it_is_in(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    """As a mount point is."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second disk")
    with tempfile.TemporaryDirectory(dir=memory) as disk:
        out = tmp_path / "out"
        out.symlink_to(disk)
        export_records(catalogue, RecordFilter(), out, top=1)
        report = export_records(catalogue, RecordFilter(), out, force=True)
        assert len(_lines(out, RECORDS)) == report.records
        assert {path.name for path in Path(disk).iterdir()} == {RECORDS, WORKLOADS}


def test_records_for_several_targets_or_hosts_lie_apart(
    tuned: Tuned, catalogue: Catalogue, tmp_path: Path
) -> None:
    original = next(trial for trial in catalogue.trials.read() if trial.samples_s)
    workload = catalogue.records.listed(RecordFilter(ids=(original.trial_id,)))[0].workload_id
    module = catalogue.records.workload_module(workload)
    for target, host in (
        ('{"kind":"llvm","mcpu":"znver2","num-cores":4}', original.host_fingerprint),
        (original.target_json, "another"),
    ):
        session = catalogue.sessions.begin(
            NewSession(
                name="elsewhere",
                recipe_yaml="",
                recipe_digest=target,
                model_digest=None,
                model_name="",
                target_json=target,
                host={},
                host_fingerprint=host,
                toolchain=versions(),
                budget_trials=1,
                seed=0,
            )
        )
        kernel = NewWorkload(original.structural_hash, module, "", original.task_name)
        (task,) = catalogue.trials.ensure_tasks(session.id, [NewTask(kernel, kernel.name, 1.0)])
        trial = NewTrial(task, original.candidate_digest, original.trace_json, (1e-3,))
        catalogue.trials.add(session.id, [trial])
    report = export_records(catalogue, RecordFilter(), tmp_path / "out")
    assert not (tmp_path / "out" / RECORDS).exists()
    assert sorted(folder.records for folder in report.folders)[:2] == [1, 1]
    assert len({folder.path for folder in report.folders}) == 3
    for folder in report.folders:
        assert folder.path.parent == tmp_path / "out"
        targets = [record[1][2]["mcpu"] for record in _lines(folder.path, RECORDS)]  # type: ignore[index]
        assert set(targets) == {json.loads(folder.target_json)["mcpu"]}
    with pytest.raises(UsageError, match="exists already"):
        export_records(catalogue, RecordFilter(), tmp_path / "out")


def test_what_cannot_be_exported_is_told_before_anything_is_written(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="no record of"):
        export_records(catalogue, RecordFilter(operator="nothing"), tmp_path / "out")
    with pytest.raises(CatalogueError, match="no session"):
        export_records(catalogue, RecordFilter(session="zzzz"), tmp_path / "out")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="is a file"):
        export_records(catalogue, RecordFilter(), tmp_path / "file")
    with pytest.raises(UsageError, match=r"cannot write into .*: File name too long"):
        export_records(catalogue, RecordFilter(), tmp_path / ("long" * 100))
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "file").read_text() == "mine"
    assert not list(tmp_path.glob(".tunekit*"))
