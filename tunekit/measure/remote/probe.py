"""Whether a device works and its session lives, and what it says of itself.

These run in the process of a session; `remote` is TVM's RPC session.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunekit.measure.build import PROBE_FLOATS
from tunekit.measure.measurer import MeasureOptions
from tunekit.measure.messages import SessionLost, failure_text

_EXPIRED = "RPCSessionTimeoutError"


class Refused(Exception):  # noqa: N818 - reads as what happened
    """The device cannot run what is built for its target."""


class Lost(Exception):  # noqa: N818 - reads as what happened
    """The session with the device is over; `message` says how."""

    def __init__(self, message: SessionLost) -> None:
        super().__init__(message.text)
        self.message = message


def how_lost(error: Exception) -> SessionLost:
    """What an error of a session that is over says of its end."""
    return SessionLost(failure_text(error), expired=_EXPIRED in repr(error))


def require_alive(remote: Any, error: Exception) -> None:
    """Tells a candidate's failure, which the device lives on to report, from the session's end.

    Raises:
        Lost: the session is over.
    """
    expired = how_lost(error).expired
    if not expired:
        try:
            remote.get_function("runtime.NumThreads")()
        except Exception as after:  # noqa: BLE001 - no answer means that it is gone
            expired = how_lost(after).expired
        else:
            return
    raise Lost(SessionLost(failure_text(error), expired))


def run_probe(remote: Any, options: MeasureOptions, library: Path) -> None:
    """Runs something small, before a candidate gets the blame for what a device cannot do.

    Raises:
        Refused: the device cannot run what is built for it.
        Lost: the session is over.
    """
    import numpy as np
    import tvm

    try:
        module = load_library(remote, library)
        device = remote.device(options.device, 0)
        if not device.exist:
            raise Refused(f"it has no device of kind {options.device}")
        source = np.arange(PROBE_FLOATS, dtype="float32")
        tensors = [tvm.runtime.tensor(values, device) for values in (source, np.zeros_like(source))]
        module["main"](*tensors)
        if not np.array_equal(tensors[1].numpy(), source + 1):
            raise Refused("it computes 16 sums wrong")
    except Refused:
        raise
    except Exception as error:  # noqa: BLE001 - a device that cannot is no bug
        require_alive(remote, error)
        raise Refused(failure_text(error)) from None


def device_facts(remote: Any) -> dict[str, Any]:
    """What the device says of itself; what it does not know is left out."""
    facts: dict[str, Any] = {}
    for name, function in (
        ("cpu", "target.llvm_get_system_cpu"),
        ("triple", "target.llvm_get_system_triple"),
        ("threads", "runtime.NumThreads"),
    ):
        try:
            answer = remote.get_function(function)()
        except Exception as error:  # noqa: BLE001 - a runtime without a compiler has no such function
            require_alive(remote, error)
            continue
        facts[name] = int(answer) if name == "threads" else str(answer)
    return facts


def require_threads(facts: Mapping[str, Any], threads: int) -> None:
    """Refuses a device whose seconds would be kept as if they were taken with all threads.

    Raises:
        Refused: its server has fewer.
    """
    there = facts.get("threads", threads)
    if there < threads:
        raise Refused(
            f"its server has {there} thread{'' if there == 1 else 's'} and the target {threads}: "
            f"start it with TVM_NUM_THREADS={threads}, or measure with --threads {there}"
        )


def limit_threads(remote: Any, threads: int) -> None:
    """Fewer threads than the device's server has; it cannot be given more from here."""
    try:
        # 1: prefer the big cores where there are two kinds.
        remote.get_function("runtime.config_threadpool")(1, threads)
    except Exception as error:  # noqa: BLE001 - a runtime of another make
        require_alive(remote, error)


def load_library(remote: Any, library: Path) -> Any:
    """Brings a library to the device and loads it there."""
    remote.upload(str(library))
    return remote.load_module(library.name)
