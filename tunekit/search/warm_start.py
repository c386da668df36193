"""The warm start: what other sessions measured, and where an interrupted session stood."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunekit.implementations import model_latency_s
from tunekit.search.task_scheduler import TaskState

if TYPE_CHECKING:
    from tunekit.catalogue import Catalogue, FailureKind, SessionInfo, Trial

# Of the trials that other sessions have of a workload: enough for the model, and quickly read.
LATEST_KNOWN = 256
BEST_KNOWN = 32


@dataclass(frozen=True)
class PriorTrials:
    """What is known of a task when its search is opened.

    Attributes:
        others: trials of other sessions, their seconds good for the model.
        own: trials of this session, whole batches only.
        reused: ids of those of `others` whose results hold here: not to be measured again.
    """

    others: Sequence[Trial]
    own: Sequence[Trial]
    reused: frozenset[int]

    @property
    def settled(self) -> frozenset[int]:
        """Ids of the trials whose candidates are not to be measured again."""
        return self.reused | {trial.trial_id for trial in self.own}


@dataclass(frozen=True)
class ResumePoint:
    """Where a session stands after its recorded trials.

    Attributes:
        curve: estimated seconds of one run of the model by trials done, after each batch.
        unfinished: the task (by its id) whose batch was interrupted, None when none was.
        failures: the session's failed trials by kind, by task id.
    """

    curve: list[tuple[int, float]]
    unfinished: int | None
    failures: Mapping[int, Mapping[FailureKind, int]]


def record_curve(curve: list[tuple[int, float]], done: int, states: Iterable[TaskState]) -> None:
    """Adds the estimated latency to the curve once all that must run has a time."""
    latency_s = model_latency_s((state.implementation, state.seconds) for state in states)
    if latency_s is not None:
        curve.append((done, latency_s))


class WarmStart:
    """What the catalogue knows of each task of a session, read when a task's search is opened."""

    def __init__(
        self,
        catalogue: Catalogue,
        session: SessionInfo,
        options: Mapping[str, Any],
        comparable: Mapping[str, Any],
    ) -> None:
        """Args:
        catalogue: has the trials of other sessions.
        session: the session.
        options: measuring options under which a result counts as known.
        comparable: those of them without which seconds say nothing here.
        """
        self._catalogue = catalogue
        self._session = session
        self._options = dict(options)
        self._comparable = dict(comparable)
        self._hashes = {
            summary.task_id: summary.structural_hash
            for summary in catalogue.trials.summaries(session.id)
        }
        #: Results of other sessions that were taken, by task.
        self.reused: Counter[int] = Counter()

    def restore(self, states: Mapping[int, TaskState], batch: int) -> ResumePoint:
        """Takes the tasks' states to where the session's recorded trials left them.

        Args:
            states: as they are in a session without trials, by task id.
            batch: candidates of one batch; where a task's trials are no multiple of it, the rest
                belongs to a batch that was interrupted, or that a ceiling cut short.
        """
        report = self._catalogue.sessions.report(self._session.id, measured_with=self._comparable)
        known = self._catalogue.trials.known_counts(
            self._session.id, measured_with=self._comparable
        )
        for task_id, state in states.items():
            state.best_s = report.known_s.get(task_id)
            state.known = known.get(task_id, 0)
        curve: list[tuple[int, float]] = []
        record_curve(curve, 0, states.values())
        unfinished = None
        for done, result in enumerate(report.outcomes, start=1):
            # A task of an earlier preparation of the model has no state.
            measured = states.get(result.task_id)
            if measured is None:
                continue
            measured.count(result.score_s)
            unfinished = result.task_id
            if measured.trials % batch == 0 or not measured.open:
                unfinished = None
                measured.record_best()
                record_curve(curve, done, states.values())
        failures = {summary.task_id: summary.failures for summary in report.tasks}
        return ResumePoint(curve, unfinished, failures)

    def of(self, task_id: int, trials: int) -> PriorTrials:
        """What is known of a task; of this session's trials only the first `trials`."""
        others = self._catalogue.trials.known_before(
            task_id, latest=LATEST_KNOWN, best=BEST_KNOWN, measured_with=self._comparable
        )
        reused = [
            trial.trial_id
            for trial in others
            if trial.measure_options == self._options
            or (trial.failure is not None and trial.failure.kind.deterministic)
        ]
        if reused:
            self._catalogue.trials.reuse(task_id, reused)
            self.reused[task_id] = len(reused)
        own = [] if trials == 0 else self._own(task_id)[:trials]
        return PriorTrials(others, own, frozenset(reused))

    def rest(self, task_id: int, trials: int) -> list[Trial]:
        """This session's trials of a task after the first `trials`."""
        return self._own(task_id)[trials:]

    def _own(self, task_id: int) -> list[Trial]:
        trials = self._catalogue.trials.read(
            session_id=self._session.id, structural_hash=self._hashes[task_id]
        )
        return [trial for trial in trials if trial.task_id == task_id]
