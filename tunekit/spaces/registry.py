"""Families of kernels with a space of their own, and the space of everything else.

A family is told by what a kernel computes. The first that recognises a kernel and can schedule it
is the one that it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunekit.ir.tir import Kernel
from tunekit.spaces.attention import attention_designs, find_attention
from tunekit.spaces.convolution import convolution_designs, find_anchor
from tunekit.spaces.elementwise import elementwise_designs, find_elementwise
from tunekit.spaces.matmul import matmul_designs
from tunekit.spaces.matmul_pattern import find_matmul
from tunekit.spaces.metaschedule import generic_space
from tunekit.spaces.pooling import find_pooling, pooling_designs
from tunekit.spaces.row_reduction import find_rows, rows_designs
from tunekit.spaces.winograd import find_winograd, winograd_designs

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.s_tir import Schedule
    from tvm.s_tir.meta_schedule.space_generator import SpaceGenerator

    from tunekit.graph.task import Task
    from tunekit.machine.target import ResolvedTarget

Designs = Callable[["Schedule"], "list[Schedule]"]


@dataclass(frozen=True)
class Family:
    """Kernels that are scheduled alike.

    Attributes:
        name: of its space in reports.
        find: what a module computes, if it is one of these; it is asked about `regular` kernels.
        designs: the structural variants of a schedule of one, the best expected first; none, or a
            ScheduleError, where its kernel has a form that they cannot schedule.
    """

    name: str
    find: Callable[[IRModule], Any]
    designs: Callable[[Schedule, Any, ResolvedTarget], list[Schedule]]


FAMILIES = (
    Family("attention", find_attention, attention_designs),
    Family("winograd", find_winograd, winograd_designs),
    Family("register tile", find_anchor, convolution_designs),
    Family("matrix product", find_matmul, matmul_designs),
    Family("pooling", find_pooling, pooling_designs),
    Family("rows", find_rows, rows_designs),
    Family("elementwise", find_elementwise, elementwise_designs),
)


def space_for(task: Task, target: ResolvedTarget) -> SpaceGenerator:
    """The space that a task's candidates come from."""
    return _named_space(task, target)[1]


def space_name(task: Task, target: ResolvedTarget) -> str:
    """What that space is called in reports."""
    return _named_space(task, target)[0]


def _named_space(task: Task, target: ResolvedTarget) -> tuple[str, SpaceGenerator]:
    family = find_family(task.module, target) if target.kind == "llvm" else None
    if family is None:
        return "generic", generic_space(target)
    name, designs = family
    return name, family_space(designs)


def find_family(module: IRModule, target: ResolvedTarget) -> tuple[str, Designs] | None:
    """The name of a kernel's family and what makes its structural variants; None without one."""
    fitting = _first_fitting(module, target)
    return None if fitting is None else (fitting.family.name, fitting.designs)


def first_design(module: IRModule, target: ResolvedTarget) -> Schedule | None:
    """The variant of a kernel that is expected to be best; None without a family."""
    fitting = _first_fitting(module, target)
    return None if fitting is None else fitting.variants[0]


@dataclass(frozen=True)
class Fitting:
    """A family that can schedule a kernel, and the variants that showed it."""

    family: Family
    designs: Designs
    variants: list[Schedule]


def _first_fitting(module: IRModule, target: ResolvedTarget) -> Fitting | None:
    if not Kernel.of(module).regular:
        return None
    for family in FAMILIES:
        try:
            fitting = fit(family, module, target)
        # Models hold kernels that nobody thought of: there is always the schedule of the others.
        except Exception:  # noqa: BLE001
            continue
        if fitting is not None:
            return fitting
    return None


def fit(family: Family, module: IRModule, target: ResolvedTarget) -> Fitting | None:
    """A family's variants of a regular kernel, None where it is of another family or of a form
    that they cannot schedule."""
    from tvm.s_tir import Schedule
    from tvm.s_tir.schedule import ScheduleError

    pattern = family.find(module)
    if pattern is None:
        return None

    def designs(schedule: Schedule) -> list[Schedule]:
        return family.designs(schedule, pattern, target)

    try:
        variants = designs(Schedule(module))
    except ScheduleError:
        return None
    return Fitting(family, designs, variants) if variants else None


def family_space(designs: Designs) -> SpaceGenerator:
    """Candidates of a family's structural variants."""
    from tvm.s_tir.meta_schedule.space_generator import ScheduleFn

    return ScheduleFn(designs, sch_rules=[], postprocs=[], mutator_probs={})
