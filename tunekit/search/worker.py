"""The measuring server: forks one process for each candidate, from one that is warm.

`import tvm` takes seconds, building a candidate a tenth of one. So this process imports TVM once,
starts none of its threads, and forks: a child builds its candidate, waits for its turn, runs it
straight from the JIT, reports, and is gone. Whatever a candidate does, hang, die, exhaust the
memory, ends with its process. All candidates of a batch are built (several at a time) before the
first of them is measured (one at a time), so that building never disturbs a measurement.

Started as ``python -m tunekit.search.worker FD``; speaks pickles over that socket, whose closing
ends it and its children.
"""

from __future__ import annotations

import ctypes
import math
import os
import resource
import signal
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, NoReturn

from tunekit.catalogue.entries import FailureKind
from tunekit.search.trial import Candidate, MeasureOptions, Outcome, TensorArgument

if TYPE_CHECKING:
    import numpy as np

# Built candidates wait in their processes; this many at most, to bound their memory.
_PARKED_LIMIT = 16
_PR_SET_PDEATHSIG = 1
_TEXT_LIMIT = 2000
_POOL_FLOATS = 1 << 22


@dataclass
class _Child:
    """One candidate's process."""

    candidate: Candidate
    pid: int
    connection: Connection
    started: float
    deadline: float
    build_s: float = 0.0
    run_started: float = 0.0
    rounds: int = 0
    samples: tuple[float, ...] = ()

    @property
    def running(self) -> bool:
        return self.run_started > 0


class _Server:
    """Works off one batch at a time."""

    def __init__(self, control: Connection) -> None:
        self._control = control
        self._pool = _random_pool()

    def serve(self) -> None:
        while True:
            try:
                request = self._control.recv()
            except EOFError:
                return
            options, candidates, rounds = request
            if not self._batch(options, candidates, rounds):
                return

    def _batch(self, options: MeasureOptions, candidates: list[Candidate], rounds: int) -> bool:
        """Builds and measures all candidates; False when the tuner has gone away."""
        waiting = list(reversed(candidates))
        while waiting:
            part = [waiting.pop() for _ in range(min(_PARKED_LIMIT, len(waiting)))]
            if not self._part(options, part, rounds):
                return False
        return True

    def _part(self, options: MeasureOptions, candidates: list[Candidate], rounds: int) -> bool:
        to_build = list(reversed(candidates))
        building: list[_Child] = []
        built: list[_Child] = []
        running: list[_Child] = []
        try:
            while to_build or building or built or running:
                while to_build and len(building) < options.jobs:
                    building.append(self._fork(options, to_build.pop()))
                if not to_build and not building and not running:
                    # In the batch's order, not in that of the builds: the same each time.
                    child = min(built, key=lambda child: (child.rounds, child.candidate.key))
                    built.remove(child)
                    child.run_started = time.monotonic()
                    child.deadline = child.run_started + options.run_timeout_s
                    if not _tell(child):
                        self._report(self._dead(child))
                        continue
                    running.append(child)
                active = building + running
                limit = min(child.deadline for child in active) - time.monotonic()
                ready = wait(
                    [self._control, *(child.connection for child in active)],
                    timeout=max(limit, 0.0),
                )
                if self._control in ready:
                    # A batch is answered before the next is sent: this is the socket closing.
                    return False
                now = time.monotonic()
                for child in active:
                    if child.connection in ready:
                        message = _receive(child)
                        if message is not None and message[0] == "built":
                            child.build_s = now - child.started
                            building.remove(child)
                            built.append(child)
                            continue
                        if message is not None and message[0] == "measured":
                            child.samples += tuple(message[1])
                            child.rounds += 1
                            if child.rounds < rounds:
                                # To the end of the queue: the candidates take turns.
                                running.remove(child)
                                child.run_started = 0.0
                                built.append(child)
                                continue
                        outcome = (
                            self._dead(child) if message is None else _finished(child, message)
                        )
                    elif now >= child.deadline:
                        outcome = _timed_out(child, options)
                    else:
                        continue
                    (running if child.running else building).remove(child)
                    _end(child)
                    self._report(outcome)
            return True
        finally:
            for child in building + built + running:
                _end(child)

    def _fork(self, options: MeasureOptions, candidate: Candidate) -> _Child:
        import socket

        mine, theirs = socket.socketpair()
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            mine.close()
            self._control.close()
            _child_main(Connection(theirs.detach()), options, candidate, self._pool)
        theirs.close()
        return _Child(
            candidate,
            pid,
            Connection(mine.detach()),
            started,
            started + options.build_timeout_s,
        )

    def _dead(self, child: _Child) -> Outcome:
        _, status = os.waitpid(child.pid, 0)
        child.pid = 0
        stage = "running" if child.running else "building"
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            name = signal.Signals(number).name
            # Nobody but the kernel's memory killer sends SIGKILL to a child that is in time.
            kind = FailureKind.OUT_OF_MEMORY if number == signal.SIGKILL else FailureKind.CRASH
            text = f"{name} while {stage}"
            if number == signal.SIGILL:
                text += ": the target has instructions that this CPU does not"
        else:
            kind = FailureKind.CRASH
            text = f"exit status {os.WEXITSTATUS(status)} while {stage}"
        return _outcome(child, kind, text)

    def _report(self, outcome: Outcome) -> None:
        self._control.send(outcome)


def _random_pool() -> np.ndarray:
    """Random floats in [0.1, 1.1), shared with every child: no denormals, no overflow."""
    import numpy as np

    pool: np.ndarray = np.random.default_rng(0).random(_POOL_FLOATS, dtype=np.float32)
    pool += np.float32(0.1)
    return pool


def _tell(child: _Child) -> bool:
    try:
        child.connection.send("go")
    except OSError:
        return False
    return True


def _receive(child: _Child) -> tuple[Any, ...] | None:
    try:
        message: tuple[Any, ...] = child.connection.recv()
    except (EOFError, OSError):
        return None
    return message


def _finished(child: _Child, message: tuple[Any, ...]) -> Outcome:
    if message[0] == "measured":
        return _outcome(child, None, "", run_seconds=child.samples)
    text = str(message[1])
    if "bad_alloc" in text or "MemoryError" in text or "Cannot allocate memory" in text:
        kind = FailureKind.OUT_OF_MEMORY
    else:
        kind = FailureKind.RUN_ERROR if child.running else FailureKind.BUILD_ERROR
    return _outcome(child, kind, text)


def _timed_out(child: _Child, options: MeasureOptions) -> Outcome:
    if child.running:
        return _outcome(
            child, FailureKind.RUN_TIMEOUT, f"not measured within {options.run_timeout_s:g} s"
        )
    return _outcome(
        child, FailureKind.BUILD_TIMEOUT, f"not built within {options.build_timeout_s:g} s"
    )


def _outcome(
    child: _Child,
    failure: FailureKind | None,
    text: str,
    run_seconds: tuple[float, ...] | None = None,
) -> Outcome:
    now = time.monotonic()
    return Outcome(
        key=child.candidate.key,
        run_seconds=run_seconds,
        failure=failure,
        text=text[:_TEXT_LIMIT],
        build_s=child.build_s or now - child.started,
        run_s=now - child.run_started if child.running else 0.0,
    )


def _end(child: _Child) -> None:
    """Ends a child's process group and collects it."""
    child.connection.close()
    if not child.pid:
        return
    for kill, target in ((os.killpg, child.pid), (os.kill, child.pid)):
        try:
            kill(target, signal.SIGKILL)
        except ProcessLookupError:
            continue
    os.waitpid(child.pid, 0)
    child.pid = 0


def _child_main(
    connection: Connection, options: MeasureOptions, candidate: Candidate, pool: np.ndarray
) -> NoReturn:
    """The life of a candidate's process; never returns."""
    try:
        os.setsid()
        _die_with_parent()
        resource.setrlimit(resource.RLIMIT_DATA, (options.memory_bytes, options.memory_bytes))
        # A crash is an expected outcome; its core file is of no use to anyone.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        try:
            function = _build(candidate, options)
            connection.send(("built",))
            while True:
                connection.recv()
                connection.send(("measured", _measure(function, candidate, options, pool)))
        except BaseException as error:  # noqa: BLE001 - a failed candidate is data
            text = str(error).strip() or type(error).__name__
            if isinstance(error, MemoryError):
                text = f"MemoryError: {text}"
            connection.send(("failed", _last_lines(text)))
    finally:
        # Not sys.exit: nothing of the server's may be flushed or finalised twice.
        os._exit(0)


def _last_lines(text: str) -> str:
    """The message of a TVM error without the C++ backtrace in front of it."""
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-6:])


def _build(candidate: Candidate, options: MeasureOptions) -> Any:
    import json

    import tvm
    from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock

    module = tvm.ir.load_json(candidate.module_json)
    target = tvm.target.Target(json.loads(options.target))
    module = RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(module)
    library = tvm.tirx.build(module, target)
    # LLVM compiles at the first look-up: now, several candidates at a time and within the build's
    # limit, rather than in the time and the quiet that measuring needs.
    library["main"]
    return library


def _measure(
    function: Any, candidate: Candidate, options: MeasureOptions, pool: np.ndarray
) -> list[float]:
    """Seconds of one call in each sample."""
    import tvm

    device = tvm.runtime.device(options.device, 0)
    tensors = [_tensor(argument, device, pool) for argument in candidate.arguments]
    flush = "cache_flush_cpu_non_first_arg" if options.cache_flush else ""

    def sample(number: int, repeat: int) -> list[float]:
        evaluator = function.time_evaluator(
            "main", device, number=number, repeat=repeat, f_preproc=flush
        )
        return [float(seconds) for seconds in evaluator(*tensors).results]

    first = sample(1, 1)
    if first[0] > candidate.slow_s:
        return first
    number = max(1, math.ceil(options.min_repeat_ms / 1000 / max(first[0], 1e-7)))
    return sample(1 if options.cache_flush else number, options.repeat)


def _tensor(argument: TensorArgument, device: Any, pool: np.ndarray) -> Any:
    import numpy as np
    import tvm

    if argument.dtype in ("float32", "float16", "float64"):
        size = math.prod(argument.shape)
        values = pool[:size] if size <= pool.size else np.resize(pool, size)
        array = values.reshape(argument.shape).astype(argument.dtype)
    else:
        # Index tensors: zero is a valid position in whatever they look up.
        array = np.zeros(argument.shape, argument.dtype)
    return tvm.runtime.tensor(array, device)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Entry of the server process; its one argument is the socket's file descriptor."""
    from tunekit.toolchain import require_tvm

    # Ctrl-C is for the tuner, which finishes its batch; the batch needs its server.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = Connection(int(sys.argv[1]))
    require_tvm()
    import tvm.s_tir.transform  # noqa: F401

    control.send("ready")
    _Server(control).serve()


if __name__ == "__main__":
    main()
