"""Replaying foreign traces where they can do no harm.

TVM trusts what it reads: a wrong attribute in a trace is a null pointer, and the process is gone.
So traces from elsewhere are replayed in children forked from a process that has TVM loaded; one
that dies or hangs costs the record it was at, and another child goes on behind it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tunekit.machine.toolchain import require_tvm
from tunekit.processes.child import die_with_parent, leave_no_core
from tunekit.processes.exit import Exit
from tunekit.wording import last_lines

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

_LONGEST_REASON = 300
_REWRITE = "meta_schedule.layout_rewrite_preproc"
_PRELOADED = ["tunekit.interchange.preload"]


@dataclass(frozen=True)
class TraceLine:
    """A trace and a target as MetaSchedule's JSON has them, by the number of their line."""

    line: int
    trace: list[Any]
    target: dict[str, Any]


@dataclass(frozen=True)
class Strand:
    """A workload (its index and its JSON) and some records of it, to be replayed in order."""

    workload: int
    json: list[str]
    records: tuple[TraceLine, ...]


@dataclass(frozen=True)
class ReplayedWorkload:
    """A workload that TVM understands; `name` is made of its blocks' names."""

    workload: int
    structural_hash: str
    module_json: str
    name: str
    flops: float


@dataclass(frozen=True)
class ReplayedRecord:
    """A trace that does what it says: `trace_json` as the catalogue keeps it, `candidate_digest`
    of the scheduled module, `target_json` canonical."""

    line: int
    candidate_digest: str
    trace_json: str
    target_json: str


@dataclass(frozen=True)
class Rejected:
    """A record, or with `line` None a workload, that does not replay, and why."""

    workload: int
    line: int | None
    reason: str


Replayed = ReplayedWorkload | ReplayedRecord | Rejected


@dataclass(frozen=True)
class _Begun:
    """A child turns to a record (None: to the workload)."""

    line: int | None


@dataclass(frozen=True)
class _Finished:
    """A child is done with its strand."""


@dataclass
class _Child:
    process: ForkServerProcess
    connection: Connection
    strand: Strand
    deadline: float
    line: int | None = None


class Replayer:
    """Some child processes that replay. Use it as a context manager; it can replay several times.

    Args:
        jobs: children at a time; as many as there are cores if left out.
        timeout_s: of one record.
    """

    def __init__(self, *, jobs: int | None = None, timeout_s: float = 60.0) -> None:
        require_tvm()
        self._jobs = jobs or len(os.sched_getaffinity(0))
        self._timeout_s = timeout_s
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(_PRELOADED)
        self._idle: list[tuple[ForkServerProcess, Connection]] = []
        self._busy: list[_Child] = []

    def __enter__(self) -> Replayer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the children."""
        for process, connection in [
            *self._idle,
            *((child.process, child.connection) for child in self._busy),
        ]:
            _end(process, connection)
        self._idle.clear()
        self._busy.clear()

    def replay(self, strands: Iterable[Strand]) -> Iterator[Replayed]:
        """What becomes of each workload and record, as it is known; each is told once."""
        waiting = deque(strands)
        told: set[int] = set()
        while waiting or self._busy:
            while waiting and len(self._busy) < self._jobs:
                self._start(waiting.popleft())
            limit = min(child.deadline for child in self._busy) - time.monotonic()
            ready = wait([child.connection for child in self._busy], timeout=max(limit, 0.0))
            for child in list(self._busy):
                if child.connection in ready:
                    message = _receive(child.connection)
                    if message is None:
                        yield from self._lost(child, _death(child.process), waiting, told)
                    elif isinstance(message, _Begun):
                        child.line = message.line
                        child.deadline = time.monotonic() + self._timeout_s
                    elif isinstance(message, _Finished):
                        self._busy.remove(child)
                        self._idle.append((child.process, child.connection))
                    elif not (_about_workload(message) and message.workload in told):
                        if _about_workload(message):
                            told.add(message.workload)
                        yield message
                elif time.monotonic() >= child.deadline:
                    reason = f"replaying it did not finish within {self._timeout_s:g} s"
                    yield from self._lost(child, reason, waiting, told)

    def _start(self, strand: Strand) -> None:
        process, connection = self._idle.pop() if self._idle else self._fork()
        # The first child waits until TVM is loaded: that takes seconds, on a busy host many.
        child = _Child(process, connection, strand, time.monotonic() + 10 * self._timeout_s + 600)
        self._busy.append(child)
        connection.send(strand)

    def _fork(self) -> tuple[ForkServerProcess, Connection]:
        mine, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        return process, mine

    def _lost(
        self, child: _Child, reason: str, waiting: deque[Strand], told: set[int]
    ) -> Iterator[Rejected]:
        """Gives up what a child was at, and hands what it had before it to another one."""
        self._busy.remove(child)
        _end(child.process, child.connection)
        strand = child.strand
        if child.line is None:
            if strand.workload not in told:
                told.add(strand.workload)
                yield Rejected(strand.workload, None, reason)
            return
        yield Rejected(strand.workload, child.line, reason)
        lines = [record.line for record in strand.records]
        left = strand.records[lines.index(child.line) + 1 :]
        if left:
            waiting.appendleft(replace(strand, records=left))


def _about_workload(message: Any) -> bool:
    return isinstance(message, ReplayedWorkload) or (
        isinstance(message, Rejected) and message.line is None
    )


def _receive(connection: Connection) -> Any:
    try:
        return connection.recv()
    except (EOFError, OSError):
        return None


def _death(process: ForkServerProcess) -> str:
    process.join(10)
    code = process.exitcode
    ending = "no exit status" if code is None else Exit.of_code(code)
    return f"replaying it ended TVM's process with {ending}"


def _end(process: ForkServerProcess, connection: Connection) -> None:
    connection.close()
    process.kill()
    process.join(10)


# -- in the child -----------------------------------------------------------------------------


def _serve(connection: Connection) -> None:
    """What a child does: strands in, what becomes of them out."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    leave_no_core()
    # The server that forks goes with whoever started it, and this process with the server.
    die_with_parent()
    # TVM prints backtraces of its own; what is wrong is told by whoever asked.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    while True:
        try:
            strand = connection.recv()
            for message in _replay(strand):
                connection.send(message)
        except (EOFError, OSError):
            os._exit(0)


def _replay(strand: Strand) -> Iterator[Replayed | _Begun | _Finished]:
    from tvm.s_tir.meta_schedule.database import Workload

    yield _Begun(None)
    try:
        module = Workload.from_json(strand.json).mod
        yield _described(strand.workload, module)
    except Exception as error:  # noqa: BLE001 - whatever TVM says of it is the reason
        yield Rejected(strand.workload, None, _reason(error))
        yield _Finished()
        return
    for record in strand.records:
        yield _Begun(record.line)
        try:
            yield _replayed(module, record)
        except Exception as error:  # noqa: BLE001
            yield Rejected(strand.workload, record.line, _reason(error))
    yield _Finished()


def _described(workload: int, module: Any) -> ReplayedWorkload:
    import tvm
    import tvm_ffi
    from tvm.s_tir.analysis import estimate_tir_flops
    from tvm.s_tir.meta_schedule.arg_info import ArgInfo

    ArgInfo.from_entry_func(module, False)  # raises where nothing could ever be measured
    return ReplayedWorkload(
        workload=workload,
        structural_hash=str(tvm_ffi.structural_hash(module)),
        module_json=tvm.ir.save_json(module),
        name="_".join(_blocks(module)) or "imported",
        flops=float(estimate_tir_flops(module)),
    )


def _blocks(module: Any) -> Sequence[str]:
    from tvm.s_tir import Schedule

    schedule = Schedule(module)
    children = schedule.get_child_blocks(schedule.get_sblock("root"))
    return [str(schedule.get(block).name_hint) for block in children]


def _replayed(module: Any, record: TraceLine) -> ReplayedRecord:
    import tvm
    import tvm_ffi
    from tvm.s_tir import Schedule
    from tvm.s_tir.schedule import Trace

    from tunekit.ir.trace import load_trace
    from tunekit.machine.target import target_spec

    target = target_spec(tvm.target.Target(record.target))
    schedule = Schedule(module)
    Trace.apply_json_to_schedule(_as_it_was(record.trace), schedule)
    digest = tvm_ffi.structural_hash(schedule.mod)
    text = tvm.ir.save_json(schedule.trace)
    # What is kept must do what was read.
    again = Schedule(module)
    load_trace(text).apply_to_schedule(again, remove_postproc=False)
    if tvm_ffi.structural_hash(again.mod) != digest:
        raise ValueError("its trace gives another schedule once it has been saved")
    return ReplayedRecord(record.line, str(digest), text, target)


def _as_it_was(trace: list[Any]) -> list[Any]:
    """The trace with the truth value that MetaSchedule gave and TVM wrote down as 1: with it the
    schedule is, to its hash, the one that was measured."""
    instructions, decisions = trace
    restored = [
        [kind, [inputs[0], True], attributes, outputs]
        if kind == "Annotate" and attributes == [_REWRITE] and inputs[1:] == [1]
        else [kind, inputs, attributes, outputs]
        for kind, inputs, attributes, outputs in instructions
    ]
    return [restored, decisions]


def _reason(error: Exception) -> str:
    """The innermost message of a TVM error, on one line."""
    text = last_lines(error)
    for prefix in ("Error message: ", "The error is: "):
        text = text.removeprefix(prefix)
    return f"does not replay: {text[:_LONGEST_REASON]}"
