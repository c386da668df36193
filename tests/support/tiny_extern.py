"""A network with operators in C (`extern_operators`), made into libraries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from extern_operators import ROWS, Detecting

from tunekit.graph.prepare import PreparedGraph, prepare
from tunekit.graph.tasks import extract_tasks
from tunekit.library.apply import apply_records
from tunekit.library.build import Exported, export
from tunekit.machine.target import ResolvedTarget
from tunekit.standalone.build import Part
from tunekit.standalone.emit import Program
from tunekit.standalone.planner import plan
from tunekit.torch_frontend import export_program, program_to_relax

if TYPE_CHECKING:
    from tunekit.graph.task import Task

    Array = np.ndarray[Any, Any]

NAMES = ("image", "count")


@dataclass(frozen=True)
class Made:
    """Attributes:
    module: the network.
    graph: it, prepared.
    tasks: its tasks.
    path: its library for TVM's virtual machine.
    exported: what that was linked from.
    """

    module: Detecting
    graph: PreparedGraph
    tasks: list[Task]
    path: Path
    exported: Exported

    def expected(self, inputs: dict[str, Array]) -> list[Array]:
        """What torch gives."""
        with torch.no_grad():
            results = self.module(*(torch.from_numpy(array) for array in inputs.values()))
        return [result.numpy() for result in results]

    def part(self, target: ResolvedTarget) -> Part:
        """What a standalone library is linked from."""
        ranges = [(0.0, 1.0), (0.0, ROWS)]
        return part_of(self.exported, target, NAMES, ["values", "positive", "masks"], ranges)


def part_of(
    exported: Exported,
    target: ResolvedTarget,
    inputs: Sequence[str],
    outputs: Sequence[str],
    ranges: Sequence[tuple[float, float]],
) -> Part:
    """What a standalone library is linked from; inputs, outputs and the inputs' ranges by turn."""
    assert exported.kernels is not None
    program = Program(
        plan=plan(exported.lowered, exported.unneeded),
        features=(),
        cores=target.cores,
        input_names=inputs,
        output_names=outputs,
        input_ranges=ranges,
        checks=(),
        huge_pages=False,
        workspace=exported.workspace,
    )
    return Part(program, exported.kernels)


def example(count: int) -> dict[str, Array]:
    """Inputs of the network."""
    image = np.random.default_rng(count).normal(size=(1, 3, 10, 10)).astype("float32")
    return {"image": image, "count": np.array([count], "int32")}


def relax_of(module: torch.nn.Module) -> Any:
    """A network in Relax."""
    inputs = [torch.from_numpy(array) for array in example(0).values()]
    return program_to_relax(export_program(module.eval(), inputs, "test"), NAMES, "test")


def make(folder: Path, target: ResolvedTarget, compiler: str | None = None) -> Made:
    """The network with default schedules, its libraries' files in `folder`."""
    torch.manual_seed(0)
    module = Detecting()
    graph = prepare(relax_of(module), target, "NCHWc")
    tasks = extract_tasks(graph, target)
    scheduled = apply_records(graph, tasks, [], target).module
    path = folder / "machine.so"
    kernels = folder / "kernels.o"
    exported = export(scheduled, target, path, compiler=compiler, kernels=kernels)
    return Made(module, graph, tasks, path, exported)
