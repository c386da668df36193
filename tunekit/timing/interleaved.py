"""Libraries of one model that take turns run by run, in one process.

Runners of different runtimes need a process each, and a turn lasts as long as the threads of
the one before take to come to rest; meanwhile a shared host has changed. Libraries for one runtime
share a process: what the host does to one of them it does to the next, a few milliseconds later.
That tells apart what differs by half a percent, in seconds.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.runtimes.compiled import AnyLibrary
from tunekit.runtimes.process import RunnerProcess
from tunekit.runtimes.runner import Runner, time_runs
from tunekit.timing.statistics import LEAST_ROUNDS, median

if TYPE_CHECKING:
    from tunekit.runtimes.runner import Array

_CLASS_PATH = "tunekit.timing.interleaved:InterleavedLibraries"
_TIMEOUT_S = 600.0
_WARM_UP_S = 0.3
# Timed runs of a library in a round take so long together, if one does not take longer.
_TURN_S = 0.02
# What an untimed run refills in the caches is small against a run that takes longer.
_LONG_RUN_S = 0.1


@dataclass(frozen=True)
class Turns:
    """What became of libraries that took turns.

    Attributes:
        rounds_s: of each library, the median seconds of its runs in each round.
        outputs: of each library, those of a run after the last round.
    """

    rounds_s: Sequence[Sequence[float]]
    outputs: Sequence[Sequence[Array]]


def interleave(
    files: Sequence[Path],
    inputs: Mapping[str, Array],
    *,
    device: str,
    threads: int,
    seconds: float,
    rounds: int,
    folder: Path,
    standalone: str | None = None,
) -> Turns:
    """Lets libraries of one model take turns in a process of their own.

    Args:
        files: the libraries.
        inputs: of the model, in the order of its `main`.
        device: "cpu", "cuda".
        threads: of each library.
        seconds: after which no round begins, once there were six.
        rounds: at most.
        folder: takes the inputs, the outputs and what the process prints.
        standalone: with which the functions of standalone libraries begin; None where TVM's
            virtual machine runs them.

    Raises:
        RunnerFailed: the process raised, died or hung.
    """
    import numpy as np

    given, results = folder / "inputs.npz", folder / "outputs.npz"
    np.savez(given, *inputs.values())
    common = {"device": device, "input_names": list(inputs), "standalone": standalone}
    plans = [{"file": str(file.absolute()), **common} for file in files]
    with RunnerProcess(_CLASS_PATH, threads=threads, log=folder / "alternation.log") as process:
        process.ask(
            "load",
            timeout_s=_TIMEOUT_S,
            plan={"libraries": plans},
            inputs=str(given),
            names=list(inputs),
            threads=threads,
        )
        turns = process.ask("turns", timeout_s=seconds + _TIMEOUT_S, seconds=seconds, most=rounds)
        count = process.ask("outputs", timeout_s=_TIMEOUT_S, to=str(results))["count"]
    with np.load(results) as archive:
        arrays = [archive[f"arr_{position}"] for position in range(count)]
    each = count // len(files)
    return Turns(
        turns["rounds_s"], [arrays[first : first + each] for first in range(0, count, each)]
    )


class InterleavedLibraries(Runner):
    """The process's side of `interleave`. Its plan: `libraries`, the plan of a
    AnyLibrary each."""

    def load(
        self, plan: Mapping[str, Any], inputs: Mapping[str, Array], threads: int
    ) -> dict[str, Any]:
        self._libraries = [AnyLibrary() for _ in plan["libraries"]]
        for library, own in zip(self._libraries, plan["libraries"], strict=True):
            library.imports(own)
        settings = [
            library.load(own, inputs, threads)
            for library, own in zip(self._libraries, plan["libraries"], strict=True)
        ]
        return settings[0]

    def infer(self) -> object:
        return [library.infer() for library in self._libraries]

    def arrays(self, result: Any) -> Sequence[Array]:
        return [
            array
            for library, own in zip(self._libraries, result, strict=True)
            for array in library.arrays(own)
        ]

    def take_turns(self, seconds: float, most: int) -> dict[str, Any]:
        usual_s = [self._warm_up(library) for library in self._libraries]
        rounds_s: list[list[float]] = [[] for _ in self._libraries]
        order = list(range(len(self._libraries)))
        shuffle = random.Random(0)
        gc.collect()
        gc.disable()
        try:
            start = time.perf_counter()
            for done in range(most):
                if done >= LEAST_ROUNDS and time.perf_counter() - start >= seconds:
                    break
                shuffle.shuffle(order)
                for position in order:
                    library = self._libraries[position]
                    if usual_s[position] < _LONG_RUN_S:
                        library.infer()
                    samples_ns = time_runs(library, seconds=_TURN_S)
                    rounds_s[position].append(median(samples_ns) / 1e9)
        finally:
            gc.enable()
        return {"rounds_s": rounds_s}

    @staticmethod
    def _warm_up(library: AnyLibrary) -> float:
        """Seconds of a run, the least seen."""
        runs_ns = time_runs(library, seconds=0.0) + time_runs(library, seconds=_WARM_UP_S)
        return min(runs_ns) / 1e9
