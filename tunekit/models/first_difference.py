"""Where an import that is wrong goes wrong: the first operator whose result differs.

Operators all through the model are made its outputs, imported and compared; between the last that
is right and the first that is wrong it is looked again, until no operator lies between.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tunekit.accuracy import compare
from tunekit.errors import TunekitError

if TYPE_CHECKING:
    import tvm

    from tunekit.models.source import Array, SourceModel

_TIMEOUT_S = 3600.0
_LOOKED_AT = 16
_MOST_OPERATORS = 2000


def run_import(
    source: SourceModel, module: tvm.IRModule, inputs: Sequence[Mapping[str, Array]]
) -> list[list[Array]]:
    """What a source's import computes of these inputs, in a process of its own.

    Raises:
        ImportFailed: it cannot be compiled.
        SandboxError: the process died.
    """
    from tunekit.ir.store import lift_constants
    from tunekit.models.baseline import build_baseline
    from tunekit.processes.sandbox import run_library

    with tempfile.TemporaryDirectory(prefix="tunekit-import-") as folder:
        library = Path(folder) / "import.so"
        # Beside the library: to link and load hundreds of megabytes takes many seconds.
        graph, weights = lift_constants(module)
        build_baseline(graph, library)
        return run_library(
            library,
            inputs,
            input_names=[spec.name for spec in source.inputs],
            weights=weights,
            timeout_s=_TIMEOUT_S,
        )


def first_difference(source: SourceModel, inputs: Mapping[str, Array], limit: float) -> str | None:
    """The first operator whose result is further than `limit` (relative) from its reference's.

    None where the source's operators cannot be looked at, or each by itself is right.
    """
    operators = source.operators()
    if not operators or len(operators) > _MOST_OPERATORS:
        return None
    right, wrong = -1, len(operators)
    try:
        while wrong - right > 1:
            looked_at = _between(right, wrong)
            first = _first_wrong(source, looked_at, inputs, limit)
            if first is None:
                if wrong == len(operators):
                    return None
                right = looked_at[-1]
            else:
                wrong = looked_at[first]
                right = looked_at[first - 1] if first else right
    except TunekitError:
        return None
    return operators[wrong]


def _first_wrong(
    source: SourceModel, looked_at: Sequence[int], inputs: Mapping[str, Array], limit: float
) -> int | None:
    probe = source.looking_at(looked_at)
    [actual] = run_import(probe, probe.to_relax(), [inputs])
    expected = probe.reference(inputs)
    for index, (reference, result) in enumerate(zip(expected, actual, strict=True)):
        if not compare([reference], [result]).within(limit):
            return index
    return None


def _between(right: int, wrong: int) -> list[int]:
    """Positions between the two, at most so many, the last among them."""
    inside = range(right + 1, wrong)
    step = max(-(-len(inside) // _LOOKED_AT), 1)
    return sorted({*inside[step - 1 :: step], inside[-1]})
