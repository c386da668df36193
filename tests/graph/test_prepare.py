"""From an imported model to tasks: what is tuned, how often it runs, and that it stays the same."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tunekit.graph.prepare import LayoutChoice, PreparedGraph, prepare
from tunekit.graph.task import Task
from tunekit.graph.tasks import extract_tasks
from tunekit.machine.target import resolve_target

IMAGE = (1, 3, 8, 8)
# A named CPU, so that the workloads are the same on every machine that runs the tests.
TARGET = resolve_target("llvm -mcpu=x86-64-v3 -num-cores=2", measured_elsewhere=True)


class Repeated(nn.Module):
    """A stem, the same residual block twice with weights of its own, and a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Conv2d(16, 16, 3, padding=1) for _ in range(2))
        self.head = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        for block in self.blocks:
            x = F.relu(block(x) + x)
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


@pytest.fixture(scope="session")
def graph_of(imported: Callable[..., Any]) -> Callable[..., PreparedGraph]:
    def make(layout: LayoutChoice = "auto", **options: Any) -> PreparedGraph:
        return prepare(imported(Repeated(), [torch.zeros(IMAGE)]), TARGET, layout, **options)

    return make


@pytest.fixture(scope="session")
def tasks(graph_of: Callable[..., PreparedGraph]) -> dict[str, Task]:
    return {task.name: task for task in extract_tasks(graph_of(), TARGET)}


def test_a_repeated_block_is_one_task_that_counts_twice(tasks: dict[str, Task]) -> None:
    convolutions = {task.weight: task for name, task in tasks.items() if "convolution" in name}
    assert sorted(convolutions) == [1, 2]
    assert "relu" in convolutions[2].name
    assert len({task.structural_hash for task in tasks.values()}) == len(tasks)


def test_arithmetic_and_bytes_are_those_of_the_layers(tasks: dict[str, Task]) -> None:
    convolutions = {task.weight: task for name, task in tasks.items() if "convolution" in name}
    block, stem = convolutions[2], convolutions[1]
    places = 8 * 8
    # Two for each multiply-add, and up to a few for bias, addition, relu of each output.
    assert 0 <= block.flops - 2 * 16 * 16 * 9 * places <= 5 * 16 * places
    assert 0 <= stem.flops - 2 * 3 * 16 * 9 * places <= 5 * 16 * places
    # The input (which is the residual too), weights, bias, output; float32.
    assert block.bytes == 4 * (16 * places + 16 * 16 * 9 + 16 + 16 * places)
    assert next(iter(tasks.values())) is block


def test_reshapes_are_no_tasks(
    tasks: dict[str, Task], graph_of: Callable[..., PreparedGraph]
) -> None:
    kernels = [str(name.name_hint) for name, _ in graph_of().module.functions_items()]
    assert any("reshape" in name for name in kernels)
    assert not any(name.startswith("reshape") for name in tasks)
    assert len(tasks) < len(kernels) - 1


def test_every_kernel_called_is_a_task_or_a_reshape(
    tasks: dict[str, Task], graph_of: Callable[..., PreparedGraph]
) -> None:
    from tvm import ir, relax

    called: list[str] = []

    def visit(expr: Any) -> None:
        if isinstance(expr, relax.Call):
            called.extend(str(a.name_hint) for a in expr.args if isinstance(a, ir.GlobalVar))

    relax.analysis.post_order_visit(graph_of().module["main"].body, visit)
    left_out = [name for name in called if name.startswith("reshape")]
    assert sum(task.weight for task in tasks.values()) == len(called) - len(left_out)


def test_preparing_again_gives_the_same_tasks(
    tasks: dict[str, Task], graph_of: Callable[..., PreparedGraph]
) -> None:
    again = extract_tasks(graph_of(), TARGET)
    assert [(t.name, t.structural_hash, t.weight) for t in again] == [
        (t.name, t.structural_hash, t.weight) for t in tasks.values()
    ]


def test_another_process_gives_the_same_hashes(tasks: dict[str, Task]) -> None:
    program = f"""
import sys, importlib.util, torch
spec = importlib.util.spec_from_file_location("prepared", {__file__!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
from tunekit.torch_frontend import export_program, program_to_relax
from tunekit.graph.prepare import prepare
from tunekit.graph.tasks import extract_tasks
program = export_program(module.Repeated().eval(), [torch.zeros(module.IMAGE)], "other")
graph = prepare(program_to_relax(program, ["another_name"], "other"), module.TARGET, "auto")
for task in extract_tasks(graph, module.TARGET):
    print(task.structural_hash)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [task.structural_hash for task in tasks.values()]


@pytest.mark.parametrize(
    ("choice", "layout", "transforms"),
    [("auto", "NCHWc", 0), ("NCHWc", "NCHWc", 0), ("NCHW", "NCHW", 0), ("NHWC", "NHWC", 2)],
)
def test_the_prepared_graph_says_its_layout_and_computes_the_model(
    choice: LayoutChoice,
    layout: str,
    transforms: int,
    graph_of: Callable[..., PreparedGraph],
    execute: Callable[..., list[Any]],
    relative_error: Callable[[Any, Any], float],
) -> None:
    said: list[str] = []
    graph = graph_of(choice, say=said.append)
    assert (graph.layout, graph.transforms) == (layout, transforms)
    [line] = said
    assert line.startswith(f"layout {layout}: {transforms} layout transform")
    assert f"layout={layout}" in graph.preparation
    image = np.random.default_rng(0).standard_normal(IMAGE, "float32")
    with torch.no_grad():
        expected = Repeated()(torch.from_numpy(image)).numpy()
    [actual] = execute(graph.module, [image])
    assert relative_error(expected, actual) < 1e-5


def test_other_weights_are_the_same_tasks(
    imported: Callable[..., Any], tasks: dict[str, Task]
) -> None:
    model = Repeated()
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    graph = prepare(imported(model, [torch.zeros(IMAGE)]), TARGET, "auto")
    again = extract_tasks(graph, TARGET)
    assert [task.structural_hash for task in again] == [t.structural_hash for t in tasks.values()]
