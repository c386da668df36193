"""TorchScript: traced, frozen, and optimised for inference."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tunekit.runtimes.conversion import Converted
from tunekit.runtimes.pytorch import flat_tensors, loaded_source, use_threads

if TYPE_CHECKING:
    import torch

    from tunekit.runtimes.runner import Array

_FILE = "traced.pt"
# Frozen graphs specialise on what they see in their first runs.
_PROFILING_RUNS = 3


class TorchScript(Converted):
    """`torch.jit.trace`, `freeze`, `optimize_for_inference`: batch norm folded, oneDNN layouts."""

    name = "torchscript"
    needs: ClassVar[Mapping[str, str]] = {"torch": "torch"}
    packages = ("torch",)
    reads = "torch"
    frozen: ClassVar[bool] = True

    @classmethod
    def convert(
        cls, given: Mapping[str, Any], inputs: Mapping[str, Array], threads: int, folder: Path
    ) -> dict[str, dict[str, Any]]:
        import torch

        jit: Any = torch.jit  # most of it has no types
        use_threads(threads)
        source = loaded_source(given)
        module = source.torch_module(traced=True)
        assert module is not None, "only a model of PyTorch has a plan"
        examples = tuple(torch.from_numpy(array) for array in inputs.values())
        with torch.inference_mode():
            traced = jit.trace(_flat(module), examples, strict=False, check_trace=False)
        jit.save(traced, str(folder / _FILE))
        # A detector's trace calls operators that torchvision defines.
        return {"traced": {"operators": ["torchvision"] if source.finds_objects else []}}

    def imports(self, plan: Mapping[str, Any]) -> None:
        super().imports(plan)
        import_operators(plan)

    def load(
        self, plan: Mapping[str, Any], inputs: Mapping[str, Array], threads: int
    ) -> dict[str, Any]:
        import torch

        jit: Any = torch.jit
        settings = use_threads(threads)
        module = traced_module(plan, "cpu")
        # optimize_for_inference moves weights into oneDNN's layouts, which no file can carry:
        # that is why it is done here and not in `convert`.
        self._module = jit.optimize_for_inference(jit.freeze(module)) if self.frozen else module
        self._inputs = [torch.from_numpy(array) for array in inputs.values()]
        self._inference_mode = torch.inference_mode
        for _ in range(_PROFILING_RUNS):
            self.infer()
        return {**settings, "frozen": self.frozen, "optimize_for_inference": self.frozen}

    def infer(self) -> object:
        with self._inference_mode():
            return self._module(*self._inputs)

    def arrays(self, result: Any) -> Sequence[Array]:
        return [tensor.numpy() for tensor in flat_tensors(result)]


class TorchScriptTraced(TorchScript):
    """`torch.jit.trace` alone: the live graph, whose weights may still change."""

    name = "torchscript-traced"
    frozen = False


def import_operators(plan: Mapping[str, Any]) -> None:
    """Loads the packages that define operators which a trace calls."""
    for name in plan["operators"]:
        importlib.import_module(name)


def traced_module(plan: Mapping[str, Any], device: str) -> Any:
    """What `TorchScript.convert` traced, in evaluation mode on a device."""
    import torch

    jit: Any = torch.jit
    return jit.load(str(Path(plan["folder"]) / _FILE), map_location=device).eval()


def _flat(module: torch.nn.Module) -> torch.nn.Module:
    """The module with its outputs as one flat tuple: a trace cannot return a nested dictionary."""
    import torch

    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, *inputs: torch.Tensor) -> Any:
            return tuple(flat_tensors(self.module(*inputs)))

    flat = Flat()
    flat.training = False  # not eval(): the module is in that mode, and some refuse the call
    return flat
