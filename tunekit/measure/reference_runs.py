"""The expected outputs of a batch's workloads, computed in processes beside its builds."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from tunekit.measure.correctness import (
    REFERENCE_LIMIT_S,
    Expected,
    References,
    compute_expected,
)
from tunekit.measure.measurer import Candidate
from tunekit.measure.messages import Failed, Late, answer
from tunekit.measure.verdict import of_exit
from tunekit.processes.child import Child

if TYPE_CHECKING:
    import mmap

    from tunekit.measure.correctness import Array

Fork = Callable[[Callable[[Connection], None]], Child]
"""Starts a child of a batch that does a job."""


@dataclass(eq=False)
class ReferenceRun:
    """A computation of the expected outputs of a candidate's workload, and its process."""

    candidate: Candidate
    process: Child
    deadline: float


class ReferenceRuns:
    """All such computations of a batch.

    Args:
        candidates: the batch.
        references: where the outputs are kept.
        pool: random floats, for the inputs.
        target: what plain loops are built for, as JSON or a kind; no other device than a CPU
            runs them.

    Attributes:
        running: those that have a process.
    """

    def __init__(
        self, candidates: Sequence[Candidate], references: References, pool: Array, target: str
    ) -> None:
        self._references = references
        self._pool = pool
        self._target = target
        # One candidate of each workload stands for all.
        firsts = {
            candidate.workload_json: candidate
            for candidate in reversed(candidates)
            if candidate.workload_json is not None
        }
        self._waiting = deque(
            candidate
            for workload, candidate in reversed(firsts.items())
            if references.make_room(workload, candidate.unscheduled_arguments, needed=firsts.keys())
        )
        self.running: list[ReferenceRun] = []

    @property
    def are_done(self) -> bool:
        """Whether the reference of each workload is known, or why there is none."""
        return not (self._waiting or self.running)

    @property
    def unknown(self) -> set[str | None]:
        """The workloads whose references are still to come."""
        open_candidates = [*self._waiting, *(run.candidate for run in self.running)]
        return {candidate.workload_json for candidate in open_candidates}

    def start_next(self, fork: Fork) -> bool:
        """Starts one more; False where none waits."""
        if not self._waiting:
            return False
        candidate = self._waiting.popleft()
        memory = self._references.memory(candidate.workload_json)
        assert memory is not None
        work = functools.partial(_compute, candidate, self._target, self._pool, memory)
        process = fork(functools.partial(answer, work=work))
        deadline = process.started + REFERENCE_LIMIT_S
        self.running.append(ReferenceRun(candidate, process, deadline))
        return True

    def take(self, run: ReferenceRun, message: Expected | Failed | Late | None) -> None:
        """Takes in what a process says, or that it says nothing (any more); it is to be ended."""
        self.running.remove(run)
        match message:
            case Expected():
                self._note(run.candidate, message)
            case Failed(text=text):
                self._note(run.candidate, text)
            case Late():
                limit = f"{REFERENCE_LIMIT_S:g} s"
                self._note(run.candidate, f"the unscheduled function takes longer than {limit}")
            case None:
                failure = of_exit(run.process.exit(), "the unscheduled function ran")
                self._note(run.candidate, failure.text)

    def give_up(self) -> None:
        """Notes of those that are still to come that they never will."""
        for candidate in (*self._waiting, *(run.candidate for run in self.running)):
            self._note(candidate, "it was not computed to the end")
        self._waiting.clear()
        self.running.clear()

    def _note(self, candidate: Candidate, reference: Expected | str) -> None:
        assert candidate.workload_json is not None
        self._references.note(candidate.workload_json, reference, candidate.unscheduled_arguments)


def _compute(candidate: Candidate, target: str, pool: Array, memory: mmap.mmap) -> Expected:
    import json

    import tvm

    parsed = json.loads(target) if target.startswith("{") else target
    return compute_expected(candidate, tvm.target.Target(parsed), pool, memory)
