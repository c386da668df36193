"""What the forked processes of the remote measuring server do, each for one candidate or device.

TVM's RPC client blocks without a limit and cannot be interrupted, so each session with a device
has a process of its own on this side. Whoever waits for it kills it when its time is over; the
device's server ends the session by itself, at the limit that it was told when it began.
"""

from __future__ import annotations

import functools
import gc
import json
import os
import resource
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

from tunekit.graph.lowering import build as lowering
from tunekit.measure import correctness
from tunekit.measure.correctness import Expected
from tunekit.measure.cpu_cache import EVICT_ALL
from tunekit.measure.measurer import Candidate, MeasureOptions, TensorArgument
from tunekit.measure.noise_guard import (
    Reading,
    UsualSpeed,
    calibration_arguments,
    calibration_module,
    stream_floats,
    time_calibration,
)
from tunekit.measure.remote.protocol import Linking
from tunekit.measure.timing import Bests, Measurement, MeasureOrder, take_readings, time_samples
from tunekit.measure.verdict import failure_text
from tunekit.processes.child import die_with_parent, leave_no_core
from tunekit.rpc.tracker import Grant

if TYPE_CHECKING:
    import mmap

    from tunekit.measure.correctness import Array

_T = TypeVar("_T")

PROBE_FLOATS = 16
_EXPIRED = "RPCSessionTimeoutError"


@dataclass(frozen=True)
class Check:
    """What a candidate's outputs are compared with.

    Attributes:
        expected: what is known of them.
        memory: where they are.
        pool: random floats, for the inputs.
        library: the candidate built to take weights as the workload has them.
    """

    expected: Expected
    memory: mmap.mmap
    pool: Array
    library: Path


@dataclass(frozen=True)
class Load:
    """A built candidate, ready to be brought to a device.

    Attributes:
        candidate: what it is.
        path: the library.
        best_s: the fastest of its workload so far, infinite before there is one.
        check: what its outputs are compared with if it leads, or has taken turns; None where they
            are not to be or cannot be.
    """

    candidate: Candidate
    path: Path
    best_s: float
    check: Check | None


@dataclass(frozen=True)
class Visit:
    """One session with a device.

    Attributes:
        grant: the device.
        loads: what to measure there; may be empty, then the device is only asked who it is.
        rounds: how often each is measured, in turns.
        probe: a library that any device of this target must be able to run; None for a device
            that has shown it before.
        calibration: a library with the calibration kernel, None without the noise guard.
        usual: the device's usual speed.
        session_s: when the device's server ends the session, seconds.
    """

    grant: Grant
    loads: tuple[Load, ...]
    rounds: int
    probe: Path | None
    calibration: Path | None
    usual: UsualSpeed
    session_s: float


class Closable(Protocol):
    """A file or socket of the parent's that its children have no use for."""

    def close(self) -> None: ...


def fork(
    job: Callable[[Connection], None], inherited: Iterable[Closable]
) -> tuple[int, Connection]:
    """A child that does the job, with what it says; the child closes what it `inherited`."""
    import socket

    mine, theirs = socket.socketpair()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        mine.close()
        for connection in inherited:
            connection.close()
        _live(Connection(theirs.detach()), job, parent)
    theirs.close()
    return pid, Connection(mine.detach())


def receive(connection: Connection) -> tuple[Any, ...] | None:
    """What a child says next, None when it is gone."""
    try:
        message: tuple[Any, ...] = connection.recv()
    except (EOFError, OSError):
        return None
    return message


def end(pid: int) -> None:
    """Kills a child with everything it started, and collects it."""
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    os.waitpid(pid, 0)


def _live(connection: Connection, job: Callable[[Connection], None], parent: int) -> NoReturn:
    try:
        os.setsid()
        die_with_parent(parent)
        leave_no_core()
        job(connection)
    except BrokenPipeError:
        pass
    finally:
        # Not sys.exit: nothing of the server's may be flushed or finalised twice, and TVM's
        # destructors would wait for a device that may be gone.
        os._exit(0)


# -- building -------------------------------------------------------------------------------------


def build(
    connection: Connection,
    candidate: Candidate,
    options: MeasureOptions,
    linking: Linking,
    path: Path,
) -> None:
    """Builds a candidate into the file `path`, and into another one for the comparison of its
    outputs where it needs that; says ("built",) or ("failed", text)."""
    resource.setrlimit(resource.RLIMIT_DATA, (options.memory_bytes, options.memory_bytes))
    try:
        import tvm
        from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock

        module = tvm.ir.load_json(candidate.module_json)
        without = RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(module)
        export(without, options, linking, path)
        if candidate.packs_weights and candidate.workload_json is not None:
            export(module, options, linking, unpacked(path))
    except BaseException as error:  # noqa: BLE001 - a failed candidate is data
        connection.send(("failed", failure_text(error)))
    else:
        connection.send(("built",))


def unpacked(path: Path) -> Path:
    """The library beside one at `path` that takes weights as the workload has them."""
    return path.with_stem(f"{path.stem}-unpacked")


def refer(
    connection: Connection, candidate: Candidate, pool: Array, memory: mmap.mmap, limit_bytes: int
) -> None:
    """Computes the expected outputs of a candidate's workload, on this machine; says ("expected",
    `Expected`) or ("failed", text)."""
    resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))
    try:
        import tvm

        assert candidate.workload_json is not None
        expected = correctness.compute_expected(
            tvm.ir.load_json(candidate.workload_json),
            tvm.target.Target("llvm"),
            candidate.unscheduled_arguments,
            pool,
            memory,
        )
    except BaseException as error:  # noqa: BLE001 - then there is nothing to compare with
        connection.send(("failed", failure_text(error)))
    else:
        connection.send(("expected", expected))


def build_calibration(
    connection: Connection, options: MeasureOptions, linking: Linking, path: Path
) -> None:
    """Builds the noise guard's kernel; says ("built",) or ("failed", text)."""
    try:
        export(calibration_module(options.threads), options, linking, path)
    except BaseException as error:  # noqa: BLE001 - told as the reason why nothing can be built
        connection.send(("failed", failure_text(error)))
    else:
        connection.send(("built",))


def build_probe(
    connection: Connection, options: MeasureOptions, linking: Linking, path: Path
) -> None:
    """Builds a function that adds one to 16 floats; says ("built",) or ("failed", text)."""
    try:
        import tvm
        from tvm import te

        source = te.placeholder((PROBE_FLOATS,), "float32", name="source")
        result = te.compute((PROBE_FLOATS,), lambda i: source[i] + 1.0, name="result")
        function = te.create_prim_func([source, result])
        module = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
        if options.device != "cpu":
            module = _bind_threads(module)
        export(module, options, linking, path)
    except BaseException as error:  # noqa: BLE001 - told as the reason why nothing can be built
        connection.send(("failed", failure_text(error)))
    else:
        connection.send(("built",))


def export(module: Any, options: MeasureOptions, linking: Linking, path: Path) -> None:
    """Builds a scheduled module for the target and writes it as a file that a device loads."""
    import tvm
    from tvm.support import cc

    target = tvm.target.Target(json.loads(options.target))
    library = lowering.build(module, target)
    if linking.compiler is None:
        library.export_library(str(path))
    else:
        library.export_library(str(path), fcompile=cc.cross_compiler(linking.compiler))


def _bind_threads(module: Any) -> Any:
    from tvm.s_tir import Schedule

    schedule = Schedule(module)
    (loop,) = schedule.get_loops(schedule.get_sblock("result"))
    schedule.bind(loop, "threadIdx.x")
    return schedule.mod


# -- measuring ------------------------------------------------------------------------------------


def visit(connection: Connection, options: MeasureOptions, wanted: Visit) -> None:
    """One session with a device, from the connection to the last measurement.

    Says, in this order: ("device", facts) once the device has shown that it works (facts are None
    where it had before); then for each measurement ("running", key) and ("measured", key, samples,
    seconds) or ("failed", key, text); at last ("done",). In place of the rest it says ("refused",
    text) of a device that cannot run the probe, ("lost", text) where the session broke, and
    ("expired", text) where the device's server ended it for being too long.
    """
    try:
        _stay(connection, options, wanted)
        last: tuple[str, ...] = ("done",)
    except _Refused as error:
        last = ("refused", str(error))
    except _Lost as error:
        last = (error.how, str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, the session is over
        last = (_how_lost(error), failure_text(error))
    # A server whose client just goes away reads "connection reset", and TVM's own then serves
    # nobody any more. Dropping the last reference to the session says goodbye; only then is the
    # word given that ends this process.
    gc.collect()
    connection.send(last)


def _stay(connection: Connection, options: MeasureOptions, wanted: Visit) -> None:
    from tvm import rpc

    device = wanted.grant.device
    session = rpc.connect(
        device.host, device.port, wanted.grant.match_key, session_timeout=wanted.session_s
    )
    if wanted.probe is None:
        connection.send(("device", None))
    else:
        _probe(session, options, wanted.probe)
        facts = _facts(session)
        _require_threads(facts, options.threads)
        connection.send(("device", facts))
    _limit_threads(session, options.threads)
    _SessionRun(connection, session, options, wanted).measure()


class _SessionRun:
    """Measuring within a session, once the device has shown that it works."""

    def __init__(
        self, connection: Connection, session: Any, options: MeasureOptions, wanted: Visit
    ) -> None:
        self._connection = connection
        self._session = session
        self._options = options
        self._wanted = wanted
        self._device = session.device(options.device, 0)
        self._calibrate = self._calibration()

    def measure(self) -> None:
        """All candidates in turns; those that have lost or failed take part no longer."""
        bests = Bests()
        playing: list[_Loaded] = []
        for load in self._wanted.loads:
            player = self._try(load, functools.partial(self._player, load))
            if player is not None:
                playing.append(player)
        for number in range(self._wanted.rounds):
            is_last = number == self._wanted.rounds - 1
            for player in list(playing):
                if not self._turn(player, bests, is_last=is_last):
                    playing.remove(player)

    def _turn(self, player: _Loaded, bests: Bests, *, is_last: bool) -> bool:
        """One turn of one candidate; False where it takes no other."""
        load, measurement = player.load, player.measurement
        key, workload = load.candidate.key, load.candidate.workload_json
        best_s = min(load.best_s, bests.beside(workload, key))
        self._connection.send(("running", key))
        started = time.monotonic()
        readings = self._try(load, lambda: self._readings(player, best_s))
        if readings is None:
            return False
        seconds = time.monotonic() - started
        measurement.add(readings, self._wanted.usual)
        leads = measurement.seconds < best_s
        bests.note(workload, key, measurement.seconds)
        takes_turns = self._wanted.rounds > 1
        has_lost = (
            takes_turns
            and workload is not None
            and measurement.has_lost(best_s, self._wanted.usual.seconds)
        )
        then = "again"
        if is_last or has_lost:
            then = "check" if load.check is not None and (leads or takes_turns) else "over"
        self._connection.send(("measured", key, readings, seconds, then))
        if then == "check":
            wrong = self._try(load, lambda: self._what_is_wrong(player))
            if wrong is not None:
                self._connection.send(("checked", key, wrong))
        return then == "again"

    def _try(self, load: Load, job: Callable[[], _T]) -> _T | None:
        """None where it failed, which has been said then."""
        try:
            return job()
        except Exception as error:  # noqa: BLE001 - a failed candidate is data
            _require_alive(self._session, error)
            self._connection.send(("failed", load.candidate.key, failure_text(error)))
            return None

    def _player(self, load: Load) -> _Loaded:
        tensors = [self._random(argument) for argument in load.candidate.arguments]
        module = _load(self._session, load.path)
        return _Loaded(load, module, tensors, Measurement(noise_guard=self._options.noise_guard))

    def _random(self, argument: TensorArgument) -> Any:
        import numpy as np
        import tvm

        if not argument.dtype.startswith("float"):
            # Index tensors: zero is a valid position in whatever they look up.
            zeros = np.zeros(argument.shape, argument.dtype)
            return tvm.runtime.tensor(zeros, self._device)
        # Filled over there: nothing but the candidate itself goes over the network.
        tensor = tvm.runtime.empty(argument.shape, argument.dtype, self._device)
        self._session.get_function("tvm.contrib.random.random_fill_for_measure")(tensor)
        return tensor

    def _readings(self, player: _Loaded, best_s: float) -> list[Reading]:
        options = self._options
        # What is far away can evict everything or nothing.
        flush = EVICT_ALL if options.cache == "flush" else ""

        def sample(number: int, repeat: int) -> list[float]:
            return time_samples(
                player.module, self._device, player.tensors, number, repeat, evict=flush
            )

        order = MeasureOrder(
            player.load.candidate.slow_s,
            best_s,
            self._wanted.usual.seconds,
            once=self._wanted.rounds > 1,
        )
        return take_readings(sample, self._calibrate, options, order)

    def _what_is_wrong(self, player: _Loaded) -> str:
        load, check = player.load, player.load.check
        assert check is not None
        module = player.module
        if check.library != load.path:
            # Never the same file twice: the device would write into a library that it runs.
            module = _load(self._session, check.library)
        return correctness.what_is_wrong(
            module["main"],
            check.expected,
            check.memory,
            load.candidate.unscheduled_arguments,
            check.pool,
            self._device,
        )

    def _calibration(self) -> Callable[[], list[float]] | None:
        if self._wanted.calibration is None or not self._wanted.loads:
            return None
        threads = self._options.threads
        library = _load(self._session, self._wanted.calibration)
        stream = self._random(TensorArgument((stream_floats(threads),), "float32"))
        arguments = calibration_arguments(stream, threads, self._device)
        return lambda: time_calibration(library, self._device, arguments)


@dataclass(frozen=True)
class _Loaded:
    """A candidate on the device."""

    load: Load
    module: Any
    tensors: Sequence[Any]
    measurement: Measurement


class _Refused(Exception):  # noqa: N818 - reads as what happened
    """The device cannot run what is built for its target."""


class _Lost(Exception):  # noqa: N818 - reads as what happened
    """The session with the device is over; `how` is "lost" or "expired"."""

    def __init__(self, how: str, text: str) -> None:
        super().__init__(text)
        self.how = how


def _how_lost(error: Exception) -> str:
    return "expired" if _EXPIRED in repr(error) else "lost"


def _require_alive(session: Any, error: Exception) -> None:
    """Tells a candidate's failure, which the device lives on to report, from the session's end."""
    how = _how_lost(error)
    if how == "lost":
        try:
            session.get_function("runtime.NumThreads")()
        except Exception as after:  # noqa: BLE001 - no answer means that it is gone
            how = _how_lost(after)
        else:
            return
    raise _Lost(how, failure_text(error))


def _probe(session: Any, options: MeasureOptions, library: Path) -> None:
    """Refuses a device that cannot run what is built for it, before a candidate gets the blame."""
    import numpy as np
    import tvm

    try:
        module = _load(session, library)
        device = session.device(options.device, 0)
        if not device.exist:
            raise _Refused(f"it has no device of kind {options.device}")
        source = np.arange(PROBE_FLOATS, dtype="float32")
        tensors = [tvm.runtime.tensor(values, device) for values in (source, np.zeros_like(source))]
        module["main"](*tensors)
        if not np.array_equal(tensors[1].numpy(), source + 1):
            raise _Refused("it computes 16 sums wrong")
    except _Refused:
        raise
    except Exception as error:  # noqa: BLE001 - a device that cannot is no bug
        _require_alive(session, error)
        raise _Refused(failure_text(error)) from None


def _facts(session: Any) -> dict[str, Any]:
    """What the device says of itself; what it does not know is left out."""
    facts: dict[str, Any] = {}
    for name, function in (
        ("cpu", "target.llvm_get_system_cpu"),
        ("triple", "target.llvm_get_system_triple"),
        ("threads", "runtime.NumThreads"),
    ):
        try:
            answer = session.get_function(function)()
        except Exception as error:  # noqa: BLE001 - a runtime without a compiler has no such function
            _require_alive(session, error)
            continue
        facts[name] = int(answer) if name == "threads" else str(answer)
    return facts


def _require_threads(facts: Mapping[str, Any], threads: int) -> None:
    """Seconds taken with fewer threads would be kept as if they were taken with all."""
    there = facts.get("threads", threads)
    if there < threads:
        raise _Refused(
            f"its server has {there} thread{'' if there == 1 else 's'} and the target {threads}: "
            f"start it with TVM_NUM_THREADS={threads}, or measure with --threads {there}"
        )


def _limit_threads(session: Any, threads: int) -> None:
    """Fewer threads than the device's server has; it cannot be given more from here."""
    try:
        # 1: prefer the big cores where there are two kinds.
        session.get_function("runtime.config_threadpool")(1, threads)
    except Exception as error:  # noqa: BLE001 - a runtime of another make
        _require_alive(session, error)


def _load(session: Any, library: Path) -> Any:
    session.upload(str(library))
    return session.load_module(library.name)
