"""How much memory kernels take is read from their own code."""

from __future__ import annotations

import pytest
import tvm
from tvm import te
from tvm.s_tir import Schedule

from tunekit.graph.lowering.build import build
from tunekit.machine.target import ResolvedTarget
from tunekit.standalone.plan import NotStandalone
from tunekit.standalone.workspace import Workspace, workspace_of


def _code(target: ResolvedTarget, *, inside: bool) -> str:
    """A kernel whose rows of 512 numbers are computed beside the parallel loop, or in it."""
    x = te.placeholder((8, 512), name="x")
    twice = te.compute((8, 512), lambda i, j: x[i, j] * 2, name="twice")
    turned = te.compute((8, 512), lambda i, j: twice[i, 511 - j], name="turned")
    schedule = Schedule(tvm.IRModule({"main": te.create_prim_func([x, turned])}))
    rows = schedule.get_loops(schedule.get_sblock("turned"))[0]
    schedule.parallel(rows)
    if inside:
        schedule.compute_at(schedule.get_sblock("twice"), rows)
    code = build(schedule.mod, target.tvm).inspect_source("ll")
    assert "AllocWorkspace" in code
    return str(code)


def test_memory_inside_and_outside_of_parallel_loops_is_told_apart(target: ResolvedTarget) -> None:
    assert workspace_of(_code(target, inside=False)) == Workspace(kernel=8 * 512 * 4)
    assert workspace_of(_code(target, inside=True)) == Workspace(task=512 * 4)


def test_no_memory_is_none() -> None:
    assert workspace_of("define i32 @main() {\n  ret i32 0\n}\n") == Workspace()


def test_memory_that_depends_on_data_is_refused() -> None:
    code = (
        "define i32 @kernel(ptr %0) {\n"
        "  %p = call ptr %3(i32 1, i32 %dev, i64 %bytes, i32 2, i32 32)\n"
    )
    with pytest.raises(NotStandalone, match="as much memory as its data says"):
        workspace_of(code)
