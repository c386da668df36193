"""The progress of a session as its reporter gets it."""

from __future__ import annotations

from collections.abc import Sequence

from tunekit.search.progress import Budget, Progress, Reporter, TaskProgress
from tunekit.search.session_clock import SessionClock
from tunekit.search.task_search import TaskSearch


class ProgressView:
    """Shows where a session stands, from the state that its tuner keeps."""

    def __init__(
        self,
        reporter: Reporter,
        searches: Sequence[TaskSearch],
        budget: Budget,
        clock: SessionClock,
        curve: Sequence[tuple[int, float]],
    ) -> None:
        self._reporter = reporter
        self._searches = searches
        self._budget = budget
        self._clock = clock
        self._curve = curve

    def show(self, phase: str, active: TaskSearch | None = None) -> Progress:
        """Tells the reporter what the session is doing, and with which task."""
        progress = Progress(
            tasks=[_task(search, active=search is active) for search in self._searches],
            budget=self._budget.trials,
            done=self._budget.done,
            spent_now=self._budget.spent_now,
            elapsed_s=self._clock.search_s,
            phase=phase,
            curve=tuple(self._curve),
        )
        self._reporter.update(progress)
        return progress


def _task(search: TaskSearch, *, active: bool) -> TaskProgress:
    return TaskProgress(
        name=search.task.name,
        operation=search.operation,
        weight=search.task.weight,
        flops=search.task.flops,
        trials=search.state.trials,
        best_s=search.state.best_s,
        failures=dict(search.failures),
        active=active,
        implementation=search.state.implementation,
    )
