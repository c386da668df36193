"""The process in which `thread_policies.py` lets policies take turns: a request in, seconds out."""

from __future__ import annotations

import ctypes
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from tunekit.machine.tvm_loading import runtime_only

# TVM's threads offer their cores 300 000 times before they sleep: that takes 30 ms on a quiet
# machine, and far longer on others. They do when hardly any CPU time is taken between two looks.
_LOOK_S = 0.02
_ASLEEP = 0.05
_MOST_LOOKS = 100
_TURN_S = 0.15
_FEWEST_ROUNDS = 3
_APART_S = 0.3
_PACED_RUNS = 5


class Own:
    """The standalone library under a policy."""

    def __init__(self, request: Mapping[str, Any], policy: Mapping[str, Any]) -> None:
        folder = Path(request["folder"])
        self.timer = ctypes.CDLL(str(folder / "timer.so"))
        self.timer.seconds_of_runs.restype = ctypes.c_double
        function = getattr(ctypes.CDLL(policy["library"]), request["function"])
        function.restype = ctypes.c_void_p
        self.api = ctypes.c_void_p(function())
        self.policy = [request["threads"], policy["spin_us"], policy["pin"]]
        with np.load(folder / "inputs.npz") as archive:
            self.inputs = [_aligned(archive[name]) for name in archive.files]
        self.model = ctypes.c_void_p()

    def open(self) -> None:
        """Begins a turn."""
        code = self.timer.open_model(self.api, ctypes.byref(self.model), *self.policy)
        for index, array in enumerate(self.inputs):
            data = ctypes.c_void_p(array.ctypes.data)
            code = code or self.timer.bind(self.api, self.model, index, data)
        if code:
            sys.exit(f"a model could not be opened: {code}")

    def seconds(self, runs: int) -> float:
        """Seconds of so many runs."""
        seconds = float(self.timer.seconds_of_runs(self.api, self.model, runs))
        if seconds < 0:
            sys.exit("a run failed")
        return seconds

    def close(self) -> None:
        """Ends the turn: its threads are gone."""
        self.timer.close_model(self.api, self.model)


class Machine:
    """TVM's virtual machine."""

    def __init__(self, folder: Path) -> None:
        tvm = runtime_only("cpu")
        from tvm.runtime.vm import VirtualMachine

        self.device = tvm.device("cpu")
        library = tvm.runtime.load_module(str(folder / "machine.so"))
        self.machine = VirtualMachine(library, self.device)
        with np.load(folder / "inputs.npz") as archive:
            self.tensors = [
                tvm.runtime.tensor(archive[name], self.device) for name in archive.files
            ]

    def open(self) -> None:
        """Begins a turn."""

    def seconds(self, runs: int) -> float:
        """Seconds of so many runs."""
        timed = self.machine.time_evaluator("main", self.device, number=runs, repeat=1)
        return float(timed(*self.tensors).mean) * runs

    def close(self) -> None:
        """Ends the turn when its threads sleep."""
        for _ in range(_MOST_LOOKS):
            before = time.process_time()
            time.sleep(_LOOK_S)
            if time.process_time() - before < _ASLEEP * _LOOK_S:
                return


Contestant = Own | Machine


def main() -> None:
    request = json.loads(sys.stdin.read())
    contestants: list[Contestant] = [
        Machine(Path(request["folder"])),
        *(Own(request, policy) for policy in request["policies"]),
    ]
    found: list[dict[str, Any]] = []
    for beside in ("nothing", "a process that computes"):
        with _busy() if found else nullcontext():
            turns = _turns(contestants, request["seconds"])
        # How long threads stay awake is up to them, whoever else computes.
        idle = [None if found else idle_cpu_ms(contestant) for contestant in contestants]
        found.append(
            {
                "beside": beside,
                "machine_s": turns[0],
                "turns_s": turns[1:],
                "machine_idle_ms": idle[0],
                "idle_ms": idle[1:],
            }
        )
    print(json.dumps(found))


def _turns(contestants: Sequence[Contestant], seconds: float) -> list[list[float]]:
    """Seconds of a run of each, in each round."""
    found: list[list[float]] = [[] for _ in contestants]
    order = list(range(len(contestants)))
    chance = random.Random(0)
    until = time.perf_counter() + seconds
    while len(found[0]) < _FEWEST_ROUNDS or time.perf_counter() < until:
        chance.shuffle(order)
        for number in order:
            found[number].append(_turn(contestants[number]))
    return found


def _turn(contestant: Contestant) -> float:
    contestant.open()
    contestant.seconds(1)
    # Pages are there now, and threads awake.
    runs = max(2, round(_TURN_S / max(contestant.seconds(2) / 2, 1e-6)))
    seconds = contestant.seconds(runs) / runs
    contestant.close()
    return seconds


def idle_cpu_ms(contestant: Contestant) -> float:
    """Milliseconds of CPU that this process takes between runs, on average."""
    contestant.open()
    contestant.seconds(3)
    taken = 0.0
    for _ in range(_PACED_RUNS):
        contestant.seconds(1)
        before = time.process_time()
        time.sleep(_APART_S)
        taken += time.process_time() - before
    contestant.close()
    return 1e3 * taken / _PACED_RUNS


@contextmanager
def _busy() -> Iterator[None]:
    """Another process that always computes."""
    other = subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"])
    try:
        yield
    finally:
        other.kill()
        other.wait()


def _aligned(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    memory = np.empty(array.nbytes + 64, "uint8")
    start = -memory.ctypes.data % 64
    aligned: np.ndarray[Any, Any] = (
        memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    )
    aligned[...] = array
    return aligned


if __name__ == "__main__":
    main()
