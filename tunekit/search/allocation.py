"""Who gets the next batch: the share of the budget that each task has earned.

After every task has had its floor, a batch goes where the model's latency is expected to fall
most. The expectation follows Ansor (Zheng et al., OSDI 2020, section 6): what the last batches
gained, and what is still to be had if the task ran as efficiently as the best one, both shrinking
as trials are spent in vain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

# The share of the expectation that comes from the past gain; Ansor's alpha.
_PAST_SHARE = 0.3
_WINDOW_BATCHES = 3


@dataclass
class TaskState:
    """A task's standing in the search.

    Attributes:
        weight: calls in one run of the model.
        flops: floating-point operations of one call.
        ceiling: the most trials it may have.
        trials: trials spent on it.
        best_s: best mean seconds of one call so far.
        bests: `best_s` after each batch, with the trials spent by then.
        exhausted: its space has no candidate left that was not measured.
    """

    weight: float
    flops: float
    ceiling: int
    trials: int = 0
    best_s: float | None = None
    bests: list[tuple[int, float]] = field(default_factory=list)
    exhausted: bool = False

    @property
    def open(self) -> bool:
        """Whether it may have more trials."""
        return not self.exhausted and self.trials < self.ceiling

    def note(self) -> None:
        """Remembers where the task stands after a batch."""
        if self.best_s is not None:
            self.bests.append((self.trials, self.best_s))


def floor_trials(budget: int, tasks: int) -> int:
    """Trials of every task before any gets more: half the budget shared evenly, 16 at most."""
    return max(1, min(16, budget // (2 * max(tasks, 1))))


def batch_trials(budget: int, tasks: int) -> int:
    """Candidates of one batch: small enough that the gain decides often, 4 to 32.

    Fewer only where the budget would not reach every task.
    """
    share = budget // max(tasks, 1)
    return max(1, min(4, share), min(32, share // 3))


def next_task(states: Sequence[TaskState], floor: int) -> int | None:
    """Position of the task that gets the next batch, None when none may have more."""
    waiting = [i for i, state in enumerate(states) if state.open and state.trials < floor]
    if waiting:
        return waiting[0]
    candidates = [i for i, state in enumerate(states) if state.open]
    if not candidates:
        return None
    peak = max(
        (state.flops / state.best_s for state in states if state.best_s and state.flops > 0),
        default=0.0,
    )
    return max(candidates, key=lambda i: (expected_gain(states[i], peak), -i))


def expected_gain(state: TaskState, peak: float) -> float:
    """Seconds of the model's latency that one more trial of this task is expected to save.

    Args:
        state: the task.
        peak: FLOP/s of the most efficient task.
    """
    if state.best_s is None:
        # Nothing ran yet: worth trying again, ever less so.
        return state.weight * 1.0 / (1 + state.trials) if state.trials < 64 else 0.0
    past = 0.0
    if len(state.bests) > 1:
        then_trials, then_s = state.bests[max(0, len(state.bests) - 1 - _WINDOW_BATCHES)]
        past = (then_s - state.best_s) / max(state.trials - then_trials, 1)
    ideal = state.flops / peak if peak > 0 else 0.0
    still = max(state.best_s - ideal, 0.1 * state.best_s) / max(state.trials, 1)
    return state.weight * (_PAST_SHARE * past + (1 - _PAST_SHARE) * still)
