"""Sizes and branches that values decide: known where no input has a part in them, else refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.utils import _pytree as pytree

from tunekit.errors import ImportFailed
from tunekit.models.sources.torch_model import TorchModel, Weights
from tunekit.models.spec import TensorSpec
from tunekit.torch_frontend import export_program
from tunekit.torch_frontend.known_values import needs_values


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("counts", torch.tensor([2, 1, 0, 1, 1, 1]))
        self.register_buffer("triangle", torch.tril(torch.ones(6, 6, dtype=torch.bool)))

    counts: torch.Tensor
    triangle: torch.Tensor


class OfBuffers(Model):
    def forward(self, x: torch.Tensor) -> Any:
        pairs = (x[:, :, None] * x[:, None, :])[:, self.triangle]
        return (
            pairs,
            x.masked_select(mask=self.counts > 0),
            x[torch.arange(4)[:, None] >= self.counts],
        )


class OfRanges(Model):
    def forward(self, x: torch.Tensor) -> Any:
        even = torch.arange(x.shape[1]) % 2 == 0
        places = torch.triu(torch.ones(6, 6)).nonzero()
        rows, columns = torch.where(self.triangle)
        return x[:, even], x[:, places[:, 1]], x[:, rows] + x[:, columns]


class OfPython(Model):
    def forward(self, x: torch.Tensor) -> Any:
        return x[:, [True, False, True, True, False, False]], x[np.array([True, False, True, True])]


class Written(Model):
    def forward(self, x: torch.Tensor) -> Any:
        chosen = torch.ones(4, 6, dtype=torch.bool)
        chosen[1, 2] = False
        result = torch.zeros_like(x)
        result[chosen] = x[chosen] * 2
        return result


class Counted(Model):
    def forward(self, x: torch.Tensor) -> Any:
        total = int(self.counts.sum())
        result = x[:, : total - 1]
        if (self.counts == 0).any():
            result = result + 1
        for _ in range(self.counts.max()):
            result = result * 2
        return result, self.counts.tolist()[0] * x


class Made(Model):
    def forward(self, x: torch.Tensor) -> Any:
        return (
            x.repeat_interleave(self.counts, dim=1),
            x[0].repeat_interleave(self.counts),
            functional.one_hot(self.counts) * x[0, 0],
            torch.unique(self.counts) + x[0, 0],
            torch.bincount(self.counts) * x[0, 0],
        )


KNOWN = (OfBuffers, OfRanges, OfPython, Written, Counted, Made)


@pytest.mark.parametrize("model", KNOWN)
def test_what_no_input_decides_is_known(model: type[Model]) -> None:
    module = model().eval()
    program = export_program(module, [torch.randn(4, 6)], "known")
    assert not needs_values(program)
    x = torch.randn(4, 6)
    traced, own = (pytree.tree_leaves(run(x)) for run in (program.module(), module))
    for actual, expected in zip(traced, own, strict=True):
        torch.testing.assert_close(actual, expected, rtol=0, atol=0)
    assert "forward" not in vars(module)


class OfInput(Model):
    def forward(self, x: torch.Tensor) -> Any:
        return x[:, x[0] > -100]


class OfNumber(Model):
    def forward(self, x: torch.Tensor) -> Any:
        return x[:, torch.arange(6) < int((x[0] > -100).sum())]


class OfNumberInTorch(Model):
    def forward(self, x: torch.Tensor) -> Any:
        return x[:, torch.arange(6) < torch.arange((x[0] > -100).sum()).numel()]


class OfView(Model):
    def forward(self, x: torch.Tensor) -> Any:
        seen = torch.zeros(2, 6)
        seen[0].copy_(x[0])
        return x[:, seen.sum(0) > -100]


class OfChance(Model):
    def forward(self, x: torch.Tensor) -> Any:
        return x[:, torch.rand(6) > -1]


@pytest.mark.parametrize("model", [OfInput, OfNumber, OfNumberInTorch, OfView, OfChance])
def test_what_an_input_or_chance_decides_is_refused(model: type[Model]) -> None:
    """Also where the samples always decide it in the same way."""
    specs = [TensorSpec("x", (4, 6), "float32")]
    source = TorchModel("open", "digest", 0, specs, model, Weights(random=False))
    with pytest.raises(ImportFailed, match=r"depends on the values|data-dependent"):
        source.to_relax()


def test_a_known_choice_gives_what_torch_gives_in_a_library() -> None:
    import tvm
    from targets import unoptimized
    from tvm import relax

    from tunekit.graph.lowering.build import compile_model
    from tunekit.machine.tvm_loading import arrays_of

    specs = [TensorSpec("x", (4, 6), "float32")]
    source = TorchModel("known", "digest", 0, specs, OfRanges, Weights(random=False))
    machine = relax.VirtualMachine(compile_model(source.to_relax(), unoptimized().tvm), tvm.cpu())
    x = np.arange(24, dtype=np.float32).reshape(4, 6)
    actual = arrays_of(machine["main"](tvm.runtime.tensor(x)))
    for array, expected in zip(actual, source.reference({"x": x}), strict=True):
        np.testing.assert_array_equal(np.asarray(array), expected)
