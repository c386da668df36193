"""What a catalogue knows of a model before anything is spent on it: its records, task by task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunekit.graph.algorithms import choose, is_selected

if TYPE_CHECKING:
    from tunekit.catalogue import Catalogue, Conditions, Record
    from tunekit.graph.task import Task

# What a kernel without a record is reckoned to reach: naive loops, one thread, seen on x86-64.
_NAIVE_FLOPS_PER_S = 2e9
_NAIVE_BYTES_PER_S = 1e9


@dataclass(frozen=True)
class TaskKnowledge:
    """A task and the record it would be compiled with.

    Attributes:
        task: the task.
        record: None where it is new.
        trials: of all sessions.
        chosen: it would be in the library; not so where another algorithm is known to be faster.
    """

    task: Task
    record: Record | None
    trials: int
    chosen: bool

    @property
    def seconds(self) -> float:
        """Estimated seconds in one run of the model: measured, or naive loops without a record;
        0 where it is not in the library."""
        if not self.chosen:
            return 0.0
        return self.task.weight * (self.record.score_s if self.record else naive_seconds(self.task))


@dataclass(frozen=True)
class Knowledge:
    """Which tasks of a model have a record on its target and host."""

    tasks: Sequence[TaskKnowledge]

    @property
    def known(self) -> Sequence[TaskKnowledge]:
        """Those that have one."""
        return [entry for entry in self.tasks if entry.record is not None]

    @property
    def running(self) -> Sequence[TaskKnowledge]:
        """Those that would run: of the algorithms of a convolution only the fastest known."""
        return [entry for entry in self.tasks if entry.chosen]

    @property
    def coverage(self) -> float:
        """Share of the estimated latency that the records cover, 0 to 1."""
        running = self.running
        total = sum(entry.seconds for entry in running)
        covered = sum(entry.seconds for entry in running if entry.record)
        return covered / total if total else 1.0

    @property
    def latency_s(self) -> float | None:
        """Estimated seconds of one run, of the known tasks; None where there is none."""
        return sum(entry.seconds for entry in self.running if entry.record) if self.known else None

    def line(self) -> str:
        """One line: "22 of 28 tasks known, 81 % of the estimated latency; 6 new"."""
        known, total = len(self.known), len(self.tasks)
        if not known:
            return f"none of {total} tasks known"
        # Rounded down: 100 % means all.
        line = (
            f"{known} of {total} tasks known, {int(100 * self.coverage)} % of the estimated latency"
        )
        return line if known == total else f"{line}; {total - known} new"


def look_up(catalogue: Catalogue, tasks: Sequence[Task], conditions: Conditions) -> Knowledge:
    """What is known of these tasks under these conditions; see `Records.to_compile`."""
    hashes = [task.structural_hash for task in tasks]
    records = catalogue.records.to_compile(conditions, hashes)
    trials = catalogue.trials.measured_before(conditions, hashes)
    return assess(tasks, {record.structural_hash: record for record in records}, trials)


def assess(
    tasks: Sequence[Task], records: Mapping[str, Record], trials: Mapping[str, int] | None = None
) -> Knowledge:
    """What these records (by structural hash) are to these tasks."""
    choice = choose(tasks, lambda digest: records[digest].score_s if digest in records else None)
    return Knowledge(
        [
            TaskKnowledge(
                task,
                records.get(task.structural_hash),
                (trials or {}).get(task.structural_hash, 0),
                is_selected(task, choice),
            )
            for task in tasks
        ]
    )


def naive_seconds(task: Task) -> float:
    """Estimated seconds of one call without a schedule, by arithmetic and by bytes moved."""
    return max(task.flops / _NAIVE_FLOPS_PER_S, task.bytes / _NAIVE_BYTES_PER_S)
