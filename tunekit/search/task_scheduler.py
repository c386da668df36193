"""The task scheduler: which task gets the next batch of trials.

After every task has had its floor, a batch goes where the model's latency is expected to fall
most. The expectation follows Ansor (Zheng et al., OSDI 2020, section 6): what the last batches
gained, and what is still to be had if the task ran as efficiently as the best task, both shrinking
as trials are spent in vain.

Of the algorithms of one convolution the library will have the fastest only, so trials spent on an
algorithm that loses are lost to the tasks that run. A task whose algorithm is behind therefore
needs a chance of winning: the further behind it is and the more it was tried, the smaller that is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from tunekit.implementations import standings

# The share of the expectation that comes from the past gain; Ansor's alpha.
_PAST_SHARE = 0.3
_WINDOW_BATCHES = 3
# A gain below this share of the best seconds is noise.
_REAL_GAIN = 0.01
# Trials in vain after which half as much is expected of a task.
_HALF_LIFE_TRIALS = 48
# Of the model's latency: a task below it has had its floor with its first batch.
_TINY_SHARE = 0.003
_HOPELESS_TRIALS = 64
# Trials after which an algorithm may be given up at all.
_FAIR_TRIALS = 8
# How far behind (1.0: twice the time) is no longer made up after that many trials; it shrinks
# inversely with further ones.
_HOPE = 1.0


@dataclass
class TaskState:
    """What the task scheduler knows of a task.

    Attributes:
        weight: calls in one run of the model.
        flops: floating-point operations of one call.
        bytes: size of the tensors that one call reads and writes.
        implementation: the convolution that it computes and how, where other algorithms compete
            with it.
        ceiling: the most trials it may have.
        trials: trials spent on it.
        known: trials of other sessions whose results it started with.
        best_s: best mean seconds of one call so far.
        bests: `best_s` after each batch, with the trials spent by then.
        exhausted: its space has no candidate left that was not measured.
    """

    weight: float
    flops: float
    ceiling: int
    bytes: float = 0.0
    implementation: str | None = None
    trials: int = 0
    known: int = 0
    best_s: float | None = None
    bests: list[tuple[int, float]] = field(default_factory=list)
    exhausted: bool = False

    @property
    def open(self) -> bool:
        """Whether it may have more trials."""
        return not self.exhausted and self.trials < self.ceiling

    @property
    def trials_known(self) -> int:
        """Trials that its best is the best of."""
        return self.trials + self.known

    @property
    def latency_s(self) -> float:
        """Seconds of the model's latency that are known to be the task's."""
        return self.weight * (self.best_s or 0.0)

    @property
    def seconds(self) -> float | None:
        """Seconds in one run of the model, None while they are not known."""
        return None if self.best_s is None else self.latency_s

    @property
    def stale_trials(self) -> int:
        """Trials since it last became noticeably faster."""
        if not self.bests:
            return 0
        since, seconds = self.bests[0]
        for trials, best_s in self.bests:
            if best_s < (1 - _REAL_GAIN) * seconds:
                since, seconds = trials, best_s
        return self.trials - since

    def count(self, score_s: float | None) -> None:
        """Counts a trial; None for one that failed."""
        self.trials += 1
        self.take(score_s)

    def take(self, score_s: float | None) -> None:
        """Takes a result that need not be of a trial of its own; None for a failure."""
        if score_s is not None:
            self.best_s = score_s if self.best_s is None else min(self.best_s, score_s)

    def record_best(self) -> None:
        """Remembers the best seconds that the task has after a batch."""
        if self.best_s is not None:
            self.bests.append((self.trials, self.best_s))


@dataclass(frozen=True)
class Floor:
    """Trials that every task has before any gets more.

    Attributes:
        trials: how many.
        strict: for every task. Otherwise tasks that hardly take time have had enough with their
            first batch, and what other sessions measured counts too.
    """

    trials: int
    strict: bool = False

    def missed(self, state: TaskState, latency_s: float) -> bool:
        """Whether a task that may have more trials still lacks some of its floor."""
        if self.strict:
            return state.trials < self.trials
        tiny = state.best_s is not None and state.latency_s < _TINY_SHARE * latency_s
        return state.trials_known < self.trials and not tiny


def floor_trials(budget: int, tasks: int) -> int:
    """Trials of every task before any gets more: half the budget shared evenly, 16 at most."""
    return max(1, min(16, budget // (2 * max(tasks, 1))))


def batch_trials(budget: int, tasks: int) -> int:
    """Candidates of one batch: small enough that the gain decides often, 4 to 32.

    Fewer only where the budget would not reach every task.
    """
    share = budget // max(tasks, 1)
    return max(1, min(4, share), min(32, share // 3))


def next_task(states: Sequence[TaskState], floor: Floor) -> int | None:
    """Position of the task that gets the next batch, None when none may have more."""
    candidates = [i for i, state in enumerate(states) if state.open]
    untried = [i for i in candidates if states[i].trials_known == 0]
    if untried:
        return untried[0]
    chance = winning_chances(states)
    latency_s = sum(state.latency_s for state in states)
    waiting = [i for i in candidates if chance[i] and floor.missed(states[i], latency_s)]
    if waiting:
        return waiting[0]
    if not candidates:
        return None
    peak = Peak.of(states)
    return max(candidates, key=lambda i: (chance[i] * expected_gain(states[i], peak), -i))


def winning_chances(states: Sequence[TaskState]) -> list[float]:
    """For each task, from 1 (its kernels run, or may well come to run) to 0 (another algorithm of
    its convolution has won)."""
    # An algorithm may be several tasks: it has been tried as often as the least tried of them.
    tried: dict[str, int] = {}
    for state in states:
        if state.implementation is not None:
            tried[state.implementation] = min(
                tried.get(state.implementation, state.trials_known), state.trials_known
            )
    compared = standings((state.implementation, state.seconds) for state in states)
    return [
        1.0
        if state.implementation is None
        else _winning_chance(standing.behind, tried[state.implementation])
        for state, standing in zip(states, compared, strict=True)
    ]


def _winning_chance(behind: float, tried: int) -> float:
    if tried < _FAIR_TRIALS or not math.isfinite(behind):
        # A task that never ran has no seconds to compare; `expected_gain` gives up on those.
        return 1.0
    return max(0.0, 1 - behind * tried / (_HOPE * _FAIR_TRIALS))


@dataclass(frozen=True)
class Peak:
    """What the best tasks reach: FLOP/s, and bytes/s for those that only move data."""

    flops_per_s: float
    bytes_per_s: float

    @staticmethod
    def of(states: Sequence[TaskState]) -> Peak:
        """What these tasks reach."""
        timed = [(state, state.best_s) for state in states if state.best_s]
        return Peak(
            max((state.flops / best_s for state, best_s in timed), default=0.0),
            max((state.bytes / best_s for state, best_s in timed), default=0.0),
        )

    def ideal_s(self, state: TaskState) -> float:
        """Seconds of one call if the task were as efficient as the best in what limits it."""
        return max(
            state.flops / self.flops_per_s if self.flops_per_s > 0 else 0.0,
            state.bytes / self.bytes_per_s if self.bytes_per_s > 0 else 0.0,
        )


def expected_gain(state: TaskState, peak: Peak) -> float:
    """Seconds of the model's latency that one more trial of this task is expected to save."""
    if state.best_s is None:
        # Nothing ran yet: worth trying again, ever less so.
        return state.weight / (1 + state.trials) if state.trials < _HOPELESS_TRIALS else 0.0
    past = 0.0
    if len(state.bests) > 1:
        then_trials, then_s = state.bests[max(0, len(state.bests) - 1 - _WINDOW_BATCHES)]
        past = (then_s - state.best_s) / max(state.trials - then_trials, 1)
    still = max(state.best_s - peak.ideal_s(state), 0.1 * state.best_s) / max(state.trials_known, 1)
    still *= math.pow(0.5, state.stale_trials / _HALF_LIFE_TRIALS)
    return state.weight * (_PAST_SHARE * past + (1 - _PAST_SHARE) * still)
