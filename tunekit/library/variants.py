"""The libraries that may ship: all of the same model, of different records and algorithms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tunekit.graph.algorithms import choose, choose_direct, choose_unmeasured, is_selected
from tunekit.graph.implementation import Choice
from tunekit.library.apply import Applied, apply_records

if TYPE_CHECKING:
    from tunekit.catalogue import Record
    from tunekit.graph.pipeline import PreparedModel
    from tunekit.graph.prepare import PreparedGraph
    from tunekit.graph.task import Task

Name = Literal["tuned", "cautious", "direct", "default"]

# So many times as fast as the direct kernel is Winograd where "cautious" has it. A kernel is
# measured only, with its weights in the cache, and Winograd has up to four times as many.
_CLEAR_GAIN = 1.15


@dataclass(frozen=True)
class Variant:
    """One way to compile a model.

    Attributes:
        name: "tuned" has the record and the algorithm that were fastest as kernels, "cautious"
            Winograd only where that was clearly faster, "direct" no Winograd, "default" no records.
        choice: the algorithm of each convolution.
        records: those to apply, of the kernels that this choice has.
    """

    name: Name
    choice: Choice
    records: Sequence[Record]


@dataclass(frozen=True)
class Assembled:
    """A variant's kernels with their schedules."""

    variant: Variant
    graph: PreparedGraph
    tasks: Sequence[Task]
    applied: Applied


def variants_of(prepared: PreparedModel, records: Sequence[Record]) -> list[Variant]:
    """The variants, each of them another library, "tuned" first; one of them has no Winograd."""
    seconds = {record.structural_hash: record.score_s for record in records}.get
    clear = choose(prepared.tasks, seconds, least_gain=_CLEAR_GAIN)
    tuned = _variant("tuned", choose(prepared.tasks, seconds), prepared, records)
    cautious = _variant("cautious", clear, prepared, records)
    direct = _variant("direct", choose_direct(prepared.tasks), prepared, records)
    default = _variant("default", choose_unmeasured(prepared.tasks), prepared, [])
    variants = [tuned]
    for variant in (cautious, direct):
        if not any(_same(variant, other) for other in (*variants, default)):
            variants.append(variant)
    return variants if _same(tuned, default) else [*variants, default]


def assemble(variant: Variant, prepared: PreparedModel) -> Assembled:
    """Prepares the model with the variant's algorithms and applies its records."""
    graph, tasks = prepared.with_choice(variant.choice)
    applied = apply_records(graph, tasks, variant.records, prepared.target)
    return Assembled(variant, graph, tasks, applied)


def _variant(
    name: Name, choice: Choice, prepared: PreparedModel, records: Sequence[Record]
) -> Variant:
    used = {task.structural_hash for task in prepared.tasks if is_selected(task, choice)}
    return Variant(name, choice, [record for record in records if record.structural_hash in used])


def _same(first: Variant, second: Variant) -> bool:
    def trials(variant: Variant) -> set[int]:
        return {record.trial_id for record in variant.records}

    return first.choice == second.choice and trials(first) == trials(second)
