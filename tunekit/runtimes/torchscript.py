"""TorchScript: traced, frozen, and optimised for inference."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tunekit.runtimes.pytorch import flat_tensors, use_threads
from tunekit.runtimes.runtime import NotApplicable, Preparation, Runtime

if TYPE_CHECKING:
    import torch

    from tunekit.runtimes.runner import Array

# Frozen graphs specialise on what they see in their first runs.
_PROFILING_RUNS = 3


class TorchScript(Runtime):
    """`torch.jit.trace`, `freeze`, `optimize_for_inference`: batch norm folded, oneDNN layouts."""

    name = "torchscript"
    needs: ClassVar[Mapping[str, str]] = {"torch": "torch"}
    packages = ("torch",)
    frozen: ClassVar[bool] = True

    @classmethod
    def prepare(cls, preparation: Preparation) -> dict[str, Any]:
        import torch

        from tunekit.cache import content_key
        from tunekit.processes.quiet import quiet

        module = preparation.source.torch_module(traced=True)
        if module is None:
            raise NotApplicable("the model is an ONNX file, which TorchScript does not run")
        jit: Any = torch.jit  # most of it has no types
        cache = preparation.cache
        key = content_key("torchscript", preparation.source.digest, torch.__version__)
        entry = cache.get("torchscript", key)
        if entry is None:
            examples = tuple(torch.from_numpy(array) for array in preparation.inputs.values())
            with torch.inference_mode(), quiet():
                traced = jit.trace(_flat(module), examples, strict=False, check_trace=False)
            with cache.put("torchscript", key) as folder:
                jit.save(traced, str(folder / "traced.pt"))
            entry = cache.get("torchscript", key)
            assert entry is not None, "an entry just put is there"
        # A detector's trace calls operators that torchvision defines.
        operators = ["torchvision"] if preparation.source.finds_objects else []
        return {"file": str(Path(entry) / "traced.pt"), "operators": operators}

    def imports(self, plan: Mapping[str, Any]) -> None:
        super().imports(plan)
        for name in plan["operators"]:
            importlib.import_module(name)

    def load(
        self, plan: Mapping[str, Any], inputs: Mapping[str, Array], threads: int
    ) -> dict[str, Any]:
        import torch

        jit: Any = torch.jit
        settings = use_threads(threads)
        module = jit.load(plan["file"], map_location="cpu").eval()
        # optimize_for_inference moves weights into oneDNN's layouts, which no file can carry:
        # that is why it is done here and not in `prepare`.
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
