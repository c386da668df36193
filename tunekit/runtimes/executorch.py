"""ExecuTorch, PyTorch's runtime for devices, with XNNPACK's kernels."""

from __future__ import annotations

import importlib
import operator
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tunekit.runtimes.conversion import Converted
from tunekit.runtimes.pytorch import built_module

if TYPE_CHECKING:
    from tunekit.runtimes.runner import Array

_FILE = "model.pte"


class ExecuTorch(Converted):
    """What XNNPACK takes is delegated to it; the rest runs in portable kernels, some 20 times
    slower, and is counted in the settings."""

    name = "executorch"
    needs: ClassVar[Mapping[str, str]] = {"torch": "torch", "executorch": "executorch"}
    install = "'executorch>=1.3,<1.4'"
    packages = ("torch", "executorch.extension.pybindings.portable_lib")
    reads = "torch"

    @classmethod
    def convert(
        cls, given: Mapping[str, Any], inputs: Mapping[str, Array], threads: int, folder: Path
    ) -> dict[str, dict[str, Any]]:
        import torch

        # The package brings it, and looks for it on the path, where a venv need not be.
        package = importlib.import_module("executorch").__path__[0]
        os.environ.setdefault("FLATC_EXECUTABLE", str(Path(package) / "data/bin/flatc"))
        exir: Any = importlib.import_module("executorch.exir")
        delegate: Any = importlib.import_module("executorch.exir.delegate")
        xnnpack: Any = importlib.import_module(
            "executorch.backends.xnnpack.partition.xnnpack_partitioner"
        )
        arguments = tuple(torch.from_numpy(array) for array in inputs.values())
        with torch.no_grad():
            program = torch.export.export(built_module(given), arguments, strict=False)
            lowered = exir.to_edge_transform_and_lower(
                program, partitioner=[xnnpack.XnnpackPartitioner()]
            )
        aside = (delegate.executorch_call_delegate, operator.getitem)
        calls = [
            node.target
            for node in lowered.exported_program().graph.nodes
            if node.op == "call_function"
        ]
        left = Counter(target.__name__ for target in calls if target not in aside)
        (folder / _FILE).write_bytes(lowered.to_executorch().buffer)
        shown = {"delegates": calls.count(aside[0]), "undelegated": dict(sorted(left.items()))}
        return {"XNNPACK": {"shown": shown}}

    def load(
        self, plan: Mapping[str, Any], inputs: Mapping[str, Array], threads: int
    ) -> dict[str, Any]:
        import torch

        portable: Any = importlib.import_module("executorch.extension.pybindings.portable_lib")
        portable._unsafe_reset_threadpool(threads)  # unsafe where something runs already
        self._model = portable._load_for_executorch(str(Path(plan["folder"]) / _FILE))
        self._inputs = tuple(torch.from_numpy(array) for array in inputs.values())
        return {"threads": portable._threadpool_get_thread_count()}

    def infer(self) -> object:
        return self._model.run_method("forward", self._inputs, clone_outputs=False)

    def arrays(self, result: Any) -> Sequence[Array]:
        return [tensor.contiguous().numpy().copy() for tensor in result]
