"""Several processes with one model each, at once: how many runs they make together."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.processes.child import core_ids
from tunekit.runtimes.process import RunnerFailed, RunnerProcess
from tunekit.timing.rounds import Entry, RoundSettings
from tunekit.wording import error_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]

_ROUNDS = 3
_MOST_RUNS_A_TURN = 1_000_000


@dataclass(frozen=True)
class Instances:
    """How many processes of each runner run at once.

    Attributes:
        count: the processes.
        shared: all of them on all threads and cores; else each has its own share of the cores and
            as many threads.
        turn_s: seconds of a round; long against what their beginnings and ends lie apart.
    """

    count: int
    shared: bool = False
    turn_s: float = 3.0

    def threads(self, threads: int) -> int:
        """Of each process, where one alone has so many."""
        return threads if self.shared else max(1, threads // self.count)

    def cores(self, number: int, usable: Sequence[int]) -> list[int]:
        """Of process `number`, of the usable ones; where there are more processes than cores, some
        have the same."""
        if self.shared:
            return list(usable)
        each = max(1, len(usable) // self.count)
        first = number * each % len(usable)
        return list(usable[first : first + each])


@dataclass(frozen=True)
class Together:
    """What the processes of one runner did at once; `reason` says why it is nothing.

    Attributes:
        threads: of each process.
        runs_per_s: of all of them together, in each round.
        seconds: of every run, process by process.
    """

    threads: int
    runs_per_s: list[float]
    seconds: list[list[float]]
    reason: str | None = None


def run_together(
    entry: Entry,
    inputs: Mapping[str, Array],
    settings: RoundSettings,
    instances: Instances,
    *,
    folder: Path,
    say: Callable[[str], None],
) -> Together:
    """Runs several processes of one runner at once, for a few rounds of seconds.

    On any exception every process is gone before it leaves here.

    Args:
        entry: the runner.
        inputs: one array per input name.
        settings: with the threads that one process alone has, and its limits.
        instances: how many.
        folder: takes the inputs and the processes' logs.
        say: shows one line of progress.
    """
    import numpy as np

    file = folder / "inputs.npz"
    np.savez(file, *inputs.values())
    threads = instances.threads(settings.threads)
    usable = core_ids()
    say(f"running {instances.count} processes of {entry.name} at once")
    try:
        with ExitStack() as children:
            processes = []
            for number in range(instances.count):
                log = folder / f"{number}.log"
                process = children.enter_context(
                    RunnerProcess(entry.class_path, threads=threads, log=log, apart=True)
                )
                if hasattr(os, "sched_setaffinity"):
                    os.sched_setaffinity(process.pid, instances.cores(number, usable))
                process.ask(
                    "load",
                    timeout_s=settings.load_timeout_s,
                    plan=dict(entry.plan),
                    inputs=str(file),
                    names=list(inputs),
                    threads=threads,
                )
                processes.append(process)
            rates, seconds = _rounds(processes, settings, instances.turn_s)
    except RunnerFailed as failure:
        return Together(threads, [], [], failure.reason)
    except OSError as error:
        # Not as many processes, or as many pipes to them, as were asked for.
        return Together(threads, [], [], error_line(error))
    return Together(threads, rates, seconds)


def _rounds(
    processes: Sequence[RunnerProcess], settings: RoundSettings, turn_s: float
) -> tuple[list[float], list[list[float]]]:
    """How many runs all processes together make a second, round by round, and the seconds of each
    process's runs.

    On any exception the processes are ended: what waits for their replies would wait for good.
    """
    seconds: list[list[float]] = [[] for _ in processes]
    rates = []
    with ThreadPoolExecutor(len(processes)) as asking:

        def all_at_once(lasting_s: float) -> list[dict[str, Any]]:
            turns = [asking.submit(_turn, each, settings, lasting_s) for each in processes]
            return [future.result() for future in turns]

        try:
            all_at_once(settings.warm_up_s)
            for _ in range(_ROUNDS):
                replies = all_at_once(turn_s)
                rates.append(sum(len(reply["seconds"]) / reply["wall_s"] for reply in replies))
                for kept, reply in zip(seconds, replies, strict=True):
                    kept += reply["seconds"]
        except BaseException:
            for process in processes:
                process.end()
            raise
    return rates, seconds


def _turn(process: RunnerProcess, settings: RoundSettings, lasting_s: float) -> dict[str, Any]:
    """What a process replies that runs for some seconds, after one run that is not timed."""
    return process.ask(
        "run",
        timeout_s=settings.run_timeout_s,
        seconds=lasting_s,
        least=1,
        most=_MOST_RUNS_A_TURN,
        untimed=1,
    )
