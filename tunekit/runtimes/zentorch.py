"""AMD's ZenDNN plug-in of PyTorch."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tunekit.runtimes.conversion import Converted
from tunekit.runtimes.inductor import compiled_at_once, convolves, in_format, tensors
from tunekit.runtimes.pytorch import built_module, flat_tensors, use_threads

if TYPE_CHECKING:
    from tunekit.runtimes.runner import Array

_AMD = "AuthenticAMD"


class ZenTorch(Converted):
    """`torch.compile(backend="zentorch")` with frozen weights, for AMD's CPUs.

    Forms, where there are convolutions: by oneDNN, which is its default, or by ZenDNN; channels
    last or not. Shapes are fixed (`automatic_dynamic_shapes` off), without which it fuses no
    convolution.
    """

    name = "zentorch"
    needs: ClassVar[Mapping[str, str]] = {"torch": "torch", "zentorch": "zentorch"}
    install = "'zentorch>=2.12,<2.13'"
    packages = ("torch", "zentorch")  # in this order: its library links torch's
    reads = "torch"

    @classmethod
    def lacks(cls) -> str | None:
        from tunekit.machine.host import detect_host

        return None if detect_host().vendor == _AMD else "AMD CPU"

    @classmethod
    def convert(
        cls, given: Mapping[str, Any], inputs: Mapping[str, Array], threads: int, folder: Path
    ) -> dict[str, dict[str, Any]]:
        if not convolves(built_module(given)):
            return {"as it is": {"zen_convolutions": False, "channels_last": False}}
        return {
            f"{'ZenDNN' if by_zen else 'oneDNN'}, {'channels last' if last else 'as it is'}": {
                "zen_convolutions": by_zen,
                "channels_last": last,
            }
            for by_zen in (False, True)
            for last in (False, True)
        }

    def load(
        self, plan: Mapping[str, Any], inputs: Mapping[str, Array], threads: int
    ) -> dict[str, Any]:
        import torch

        settings = use_threads(threads)
        zentorch: Any = importlib.import_module("zentorch")
        dynamo: Any = importlib.import_module("torch._dynamo.config")
        dynamo.automatic_dynamic_shapes = False
        zentorch.enable_zentorch_conv(plan["zen_convolutions"])
        self._inputs = tensors(inputs, channels_last=plan["channels_last"])
        module = in_format(built_module(plan), channels_last=plan["channels_last"])
        self._run = compiled_at_once(module, self._inputs, "zentorch")
        self._no_grad = torch.no_grad
        return {**settings, "freezing": True}

    def infer(self) -> object:
        with self._no_grad():
            return self._run(*self._inputs)

    def arrays(self, result: Any) -> Sequence[Array]:
        return [tensor.contiguous().numpy() for tensor in flat_tensors(result)]
