"""Indices outside, which torch refuses as it runs, reach no memory but the tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from targets import unoptimized

from tunekit.torch_frontend import export_program, program_to_relax

Array = np.ndarray[Any, Any]

# Outside, on both sides, far enough to be in no page of the process.
INDICES = np.array([-(2**40), -8, -7, -1, 0, 6, 7, 2**40])
WITHIN = np.array([0, 0, 0, 6, 0, 6, 6, 6])
TABLE = np.arange(14, dtype=np.float32).reshape(7, 2)


class Reads(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding.from_pretrained(torch.from_numpy(TABLE))

    def forward(self, x: torch.Tensor, index: torch.Tensor) -> list[torch.Tensor]:
        return [
            self.table(index),
            x.index_select(0, index),
            x.take(index),
            x[index],
            x.gather(0, index),
            x.view(7, 1)[index, torch.zeros_like(index)],
            x.scatter(0, index, torch.ones(8)),
            x.scatter_add(0, index, torch.ones(8)),
            torch.index_put(x, [index], torch.ones(8)),
        ]


def results(index: Array) -> list[Array]:
    """Of a library whose model was traced with other indices."""
    import tvm
    from tvm import relax

    from tunekit.graph.lowering.build import compile_model
    from tunekit.machine.tvm_loading import arrays_of

    x = np.arange(1, 8, dtype=np.float32)
    tensors = [torch.from_numpy(x), torch.from_numpy(WITHIN)]
    module = program_to_relax(export_program(Reads(), tensors, "reads"), ["x", "index"], "reads")
    machine = relax.VirtualMachine(compile_model(module, unoptimized().tvm), tvm.cpu())
    return [np.asarray(a) for a in arrays_of(machine["main"](*map(tvm.runtime.tensor, (x, index))))]


def test_indices_outside_are_the_first_or_the_last_place() -> None:
    rows, *outside = results(INDICES)
    # An embedding does not count from the end.
    np.testing.assert_array_equal(rows, TABLE[np.clip(INDICES, 0, 6)])
    for given, expected in zip(outside, results(WITHIN)[1:], strict=True):
        np.testing.assert_array_equal(given, expected)
