"""The search of one task: candidates out, outcomes in."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunekit.catalogue.entries import FailureKind, mean
from tunekit.search.allocation import TaskState
from tunekit.search.metaschedule import add_record, tune_context
from tunekit.search.trial import Candidate, Outcome, TensorArgument

if TYPE_CHECKING:
    from tvm.s_tir.meta_schedule.cost_model import CostModel
    from tvm.s_tir.meta_schedule.space_generator import SpaceGenerator

    from tunekit.catalogue import Record
    from tunekit.graph.tasks import Task
    from tunekit.target import ResolvedTarget

# A candidate this many times slower than the task's best is timed once and no more.
_SLOW_FACTOR = 4.0
_POPULATION_PER_CANDIDATE = 12
_LARGEST_RAND_STATE = 2**31 - 2


@dataclass(frozen=True)
class Proposal:
    """A candidate as the search made it, and as the measuring server gets it."""

    measure_candidate: Any
    candidate: Candidate
    digest: str
    trace_json: str


class TaskSearch:
    """MetaSchedule's evolutionary search over one task.

    Attributes:
        task: the task.
        task_id: its id in the catalogue.
        state: its standing, kept for the allocation of the budget.
        failures: failed trials by kind.
    """

    def __init__(
        self,
        task: Task,
        task_id: int,
        target: ResolvedTarget,
        space: SpaceGenerator,
        model: CostModel,
        *,
        batch: int,
        seed: int,
        ceiling: int,
        threads: int,
        records: Sequence[Record],
    ) -> None:
        self.task = task
        self.task_id = task_id
        self.state = TaskState(weight=task.weight, flops=task.flops, ceiling=ceiling)
        self.failures: Counter[FailureKind] = Counter()
        self.empty_batches = 0
        self._target = target
        self._space = space
        self._model = model
        self._batch = batch
        self._seed = (seed * 7919 + int(task.structural_hash)) % _LARGEST_RAND_STATE + 1
        self._threads = threads
        self._records = list(records)
        self._context: Any = None
        if self._records:
            self.state.best_s = self._records[0].mean_s

    def propose(self) -> list[Proposal]:
        """The next batch, best expected first; empty when the space is used up."""
        import tvm
        import tvm_ffi

        if self._context is None:
            self._open()
        candidates = self._context.generate_measure_candidates()
        slow_s = _SLOW_FACTOR * self.state.best_s if self.state.best_s else math.inf
        proposals = []
        for key, candidate in enumerate(candidates or ()):
            arguments = tuple(
                TensorArgument(tuple(int(extent) for extent in info.shape), str(info.dtype))
                for info in candidate.args_info
            )
            proposals.append(
                Proposal(
                    measure_candidate=candidate,
                    candidate=Candidate(
                        key, tvm.ir.save_json(candidate.sch.mod), arguments, slow_s
                    ),
                    digest=str(tvm_ffi.structural_hash(candidate.sch.mod)),
                    trace_json=tvm.ir.save_json(candidate.sch.trace),
                )
            )
        return proposals

    def learn(self, proposals: Sequence[Proposal], outcomes: Sequence[Outcome]) -> None:
        """Tells the search and the cost model what became of a batch, in the batch's order."""
        from tvm.s_tir.meta_schedule.database import TuningRecord
        from tvm.s_tir.meta_schedule.runner import RunnerResult

        results = []
        for proposal, outcome in zip(proposals, outcomes, strict=True):
            if outcome.run_seconds is None:
                # MetaSchedule's own convention for a failure; it stays inside of MetaSchedule.
                results.append(RunnerResult(None, outcome.text or "failed"))
                continue
            results.append(RunnerResult(list(outcome.run_seconds), None))
            self._database.commit_tuning_record(
                TuningRecord(
                    proposal.measure_candidate.sch.trace,
                    self._workload,
                    list(outcome.run_seconds),
                    self._target.tvm,
                    proposal.measure_candidate.args_info,
                )
            )
        candidates = [proposal.measure_candidate for proposal in proposals]
        self._context.notify_runner_results(candidates, results)
        self._model.update(self._context, candidates, results)

    def count(self, outcome: Outcome) -> None:
        """Notes one measured outcome."""
        self.state.trials += 1
        if outcome.failure is not None:
            self.failures[outcome.failure] += 1
        elif outcome.run_seconds:
            seconds = mean(outcome.run_seconds)
            if self.state.best_s is None or seconds < self.state.best_s:
                self.state.best_s = seconds

    def _open(self) -> None:
        from tvm.s_tir.meta_schedule.database import MemoryDatabase
        from tvm.s_tir.meta_schedule.runner import RunnerResult

        self._database = MemoryDatabase()
        self._workload = self._database.commit_workload(self.task.module)
        self._context = tune_context(
            self.task.module,
            self._target,
            self._space,
            name=self.task.name,
            seed=self._seed,
            population=max(64, _POPULATION_PER_CANDIDATE * self._batch),
            threads=self._threads,
        )
        replayed = [add_record(self._database, record, self._target) for record in self._records]
        self._context.pre_tuning(
            max_trials=_LARGEST_RAND_STATE,
            num_trials_per_iter=self._batch,
            database=self._database,
            cost_model=self._model,
        )
        if replayed:
            self._model.update(
                self._context,
                [record.as_measure_candidate() for record in replayed],
                [RunnerResult(list(record.run_seconds), None) for record in self._records],
            )
