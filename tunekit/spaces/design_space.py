"""The candidates of one workload: drawn at random, made from given decisions, mutated.

A space consists of designs (traces whose decisions are open); a point is a design with a value
for each of its decisions. Everything random here follows from a seed that the caller gives for
each candidate, so threads may share the work and the result is still the same every time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunekit.ir.trace import load_trace
from tunekit.spaces.default_schedule import default_schedule
from tunekit.spaces.metaschedule import tune_context

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.s_tir import Schedule
    from tvm.s_tir.meta_schedule.space_generator import SpaceGenerator
    from tvm.s_tir.schedule import Trace

    from tunekit.machine.target import ResolvedTarget

# Up to so many points all of them are ranked; above, the search draws and mutates.
_MOST_LISTED = 20_000
_LARGEST_SEED = 2**31 - 2

Decision = int | tuple[int, ...]


@dataclass(frozen=True)
class Point:
    """One design with all its decisions, in the order of its instructions."""

    design: int
    decisions: tuple[Decision, ...]


@dataclass(frozen=True)
class ScheduledCandidate:
    """A point's code.

    Attributes:
        point: the point; None for code that is not of the space.
        schedule: with the postprocessors applied.
        digest: of the code; different points may have the same.
    """

    point: Point | None
    schedule: Schedule
    digest: str


class DesignSpace:
    """The candidates of one workload.

    Attributes:
        context: MetaSchedule's context of the workload.
        weights: of all points, by how much is expected of each, where the space is small and made
            of plain choices; None where it has to be drawn from.
    """

    def __init__(
        self,
        module: IRModule,
        target: ResolvedTarget,
        generator: SpaceGenerator,
        *,
        name: str,
        threads: int,
    ) -> None:
        from tvm.s_tir.schedule import Trace

        self._module = module
        self._target = target
        self._threads = threads
        self._generator = generator
        self.context = tune_context(module, target, generator, name=name, threads=threads)
        # The decisions of the designs themselves are never used.
        self._designs = [
            Trace(list(schedule.trace.insts), {})
            for schedule in generator.generate_design_space(module)
        ]
        self._by_signature = {
            _signature(design.insts): index for index, design in enumerate(self._designs)
        }
        self._sampling = [_sampling(design) for design in self._designs]
        self._postprocs = list(generator.postprocs or ())
        self._mutators = [
            (mutator, float(weight)) for mutator, weight in (generator.mutator_probs or {}).items()
        ]
        self.weights = self._weigh()

    def draw(self, seeds: Sequence[int]) -> list[ScheduledCandidate | None]:
        """A random candidate for each seed, None where its decisions cannot be carried out."""

        def make(seed: int) -> ScheduledCandidate | None:
            design = seed % len(self._designs)
            return self._schedule(design, self._designs[design], seed)

        return self._map(make, seeds)

    def make(self, points: Sequence[Point]) -> list[ScheduledCandidate | None]:
        """The candidates at these points, None where one cannot be carried out."""
        return self._map(lambda point: self._schedule(point.design, self._at(point), 1), points)

    def mutate(self, parents: Sequence[tuple[Point, int]]) -> list[ScheduledCandidate | None]:
        """For each point and seed a candidate that differs from it, None where that fails."""
        return self._map(lambda parent: self._mutation(*parent), parents)

    def default(self) -> ScheduledCandidate | None:
        """The candidate that the workload would be compiled with had nothing been measured, the
        same every time; None where none is known."""
        from tvm.s_tir.meta_schedule.space_generator import ScheduleFn

        # Spaces of tunekit's own list what is expected most of first; the generic one has no order.
        if isinstance(self._generator, ScheduleFn):
            [first] = self.make([Point(0, (0,) * len(self._sampling[0]))])
            if first is not None:
                return first
        schedule = default_schedule(self._module, self._target)
        return (
            None if schedule is None else ScheduledCandidate(None, schedule, _code_digest(schedule))
        )

    def locate(self, trace_json: str) -> Point | None:
        """The point that a stored trace belongs to, None when the space has changed since."""
        trace = load_trace(trace_json)
        kept = itertools.takewhile(lambda inst: inst.kind.name != "EnterPostproc", trace.insts)
        design = self._by_signature.get(_signature(kept))
        return None if design is None else self._point(design, trace)

    # ------------------------------------------------------------------------------------------

    def _map(self, make: Any, items: Sequence[Any]) -> list[Any]:
        if self._threads < 2 or len(items) < 2:
            return [make(item) for item in items]
        # TVM lets go of the interpreter's lock while it replays a trace.
        with ThreadPoolExecutor(min(self._threads, len(items))) as pool:
            return list(pool.map(make, items))

    def _mutation(self, parent: Point, seed: int) -> ScheduledCandidate | None:
        from tvm.s_tir.meta_schedule import _ffi_api

        if not self._mutators:
            return None
        weights = list(itertools.accumulate(weight for _, weight in self._mutators))
        share = (seed % 9973) / 9973 * weights[-1]
        chosen = next(i for i, limit in enumerate(weights) if share < limit)
        trace = _ffi_api.MutatorApply(self._mutators[chosen][0], self._at(parent), seed)
        return None if trace is None else self._schedule(parent.design, trace, seed)

    def _schedule(self, design: int, trace: Trace, seed: int) -> ScheduledCandidate | None:
        from tvm.s_tir import Schedule

        schedule = Schedule(self._module, seed=seed, debug_mask="none", error_render_level="none")
        try:
            trace.apply_to_schedule(schedule, remove_postproc=True)
        # TVM's errors have no common class of their own: whatever it says, this is no candidate.
        except Exception:  # noqa: BLE001
            return None
        point = self._point(design, schedule.trace)
        schedule.enter_postproc()
        if not all(postproc.apply(schedule) for postproc in self._postprocs):
            return None
        return ScheduledCandidate(point, schedule, _code_digest(schedule))

    def _at(self, point: Point) -> Trace:
        from tvm.s_tir.schedule import Trace

        design = self._designs[point.design]
        instructions = self._sampling[point.design]
        decisions = {
            instruction: list(value) if isinstance(value, tuple) else value
            for instruction, value in zip(instructions, point.decisions, strict=True)
        }
        return Trace(list(design.insts), decisions)

    def _point(self, design: int, trace: Trace) -> Point:
        """Where a trace of a design stands; instructions of postprocessors decide nothing."""
        made = [inst for inst in trace.insts if inst in trace.decisions]
        decisions = [_plain(trace.decisions[inst]) for inst in made]
        return Point(design, tuple(decisions[: len(self._sampling[design])]))

    def _weigh(self) -> dict[Point, float] | None:
        count = 0
        for instructions in self._sampling:
            if any(inst.kind.name != "SampleCategorical" for inst in instructions):
                return None
            count += math.prod(len(inst.attrs[0]) for inst in instructions)
        if count > _MOST_LISTED:
            return None
        return dict(self._list())

    def _list(self) -> Iterator[tuple[Point, float]]:
        for design, instructions in enumerate(self._sampling):
            options = [
                list(enumerate(float(share) for share in inst.attrs[1])) for inst in instructions
            ]
            for choice in itertools.product(*options):
                yield (
                    Point(design, tuple(index for index, _ in choice)),
                    math.prod(share for _, share in choice),
                )


def seeds(numbers: Iterable[float]) -> list[int]:
    """Seeds for TVM's generator from numbers between 0 and 1."""
    return [1 + int(number * _LARGEST_SEED) for number in numbers]


def _code_digest(schedule: Schedule) -> str:
    """What candidates of one workload with the same code have in common."""
    import tvm_ffi

    return str(tvm_ffi.structural_hash(schedule.mod))


def _sampling(design: Trace) -> list[Any]:
    """The instructions of a design whose outcome is a decision."""
    return [inst for inst in design.insts if inst.kind.name.startswith("Sample")]


def _signature(instructions: Iterable[Any]) -> tuple[Any, ...]:
    """What tells designs apart: instructions with their attributes, and which result of which
    other each takes. (A trace has no equality of its own, and not every trace can be printed.)"""
    numbers: dict[Any, int] = {}
    parts: list[Any] = []
    for instruction in instructions:
        inputs = [
            numbers[value] if value in numbers else _constant(value) for value in instruction.inputs
        ]
        attributes = [_constant(value) for value in instruction.attrs]
        parts.append((instruction.kind.name, tuple(map(str, inputs)), tuple(attributes)))
        for output in instruction.outputs:
            numbers[output] = len(numbers)
    return tuple(parts)


def _constant(value: Any) -> str:
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if hasattr(value, "__iter__"):
        return f"[{', '.join(_constant(item) for item in value)}]"
    return type(value).__name__


def _plain(decision: Any) -> Decision:
    if isinstance(decision, int):
        return decision
    try:
        return tuple(int(value) for value in decision)
    except TypeError:
        return int(decision)
