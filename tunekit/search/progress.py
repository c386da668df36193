"""Where a session stands, what more of it would bring, and who is told."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from tunekit.catalogue.entries import FailureKind
from tunekit.implementations import model_latency_s

#: Trials that a forecast looks ahead.
FORECAST_TRIALS = 200

_REAL_GAIN = 0.01

Ending = Literal["budget", "seconds", "plateau", "exhausted", "interrupted"]


@dataclass
class Budget:
    """The trials of a session.

    Attributes:
        trials: how many it may have in all.
        done: how many it has had, earlier runs of it included.
        spent_now: how many of these this run has spent.
    """

    trials: int
    done: int
    spent_now: int = 0

    @property
    def left(self) -> int:
        """Trials that it may still have; none where its budget was made smaller than that."""
        return max(0, self.trials - self.done)

    def spend(self) -> None:
        """Counts a trial."""
        self.done += 1
        self.spent_now += 1


@dataclass(frozen=True)
class TaskProgress:
    """A task of a session.

    Attributes:
        name: TVM's name of its kernel.
        operation: what the kernel computes, in words for people.
        weight: calls in one run of the model.
        flops: floating-point operations of one call.
        trials: trials spent on it.
        best_s: best seconds of one call so far.
        failures: failed trials by kind.
        active: whether it is being searched or measured.
        implementation: the convolution that it computes and how, where other algorithms of it are
            tasks too.
    """

    name: str
    operation: str
    weight: float
    flops: float
    trials: int
    best_s: float | None
    failures: Mapping[FailureKind, int]
    active: bool
    implementation: str | None = None


@dataclass(frozen=True)
class Forecast:
    """What the next trials would cost and bring, judged by those before.

    Attributes:
        trials: how many.
        seconds: wall seconds, None while the pace is not known.
        least_gain: share of the estimated latency, 0.01 for 1 %.
        most_gain: likewise.
    """

    trials: int
    seconds: float | None
    least_gain: float
    most_gain: float

    @property
    def in_words(self) -> str:
        """For example "next 200 trials: about 4 min, expected gain 1-3 %"."""
        time = ""
        if self.seconds is not None:
            time = (
                f"about {max(self.seconds, 1):.0f} s, "
                if self.seconds < 90
                else f"about {self.seconds / 60:.0f} min, "
            )
        least, most = (f"{100 * gain:.0f}" for gain in (self.least_gain, self.most_gain))
        share = most if least == most else f"{least}-{most}"
        gain = f"expected gain {share} %" if most != "0" else "expected gain below 1 %"
        return f"next {self.trials} trials: {time}{gain}"


@dataclass(frozen=True)
class Progress:
    """Where the session stands.

    Attributes:
        tasks: in the order of their arithmetic, heaviest first.
        budget: trials in all.
        done: trials spent, those of an earlier run of the session included.
        spent_now: trials spent by this process.
        elapsed_s: since this process began to search, until it ended the search.
        phase: what it is doing: "searching", "measuring", "deciding" (which of each task's best is
            the best) or "done".
        curve: estimated seconds of one run of the model by trials done, after each batch from the
            first moment at which every task had a time.
    """

    tasks: Sequence[TaskProgress]
    budget: int
    done: int
    spent_now: int
    elapsed_s: float
    phase: str
    curve: Sequence[tuple[int, float]] = ()

    @property
    def latency_s(self) -> float | None:
        """Estimated seconds of one run of the model, None until all that must run has a time."""
        return model_latency_s(
            (task.implementation, None if task.best_s is None else task.weight * task.best_s)
            for task in self.tasks
        )

    @property
    def trials_per_minute(self) -> float | None:
        """Trials of this process a minute, searching included."""
        if not self.spent_now or self.elapsed_s <= 0:
            return None
        return 60 * self.spent_now / self.elapsed_s

    @property
    def left_s(self) -> float | None:
        """Seconds until the budget is spent at the present rate."""
        rate = self.trials_per_minute
        return None if not rate else 60 * (self.budget - self.done) / rate

    @property
    def forecast(self) -> Forecast | None:
        """What the next trials would bring; None while there is too little to judge by."""
        return forecast(self.curve, self.done, self.trials_per_minute)


class Reporter(Protocol):
    """Whoever is told what happens: a terminal, a log, a notebook."""

    def say(self, line: str) -> None:
        """A line for the person who waits."""

    def update(self, progress: Progress) -> None:
        """Where the session stands: called after each trial and at each change of phase."""


class SilentReporter:
    """Says nothing and shows nothing."""

    def say(self, line: str) -> None:
        """Drops the line."""

    def update(self, progress: Progress) -> None:
        """Drops the progress."""


@dataclass(frozen=True)
class TuningResult:
    """How a run of the tuner ended.

    Attributes:
        trials: trials of the session, earlier runs of it included.
        failures: those of them that failed, by kind.
        reused: candidates whose result was already in the catalogue.
        ending: why it ended: the budget of trials or of seconds was spent, the last trials gained
            too little ("plateau"), every task's space was used up, or it was asked to stop.
        seconds: wall seconds of this run by phase: "sample", "model", "build", "measure", "wait"
            (for either of them), "record", "decide".
        forecast: what more trials would bring.
    """

    trials: int
    failures: Mapping[FailureKind, int]
    reused: int
    ending: Ending
    seconds: Mapping[str, float]
    forecast: Forecast | None = None

    @property
    def interrupted(self) -> bool:
        """Asked to stop before the budget was spent."""
        return self.ending == "interrupted"

    @property
    def exhausted(self) -> bool:
        """Every task's space was used up before the budget was."""
        return self.ending == "exhausted"


def forecast(
    curve: Sequence[tuple[int, float]], done: int, trials_per_minute: float | None
) -> Forecast | None:
    """The gain of the next `FORECAST_TRIALS`, if the latency goes on as a power of the trials.

    Taken twice: at the pace of the last half of the trials, and of the last quarter. None where
    the curve does not reach back over half of them.
    """
    if len(curve) < 2 or done < 2 or curve[0][0] > done / 2:
        return None
    now_s = curve[-1][1]
    ahead = math.log((done + FORECAST_TRIALS) / done)
    gains = []
    for share in (0.5, 0.75):
        power = math.log(_at(curve, share * done) / now_s) / math.log(1 / share)
        gains.append(1 - math.exp(-max(power, 0.0) * ahead))
    seconds = None if not trials_per_minute else 60 * FORECAST_TRIALS / trials_per_minute
    return Forecast(FORECAST_TRIALS, seconds, min(gains), max(gains))


def on_plateau(curve: Sequence[tuple[int, float]], done: int, patience: int) -> bool:
    """Whether the last `patience` trials brought the latency down by less than 1 %."""
    if not curve or curve[0][0] > done - patience:
        return False
    return curve[-1][1] > (1 - _REAL_GAIN) * _at(curve, done - patience)


def _at(curve: Sequence[tuple[int, float]], trials: float) -> float:
    """The latency after so many trials."""
    return [seconds for count, seconds in curve if count <= trials][-1]
