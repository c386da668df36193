"""The tuning loop: it owns the budget, and each trial is in the catalogue once it is known."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from tunekit.catalogue import (
    Catalogue,
    Failure,
    FailureKind,
    NewTask,
    NewTrial,
    NewWorkload,
    SessionInfo,
    Trial,
    comparable,
)
from tunekit.errors import SandboxError
from tunekit.measure.measurer import CacheState, MeasureOptions, Measurer, MeasureResult
from tunekit.search import warm_start
from tunekit.search.final_groups import FinalGroups
from tunekit.search.finals import run_final
from tunekit.search.phase_clock import PhaseClock
from tunekit.search.progress import (
    Ending,
    Listener,
    Progress,
    TaskProgress,
    TuningResult,
    on_plateau,
)
from tunekit.search.task_scheduler import Floor, batch_trials, floor_trials, next_task
from tunekit.search.task_search import History, Proposal, TaskSearch

if TYPE_CHECKING:
    from tunekit.graph.tasks import Task
    from tunekit.machine.target import ResolvedTarget
    from tunekit.recipe import Tuning

__all__ = [
    "Listener",
    "Progress",
    "TaskProgress",
    "Tuner",
    "TuningResult",
    "measure_options",
    "new_task",
]

_MEMORY_SHARE = 0.5
_HEARTBEAT_S = 10.0


def measure_options(
    tuning: Tuning,
    target: ResolvedTarget,
    memory_bytes: int,
    cache: CacheState,
    *,
    huge_pages: bool = False,
) -> MeasureOptions:
    """The recipe's measuring options, with the target's cores where the recipe leaves a choice.

    Args:
        tuning: the recipe's.
        target: what candidates are built for.
        memory_bytes: the memory of the machine that builds them.
        cache: what the recipe's choice means for this model (see `caches.cache_state`).
        huge_pages: whether the library will ask for them.
    """
    measure = tuning.measure
    return MeasureOptions(
        target=target.spec,
        device=target.device,
        repeat=measure.repeat,
        min_repeat_ms=measure.min_repeat_ms,
        build_timeout_s=measure.build_timeout_s,
        run_timeout_s=measure.timeout_s,
        jobs=measure.jobs or target.cores,
        threads=measure.threads or target.cores,
        cache=cache,
        memory_bytes=int(memory_bytes * _MEMORY_SHARE),
        overlap=measure.overlap,
        huge_pages=huge_pages,
    )


def new_task(task: Task, preparation: str) -> NewTask:
    """A task as the catalogue takes it."""
    import tvm

    workload = NewWorkload(
        structural_hash=task.structural_hash,
        module_json=tvm.ir.save_json(task.module),
        preparation=preparation,
        name=task.name,
    )
    implementation = None if task.implementation is None else str(task.implementation)
    return NewTask(workload, task.name, float(task.weight), task.flops, implementation)


class Tuner:
    """One run of a session until its budget is spent or it is asked to stop."""

    def __init__(
        self,
        tasks: Sequence[Task],
        target: ResolvedTarget,
        tuning: Tuning,
        options: MeasureOptions,
        catalogue: Catalogue,
        session: SessionInfo,
        *,
        preparation: str,
        listener: Listener,
        stop: Callable[[], bool],
    ) -> None:
        self._catalogue = catalogue
        self._session = session
        self._options = options
        self._listener = listener
        self._stop = stop
        self._tuning = tuning
        self._budget = session.budget_trials
        self._done = session.trials_done
        self._spent_now = 0
        self._reused = 0
        self._clock = PhaseClock()
        self._before_s = sum(session.seconds.values())
        self._started = time.monotonic()
        self._ended: float | None = None
        self._last_heartbeat = self._started
        self._active: TaskSearch | None = None
        self._kept_options = options.recorded()
        self._comparable = comparable(self._kept_options)
        self._competitions = FinalGroups(catalogue, session, self._kept_options)
        self._batch_trials = batch_trials(self._budget, len(tasks))
        ids = catalogue.trials.ensure_tasks(
            session.id, [new_task(task, preparation) for task in tasks]
        )
        self._recollection = warm_start.WarmStart(
            catalogue, session, self._kept_options, self._comparable
        )
        self._searches = [self._search(*pair, target) for pair in zip(tasks, ids, strict=True)]
        self._curve, self._unfinished = self._go_on()

    def run(self, measurer: Measurer) -> TuningResult:
        """Searches and measures; returns when the budget is spent or `stop` says so."""
        measurer.start()
        if self._unfinished is not None and not self._stop():
            self._batch(self._unfinished, measurer)
        ending = self._ending()
        while ending is None:
            search = self._next()
            if search is None:
                ending = "exhausted"
                break
            self._batch(search, measurer)
            ending = self._ending()
        self._ended = time.monotonic()
        if ending != "interrupted" and not self._finals(measurer):
            ending = "interrupted"
        self._book()
        self._active = None
        self._show("done")
        failures: Counter[FailureKind] = Counter()
        for search in self._searches:
            failures.update(search.failures)
        return TuningResult(
            trials=self._done,
            failures=failures,
            reused=self._reused + self._recollection.reused.total(),
            ending=ending,
            seconds=self._clock.seconds,
            forecast=self._progress("done").forecast,
        )

    def _ending(self) -> Ending | None:
        """Why to end now, None to go on."""
        if self._stop():
            return "interrupted"
        if self._done >= self._budget:
            return "budget"
        limit_s = self._tuning.max_seconds
        elapsed_s = self._before_s + time.monotonic() - self._started
        if limit_s is not None and elapsed_s >= limit_s:
            return "seconds"
        patience = self._tuning.patience
        if patience is not None and on_plateau(self._curve, self._done, patience):
            return "plateau"
        return None

    def _next(self) -> TaskSearch | None:
        wanted = self._tuning.min_trials_per_task
        floor = (
            Floor(floor_trials(self._budget, len(self._searches)))
            if wanted is None
            else Floor(wanted, strict=True)
        )
        position = next_task([search.state for search in self._searches], floor)
        return None if position is None else self._searches[position]

    # -- one batch ----------------------------------------------------------------------------

    def _batch(self, search: TaskSearch, measurer: Measurer) -> None:
        state = search.state
        self._active = search
        self._show("searching")
        before = state.trials - self._partial(search)
        count = min(self._batch_trials, state.ceiling - before, self._budget - self._done)
        if search is self._unfinished:
            count = min(self._batch_trials, state.ceiling - before)
        proposals = search.propose(count, before, partial(self._known, search))
        if search is self._unfinished:
            self._unfinished = None
            # Trials of the interrupted batch that it would not have made this time.
            again = {proposal.digest for proposal in proposals}
            rest = self._recollection.rest(search.task_id, before)
            search.absorb(trial for trial in rest if trial.candidate_digest not in again)
        for proposal in proposals:
            if proposal.trial is not None:
                failure = proposal.trial.failure
                search.learn(proposal, proposal.trial.score_s, failure.kind if failure else None)
        fresh = [proposal for proposal in proposals if proposal.trial is None]
        fresh = fresh[: self._budget - self._done]
        if not proposals:
            state.exhausted = True
        if fresh:
            self._show("measuring")
            self._measure(search, fresh, measurer)
        state.record_best()
        warm_start.note(self._curve, self._done, [one.state for one in self._searches])
        self._book()

    def _partial(self, search: TaskSearch) -> int:
        """Trials that an interrupted batch of a task has had."""
        return search.state.trials % self._batch_trials if search is self._unfinished else 0

    def _measure(
        self, search: TaskSearch, proposals: Sequence[Proposal], measurer: Measurer
    ) -> None:
        by_key = {proposal.candidate.key: proposal for proposal in proposals}
        outcomes: list[tuple[MeasureResult, float | None]] = []
        with self._clock.phase("wait"):
            for outcome in measurer.measure([proposal.candidate for proposal in proposals]):
                with self._clock.phase("record"):
                    trial = self._trial(search, by_key[outcome.key], outcome)
                    self._catalogue.trials.add(self._session.id, [trial])
                outcomes.append((outcome, trial.score_s))
                if outcome.failure is not None:
                    search.failures[outcome.failure] += 1
                search.state.count(trial.score_s)
                self._done += 1
                self._spent_now += 1
                self._show("measuring")
        # Candidates are measured one at a time and built several at a time; what neither explains
        # was spent waiting.
        self._clock.move("wait", "measure", sum(outcome.measure_s for outcome, _ in outcomes))
        built_s = sum(outcome.build_s for outcome, _ in outcomes)
        self._clock.move("wait", "build", built_s / max(self._options.jobs, 1))
        # Not before: what this takes would disturb the measurements.
        for outcome, score_s in outcomes:
            search.learn(by_key[outcome.key], score_s, outcome.failure)
        if outcomes and all(outcome.failure is FailureKind.LOST_DEVICE for outcome, _ in outcomes):
            raise SandboxError(
                f"the measuring server died with every candidate of a batch: {outcomes[0][0].text}",
                hint="run `tunekit doctor`; what was measured is kept",
            )

    def _trial(self, search: TaskSearch, proposal: Proposal, outcome: MeasureResult) -> NewTrial:
        return NewTrial(
            task_id=search.task_id,
            candidate_digest=proposal.digest,
            trace_json=proposal.trace_json,
            samples_s=outcome.samples_s,
            failure=None if outcome.failure is None else Failure(outcome.failure, outcome.text),
            measure_options=self._kept_options,
            build_s=outcome.build_s,
            measure_s=outcome.measure_s,
            calibration_s=outcome.calibration_s,
            slowdown=outcome.slowdown,
            device=outcome.device,
        )

    def _known(self, search: TaskSearch, digests: Sequence[str]) -> dict[str, Trial]:
        """Trials that the catalogue already has of these candidates, by digest."""
        trials = self._catalogue.trials.known(
            search.task_id, digests, measure_options=self._kept_options
        )
        others = [t.trial_id for t in trials.values() if t.task_id != search.task_id]
        if others:
            self._catalogue.trials.reuse(search.task_id, others)
            self._reused += len(others)
            for trial in trials.values():
                if trial.score_s is not None and trial.task_id != search.task_id:
                    search.state.best_s = min(search.state.best_s or trial.score_s, trial.score_s)
        return trials

    # -- the end ------------------------------------------------------------------------------

    def _finals(self, measurer: Measurer) -> bool:
        """Settles which record of each task is the best; False when asked to stop meanwhile."""
        for group in self._competitions.groups(self._searches):
            if self._stop():
                return False
            fields = self._competitions.fields(group)
            if not fields:
                continue
            self._active = group[0].search
            self._show("deciding")
            with self._clock.phase("decide"):
                seconds = run_final(fields, measurer, self._catalogue)
            for competitor, samples_s in zip(group, seconds, strict=True):
                if samples_s is not None:
                    competitor.search.state.best_s = min(samples_s)
        return True

    # -- before and around --------------------------------------------------------------------

    def _search(self, task: Task, task_id: int, target: ResolvedTarget) -> TaskSearch:
        def recall() -> History:
            return self._recollection.of(task_id, search.state.trials - self._partial(search))

        search = TaskSearch(
            task,
            task_id,
            target,
            seed=self._tuning.seed,
            ceiling=self._tuning.trials_per_task or self._budget,
            threads=self._options.jobs,
            clock=self._clock,
            history=recall,
        )
        return search

    def _go_on(self) -> tuple[list[tuple[int, float]], TaskSearch | None]:
        """Takes the searches to where the session's recorded trials left them."""
        account = self._catalogue.sessions.report(self._session.id, measured_with=self._comparable)
        known = self._catalogue.trials.known_counts(
            self._session.id, measured_with=self._comparable
        )
        by_id = {search.task_id: search for search in self._searches}
        for task_id, search in by_id.items():
            search.state.best_s = account.known_s.get(task_id)
            search.state.known = known.get(task_id, 0)
        for summary in account.tasks:
            if summary.task_id in by_id:
                by_id[summary.task_id].failures.update(summary.failures)
        standing = warm_start.replay(
            {task_id: search.state for task_id, search in by_id.items()},
            account.outcomes,
            self._batch_trials,
        )
        return standing.curve, by_id.get(standing.unfinished or -1)

    def _book(self) -> None:
        """Adds what was spent since the last time to the session's account."""
        spent = self._clock.take()
        if spent:
            self._catalogue.sessions.add_seconds(self._session.id, spent)

    def _show(self, phase: str) -> None:
        now = time.monotonic()
        if now - self._last_heartbeat > _HEARTBEAT_S:
            self._catalogue.sessions.heartbeat(self._session.id)
            self._last_heartbeat = now
        self._listener.update(self._progress(phase))

    def _progress(self, phase: str) -> Progress:
        return Progress(
            tasks=[
                TaskProgress(
                    name=search.task.name,
                    weight=search.task.weight,
                    flops=search.task.flops,
                    trials=search.state.trials,
                    best_s=search.state.best_s,
                    failures=dict(search.failures),
                    active=search is self._active,
                    implementation=search.state.implementation,
                )
                for search in self._searches
            ],
            budget=self._budget,
            done=self._done,
            spent_now=self._spent_now,
            elapsed_s=(self._ended or time.monotonic()) - self._started,
            phase=phase,
            curve=tuple(self._curve),
        )
