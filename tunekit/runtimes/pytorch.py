"""PyTorch, eager: what most people run before they look for anything faster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from tunekit.runtimes.runtime import NotApplicable, Preparation, Runtime

if TYPE_CHECKING:
    from tunekit.models.source import SourceModel
    from tunekit.runtimes.runner import Array


class PyTorch(Runtime):
    """The module as it is, in `torch.inference_mode`, fp32, memory format as the model has it."""

    name = "pytorch"
    needs: ClassVar[Mapping[str, str]] = {"torch": "torch"}
    packages = ("torch",)

    @classmethod
    def prepare(cls, preparation: Preparation) -> dict[str, Any]:
        return module_plan(preparation, "PyTorch")

    def load(
        self, plan: Mapping[str, Any], inputs: Mapping[str, Array], threads: int
    ) -> dict[str, Any]:
        import torch

        settings = use_threads(threads)
        self._module = built_module(plan)
        self._inputs = [torch.from_numpy(array) for array in inputs.values()]
        self._inference_mode = torch.inference_mode
        return settings

    def infer(self) -> object:
        with self._inference_mode():
            return self._module(*self._inputs)

    def arrays(self, result: Any) -> Sequence[Array]:
        return [tensor.numpy() for tensor in flat_tensors(result)]


def module_plan(preparation: Preparation, who: str) -> dict[str, Any]:
    """What `built_module` makes the module from in another process.

    Raises:
        NotApplicable: there is no module; `who` cannot run the model.
    """
    from tunekit.models.export import torch_state

    if preparation.source.framework != "pytorch":
        raise NotApplicable(f"the model is an ONNX file, which {who} does not run")
    return {
        "model": preparation.recipe.model.model_dump(mode="json"),
        "state": str(torch_state(preparation.source, preparation.cache)),
    }


def loaded_source(plan: Mapping[str, Any]) -> SourceModel:
    """The model of a `module_plan`."""
    from pathlib import Path

    from tunekit.models import load_source
    from tunekit.recipe import ModelSpec

    return load_source(ModelSpec.model_validate(plan["model"]), state=Path(plan["state"]))


def built_module(plan: Mapping[str, Any]) -> Any:
    """The module of a `module_plan`, in evaluation mode; it takes the inputs by position."""
    module = loaded_source(plan).torch_module()
    if module is None:
        raise NotApplicable("the model has no PyTorch module")
    return module


def flat_tensors(result: Any) -> list[Any]:
    """The tensors in what a module returns (tuples and dictionaries of them), in order."""
    import torch
    from torch.utils import _pytree

    return [leaf for leaf in _pytree.tree_leaves(result) if isinstance(leaf, torch.Tensor)]


def use_threads(threads: int) -> dict[str, Any]:
    """Sets PyTorch's threads and says what is in effect.

    One operator runs at a time in eager mode and in a traced graph, so the threads between
    operators get none: they would only be there to be counted against it.
    """
    import torch

    backends: Any = torch.backends
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    return {
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "mkldnn": bool(backends.mkldnn.is_available()),
    }
