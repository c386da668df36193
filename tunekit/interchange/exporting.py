"""From the catalogue into MetaSchedule's files, for stock TVM to load and apply."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tunekit.catalogue import Catalogue
from tunekit.catalogue.queries.contents import RecordContent
from tunekit.catalogue.queries.filters import RecordFilter
from tunekit.errors import UsageError
from tunekit.files import open_to_others
from tunekit.interchange.json_files import RECORDS, WORKLOADS
from tunekit.ir.trace import portable
from tunekit.machine.toolchain import require_tvm
from tunekit.wording import last_lines

_Group = tuple[str, str, str]
_SCRATCH = ".tunekit-export-"


@dataclass(frozen=True)
class ExportedFolder:
    """A folder that stock TVM loads: all its records are for one target, from one host."""

    path: Path
    target_json: str
    host_fingerprint: str
    workloads: int
    records: int


@dataclass(frozen=True)
class ExportReport:
    """What was written and what was not.

    Attributes:
        folders: one, or one for each target, host and toolchain.
        failures: trials without seconds: they are not records.
        slower: records left out because only the fastest were asked for.
        unwritable: records that TVM cannot write down: id and reason.
    """

    folders: list[ExportedFolder]
    failures: int
    slower: int
    unwritable: list[tuple[int, str]]

    @property
    def records(self) -> int:
        """Records written in all."""
        return sum(folder.records for folder in self.folders)


def export_records(
    catalogue: Catalogue,
    record_filter: RecordFilter,
    folder: Path,
    *,
    top: int | None = None,
    force: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> ExportReport:
    """Writes records as MetaSchedule's two files.

    Stock TVM looks a record up by its workload alone. So records for several targets, or from
    several hosts or versions of TVM, go into a folder each, inside of `folder`.

    The files appear when they are whole: a reader never sees a part of them.

    Args:
        catalogue: has the records.
        record_filter: which.
        folder: gets the files; it is made if need be.
        top: only so many of each workload, the fastest; what won a final counts as fastest.
        force: replace files that are there.
        say: told what is being done.

    Raises:
        UsageError: files are there, the folder cannot be written, or there is no such record.
    """
    require_tvm()
    with _refused(folder):
        _refuse_existing(folder, force=force)
    count, failures = catalogue.records.counts(record_filter)
    if not count:
        raise UsageError(
            f"no record of {catalogue.location} is meant"
            + (f" ({failures} trials failed, and failures are not records)" if failures else ""),
            hint="`tunekit records ls` with the same filters shows which there are",
        )
    chosen = record_filter
    if top is not None:
        chosen = replace(record_filter, ids=tuple(catalogue.records.best_ids(record_filter, top)))
    # Inside of a folder that is there: it may be a mount point, or all that may be written to.
    base = folder if folder.is_dir() else folder.parent
    with _refused(base):
        base.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=base))
    try:
        writers: dict[_Group, _Writer] = {}
        unwritable: list[tuple[int, str]] = []
        say(f"writing {len(chosen.ids) if chosen.ids and top else count} records")
        for content in catalogue.records.contents(chosen):
            group = (content.target_json, content.host_fingerprint, content.toolchain_key)
            if group not in writers:
                writers[group] = _Writer(scratch / str(len(writers)), content)
            try:
                writers[group].add(catalogue, content)
            except (ValueError, TypeError, RuntimeError, KeyError) as error:
                unwritable.append((content.trial_id, last_lines(error)[:200]))
        places = _places(folder, list(writers))
        folders = []
        for group, writer in writers.items():
            workloads = writer.workloads
            with _refused(places[group]):
                _put(writer.scratch, places[group])
            folders.append(
                ExportedFolder(places[group], group[0], group[1], workloads, writer.records)
            )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    written = sum(each.records for each in folders)
    return ExportReport(folders, failures, count - written - len(unwritable), unwritable)


class _Writer:
    """One database of stock TVM, written by TVM itself."""

    def __init__(self, scratch: Path, content: RecordContent) -> None:
        from tvm.s_tir.meta_schedule.database import JSONDatabase
        from tvm.target import Target

        scratch.mkdir()
        self.scratch = scratch
        self.records = 0
        self._database = JSONDatabase(work_dir=str(scratch))
        self._target = Target(json.loads(content.target_json))
        self._known: dict[int, tuple[Any, Any]] = {}

    @property
    def workloads(self) -> int:
        """Lines of the workloads' file."""
        with (self.scratch / WORKLOADS).open("rb") as file:
            return sum(1 for _ in file)

    def add(self, catalogue: Catalogue, content: RecordContent) -> None:
        import tvm
        from tvm.s_tir.meta_schedule.arg_info import ArgInfo
        from tvm.s_tir.meta_schedule.database import TuningRecord

        from tunekit.ir.trace import load_trace

        if content.workload_id not in self._known:
            module = tvm.ir.load_json(catalogue.records.workload_module(content.workload_id))
            self._known[content.workload_id] = (
                self._database.commit_workload(module),
                ArgInfo.from_entry_func(module, False),
            )
        workload, arguments = self._known[content.workload_id]
        self._database.commit_tuning_record(
            TuningRecord(
                portable(load_trace(content.trace_json)),
                workload,
                list(content.samples_s),
                self._target,
                arguments,
            )
        )
        self.records += 1


@contextmanager
def _refused(folder: Path) -> Iterator[None]:
    """Errors of a folder that cannot be used leave this block as wrong usage."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"cannot write into {folder}: {error.strerror or error}",
            hint="choose a folder that you may write to",
        ) from error


def _refuse_existing(folder: Path, *, force: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"-o {folder} is a file", hint="give the name of a folder")
    if force or not folder.is_dir():
        return
    there = [
        path
        for name in (WORKLOADS, RECORDS)
        for path in (folder / name, *folder.glob(f"*/{name}"))
        if path.exists()
    ]
    if there:
        raise UsageError(
            f"{there[0]} exists already", hint="choose another folder, or add --force to replace it"
        )


def _places(folder: Path, groups: list[_Group]) -> dict[_Group, Path]:
    """The folder itself for a single group; else one inside of it for each, by target and host."""
    if len(groups) == 1:
        return {groups[0]: folder}
    names = {group: _name(group) for group in groups}
    times = Counter(names.values())
    places: dict[_Group, Path] = {}
    seen: Counter[str] = Counter()
    for group, name in names.items():
        seen[name] += 1
        places[group] = folder / (f"{name}-{seen[name]}" if times[name] > 1 else name)
    return places


def _name(group: _Group) -> str:
    target = json.loads(group[0])
    words = [str(target.get("kind", "target")), target.get("mcpu") or target.get("arch") or ""]
    return "-".join([*(word for word in words if word), group[1][:8]]).replace("/", "_")


def _put(scratch: Path, place: Path) -> None:
    """Moves the two files to their place, or the whole folder where there is none yet."""
    if not place.exists():
        _sync(scratch / WORKLOADS, scratch / RECORDS)
        place.parent.mkdir(parents=True, exist_ok=True)
        open_to_others(scratch)
        scratch.rename(place)
        return
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=place) as inside:
        # Onto the same disk: what is there goes when nothing but its name is left to be changed.
        workloads = Path(shutil.move(scratch / WORKLOADS, Path(inside) / "workloads"))
        records = Path(shutil.move(scratch / RECORDS, Path(inside) / "records"))
        _sync(workloads, records)
        # Records point at workloads by their line. Without records the old workloads mean nothing,
        # so at no moment do the two files that a reader finds not belong together.
        (place / RECORDS).unlink(missing_ok=True)
        workloads.replace(place / WORKLOADS)
        records.replace(place / RECORDS)


def _sync(*files: Path) -> None:
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
