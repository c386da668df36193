"""The tuning loop: it owns the budget, and each trial is in the catalogue once it is known."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tunekit.catalogue import (
    Catalogue,
    Failure,
    FailureKind,
    NewTask,
    NewTrial,
    NewWorkload,
    Record,
    SessionInfo,
    toolchain_key,
)
from tunekit.errors import SandboxError
from tunekit.search.allocation import batch_trials, floor_trials, next_task
from tunekit.search.finals import FINALISTS, hold_final
from tunekit.search.metaschedule import cost_model
from tunekit.search.spaces import space_for
from tunekit.search.task_search import Proposal, TaskSearch
from tunekit.search.trial import MeasureOptions, Measurer, Outcome
from tunekit.toolchain import versions

if TYPE_CHECKING:
    from tunekit.graph.tasks import Task
    from tunekit.recipe import Tuning
    from tunekit.target import ResolvedTarget

# Batches in a row that brought nothing new before a task counts as used up.
_EMPTY_BATCHES = 3
_RECORDS_PER_TASK = 16
_MEMORY_SHARE = 0.5
_HEARTBEAT_S = 10.0
# Of the model's latency: a task below it is not worth a final.
_FINAL_SHARE = 0.002


@dataclass(frozen=True)
class TaskProgress:
    """A task as the progress display shows it; `best_s` is seconds of one call."""

    name: str
    weight: float
    flops: float
    trials: int
    best_s: float | None
    failures: Mapping[FailureKind, int]
    active: bool


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
    """

    tasks: Sequence[TaskProgress]
    budget: int
    done: int
    spent_now: int
    elapsed_s: float
    phase: str

    @property
    def latency_s(self) -> float | None:
        """Estimated seconds of one run of the model, None until every task has a time."""
        if any(task.best_s is None for task in self.tasks):
            return None
        return sum(task.weight * (task.best_s or 0.0) for task in self.tasks)

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


class Listener(Protocol):
    """Who shows the progress."""

    def update(self, progress: Progress) -> None:
        """Called after each trial and at each change of phase."""


@dataclass(frozen=True)
class TuningResult:
    """How a run of the tuner ended.

    Attributes:
        trials: trials of the session, earlier runs of it included.
        failures: those of them that failed, by kind.
        reused: candidates whose result was already in the catalogue.
        interrupted: asked to stop before the budget was spent.
        exhausted: every task's space was used up before the budget was.
        seconds: time spent in each part, by "search", "measure", "learn", "record", "decide".
    """

    trials: int
    failures: Mapping[FailureKind, int]
    reused: int
    interrupted: bool
    exhausted: bool
    seconds: Mapping[str, float]


def measure_options(tuning: Tuning, target: ResolvedTarget, memory_bytes: int) -> MeasureOptions:
    """The recipe's measuring options with the target's cores where the recipe leaves a choice."""
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
        cache_flush=measure.cache_flush,
        memory_bytes=int(memory_bytes * _MEMORY_SHARE),
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
    return NewTask(workload, task.name, float(task.weight), task.flops)


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
        self._budget = session.budget_trials
        self._done = session.trials_done
        self._spent_now = 0
        self._reused = 0
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._started = time.monotonic()
        self._ended: float | None = None
        self._last_heartbeat = self._started
        self._active: TaskSearch | None = None
        self._phase = "searching"
        # What a result depends on; who measured and how many builds ran at a time is not part.
        self._kept_options = {
            "repeat": options.repeat,
            "min_repeat_ms": options.min_repeat_ms,
            "threads": options.threads,
            "cache_flush": options.cache_flush,
        }
        ids = catalogue.ensure_tasks(session.id, [new_task(task, preparation) for task in tasks])
        self._searches = self._open_searches(tasks, ids, target, tuning)

    def run(self, engine: Measurer) -> TuningResult:
        """Searches and measures; returns when the budget is spent or `stop` says so."""
        floor = floor_trials(self._budget, len(self._searches))
        interrupted = False
        engine.start()
        while self._done < self._budget:
            if self._stop():
                interrupted = True
                break
            position = next_task([search.state for search in self._searches], floor)
            if position is None:
                break
            self._batch(self._searches[position], engine)
        self._ended = time.monotonic()
        if not interrupted and self._spent_now:
            interrupted = not self._finals(engine)
        self._active = None
        self._show("done")
        failures: Counter[FailureKind] = Counter()
        for search in self._searches:
            failures.update(search.failures)
        return TuningResult(
            trials=self._done,
            failures=failures,
            reused=self._reused,
            interrupted=interrupted,
            exhausted=not interrupted and self._done < self._budget,
            seconds=dict(self._seconds),
        )

    # -- one batch ----------------------------------------------------------------------------

    def _batch(self, search: TaskSearch, engine: Measurer) -> None:
        self._active = search
        self._show("searching")
        started = time.monotonic()
        proposals = self._distinct(search.propose())
        self._seconds["search"] += time.monotonic() - started
        if not proposals:
            search.state.exhausted = True
            return
        left = min(self._budget - self._done, search.state.ceiling - search.state.trials)
        known = self._known(search, proposals)
        fresh = [p for p in proposals if p.digest not in known][:left]
        taken = [p for p in proposals if p.digest in known] + fresh
        outcomes = dict(known)
        self._show("measuring")
        outcomes.update(self._measure(search, fresh, engine))
        started = time.monotonic()
        done = [p for p in taken if p.digest in outcomes]
        search.learn(done, [outcomes[p.digest] for p in done])
        search.state.note()
        self._seconds["learn"] += time.monotonic() - started
        if fresh:
            search.empty_batches = 0
        else:
            search.empty_batches += 1
            search.state.exhausted = search.empty_batches >= _EMPTY_BATCHES

    def _measure(
        self, search: TaskSearch, proposals: Sequence[Proposal], engine: Measurer
    ) -> dict[str, Outcome]:
        outcomes: dict[str, Outcome] = {}
        by_key = {proposal.candidate.key: proposal for proposal in proposals}
        started = time.monotonic()
        recording = 0.0
        for outcome in engine.measure([proposal.candidate for proposal in proposals]):
            proposal = by_key[outcome.key]
            before = time.monotonic()
            self._catalogue.add_trials(self._session.id, [self._trial(search, proposal, outcome)])
            recording += time.monotonic() - before
            outcomes[proposal.digest] = outcome
            search.count(outcome)
            self._done += 1
            self._spent_now += 1
            self._show("measuring")
        self._seconds["record"] += recording
        self._seconds["measure"] += time.monotonic() - started - recording
        if outcomes and all(
            outcome.failure is FailureKind.LOST_DEVICE for outcome in outcomes.values()
        ):
            raise SandboxError(
                f"the measuring server died with every candidate of a batch: "
                f"{next(iter(outcomes.values())).text}",
                hint="run `tunekit doctor`; what was measured is kept",
            )
        return outcomes

    def _trial(self, search: TaskSearch, proposal: Proposal, outcome: Outcome) -> NewTrial:
        return NewTrial(
            task_id=search.task_id,
            candidate_digest=proposal.digest,
            trace_json=proposal.trace_json,
            run_seconds=outcome.run_seconds,
            failure=None if outcome.failure is None else Failure(outcome.failure, outcome.text),
            measure_options=self._kept_options,
            build_seconds=outcome.build_s,
            run_seconds_total=outcome.run_s,
        )

    def _known(self, search: TaskSearch, proposals: Sequence[Proposal]) -> dict[str, Outcome]:
        """Outcomes that the catalogue already has for these candidates, by digest."""
        digests = [proposal.digest for proposal in proposals]
        trials = self._catalogue.known_trials(
            search.task_id, digests, measure_options=self._kept_options
        )
        if not trials:
            return {}
        self._catalogue.reuse_trials(search.task_id, [t.trial_id for t in trials.values()])
        self._reused += len(trials)
        keys = {proposal.digest: proposal.candidate.key for proposal in proposals}
        return {
            digest: Outcome(
                key=keys[digest],
                run_seconds=trial.run_seconds,
                failure=trial.failure.kind if trial.failure else None,
                text=trial.failure.text if trial.failure else "",
                build_s=0.0,
                run_s=0.0,
            )
            for digest, trial in trials.items()
        }

    @staticmethod
    def _distinct(proposals: Sequence[Proposal]) -> list[Proposal]:
        """Different traces can end in the same code; it is built and measured once."""
        return list({proposal.digest: proposal for proposal in proposals}.values())

    def _finals(self, engine: Measurer) -> bool:
        """Settles which record of each task is the best; False when asked to stop meanwhile."""
        started = time.monotonic()
        total = sum(search.state.weight * (search.state.best_s or 0) for search in self._searches)
        for search in self._searches:
            if self._stop():
                return False
            best_s = search.state.best_s
            if best_s is None or search.state.weight * best_s < _FINAL_SHARE * total:
                continue
            self._active = search
            self._show("deciding")
            seconds = hold_final(self._records(search.task, FINALISTS), engine, self._catalogue)
            if seconds is not None:
                search.state.best_s = min(seconds)
        self._seconds["decide"] += time.monotonic() - started
        return True

    def _records(self, task: Task, top_k: int) -> list[Record]:
        return self._catalogue.records(
            structural_hashes=[task.structural_hash],
            target_json=self._session.target_json,
            host_fingerprint=self._session.host_fingerprint,
            toolchain_key=toolchain_key(versions()),
            top_k=top_k,
        )

    # -- before and around --------------------------------------------------------------------

    def _open_searches(
        self,
        tasks: Sequence[Task],
        ids: Sequence[int],
        target: ResolvedTarget,
        tuning: Tuning,
    ) -> list[TaskSearch]:
        model = cost_model(target.cores, tuning.seed)
        batch = batch_trials(self._budget, len(tasks))
        ceiling = tuning.trials_per_task or self._budget
        searches = [
            TaskSearch(
                task,
                task_id,
                target,
                space_for(task, target),
                model,
                batch=batch,
                seed=tuning.seed,
                ceiling=ceiling,
                threads=target.cores,
                records=self._records(task, _RECORDS_PER_TASK),
            )
            for task, task_id in zip(tasks, ids, strict=True)
        ]
        # By id: a session may hold tasks of an earlier preparation as well.
        summaries = {s.task_id: s for s in self._catalogue.task_summaries(self._session.id)}
        for search in searches:
            summary = summaries[search.task_id]
            search.state.trials = summary.trials
            search.failures.update(summary.failures)
        return searches

    def _show(self, phase: str) -> None:
        now = time.monotonic()
        if now - self._last_heartbeat > _HEARTBEAT_S:
            self._catalogue.heartbeat(self._session.id)
            self._last_heartbeat = now
        self._listener.update(
            Progress(
                tasks=[
                    TaskProgress(
                        name=search.task.name,
                        weight=search.task.weight,
                        flops=search.task.flops,
                        trials=search.state.trials,
                        best_s=search.state.best_s,
                        failures=dict(search.failures),
                        active=search is self._active,
                    )
                    for search in self._searches
                ],
                budget=self._budget,
                done=self._done,
                spent_now=self._spent_now,
                elapsed_s=(self._ended or now) - self._started,
                phase=phase,
            )
        )
