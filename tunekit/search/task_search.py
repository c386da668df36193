"""The search of one task: candidates out, results in.

What a batch proposes follows from the seed, the number of the batch and what was known before it,
and from nothing else: not from the clock, from threads or from the process. So a session with the
same seed and catalogue tries the same candidates in the same order, and one that was interrupted
goes on where it would have gone.
"""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunekit.catalogue.entries import FailureKind, NewWorkload, Trial
from tunekit.measure.measurer import Candidate
from tunekit.search.candidates import candidate_of
from tunekit.search.phase_clock import PhaseClock
from tunekit.search.search_strategy import ranked_groups
from tunekit.search.task_scheduler import TaskState
from tunekit.search.trial_memory import TrialMemory
from tunekit.search.warm_start import PriorTrials
from tunekit.spaces import space_for
from tunekit.spaces.design_space import DesignSpace, ScheduledCandidate

if TYPE_CHECKING:
    from tunekit.graph.task import Task
    from tunekit.machine.target import ResolvedTarget

# A candidate this many times slower than the task's best is timed once and no more.
_SLOW_FACTOR = 4.0

KnownTrials = Callable[[Sequence[str]], Mapping[str, Trial]]
"""The results that the catalogue has already, by the candidates' digests."""


@dataclass(frozen=True)
class Proposal:
    """A candidate as the search made it, and as the measurer gets it.

    Attributes:
        scheduled: its code and decisions.
        candidate: what is measured.
        trace_json: replays it.
        trial: its result where this session has measured it already, before it was interrupted.
    """

    scheduled: ScheduledCandidate
    candidate: Candidate
    trace_json: str
    trial: Trial | None

    @property
    def digest(self) -> str:
        """Of the candidate's code."""
        return self.scheduled.digest


class TaskSearch:
    """The search of one task.

    Attributes:
        task: the task.
        task_id: its id in the catalogue.
        operation: what the task's kernel computes, in words for people.
        workload_json: its unscheduled module by `tvm.ir.save_json`.
        state: what the task scheduler knows of it.
        failures: failed trials by kind.
    """

    def __init__(
        self,
        task: Task,
        task_id: int,
        target: ResolvedTarget,
        *,
        seed: int,
        ceiling: int,
        sampler_threads: int,
        clock: PhaseClock,
        prior_trials: Callable[[], PriorTrials],
        workload: NewWorkload,
    ) -> None:
        """Args:
        task: the task.
        task_id: its id in the catalogue.
        target: what it is scheduled for.
        seed: of everything random in the search.
        ceiling: the most trials it may have.
        sampler_threads: threads that draw and schedule candidates.
        clock: told what the search spends its time with.
        prior_trials: asked once, when the search is opened.
        workload: the task's, as the catalogue has it.
        """
        self.task = task
        self.task_id = task_id
        self.operation = workload.name
        self.workload_json = workload.module_json
        self.state = TaskState(
            weight=task.weight,
            flops=task.flops,
            bytes=task.bytes,
            ceiling=ceiling,
            implementation=None if task.implementation is None else str(task.implementation),
        )
        self.failures: Counter[FailureKind] = Counter()
        self._target = target
        self._seed = seed
        self._sampler_threads = sampler_threads
        self._clock = clock
        self._prior_trials = prior_trials
        self._opened: tuple[DesignSpace, TrialMemory] | None = None

    def propose(self, count: int, batch: int, known: KnownTrials) -> list[Proposal]:
        """The next batch, best expected first; empty when the space is used up. The first batch
        begins with the default.

        Args:
            count: candidates of the batch.
            batch: identifies the batch among the task's: the trials that the task had before it.
            known: asked for the results that the catalogue already has. Those of other sessions
                are learnt from and not proposed.
        """
        with self._clock.phase("sample"):
            space, memory = self._open()
            generator = random.Random(f"{self._seed} {self.task.structural_hash} {batch}")
            start = [[memory.default]] if batch == 0 and memory.default is not None else []
            ranked = ranked_groups(space, memory, memory.fit_model(), generator, count)
            chosen: dict[str, tuple[ScheduledCandidate, Trial | None]] = {}
            for group in itertools.chain(start, ranked):
                fresh = {
                    item.digest: item for item in memory.undone(group) if item.digest not in chosen
                }
                results = known(list(fresh))
                for digest, item in fresh.items():
                    trial = results.get(digest)
                    if trial is not None and trial.task_id != self.task_id:
                        memory.add(item, trial.score_s)
                    elif len(chosen) < count:
                        chosen[digest] = (item, trial)
                if len(chosen) == count:
                    break
            return [self._proposal(key, *item) for key, item in enumerate(chosen.values())]

    def count(self, score_s: float | None, failure: FailureKind | None) -> None:
        """Counts a trial of this session; `score_s` is None for a failure."""
        self.state.count(score_s)
        if failure is not None:
            self.failures[failure] += 1

    def learn(self, proposal: Proposal, score_s: float | None, failure: FailureKind | None) -> None:
        """Tells the search what became of a proposal; `score_s` is None for a failure."""
        if failure is FailureKind.LOST_DEVICE:
            return  # says nothing about the candidate, which may be tried again
        self._open()[1].add(proposal.scheduled, score_s)

    def learn_trials(self, trials: Iterable[Trial]) -> None:
        """Tells the search of trials of its own session that are not of a batch."""
        self._open()[1].add_trials(trials)

    def default_digest(self) -> str | None:
        """The candidate that the kernel would be compiled with had nothing been measured; None
        where there is no such default."""
        default = self._open()[1].default
        return None if default is None else default.digest

    def _open(self) -> tuple[DesignSpace, TrialMemory]:
        """The task's space and what is known of it, made when they are first needed."""
        if self._opened is None:
            with self._clock.phase("sample"):
                space = DesignSpace(
                    self.task.module,
                    self._target,
                    space_for(self.task, self._target),
                    name=self.task.name,
                    threads=self._sampler_threads,
                )
                memory = TrialMemory(space, space.default(), self._clock)
            with self._clock.phase("model"):
                prior = self._prior_trials()
                memory.add_trials([*prior.others, *prior.own], prior.settled)
            self._opened = (space, memory)
        return self._opened

    def _proposal(self, key: int, item: ScheduledCandidate, trial: Trial | None) -> Proposal:
        import tvm

        slow_s = _SLOW_FACTOR * self.state.best_s if self.state.best_s else math.inf
        return Proposal(
            scheduled=item,
            candidate=candidate_of(
                key,
                item.schedule.mod,
                self.task.module,
                slow_s,
                workload_json=self.workload_json,
                best_s=self.state.best_s,
            ),
            trace_json=tvm.ir.save_json(item.schedule.trace),
            trial=trial,
        )
