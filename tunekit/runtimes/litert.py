"""LiteRT, once TensorFlow Lite, with XNNPACK's kernels."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tunekit.runtimes.conversion import Converted, in_integer_types, in_shapes
from tunekit.runtimes.pytorch import built_module

if TYPE_CHECKING:
    from tunekit.runtimes.runner import Array

_FILE = "model.tflite"


class LiteRT(Converted):
    """The module by LiteRT's converter for PyTorch; what XNNPACK takes is delegated to it.

    Inputs are copied in and outputs out, as its interface wants it.
    """

    name = "litert"
    needs: ClassVar[Mapping[str, str]] = {
        "torch": "torch",
        "litert_torch": "litert-torch",
        "ai_edge_litert": "ai-edge-litert",
    }
    # Some that it asks for want older packages than tunekit has, and none of them is used here.
    install = (
        "jax scipy torchao backports.strenum absl-py immutabledict && pip install --no-deps "
        "litert-torch litert-converter ai-edge-litert ai-edge-quantizer"
    )
    packages = ("ai_edge_litert.interpreter",)
    reads = "torch"

    @classmethod
    def convert(
        cls, given: Mapping[str, Any], inputs: Mapping[str, Array], threads: int, folder: Path
    ) -> dict[str, dict[str, Any]]:
        import torch

        converter: Any = importlib.import_module("litert_torch")
        arguments = tuple(torch.from_numpy(array) for array in inputs.values())
        with torch.no_grad():
            converter.convert(built_module(given), arguments).export(str(folder / _FILE))
        return {"XNNPACK": {}}

    def load(
        self, plan: Mapping[str, Any], inputs: Mapping[str, Array], threads: int
    ) -> dict[str, Any]:
        litert: Any = importlib.import_module("ai_edge_litert.interpreter")
        self._model = litert.Interpreter(str(Path(plan["folder"]) / _FILE), num_threads=threads)
        self._model.allocate_tensors()
        taken = _in_order(self._model.get_input_details())
        # Its converter makes 32 bits of integers with 64.
        self._inputs = [
            (detail["index"], array.astype(detail["dtype"], copy=False))
            for detail, array in zip(taken, inputs.values(), strict=True)
        ]
        self._results = [item["index"] for item in _in_order(self._model.get_output_details())]
        self._outputs = plan["outputs"]
        return {"threads": threads}

    def infer(self) -> object:
        for place, array in self._inputs:
            self._model.set_tensor(place, array)
        self._model.invoke()
        return [self._model.get_tensor(place) for place in self._results]

    def arrays(self, result: Any) -> Sequence[Array]:
        return in_shapes(in_integer_types(result, self._outputs), self._outputs)


def _in_order(details: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The tensors in the order of the numbers in their names, `serving_default_args_1:0`."""

    def numbers(detail: Mapping[str, Any]) -> list[int]:
        return [int(digits) for digits in re.findall(r"\d+", detail["name"])]

    return sorted(details, key=numbers)
