from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pytest

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Converted:
    """A torch module after a layout conversion, and how far its outputs are from torch's.

    Attributes:
        before: as imported.
        module: as converted.
        transforms: as the conversion counted them.
        errors: of each output, max abs error / max abs reference; infinite where a shape differs
            or something is not a number.
    """

    before: Any
    module: Any
    transforms: int
    errors: list[float]


class Convert(Protocol):
    def __call__(
        self, model: Any, *shapes: tuple[int, ...], layout: Any = ..., lanes: int = ...
    ) -> Converted: ...


def _relative_error(expected: Array, actual: Array) -> float:
    if expected.shape != actual.shape or not np.isfinite(actual).all():
        return float("inf")
    return float(np.abs(expected - actual).max() / max(np.abs(expected).max(), 1e-30))


@pytest.fixture
def relative_error() -> Callable[[Array, Array], float]:
    return _relative_error


@pytest.fixture(scope="session")
def imported() -> Callable[..., Any]:
    """The Relax module of a torch module and its inputs, as tunekit imports it."""
    from tunekit.torch_frontend import export_program, program_to_relax

    def make(model: Any, inputs: list[Any]) -> Any:
        names = [f"x{index}" for index in range(len(inputs))]
        return program_to_relax(export_program(model.eval(), inputs, "test"), names, "test")

    return make


@pytest.fixture(scope="session")
def execute() -> Callable[..., list[Array]]:
    """Compiles a Relax module in TVM's default pipeline and runs its main."""
    import tvm
    from targets import unoptimized
    from tvm import relax

    def run(module: Any, inputs: list[Array]) -> list[Array]:
        executable = tvm.compile(module, target=unoptimized().tvm)
        machine = relax.VirtualMachine(executable, tvm.cpu())
        result = machine["main"](*[tvm.runtime.tensor(array) for array in inputs])
        outputs = [result] if hasattr(result, "numpy") else list(result)
        return [output.numpy() for output in outputs]

    return run


@pytest.fixture(scope="session")
def convert(imported: Callable[..., Any], execute: Callable[..., list[Array]]) -> Convert:
    """Converts a torch module's layout, runs it on seeded inputs and compares with torch."""
    import torch

    from tunekit.graph.layouts.convert import convert_layout

    def run(
        model: Any, *shapes: tuple[int, ...], layout: Any = "NCHWc", lanes: int = 8
    ) -> Converted:
        generator = torch.Generator().manual_seed(7)
        inputs = [torch.randn(shape, generator=generator) for shape in shapes]
        before = imported(model, inputs)
        laid_out = convert_layout(before, layout, lanes)
        assert laid_out.layout == layout
        with torch.no_grad():
            expected = model.eval()(*inputs)
        if isinstance(expected, torch.Tensor):
            expected = [expected]
        actual = execute(laid_out.module, [array.numpy() for array in inputs])
        assert len(actual) == len(expected)
        errors = [
            _relative_error(reference.numpy(), output)
            for reference, output in zip(expected, actual, strict=True)
        ]
        return Converted(before, laid_out.module, laid_out.transforms, errors)

    return run
