"""Programs are imported from one trace where that is right, and from a second where it is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
import tvm_ffi
from torch import nn

from tunekit.torch_frontend import export_program, program_to_relax
from tunekit.torch_frontend.restated import restated

IMAGE = torch.randn(2, 4, 6, 5)


class Function(nn.Module):
    """A function and a convolution with its normalization, as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(inplace=True)

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(self, x)


def _program(function: Callable[..., Any]) -> torch.export.ExportedProgram:
    return export_program(Function(function).eval(), [IMAGE], "test")


def _results(graph: torch.fx.Graph, program: torch.export.ExportedProgram) -> list[torch.Tensor]:
    """What a graph computes, with the program's weights."""
    stored = {**program.state_dict, **program.constants}
    specs = program.graph_signature.input_specs
    values = [stored[spec.target] if spec.target else IMAGE.clone() for spec in specs]
    results = torch.fx.Interpreter(torch.fx.GraphModule(nn.Module(), graph)).run(*values)
    return list(results)


PLAIN: dict[str, Callable[..., Any]] = {
    "written in place": lambda m, x: F.relu_(m.norm(m.conv(x))).add_(x),
    "read before and after": lambda m, x: (y := m.conv(x), y * 2, y.relu_(), y + 1)[1:],
    "written twice": lambda m, x: m.conv(x).mul_(2).sigmoid_().mean((2, 3)),
    "dropped in place": lambda m, x: m.drop(m.conv(x).flatten(1)),
    "in chunks": lambda m, x: torch.cat([part * 2 for part in m.conv(x).chunk(3, 1)], 1),
    "checked while it is traced": lambda m, x: m.conv(x).double().to(torch.float32) + 1,
    "split and padded": lambda m, x: F.pad(m.conv(x).split(3, 1)[1], (1, 0, 2, 1), value=0.5),
    "a kernel of another layer": lambda m, x: F.conv2d(x, m.conv.weight, padding=2, stride=2),
    "of what is not dropped": lambda m, x: (y := m.conv(x), F.dropout(y, 0.5, False).relu_(), y)[
        1:
    ],
    "of a copy that is none": lambda m, x: (z := x * 1, z.contiguous().mul_(2), z + 1)[1:],
}
SHARED: dict[str, Callable[..., Any]] = {
    "through a view": lambda m, x: (y := m.conv(x), y.flatten(1), y.relu_())[1:],
    "of a view": lambda m, x: (y := m.conv(x), y.view(2, -1).relu_(), y + 1)[1:],
    "of a part": lambda m, x: (y := m.conv(x), y[:, 0].mul_(2), y + 1)[1:],
}


@pytest.mark.parametrize("case", PLAIN)
def test_one_trace_computes_what_the_program_does(case: str) -> None:
    program = _program(PLAIN[case])
    graph = restated(program)
    assert graph is not None
    expected = Function(PLAIN[case])
    expected.load_state_dict(program.state_dict)
    with torch.no_grad():
        wanted = expected.eval()(IMAGE.clone())
        given = _results(graph, program)
    wanted = [wanted] if isinstance(wanted, torch.Tensor) else list(wanted)
    for one, other in zip(given, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", SHARED)
def test_memory_that_two_values_share_needs_the_second(case: str) -> None:
    assert restated(_program(SHARED[case])) is None


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "shufflenet_v2_x0_5"])
def test_both_ways_give_one_module(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = torchvision.models.get_model(name, weights=None).eval()
    program = export_program(model, [torch.randn(1, 3, 64, 64)], name)
    assert restated(program) is not None
    module = program_to_relax(program, ["x"], name)
    monkeypatch.setattr("tunekit.torch_frontend.importer.restated", lambda program: None)
    assert tvm_ffi.structural_equal(program_to_relax(program, ["x"], name), module)
