"""The tuning loop: it owns the budget, and each trial is in the catalogue once it is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from tunekit.catalogue import Catalogue, FailureKind, NewWorkload, SessionInfo, comparable
from tunekit.catalogue.conditions import CpuCache
from tunekit.errors import DeviceError, SandboxError
from tunekit.measure.measurer import MeasureOptions, Measurer, MeasureResult
from tunekit.search import warm_start
from tunekit.search.final_groups import FinalGroups
from tunekit.search.progress import Budget, Ending, Reporter, TuningResult, on_plateau
from tunekit.search.progress_view import ProgressView
from tunekit.search.session_clock import SessionClock
from tunekit.search.task_scheduler import Floor, batch_trials, floor_trials, next_task
from tunekit.search.task_search import Proposal, TaskSearch
from tunekit.search.trial_writer import TrialWriter, new_task

if TYPE_CHECKING:
    from tunekit.graph.task import Task
    from tunekit.machine.target import ResolvedTarget
    from tunekit.recipe import Tuning

_MEMORY_SHARE = 0.5


def measure_options(
    tuning: Tuning,
    target: ResolvedTarget,
    memory_bytes: int,
    cpu_cache: CpuCache,
    *,
    huge_pages: bool = False,
) -> MeasureOptions:
    """The recipe's measuring options, with the target's cores where the recipe leaves a choice.

    Args:
        tuning: the recipe's.
        target: what candidates are built for.
        memory_bytes: the memory of the machine that builds them.
        cpu_cache: what the recipe's choice means for this model; see `cpu_cache_of`.
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
        cpu_cache=cpu_cache,
        memory_bytes=int(memory_bytes * _MEMORY_SHARE),
        overlap=measure.overlap,
        huge_pages=huge_pages,
    )


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
        reporter: Reporter,
        stop: Callable[[], bool],
    ) -> None:
        """Args:
        tasks: what is tuned.
        target: what candidates are scheduled for.
        tuning: the recipe's: seed, floors, ceilings, when to stop.
        options: how candidates are measured.
        catalogue: knows results already, and gets every trial.
        session: begun or resumed in it.
        preparation: how the model's kernels were prepared.
        reporter: is told the progress.
        stop: asked between batches and finals.
        """
        self._tuning = tuning
        self._jobs = options.jobs
        self._stop = stop
        self._budget = Budget(session.budget_trials, session.trials_done)
        self._batch_trials = batch_trials(self._budget.trials, len(tasks))
        self._clock = SessionClock(catalogue, session)
        recorded = options.recorded()
        self._writer = TrialWriter(catalogue, session, recorded)
        self._final_groups = FinalGroups(catalogue, session, recorded)
        new_tasks = [new_task(task, preparation) for task in tasks]
        ids = catalogue.trials.ensure_tasks(session.id, new_tasks)
        self._warm_start = warm_start.WarmStart(catalogue, session, recorded, comparable(recorded))
        self._searches = [
            self._search(task, task_id, target, new.workload)
            for task, task_id, new in zip(tasks, ids, new_tasks, strict=True)
        ]
        self._curve, self._unfinished = self._restore()
        self._view = ProgressView(reporter, self._searches, self._budget, self._clock, self._curve)

    def run(self, measurer: Measurer) -> TuningResult:
        """Searches and measures; returns when the budget is spent or `stop` says so."""
        measurer.start()
        ending = self._search_until_ending(measurer)
        self._clock.end_search()
        if ending != "interrupted" and not self._run_finals(measurer):
            ending = "interrupted"
        self._clock.book()
        progress = self._view.show("done")
        failures: Counter[FailureKind] = Counter()
        for search in self._searches:
            failures.update(search.failures)
        return TuningResult(
            trials=self._budget.done,
            failures=failures,
            reused=self._writer.reused + self._warm_start.reused.total(),
            ending=ending,
            seconds=self._clock.phases.seconds,
            forecast=progress.forecast,
        )

    def _search(
        self, task: Task, task_id: int, target: ResolvedTarget, workload: NewWorkload
    ) -> TaskSearch:
        search = TaskSearch(
            task,
            task_id,
            target,
            seed=self._tuning.seed,
            ceiling=self._tuning.trials_per_task or self._budget.trials,
            # While it samples, nothing is built: it may have the cores that builds are given.
            sampler_threads=self._jobs,
            clock=self._clock.phases,
            prior_trials=lambda: self._warm_start.of(task_id, self._whole_batches(search)),
            workload=workload,
        )
        return search

    def _restore(self) -> tuple[list[tuple[int, float]], TaskSearch | None]:
        """Takes the searches to where the session's recorded trials left them; returns its curve
        and the task whose batch was interrupted."""
        by_id = {search.task_id: search for search in self._searches}
        states = {task_id: search.state for task_id, search in by_id.items()}
        stand = self._warm_start.restore(states, self._batch_trials)
        for task_id, failures in stand.failures.items():
            if task_id in by_id:
                by_id[task_id].failures.update(failures)
        return stand.curve, None if stand.unfinished is None else by_id[stand.unfinished]

    # -- when to stop -------------------------------------------------------------------------

    def _search_until_ending(self, measurer: Measurer) -> Ending:
        if self._unfinished is not None and not self._stop():
            self._batch(self._unfinished, measurer)
        while (ending := self._ending()) is None:
            search = self._next_search()
            if search is None:
                return "exhausted"
            self._batch(search, measurer)
        return ending

    def _ending(self) -> Ending | None:
        """Why to end now, None to go on."""
        if self._stop():
            return "interrupted"
        if self._budget.left <= 0:
            return "budget"
        limit_s = self._tuning.max_seconds
        if limit_s is not None and self._clock.session_s >= limit_s:
            return "seconds"
        patience = self._tuning.patience
        if patience is not None and on_plateau(self._curve, self._budget.done, patience):
            return "plateau"
        return None

    def _next_search(self) -> TaskSearch | None:
        least = self._tuning.min_trials_per_task
        floor = (
            Floor(floor_trials(self._budget.trials, len(self._searches)))
            if least is None
            else Floor(least, strict=True)
        )
        position = next_task([search.state for search in self._searches], floor)
        return None if position is None else self._searches[position]

    # -- a batch ------------------------------------------------------------------------------

    def _batch(self, search: TaskSearch, measurer: Measurer) -> None:
        self._show("searching", search)
        proposals = (
            self._propose_again(search) if search is self._unfinished else self._propose(search)
        )
        for proposal in proposals:
            if proposal.trial is not None:
                failure = proposal.trial.failure
                search.learn(proposal, proposal.trial.score_s, failure.kind if failure else None)
        if not proposals:
            search.state.exhausted = True
        fresh = [proposal for proposal in proposals if proposal.trial is None]
        fresh = fresh[: self._budget.left]
        if fresh:
            self._show("measuring", search)
            self._measure(search, fresh, measurer)
        search.state.record_best()
        states = [search.state for search in self._searches]
        warm_start.record_curve(self._curve, self._budget.done, states)
        self._clock.book()

    def _propose(self, search: TaskSearch) -> list[Proposal]:
        before = search.state.trials
        count = min(self._batch_trials, search.state.ceiling - before, self._budget.left)
        return search.propose(count, before, partial(self._writer.known, search))

    def _propose_again(self, search: TaskSearch) -> list[Proposal]:
        """The batch that was interrupted, proposed anew from what was known when it began."""
        before = self._whole_batches(search)
        count = min(self._batch_trials, search.state.ceiling - before)
        proposals = search.propose(count, before, partial(self._writer.known, search))
        self._unfinished = None
        # Trials of the interrupted batch that would not have been made this time.
        again = {proposal.digest for proposal in proposals}
        rest = self._warm_start.rest(search.task_id, before)
        search.learn_trials(trial for trial in rest if trial.candidate_digest not in again)
        return proposals

    def _whole_batches(self, search: TaskSearch) -> int:
        """Trials of a task without those of a batch that was interrupted."""
        trials = search.state.trials
        return trials - trials % self._batch_trials if search is self._unfinished else trials

    def _measure(
        self, search: TaskSearch, proposals: Sequence[Proposal], measurer: Measurer
    ) -> None:
        by_key = {proposal.candidate.key: proposal for proposal in proposals}
        results: list[tuple[MeasureResult, float | None]] = []
        with self._clock.phases.phase("wait"):
            for result in measurer.measure([proposal.candidate for proposal in proposals]):
                with self._clock.phases.phase("record"):
                    score_s = self._writer.write(search, by_key[result.key], result).score_s
                results.append((result, score_s))
                search.count(score_s, result.failure)
                self._budget.spend()
                self._show("measuring", search)
        self._clock.split_wait([result for result, _ in results], self._jobs)
        # Not before: what this takes would disturb the measurements.
        for result, score_s in results:
            search.learn(by_key[result.key], score_s, result.failure)
        _require_a_survivor([result for result, _ in results])

    # -- around -------------------------------------------------------------------------------

    def _run_finals(self, measurer: Measurer) -> bool:
        """Settles which record of each task is the best; False when asked to stop meanwhile."""
        for group in self._final_groups.groups(self._searches):
            if self._stop():
                return False
            entries = self._final_groups.entries(group)
            if not entries:
                continue
            self._show("deciding", group[0].search)
            with self._clock.phases.phase("decide"):
                self._final_groups.run(group, entries, measurer)
        return True

    def _show(self, phase: str, active: TaskSearch) -> None:
        self._clock.heartbeat()
        self._view.show(phase, active)


def _require_a_survivor(results: Sequence[MeasureResult]) -> None:
    """Refuses to go on where every candidate of a batch was lost.

    Raises:
        DeviceError: with the device that measured them.
        SandboxError: with this machine's measuring server.
    """
    if not results or any(result.failure is not FailureKind.LOST_DEVICE for result in results):
        return
    if results[0].device is not None:
        raise DeviceError(
            f"the device was lost with every candidate of a batch: {results[0].text}",
            hint="`tunekit devices` lists those that answer; what was measured is kept",
        )
    raise SandboxError(
        f"the measuring server died with every candidate of a batch: {results[0].text}",
        hint="run `tunekit doctor`; what was measured is kept",
    )
