"""Families of kernels with a space of their own, beside the convolutions.

A family is told by what a kernel computes. The first that recognises a kernel and can schedule it
is the one that it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunekit.search.spaces.elementwise import elementwise_designs, find_elementwise
from tunekit.search.spaces.matmul import find_product, product_designs
from tunekit.search.spaces.pooling import find_pooling, pooling_designs
from tunekit.search.spaces.rows import find_rows, rows_designs

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.s_tir import Schedule
    from tvm.s_tir.meta_schedule.space_generator import SpaceGenerator

    from tunekit.target import ResolvedTarget

Designs = Callable[["Schedule"], "list[Schedule]"]


@dataclass(frozen=True)
class Family:
    """Kernels that are scheduled alike.

    Attributes:
        name: of its space in reports.
        find: what a module computes, if it is one of these.
        designs: the structural variants of a schedule of one, the best expected first; none where
            its kernel has a form that they cannot schedule.
    """

    name: str
    find: Callable[[IRModule], Any]
    designs: Callable[[Schedule, Any, ResolvedTarget], list[Schedule]]


FAMILIES = (
    Family("matrix product", find_product, product_designs),
    Family("pooling", find_pooling, pooling_designs),
    Family("rows", find_rows, rows_designs),
    Family("elementwise", find_elementwise, elementwise_designs),
)


def find_family(module: IRModule, target: ResolvedTarget) -> tuple[str, Designs] | None:
    """The name of a kernel's family and what makes its structural variants; None without one."""
    from tvm.s_tir import Schedule

    for family in FAMILIES:
        found = family.find(module)
        if found is None:
            continue
        if family.designs(Schedule(module), found, target):
            return family.name, _bound(family, found, target)
    return None


def _bound(family: Family, found: Any, target: ResolvedTarget) -> Designs:
    return lambda schedule: family.designs(schedule, found, target)


def family_space(designs: Designs) -> SpaceGenerator:
    """Candidates of a family's structural variants."""
    from tvm.s_tir.meta_schedule.space_generator import ScheduleFn

    return ScheduleFn(designs, sch_rules=[], postprocs=[], mutator_probs={})
