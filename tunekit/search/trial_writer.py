"""A session's tasks and trials as its catalogue takes them, and the results that it has already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunekit.catalogue import (
    Catalogue,
    Failure,
    NewTask,
    NewTrial,
    NewWorkload,
    SessionInfo,
    Trial,
)
from tunekit.graph.operation import describe
from tunekit.measure.measurer import MeasureResult
from tunekit.search.task_search import Proposal, TaskSearch

if TYPE_CHECKING:
    from tunekit.graph.task import Task


def new_task(task: Task, preparation: str) -> NewTask:
    """A task as the catalogue takes it: its workload named for people, itself as TVM names it."""
    import tvm

    workload = NewWorkload(
        structural_hash=task.structural_hash,
        module_json=tvm.ir.save_json(task.module),
        preparation=preparation,
        name=describe(task.module),
    )
    implementation = None if task.implementation is None else str(task.implementation)
    return NewTask(workload, task.name, float(task.weight), task.flops, implementation)


class TrialWriter:
    """Writes a session's trials into its catalogue, and reuses those of other sessions.

    Attributes:
        reused: results of other sessions that were taken instead of measuring.
    """

    def __init__(
        self, catalogue: Catalogue, session: SessionInfo, measure_options: Mapping[str, Any]
    ) -> None:
        """Args:
        catalogue: where trials go to.
        session: whose trials they are.
        measure_options: as recorded with each trial; a result counts as known where it was
            measured with the same.
        """
        self.reused = 0
        self._catalogue = catalogue
        self._session = session
        self._measure_options = measure_options

    def write(self, search: TaskSearch, proposal: Proposal, result: MeasureResult) -> NewTrial:
        """Writes a trial; it is kept from now on, whatever happens to this process."""
        trial = NewTrial(
            task_id=search.task_id,
            candidate_digest=proposal.digest,
            trace_json=proposal.trace_json,
            samples_s=result.samples_s,
            failure=None if result.failure is None else Failure(result.failure, result.text),
            measure_options=self._measure_options,
            build_s=result.build_s,
            measure_s=result.measure_s,
            calibration_s=result.calibration_s,
            slowdown=result.slowdown,
            device=result.device,
        )
        self._catalogue.trials.add(self._session.id, [trial])
        return trial

    def known(self, search: TaskSearch, digests: Sequence[str]) -> dict[str, Trial]:
        """Trials that the catalogue already has of these candidates, by digest."""
        trials = self._catalogue.trials.known(
            search.task_id, digests, measure_options=self._measure_options
        )
        others = [trial for trial in trials.values() if trial.task_id != search.task_id]
        if others:
            self._catalogue.trials.reuse(search.task_id, [trial.trial_id for trial in others])
            self.reused += len(others)
            for trial in others:
                search.state.take(trial.score_s)
        return trials
