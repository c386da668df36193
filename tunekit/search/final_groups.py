"""Which tasks have a final together, and which finals are still to be run.

Tasks are compared with each other where the library will have the kernels of only one of them, as
of the algorithms of one convolution; each other task has a final of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunekit.catalogue import Catalogue, Conditions, Record, SessionInfo, comparable, toolchain_key
from tunekit.implementations import split
from tunekit.machine.toolchain import versions
from tunekit.measure.measurer import Measurer
from tunekit.search.finals import FINALISTS, FinalEntry, run_final
from tunekit.search.task_scheduler import winning_chances
from tunekit.search.task_search import TaskSearch

# Of the model's latency: a task below it is not worth a final.
_FINAL_SHARE = 0.002
# Of several tasks, as many as are measured in the same rounds.
_FINALISTS_TOGETHER = 12


@dataclass(frozen=True)
class FinalMember:
    """A task in a final, and its chance (0 to 1) that the library will have its kernels."""

    search: TaskSearch
    chance: float


class FinalGroups:
    """The finals of one session, by what its catalogue holds."""

    def __init__(
        self, catalogue: Catalogue, session: SessionInfo, measure_options: Mapping[str, Any]
    ) -> None:
        self._catalogue = catalogue
        self._session = session
        self._measure_options = measure_options

    def groups(self, searches: Sequence[TaskSearch]) -> list[list[FinalMember]]:
        """The tasks that have a time and are worth a final, those of one convolution together."""
        groups: dict[str, list[FinalMember]] = {}
        chances = winning_chances([search.state for search in searches])
        for search, chance in zip(searches, chances, strict=True):
            if search.state.best_s is not None:
                implementation = search.state.implementation
                key = (
                    f"task {search.task_id}" if implementation is None else split(implementation)[0]
                )
                groups.setdefault(key, []).append(FinalMember(search, chance))
        least_s = _FINAL_SHARE * sum(search.state.latency_s for search in searches)
        return [
            group
            for group in groups.values()
            if max(member.search.state.latency_s for member in group) >= least_s
        ]

    def entries(self, group: Sequence[FinalMember]) -> list[FinalEntry]:
        """What a group's final is run with, in its order; empty where it was run already."""
        # An algorithm without a chance still has to show its best beside the others'.
        share = max(1, _FINALISTS_TOGETHER // len(group))
        records = [
            self._records(member.search, min(FINALISTS, share) if member.chance else 1)
            for member in group
        ]
        if all(map(self._is_settled, (member.search for member in group), records)):
            return []
        return [
            FinalEntry(of_task, self._default_record(member.search) if member.chance else None)
            for member, of_task in zip(group, records, strict=True)
        ]

    def run(
        self, group: Sequence[FinalMember], entries: Sequence[FinalEntry], measurer: Measurer
    ) -> None:
        """Runs a group's final; the seconds of its winners are the tasks' best from now on."""
        winners = run_final(entries, measurer, self._catalogue)
        for member, samples_s in zip(group, winners, strict=True):
            if samples_s is not None:
                member.search.state.best_s = min(samples_s)

    def _default_record(self, search: TaskSearch) -> Record | None:
        """A task's default, None where it has none or it failed."""
        digest = search.default_digest()
        if digest is None:
            return None
        known = self._catalogue.trials.known(
            search.task_id, [digest], measure_options=self._measure_options
        )
        return known[digest].as_record(search.workload_json) if digest in known else None

    def _is_settled(self, search: TaskSearch, records: Sequence[Record]) -> bool:
        """Whether a final was run after the last of these was measured: perhaps by an earlier run
        of the session. A session that was killed before or in its finals has them still to run."""
        winners = self._catalogue.records.winners(self._conditions, [search.task.structural_hash])
        return any(
            all(record.measured_at <= winner.measured_at for record in records)
            for winner in winners
        )

    def _records(self, search: TaskSearch, top_k: int) -> list[Record]:
        return self._catalogue.records.best_under(
            self._conditions, [search.task.structural_hash], top_k
        )

    @property
    def _conditions(self) -> Conditions:
        return Conditions(
            target=self._session.target_json,
            host=self._session.host_fingerprint,
            toolchain=toolchain_key(versions()),
            cpu_cache=comparable(self._measure_options).get("cache"),
        )
