"""Torch modules, imported, compiled and compared with torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from targets import unoptimized

from tunekit.accuracy import Comparison, compare
from tunekit.models.sources.torch_model import TorchModel, Weights
from tunekit.models.spec import TensorSpec

Array = np.ndarray[Any, Any]


def errors_of(
    module: torch.nn.Module, inputs: dict[str, Array], folder: Path, *, is_single: bool = False
) -> dict[str, Comparison]:
    """How far each result of a module's import is from torch's; no other way in is taken.

    Args:
        module: a result's name is its key.
        inputs: in the order that the module takes them.
        folder: for the library.
        is_single: computed in float32 whatever the module's dtypes.
    """
    import tvm
    from tvm import relax

    from tunekit.machine.tvm_loading import arrays_of
    from tunekit.models.baseline import build_baseline

    specs = [TensorSpec(name, array.shape, str(array.dtype)) for name, array in inputs.items()]
    model = TorchModel("module", "digest", 0, specs, lambda: module, Weights(random=False))
    model.is_single = is_single
    library = folder / "module.so"
    build_baseline(model.to_relax(), library, target=unoptimized())
    assert model.detour == ""
    machine = relax.VirtualMachine(tvm.runtime.load_module(str(library)), tvm.cpu())
    given = [tvm.runtime.tensor(np.array(array, order="C")) for array in inputs.values()]
    results = arrays_of(machine["main"](*given))
    return {
        spec.name: compare([expected], [np.asarray(result)])
        for spec, expected, result in zip(
            model.outputs, model.reference(inputs), results, strict=True
        )
    }


def wrong_of(errors: dict[str, Comparison], limit: float) -> dict[str, str]:
    """What is further off than the limit, and how far."""
    return {name: str(result) for name, result in errors.items() if not result.within(limit)}
