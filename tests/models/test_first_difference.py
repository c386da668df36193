"""An import that is wrong is told with the operator that it goes wrong at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from tvm import relax

from tunekit.cache import ContentCache
from tunekit.errors import ImportMismatch
from tunekit.models import import_model
from tunekit.models.source import SourceModel
from tunekit.models.sources.onnx_file import OnnxModel
from tunekit.models.sources.torch_model import TorchModel, Weights
from tunekit.models.spec import TensorSpec

# One tanh among so many others that it is not found at the first look.
OPERATORS = ["Sigmoid", "Neg"] * 15 + ["Tanh"] + ["Neg", "Abs"] * 4
INPUT = TensorSpec("x", (3, 4), "float32")


class Wrong(SourceModel):
    """Imports every tanh as a sigmoid."""

    def looking_at(self, operators: Sequence[int]) -> SourceModel:
        probe = super().looking_at(operators)
        probe.__class__ = type(self)
        return probe

    def to_relax(self) -> Any:
        module = super().to_relax()  # type: ignore[safe-super]
        module["main"] = _Swap(module).visit_expr(module["main"])
        return module


class WrongOnnx(Wrong, OnnxModel):
    pass


class WrongTorch(Wrong, TorchModel):
    pass


@relax.expr_functor.mutator
class _Swap(relax.PyExprMutator):  # type: ignore[misc]
    def visit_call_(self, call: Any) -> Any:
        call = self.visit_expr_post_order(call)
        return relax.op.sigmoid(*call.args) if "tanh" in str(call.op) else call


class Chain(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for operator in OPERATORS:
            x = getattr(torch, operator.lower())(x)
        return x


def onnx_chain() -> SourceModel:
    nodes = [
        helper.make_node(operator, [f"v{index}" if index else "x"], [f"v{index + 1}"])
        for index, operator in enumerate(OPERATORS)
    ]
    shape = [3, 4]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(f"v{len(nodes)}", TensorProto.FLOAT, shape)],
    )
    model: onnx.ModelProto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10
    )
    return WrongOnnx("chain", "digest", 0, [INPUT], model)


def torch_chain() -> SourceModel:
    return WrongTorch("chain", "digest", 0, [INPUT], Chain, Weights())


@pytest.mark.parametrize(
    ("chain", "place"),
    [
        (onnx_chain, "first differs: ONNX operator Tanh, node 30 'v31'"),
        (torch_chain, "first differs: operator aten.tanh.default, node 'tanh'"),
    ],
)
def test_the_first_operator_that_differs_is_named(chain: Any, place: str, tmp_path: Path) -> None:
    with pytest.raises(ImportMismatch) as refused:
        import_model(chain(), max_relative_error=1e-3, cache=ContentCache(tmp_path))
    assert refused.value.message.endswith(place)
