"""What a session knows when it begins, and where it stood when it was interrupted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunekit import implementations
from tunekit.search.task_scheduler import TaskState
from tunekit.search.task_search import History

if TYPE_CHECKING:
    from tunekit.catalogue import Catalogue, SessionInfo, Trial
    from tunekit.catalogue.queries.session_report import ResultPoint

# Of the trials that other sessions have of a workload: enough for the model, and quickly read.
LATEST_KNOWN = 256
BEST_KNOWN = 32


@dataclass(frozen=True)
class Standing:
    """Where a session stands after its recorded trials.

    Attributes:
        curve: estimated seconds of one run of the model by trials done, after each batch.
        unfinished: the task (by its id) whose batch was interrupted, None when none was.
    """

    curve: list[tuple[int, float]]
    unfinished: int | None


def replay(
    states: Mapping[int, TaskState], outcomes: Sequence[ResultPoint], batch: int
) -> Standing:
    """Takes the tasks' states, as they were when the session began, through its trials.

    Args:
        states: by task id.
        outcomes: the session's trials in their order.
        batch: candidates of one batch; where a task's trials are no multiple of it, the rest
            belongs to a batch that was interrupted, or that a ceiling cut short.
    """
    curve: list[tuple[int, float]] = []
    note(curve, 0, states.values())
    unfinished = None
    for done, outcome in enumerate(outcomes, start=1):
        # A task of an earlier preparation of the model has no state.
        state = states.get(outcome.task_id)
        if state is None:
            continue
        state.count(outcome.score_s)
        unfinished = outcome.task_id
        if state.trials % batch == 0 or not state.open:
            unfinished = None
            state.record_best()
            note(curve, done, states.values())
    return Standing(curve, unfinished)


def note(curve: list[tuple[int, float]], done: int, states: Iterable[TaskState]) -> None:
    """Adds the estimated latency to the curve once all that must run has a time."""
    latency_s = implementations.latency_s((state.implementation, state.seconds) for state in states)
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
        catalogue: where it is known.
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

    def of(self, task_id: int, trials: int) -> History:
        """What is known of a task; of this session's trials only the first `trials`."""
        before = self._catalogue.trials.known_before(
            task_id, latest=LATEST_KNOWN, best=BEST_KNOWN, measured_with=self._comparable
        )
        reused = [
            trial.trial_id
            for trial in before
            if trial.measure_options == self._options
            or (trial.failure is not None and trial.failure.kind.deterministic)
        ]
        if reused:
            self._catalogue.trials.reuse(task_id, reused)
            self.reused[task_id] = len(reused)
        own = [] if trials == 0 else self._own(task_id)[:trials]
        return History(before, own, frozenset(reused))

    def rest(self, task_id: int, trials: int) -> list[Trial]:
        """This session's trials of a task after the first `trials`."""
        return self._own(task_id)[trials:]

    def _own(self, task_id: int) -> list[Trial]:
        found = self._catalogue.trials.read(
            session_id=self._session.id, structural_hash=self._hashes[task_id]
        )
        return [trial for trial in found if trial.task_id == task_id]
