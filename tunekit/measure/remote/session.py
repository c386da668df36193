"""One session with a device, in a process of its own.

TVM's RPC client blocks without a limit and cannot be interrupted. Whoever waits for this process
kills it when its time is over; the device's server ends the session by itself, at the limit that it
was told when it began.
"""

from __future__ import annotations

import functools
import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tunekit.measure import correctness
from tunekit.measure.correctness import Expected
from tunekit.measure.cpu_cache import EVICT_ALL
from tunekit.measure.measurer import Candidate, MeasureOptions, TensorArgument
from tunekit.measure.messages import (
    Checked,
    DeviceReady,
    DeviceRefused,
    Failed,
    Measured,
    Running,
    SessionDone,
    SessionMessage,
    Then,
    failure_text,
)
from tunekit.measure.noise_guard import (
    Reading,
    UsualSpeed,
    calibration_arguments,
    stream_floats,
    time_calibration,
)
from tunekit.measure.remote.probe import (
    Lost,
    Refused,
    device_facts,
    how_lost,
    limit_threads,
    load_library,
    require_alive,
    require_threads,
    run_probe,
)
from tunekit.measure.timing import Bests, Measurement, MeasureOrder, take_readings, time_samples
from tunekit.rpc.tracker import Grant

if TYPE_CHECKING:
    import mmap

    from tunekit.measure.correctness import Array

_T = TypeVar("_T")


@dataclass(frozen=True)
class OutputCheck:
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
class Upload:
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
    check: OutputCheck | None


@dataclass(frozen=True)
class DeviceSession:
    """What is done in one session with a device.

    Attributes:
        grant: the device.
        uploads: what to measure there; may be empty, then the device is only asked who it is.
        rounds: how often each is measured, in turns.
        probe: a library that any device of this target must be able to run; None for a device
            that has shown it before.
        calibration: a library with the calibration kernel, None without the noise guard.
        usual: the device's usual speed.
        session_s: when the device's server ends the session, seconds.
    """

    grant: Grant
    uploads: tuple[Upload, ...]
    rounds: int
    probe: Path | None
    calibration: Path | None
    usual: UsualSpeed
    session_s: float


def hold_session(connection: Connection, options: MeasureOptions, session: DeviceSession) -> None:
    """One session with a device, from the connection to the last measurement.

    Says, in this order: `DeviceReady`; then for each measurement `Running` and `Measured` (and
    `Checked` where that says so) or `Failed`; at last `SessionDone`. In place of the rest it says
    `DeviceRefused` or `SessionLost`.
    """
    last: SessionMessage
    try:
        _hold(connection, options, session)
        last = SessionDone()
    except Refused as error:
        last = DeviceRefused(str(error))
    except Lost as error:
        last = error.message
    except Exception as error:  # noqa: BLE001 - whatever it is, the session is over
        last = how_lost(error)
    # A server whose client just goes away reads "connection reset", and TVM's own then serves
    # nobody any more. Dropping the last reference to the session says goodbye; only then is the
    # word given that ends this process.
    gc.collect()
    connection.send(last)


def _hold(connection: Connection, options: MeasureOptions, session: DeviceSession) -> None:
    from tvm import rpc

    device = session.grant.device
    remote = rpc.connect(
        device.host, device.port, session.grant.match_key, session_timeout=session.session_s
    )
    if session.probe is None:
        connection.send(DeviceReady(None))
    else:
        run_probe(remote, options, session.probe)
        facts = device_facts(remote)
        require_threads(facts, options.threads)
        connection.send(DeviceReady(facts))
    limit_threads(remote, options.threads)
    _SessionRun(connection, remote, options, session).measure()


class _SessionRun:
    """Measuring within a session, once the device has shown that it works."""

    def __init__(
        self, connection: Connection, remote: Any, options: MeasureOptions, session: DeviceSession
    ) -> None:
        self._connection = connection
        self._remote = remote
        self._options = options
        self._session = session
        self._device = remote.device(options.device, 0)
        self._calibrate = self._calibration()

    def measure(self) -> None:
        """All candidates in turns; those that have lost or failed take part no longer."""
        bests = Bests()
        in_turns: list[_Loaded] = []
        for upload in self._session.uploads:
            loaded = self._try(upload, functools.partial(self._load, upload))
            if loaded is not None:
                in_turns.append(loaded)
        for number in range(self._session.rounds):
            is_last = number == self._session.rounds - 1
            for loaded in list(in_turns):
                if not self._turn(loaded, bests, is_last=is_last):
                    in_turns.remove(loaded)

    def _turn(self, loaded: _Loaded, bests: Bests, *, is_last: bool) -> bool:
        """One turn of one candidate; False where it takes no other."""
        upload, measurement = loaded.upload, loaded.measurement
        key, workload = upload.candidate.key, upload.candidate.workload_json
        best_s = min(upload.best_s, bests.beside(workload, key))
        self._connection.send(Running(key))
        started = time.monotonic()
        readings = self._try(upload, lambda: self._readings(loaded, best_s))
        if readings is None:
            return False
        seconds = time.monotonic() - started
        measurement.add(readings, self._session.usual)
        bests.note(workload, key, measurement.seconds)
        then = self._then(loaded, best_s, is_last=is_last)
        self._connection.send(Measured(readings, key, seconds, then))
        if then == "check":
            problem = self._try(upload, lambda: self._what_is_wrong(loaded))
            if problem is not None:
                self._connection.send(Checked(problem, key))
        return then == "again"

    def _then(self, loaded: _Loaded, best_s: float, *, is_last: bool) -> Then:
        """What comes after a turn: the next one, the comparison of its outputs, or nothing."""
        upload, measurement = loaded.upload, loaded.measurement
        takes_turns = self._session.rounds > 1
        has_lost = (
            takes_turns
            and upload.candidate.workload_json is not None
            and measurement.has_lost(best_s, self._session.usual.seconds)
        )
        if not (is_last or has_lost):
            return "again"
        leads = measurement.seconds < best_s
        return "check" if upload.check is not None and (leads or takes_turns) else "over"

    def _try(self, upload: Upload, job: Callable[[], _T]) -> _T | None:
        """None where it failed, which has been said then."""
        try:
            return job()
        except Exception as error:  # noqa: BLE001 - a failed candidate is data
            require_alive(self._remote, error)
            self._connection.send(Failed(failure_text(error), upload.candidate.key))
            return None

    def _load(self, upload: Upload) -> _Loaded:
        tensors = [self._random(argument) for argument in upload.candidate.arguments]
        module = load_library(self._remote, upload.path)
        return _Loaded(upload, module, tensors, Measurement(noise_guard=self._options.noise_guard))

    def _random(self, argument: TensorArgument) -> Any:
        import numpy as np
        import tvm

        if not argument.dtype.startswith("float"):
            # Index tensors: zero is a valid position in whatever they look up.
            zeros = np.zeros(argument.shape, argument.dtype)
            return tvm.runtime.tensor(zeros, self._device)
        # Filled over there: nothing but the candidate itself goes over the network.
        tensor = tvm.runtime.empty(argument.shape, argument.dtype, self._device)
        self._remote.get_function("tvm.contrib.random.random_fill_for_measure")(tensor)
        return tensor

    def _readings(self, loaded: _Loaded, best_s: float) -> list[Reading]:
        options = self._options
        # What is far away can evict everything or nothing.
        flush = EVICT_ALL if options.cpu_cache == "flush" else ""

        def sample(number: int, repeat: int) -> list[float]:
            return time_samples(
                loaded.module, self._device, loaded.tensors, number, repeat, evict=flush
            )

        order = MeasureOrder(
            loaded.upload.candidate.slow_s,
            best_s,
            self._session.usual.seconds,
            once=self._session.rounds > 1,
        )
        return take_readings(sample, self._calibrate, options, order, evicts=bool(flush))

    def _what_is_wrong(self, loaded: _Loaded) -> str:
        upload, check = loaded.upload, loaded.upload.check
        assert check is not None
        module = loaded.module
        if check.library != upload.path:
            # Never the same file twice: the device would write into a library that it runs.
            module = load_library(self._remote, check.library)
        return correctness.what_is_wrong(
            module["main"],
            check.expected,
            check.memory,
            upload.candidate.unscheduled_arguments,
            check.pool,
            self._device,
        )

    def _calibration(self) -> Callable[[], list[float]] | None:
        if self._session.calibration is None or not self._session.uploads:
            return None
        threads = self._options.threads
        library = load_library(self._remote, self._session.calibration)
        stream = self._random(TensorArgument((stream_floats(threads),), "float32"))
        arguments = calibration_arguments(stream, threads, self._device)
        return lambda: time_calibration(library, self._device, arguments)


@dataclass(frozen=True)
class _Loaded:
    """A candidate on the device."""

    upload: Upload
    module: Any
    tensors: Sequence[Any]
    measurement: Measurement
