"""MetaSchedule's files into the catalogue: whole lines in, damaged ones aside with the reason."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tunekit.catalogue import Catalogue, toolchain_key
from tunekit.catalogue.queries.filters import RecordFilter
from tunekit.errors import UsageError
from tunekit.interchange.exporting import export_records
from tunekit.interchange.importing import QUARANTINE, ImportReport, import_folder
from tunekit.interchange.json_files import RECORDS, WORKLOADS
from tunekit.interchange.replay import Replayer, Strand, TraceLine
from tunekit.machine.host import detect_host
from tunekit.machine.toolchain import versions

if TYPE_CHECKING:
    from tests.interchange.conftest import Tuned

Damage = Callable[[Any], None]


@pytest.fixture(scope="session")
def exported(tuned: Tuned, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files") / "out"
    with Catalogue.open(tuned.catalogue) as catalogue:
        export_records(catalogue, RecordFilter(), folder)
    return folder


class Folder:
    """A copy of the exported files, to be damaged."""

    def __init__(self, source: Path, path: Path) -> None:
        path.mkdir()
        self.path = path
        self.workloads = (source / WORKLOADS).read_text().splitlines()
        self.records = (source / RECORDS).read_text().splitlines()
        self.write()

    def write(self, end: str = "\n") -> None:
        (self.path / WORKLOADS).write_text("\n".join(self.workloads) + "\n")
        (self.path / RECORDS).write_text("\n".join(self.records) + end)

    def change(self, line: int, damage: Damage) -> None:
        value = json.loads(self.records[line - 1])
        damage(value)
        self.records[line - 1] = json.dumps(value)

    def content(self) -> tuple[bytes, bytes]:
        return (self.path / WORKLOADS).read_bytes(), (self.path / RECORDS).read_bytes()


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Folder:
    return Folder(exported, tmp_path / "work_dir")


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    with Catalogue.open(tmp_path / "imported.db") as opened:
        yield opened


@pytest.fixture
def take(folder: Folder, catalogue: Catalogue, replayer: Replayer) -> Callable[..., ImportReport]:
    def call(**options: Any) -> ImportReport:
        return import_folder(folder.path, catalogue, replayer, **{"measured_on": "this", **options})

    return call


def _records(place: Path | Catalogue, **wanted: Any) -> set[tuple[Any, ...]]:
    if isinstance(place, Path):
        with Catalogue.open(place, create=False) as opened:
            return _records(opened, **wanted)
    found = place.records.listed(RecordFilter(**wanted), limit=None)
    return {
        (each.structural_hash, each.candidate_digest, each.samples_s, each.target_json)
        for each in found
    }


def test_everything_comes_back_as_it_was(
    tuned: Tuned, take: Callable[..., ImportReport], catalogue: Catalogue, folder: Folder
) -> None:
    before = folder.content()
    report = take()
    assert (report.added, report.known, report.bad) == (len(folder.records), 0, [])
    assert _records(catalogue) == _records(tuned.catalogue)
    (session,) = catalogue.sessions.list()
    assert (session.origin, session.state, session.name) == ("import", "finished", "work_dir")
    assert session.budget_trials == session.trials_done == report.added
    assert catalogue.maintenance.check() == []
    assert folder.content() == before
    assert not (folder.path / QUARANTINE).exists()


def test_imported_records_are_found_by_lookups(
    tuned: Tuned, take: Callable[..., ImportReport], catalogue: Catalogue
) -> None:
    take()
    hashes = [task.structural_hash for task in tuned.prepared.tasks]
    found = catalogue.records.best(
        structural_hashes=hashes,
        target_json=tuned.prepared.target.spec,
        host_fingerprint=detect_host().fingerprint,
        toolchain_key=toolchain_key(versions()),
    )
    assert {record.structural_hash for record in found} == set(hashes)


def test_records_of_an_unknown_host_are_kept_and_apply_nowhere(
    tuned: Tuned, take: Callable[..., ImportReport], catalogue: Catalogue
) -> None:
    report = take(measured_on="unknown")
    assert len(_records(catalogue, host="unknown")) == report.added
    assert not catalogue.records.best(
        structural_hashes=None,
        target_json=tuned.prepared.target.spec,
        host_fingerprint=detect_host().fingerprint,
        top_k=None,
    )
    # Said later who measured them: now they count here.
    assert take(measured_on="this").added == report.added


def test_what_is_imported_twice_counts_once(
    take: Callable[..., ImportReport], catalogue: Catalogue, folder: Folder
) -> None:
    every = list(folder.records)
    folder.records = every[:3] + every[:1]
    folder.write()
    assert (take().added, len(catalogue.sessions.list())) == (3, 1)
    folder.records = every
    folder.write()
    report = take()
    assert (report.added, report.known) == (len(every) - 3, 3)
    again = take()
    assert (again.added, again.known, again.sessions) == (0, len(every), {})
    assert take(measured_on="unknown").added == 0
    assert len(catalogue.sessions.list()) == 2
    assert len(_records(catalogue)) == len(every)


def test_records_measured_here_are_not_imported_on_top(
    tuned: Tuned, folder: Folder, replayer: Replayer, tmp_path: Path
) -> None:
    with Catalogue.open(tuned.catalogue) as original:
        original.maintenance.backup(tmp_path / "same.db")
    with Catalogue.open(tmp_path / "same.db") as catalogue:
        for measured_on in ("this", "unknown"):
            report = import_folder(folder.path, catalogue, replayer, measured_on=measured_on)  # type: ignore[arg-type]
            assert (report.added, report.known) == (0, len(folder.records))
        assert len(catalogue.sessions.list()) == 1


def _set(*path: int, to: Any) -> Damage:
    def damage(record: Any) -> None:
        for step in path[:-1]:
            record = record[step]
        record[path[-1]] = to

    return damage


def _attributes_of_nothing(record: Any) -> None:
    """The first instruction with two attributes: TVM takes them for what they should be."""
    scope = next(each for each in record[1][0][0] if each[0] in ("SetScope", "GetSBlock"))
    scope[2] = [None, None]


_DAMAGES: list[tuple[Damage, str]] = [
    (_set(0, to=99), "workload index 99 is out of range"),
    (_set(0, to=-1), "workload index -1 is out of range"),
    (_set(0, to=True), "workload index True is out of range"),
    (_set(1, to=[]), "not a record"),
    (_set(1, 1, to=None), "it has no seconds"),
    (_set(1, 1, to=[-1.0]), "not a measurement"),
    (_set(1, 1, to=[float("nan")]), "not a measurement"),
    (_set(1, 1, to=["fast"]), "its seconds hold 'fast'"),
    (_set(1, 2, to=None), "it has no target"),
    (_set(1, 2, to={"kind": "abacus"}), 'Target kind "abacus" is not defined'),
    (_set(1, 0, to=[[]]), "not a trace"),
    (_set(1, 0, 0, 0, to=["GetSBlock"]), "instruction 0 of its trace is malformed"),
    (_set(1, 0, 0, 0, 0, to="Conjure"), "Conjure is not registered"),
    (_set(1, 0, 0, 0, 2, to=["nowhere", "main"]), "Cannot find a block with the name: nowhere"),
    (_set(1, 0, 1, to=[[10**8, 1]]), "decides about instruction 100000000"),
    (_set(1, 0, 1, to=[[-1, 1]]), "decides about instruction -1"),
    (_set(1, 0, 1, to=[7]), "malformed decision"),
]


def test_each_damaged_record_is_told_and_the_others_go_in(
    take: Callable[..., ImportReport], folder: Folder, catalogue: Catalogue
) -> None:
    good = list(folder.records)
    folder.records = []
    for damage, _ in _DAMAGES:
        folder.records.append(good[0])
        folder.change(len(folder.records), damage)
    folder.records += good
    folder.write()
    before = folder.content()
    report = take()
    assert report.added == len(good)
    assert [(line.file, line.line) for line in report.bad] == [
        (RECORDS, number) for number in range(1, len(_DAMAGES) + 1)
    ]
    for line, (_, reason) in zip(report.bad, _DAMAGES, strict=True):
        assert reason in line.reason
    assert folder.content() == before
    assert report.quarantine == folder.path / QUARANTINE
    aside = [json.loads(line) for line in report.quarantine.read_text().splitlines()]
    assert [entry["text"] for entry in aside] == folder.records[: len(_DAMAGES)]
    assert [entry["reason"] for entry in aside] == [line.reason for line in report.bad]
    assert catalogue.maintenance.check() == []


def test_a_trace_that_kills_tvm_costs_only_its_own_record(
    take: Callable[..., ImportReport], folder: Folder
) -> None:
    folder.change(2, _attributes_of_nothing)
    folder.change(4, _attributes_of_nothing)
    folder.write()
    report = take()
    assert report.added == len(folder.records) - 2
    assert [(line.line, "SIGSEGV" in line.reason) for line in report.bad] == [(2, True), (4, True)]


def test_a_trace_for_another_workload_is_refused(
    take: Callable[..., ImportReport], folder: Folder
) -> None:
    index = json.loads(folder.records[0])[0]
    folder.change(1, _set(0, to=(index + 1) % len(folder.workloads)))
    folder.write()
    (bad,) = take().bad
    assert bad.line == 1
    assert "does not replay" in bad.reason


def test_torn_and_unreadable_lines(take: Callable[..., ImportReport], folder: Folder) -> None:
    count = len(folder.records)
    folder.records[1] = folder.records[1][:200]
    folder.records[2] = ""
    folder.records[-1] = folder.records[-1][:-30]
    folder.write(end="")
    raw = (folder.path / RECORDS).read_bytes()
    (folder.path / RECORDS).write_bytes(raw.replace(b"keys", b"ke\xff\xfe", 1))
    report = take()
    assert report.added == count - 4
    reasons = {line.line: line.reason for line in report.bad}
    assert reasons[1].startswith("not UTF-8 at byte ")
    assert reasons[2].startswith("not JSON: ")
    assert reasons[3] == "empty line"
    assert reasons[count] == "torn: the file ends in the middle of the line"


def test_a_whole_last_line_without_its_end_is_good(
    take: Callable[..., ImportReport], folder: Folder
) -> None:
    folder.write(end="")
    assert take().added == len(folder.records)


def test_failures_are_counted_apart(take: Callable[..., ImportReport], folder: Folder) -> None:
    folder.change(1, _set(1, 1, to=[1e10]))
    folder.change(3, _set(1, 1, to=[1e-3, 1e10]))
    folder.write()
    report = take()
    assert (report.added, report.failed, report.damaged) == (len(folder.records) - 2, 2, 0)
    assert "failed when it was measured (1e+10 s)" in report.bad[0].reason


@pytest.mark.parametrize(
    "workload",
    [
        '["1"',
        '["1", 2]',
        '["1", "!!!"]',
        json.dumps(["1", base64.b64encode(b"\x02\0\0\0\0\0\0\0{}").decode()]),
    ],
    ids=["torn", "no module", "no base64", "no graph"],
)
def test_a_damaged_workload_costs_its_records(
    take: Callable[..., ImportReport], folder: Folder, workload: str
) -> None:
    index = json.loads(folder.records[0])[0]
    lost = sum(json.loads(record)[0] == index for record in folder.records)
    folder.workloads[index] = workload
    folder.write()
    report = take()
    assert report.added == len(folder.records) - lost
    assert (report.bad[0].file, report.bad[0].line) == (WORKLOADS, index + 1)
    assert report.damaged == lost + 1
    assert f"its workload, line {index + 1} of {WORKLOADS}" in report.bad[1].reason


def test_a_hash_that_another_tvm_computed_does_not_matter(
    take: Callable[..., ImportReport], folder: Folder, tuned: Tuned, catalogue: Catalogue
) -> None:
    folder.workloads = [json.dumps(["7", json.loads(line)[1]]) for line in folder.workloads]
    folder.write()
    take()
    assert _records(catalogue) == _records(tuned.catalogue)


def test_records_for_two_targets_become_two_sessions(
    take: Callable[..., ImportReport], folder: Folder, catalogue: Catalogue
) -> None:
    folder.change(1, _set(1, 2, to={"kind": "llvm", "mcpu": "znver2", "num-cores": 8}))
    folder.write()
    report = take()
    assert len(report.sessions) == 2
    assert '{"kind":"llvm","mcpu":"znver2","num-cores":8}' in report.sessions
    assert len(_records(catalogue, target="znver2")) == 1


def test_bad_lines_go_where_they_are_wanted(
    take: Callable[..., ImportReport], folder: Folder, catalogue: Catalogue, tmp_path: Path
) -> None:
    folder.records[0] = "{"
    folder.write()
    with pytest.raises(UsageError, match="--quarantine"):
        take(quarantine=tmp_path / "missing" / "bad.jsonl")
    assert catalogue.sessions.list() == []
    report = take(quarantine=tmp_path / "bad.jsonl")
    assert report.quarantine == tmp_path / "bad.jsonl"
    assert not (folder.path / QUARANTINE).exists()


def test_a_folder_without_the_files_is_refused(
    catalogue: Catalogue, replayer: Replayer, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        import_folder(tmp_path / "gone", catalogue, replayer, measured_on="this")
    with pytest.raises(UsageError, match=f"has no {WORKLOADS} and no {RECORDS}"):
        import_folder(tmp_path, catalogue, replayer, measured_on="this")


def test_a_replay_that_does_not_end_is_given_up(exported: Path) -> None:
    workload = json.loads((exported / WORKLOADS).read_text().splitlines()[0])
    # So many look-ups of the root block take far longer than the limit.
    endless = [[["GetSBlock", [], ["root", "main"], [f"b{n}"]] for n in range(200_000)], []]
    strand = Strand(0, workload, (TraceLine(1, endless, {"kind": "llvm"}),))
    with Replayer(jobs=1, timeout_s=0.3) as replayer:
        outcomes = list(replayer.replay([strand]))
    assert "did not finish within 0.3 s" in outcomes[-1].reason  # type: ignore[union-attr]
