"""Runners load, warm up, and take turns in rounds.

What makes the turns fair: one runner runs at a time, on the same threads, on the same
inputs; the order is shuffled anew in every round, from a seed; a turn starts with an untimed run
that fills the caches again, and lasts long enough for several samples; it ends when the
runner's threads have stopped spinning. How much CPU the waiting ones took meanwhile is
measured, not assumed.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.runtimes.process import RunnerFailed, RunnerHung, RunnerProcess
from tunekit.timing.host_load import Noise, noise_between, now

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]

_SLOW_ROUNDS = 3
_MOST_RUNS_A_TURN = 2000


@dataclass(frozen=True)
class RoundSettings:
    """How rounds are run.

    Attributes:
        rounds: rounds in which every runner has one turn.
        threads: threads of each runner.
        seed: decides the order of the turns.
        turn_s: seconds of timed runs in one turn, at least.
        warm_up_s: seconds of untimed runs before the first round, at least.
        idle_s: seconds in which nothing is asked of a runner, after its last run.
        load_timeout_s: for loading, which may compile.
        run_timeout_s: for a turn.
    """

    rounds: int
    threads: int
    seed: int = 0
    turn_s: float = 0.5
    warm_up_s: float = 1.0
    idle_s: float = 1.0
    load_timeout_s: float = 900.0
    run_timeout_s: float = 300.0

    def limited(self, timeout_s: float | None) -> RoundSettings:
        """The same with this limit for loading and for a turn; None leaves them as they are."""
        if timeout_s is None:
            return self
        return replace(self, load_timeout_s=timeout_s, run_timeout_s=timeout_s)


@dataclass(frozen=True)
class Entry:
    """A runner before the start.

    Attributes:
        name: what it is called in results.
        class_path: `package.module:Class` of the runner.
        plan: what `prepare` made for it.
        few_samples: it takes part in a few rounds only; see `Runtime.few_samples`.
    """

    name: str
    class_path: str
    plan: Mapping[str, Any]
    few_samples: bool = False


@dataclass(frozen=True)
class Turn:
    """One turn: in which round, at which position in it, and every run's seconds.

    `wall_s` and `cpu_s` are of the timed runs together, so cpu_s / wall_s is the number of busy
    cores; `waiting_cpu_s` is what the other runners used meanwhile; `instructions` are those of one
    run, where the CPU counts them.
    """

    round: int
    position: int
    seconds: list[float]
    wall_s: float
    cpu_s: float
    waiting_cpu_s: float
    at_rest: bool
    instructions: float | None = None


@dataclass
class Outcome:
    """What became of one runner; `reason` is None as long as nothing went wrong.

    `hung` is whether it took longer than it may, `import_s` from the start of its process until its
    packages were imported, `idle_cpu_s` the CPU time of its process in the idle second after its
    last run.
    """

    name: str
    turns: list[Turn] = field(default_factory=list)
    outputs: list[list[Array]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    import_s: float | None = None
    load_s: float | None = None
    first_run_s: float | None = None
    idle_cpu_s: float | None = None
    peak_rss_bytes: int = 0
    rss_bytes: int = 0
    reason: str | None = None
    detail: str = ""
    hung: bool = False


@dataclass(frozen=True)
class RoundsResult:
    """What became of all of them, and what else the machine did during the rounds."""

    outcomes: list[Outcome]
    noise: Noise


@dataclass
class _Running:
    entry: Entry
    outcome: Outcome
    process: RunnerProcess
    run_s: float = 0.0

    @property
    def alive(self) -> bool:
        return self.outcome.reason is None


def run_rounds(
    entries: Sequence[Entry],
    inputs: Mapping[str, Array],
    settings: RoundSettings,
    *,
    folder: Path,
    say: Callable[[str], None],
) -> RoundsResult:
    """Has the runners take turns; an outcome for each entry, in the order of the entries.

    A runner that fails keeps the turns it has had, and the others go on. On any exception (Ctrl-C
    among them) every child is gone before it leaves here.

    Args:
        entries: the runners.
        inputs: one array per input name, the same for all.
        settings: how rounds are run.
        folder: takes the inputs, the outputs and the runners' logs.
        say: shows one line of progress.
    """
    import numpy as np

    inputs_file = folder / "inputs.npz"
    np.savez(inputs_file, *inputs.values())
    with ExitStack() as children:
        runners: list[_Running] = []
        for index, entry in enumerate(entries):
            say(f"loading {entry.name}")
            process = children.enter_context(
                RunnerProcess(
                    entry.class_path, threads=settings.threads, log=folder / f"runner-{index}.log"
                )
            )
            running = _Running(entry, Outcome(entry.name), process)
            runners.append(running)
            _load(running, inputs_file, list(inputs), settings)
            _warm_up(running, settings)
            _take_outputs(running, folder / f"outputs-{index}-before.npz", settings)
        before, own_before = now(), _own_cpu_s(runners)
        _rounds(runners, settings, say)
        noise = noise_between(before, now(), _own_cpu_s(runners) - own_before)
        for running in runners:
            _idle(running, settings)
        for index, running in enumerate(runners):
            # Again: one that is right at first and wrong later is wrong.
            _take_outputs(running, folder / f"outputs-{index}-after.npz", settings)
    return RoundsResult([running.outcome for running in runners], noise)


def _own_cpu_s(runners: Sequence[_Running]) -> float:
    """CPU seconds of this process, of its children that have ended, and of those that run."""
    times = os.times()
    ended = times.children_user + times.children_system
    return times.user + times.system + ended + sum(running.process.cpu_s() for running in runners)


def _ask(running: _Running, what: str, do: str, timeout_s: float, **arguments: Any) -> Any:
    """The reply, or None when the runner failed, which is noted with what it was doing."""
    if not running.alive:
        return None
    try:
        reply = running.process.ask(do, timeout_s=timeout_s, **arguments)
    except RunnerFailed as failure:
        running.outcome.reason = f"{failure.reason} ({what})"
        running.outcome.detail = failure.detail
        running.outcome.hung = isinstance(failure, RunnerHung)
        running.process.kill()
        return None
    running.outcome.peak_rss_bytes = max(running.outcome.peak_rss_bytes, reply["peak_rss_bytes"])
    running.outcome.rss_bytes = reply["rss_bytes"]
    return reply


def _load(running: _Running, inputs_file: Path, names: list[str], settings: RoundSettings) -> None:
    reply = _ask(
        running,
        "while loading",
        "load",
        settings.load_timeout_s,
        plan=dict(running.entry.plan),
        inputs=str(inputs_file),
        names=names,
        threads=settings.threads,
    )
    if reply:
        running.outcome.settings = reply["settings"]
        running.outcome.import_s = reply["import_s"]
        running.outcome.load_s = reply["load_s"]


def _warm_up(running: _Running, settings: RoundSettings) -> None:
    first = _run(running, "in its first run", settings, seconds=0, least=1, most=1, untimed=0)
    if first is None:
        return
    running.outcome.first_run_s = running.run_s = first["seconds"][0]
    if running.entry.few_samples:
        return
    more = _run(
        running,
        "while warming up",
        settings,
        seconds=settings.warm_up_s,
        least=3,
        most=_MOST_RUNS_A_TURN,
        untimed=0,
    )
    if more:
        running.run_s = min(more["seconds"])


def _idle(running: _Running, settings: RoundSettings) -> None:
    what, limit_s = "after its last run", settings.run_timeout_s + settings.idle_s
    reply = _ask(running, what, "idle", limit_s, seconds=settings.idle_s)
    if reply:
        running.outcome.idle_cpu_s = reply["idle_cpu_s"]
        running.outcome.settings |= reply["settings"]


def _take_outputs(running: _Running, file: Path, settings: RoundSettings) -> None:
    import numpy as np

    reply = _ask(
        running, "while giving its outputs", "outputs", settings.run_timeout_s, to=str(file)
    )
    if reply:
        with np.load(file) as archive:
            outputs = [archive[f"arr_{index}"] for index in range(reply["count"])]
        running.outcome.outputs.append(outputs)


def _run(
    running: _Running,
    what: str,
    settings: RoundSettings,
    *,
    seconds: float,
    least: int,
    most: int,
    untimed: int,
) -> Any:
    return _ask(
        running,
        what,
        "run",
        settings.run_timeout_s,
        seconds=seconds,
        least=least,
        most=most,
        untimed=untimed,
    )


def _rounds(runners: list[_Running], settings: RoundSettings, say: Callable[[str], None]) -> None:
    shuffle = random.Random(settings.seed)
    for number in range(settings.rounds):
        ready = [running for running in runners if _takes_part(running, number, settings.rounds)]
        shuffle.shuffle(ready)
        say(f"round {number + 1} of {settings.rounds}")
        for position, running in enumerate(ready):
            _turn(running, number, position, runners, settings)


def _takes_part(running: _Running, number: int, rounds: int) -> bool:
    """A slow runner has `_SLOW_ROUNDS` turns, spread evenly over the rounds."""
    if not running.alive:
        return False
    if not running.entry.few_samples or rounds <= _SLOW_ROUNDS:
        return True
    chosen = {round(i * (rounds - 1) / (_SLOW_ROUNDS - 1)) for i in range(_SLOW_ROUNDS)}
    return number in chosen


def _turn(
    running: _Running, number: int, position: int, runners: list[_Running], settings: RoundSettings
) -> None:
    waiting = [other.process for other in runners if other is not running and other.alive]
    waiting_before = sum(other.cpu_s() for other in waiting)
    few = running.entry.few_samples
    reply = _run(
        running,
        f"in round {number + 1}",
        settings,
        seconds=0 if few else settings.turn_s,
        least=1,
        most=_MOST_RUNS_A_TURN,
        # What an untimed run refills is small against a run that lasts longer than a turn.
        untimed=0 if running.run_s > settings.turn_s else 1,
    )
    if reply:
        running.outcome.turns.append(
            Turn(
                round=number,
                position=position,
                seconds=reply["seconds"],
                wall_s=reply["wall_s"],
                cpu_s=reply["cpu_s"],
                waiting_cpu_s=sum(other.cpu_s() for other in waiting) - waiting_before,
                at_rest=reply["at_rest"],
                instructions=reply["instructions"],
            )
        )
