"""Whether a library is right: its outputs beside the model's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tunekit.errors import VerificationFailed
from tunekit.machine.target import why_not_here
from tunekit.processes.sandbox import Elsewhere, run_library
from tunekit.standalone.self_test import make_input, range_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from tunekit.accuracy import Comparison, MatchedDetections
    from tunekit.graph.pipeline import PreparedModel

    Array = npt.NDArray[np.generic]

_TIMEOUT_S = 1800.0
_SEEDS = (1, 2)


@dataclass(frozen=True)
class ReferenceOutputs:
    """Seeded inputs by name, and for each set of them the outputs that the framework gives; and
    the same for the inputs of the self test, which a library makes itself."""

    inputs: Sequence[Mapping[str, Array]]
    outputs: Sequence[Sequence[Array]]
    self_test: Mapping[str, Array]
    self_test_outputs: Sequence[Array]


@dataclass(frozen=True)
class Verified:
    """What a library gave.

    Attributes:
        errors: the relative error of each set of seeded inputs.
        outputs: of each set, and of the self test's at the end.
        detections: of a detector, how each set's were matched.
    """

    errors: tuple[float, ...]
    outputs: Sequence[Sequence[Array]]
    detections: tuple[MatchedDetections, ...] = ()


def reference_of(prepared: PreparedModel) -> ReferenceOutputs:
    """The model's own outputs on seeded inputs."""
    source = prepared.source
    inputs = [source.sample_inputs(prepared.recipe.model.seed + seed) for seed in _SEEDS]
    self_test = {
        spec.name: make_input(
            number, spec.shape, spec.dtype, range_of([values[spec.name] for values in inputs])
        )
        for number, spec in enumerate(source.inputs)
    }
    return ReferenceOutputs(
        inputs,
        [source.reference(values) for values in inputs],
        self_test,
        source.reference(self_test),
    )


def verify(
    path: Path, prepared: PreparedModel, reference: ReferenceOutputs, standalone: str | None = None
) -> Verified:
    """Runs a library on the reference's inputs.

    It runs on a device of the recipe's where this machine cannot run its code.

    Args:
        path: of the library.
        prepared: its model.
        reference: what it should give.
        standalone: with which the functions of a standalone library begin; None for one that TVM's
            virtual machine runs.

    Raises:
        VerificationFailed: one is above the recipe's tolerance, or not a number.
        SandboxError: the library crashed or hung, or no device was there to run it.
    """
    actual = run_library(
        path,
        [*reference.inputs, reference.self_test],
        input_names=[spec.name for spec in prepared.source.inputs],
        device=prepared.target.device,
        threads=prepared.target.cores,
        timeout_s=_TIMEOUT_S,
        elsewhere=_elsewhere(prepared),
        standalone=standalone,
    )
    limit = prepared.recipe.reference.relative_error
    errors: list[float] = []
    detections: list[MatchedDetections] = []
    for expected, outputs in zip(reference.outputs, actual, strict=False):
        comparison = prepared.source.compare(expected, outputs)
        if not comparison.within(max(limit, prepared.source.rounding_step(expected))):
            raise VerificationFailed(
                f"the library's outputs differ from {prepared.source.framework}'s: "
                f"{_difference(comparison, limit)}",
                hint="nothing was written; reference.relative_error in the recipe is the limit",
            )
        errors.append(comparison.relative_error)
        if comparison.detections is not None:
            detections.append(comparison.detections)
    return Verified(tuple(errors), actual, tuple(detections))


def _difference(comparison: Comparison, limit: float) -> str:
    if comparison.reason is not None:
        return comparison.reason
    return f"relative error {comparison.relative_error:.2e}, allowed {limit:.0e}"


def _elsewhere(prepared: PreparedModel) -> Elsewhere | None:
    """Where to verify, if this machine cannot run the target's code."""
    rpc = prepared.recipe.tuning.rpc
    if rpc is None or why_not_here(prepared.target) is None:
        return None
    return Elsewhere(rpc.tracker, rpc.key, rpc.wait_s)


def why_not_verified(prepared: PreparedModel) -> str | None:
    """Why there is nowhere to run a library, None where there is: here, or on a device."""
    if prepared.recipe.tuning.rpc is not None:
        return None
    error = why_not_here(prepared.target)
    return None if error is None else error.message
