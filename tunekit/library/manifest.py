"""The manifest: what a compiled library is, where it came from and how good it is."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from tunekit.accuracy import MatchedDetections
from tunekit.errors import UsageError
from tunekit.graph.operation import Operation

LIBRARY_FILE = "model.so"
MANIFEST_FILE = "manifest.json"
RECIPE_FILE = "recipe.yaml"
MANIFEST_VERSION = 1


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TensorEntry(_Frozen):
    """An input or output of the library's `main`.

    Attributes:
        name: that `Library.run` takes or gives it by.
        shape: sizes in the model's own order.
        dtype: element type.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str


class TaskEntry(_Frozen):
    """One kernel of the library.

    Attributes:
        name: TVM's name of its function.
        structural_hash: of its workload.
        weight: its calls expected in one run of the model.
        flops: floating-point operations of one call.
        latency_s: measured mean of one call, None where no record was applied.
        trial_id: of the applied record in the catalogue, None where there is none.
        space: the search space that its record comes from; "default" for the default schedule,
            "none" for none.
        operation: the convolution or matrix product in it.
    """

    name: str
    structural_hash: str
    weight: int
    flops: float
    latency_s: float | None
    trial_id: int | None
    space: str = ""
    operation: Operation | None = None


class StagedCallEntry(_Frozen):
    """A call of a kernel, in a detector.

    Attributes:
        kernel: TVM's name of its function.
        stage: that it is a part of, as in `detectors.stages`.
    """

    kernel: str
    stage: str


class RatioEntry(_Frozen):
    """How many times as fast the library that ships is.

    Attributes:
        value: the median over the rounds.
        low: where the interval begins that covers the true median.
        high: where it ends.
        confidence: with which probability it does.
    """

    value: float
    low: float
    high: float
    confidence: float


class VariantEntry(_Frozen):
    """A library that might have shipped.

    Attributes:
        name: "tuned", "cautious", "direct" or "default".
        left_out: why it could not ship, None where it could.
        relative_error: the largest of the seeded inputs; None where it was left out before.
        median_ms: over its rounds; None where it took no part in any.
        rounds_ms: the median of each of its turns.
        ratio: of the library that ships to this one; None for itself.
    """

    name: str
    left_out: str | None = None
    relative_error: float | None = None
    median_ms: float | None = None
    rounds_ms: tuple[float, ...] = ()
    ratio: RatioEntry | None = None


class Selection(_Frozen):
    """How the library that ships came to be the one.

    Attributes:
        shipped: the variant that this library is.
        skipped: why nothing was compared, None where it was.
        threads: of each variant.
        rounds: in which each had a turn.
        variants: all of them, also those that were left out.
    """

    shipped: str
    skipped: str | None = None
    threads: int
    rounds: int = 0
    variants: tuple[VariantEntry, ...] = Field(
        validation_alias=AliasChoices("variants", "candidates")
    )


class OtherTargetEntry(_Frozen):
    """A further target that a standalone library has kernels for.

    Attributes:
        target: TVM's.
        features: that its CPU must have, by LLVM's names.
        trial_ids: of the records of its kernels, in the catalogue; none where they have default
            schedules.
    """

    target: dict[str, Any]
    features: tuple[str, ...]
    trial_ids: tuple[int, ...] = ()


class AxisEntry(_Frozen):
    """An axis of the inputs that a standalone library has several sizes of.

    Attributes:
        name: the recipe's.
        sizes: that it was compiled for, smallest first.
        is_padded: whether it runs those between them, too.
    """

    name: str
    sizes: tuple[int, ...]
    is_padded: bool


class SizeEntry(_Frozen):
    """One size of a model that has several.

    Attributes:
        size: of each axis, by name.
        folder: with its `model.so` and its manifest, beside this one.
        sha256: of that `model.so`.
    """

    size: dict[str, int]
    folder: str
    sha256: str


class StandaloneEntry(_Frozen):
    """The same model as a library that needs only the C library.

    Attributes:
        library: its file, beside the manifest.
        name: with which the names of its functions begin.
        sha256: of its bytes.
        size_bytes: of it.
        weights_bytes: of its weights.
        features: that its CPU must have, by LLVM's names: one that has not runs the kernels for
            other targets, where there are some that it can.
        other_targets: further ones that it has kernels for.
        axes: those that it has several sizes of.
    """

    library: str
    name: str
    sha256: str
    size_bytes: int
    weights_bytes: int
    features: tuple[str, ...]
    other_targets: tuple[OtherTargetEntry, ...] = ()
    axes: tuple[AxisEntry, ...] = ()


class Manifest(_Frozen):
    """Everything that has to be known about a library besides its bytes.

    Of a model that has several sizes each has a manifest of its own, in a folder of its own. The
    one above these says of the smallest size what is of one size.

    Attributes:
        manifest_version: of this form; another one when a field changes its meaning.
        name: the recipe's.
        library: the library's file, beside the manifest.
        sha256: of the library's bytes.
        size_bytes: of the library.
        created_at: when it was compiled, UTC.
        inputs: of `main`, in order.
        outputs: of `main`, in order.
        target: TVM's target.
        device: TVM's name of what it runs on, such as "cpu".
        layout: of its convolutions.
        layout_transforms: of activations, as many as remained in the graph.
        kernels: different ones in the library.
        coverage: share of the estimated latency whose kernels have an applied record, 0 to 1.
        applied: kernels with an applied record.
        estimated_latency_s: sum over the kernels with a record, weighted by their calls.
        relative_errors: max abs error / max abs reference, one for each seeded input; none where
            it was not verified.
        detections: of a detector, how what was found in each seeded input was matched with what
            the model itself finds; errors are of those that have a partner.
        not_verified: why it was not, None where it was.
        model_digest: of the model's source: structure, weights, versions that import it.
        work_digest: of the model, target, layout and preparation: libraries with equal ones are
            interchangeable.
        recipe_digest: of the resolved recipe.
        recipe: the resolved recipe.
        catalogue: where its records are.
        host: the machine that it was compiled on.
        versions: of the packages that compiled it.
        tasks: its kernels.
        stages: of a detector, the calls of its kernels in the order of a run.
        algorithms: of each problem of a 3x3 convolution, by its sizes.
        rounding_errors: of those that another algorithm than the direct one computes, the max abs
            error / max abs output expected of that algorithm.
        selection: the variants of this library; None where it is from before there were any.
        standalone: the same model as a library that needs only the C library; None where there is
            none.
        not_standalone: why there is none.
        sizes: of a model that has several: all of them, smallest first.
    """

    manifest_version: int = MANIFEST_VERSION
    name: str
    library: str = LIBRARY_FILE
    sha256: str
    size_bytes: int
    created_at: datetime
    inputs: tuple[TensorEntry, ...]
    outputs: tuple[TensorEntry, ...]
    target: dict[str, Any]
    device: str
    layout: str
    layout_transforms: int
    algorithms: dict[str, str] = {}
    rounding_errors: dict[str, float] = {}
    coverage: float
    applied: int
    kernels: int
    estimated_latency_s: float | None
    relative_errors: tuple[float, ...]
    detections: tuple[MatchedDetections, ...] = ()
    not_verified: str | None = None
    model_digest: str
    work_digest: str
    recipe_digest: str
    recipe: dict[str, Any]
    catalogue: str
    host: dict[str, Any]
    versions: dict[str, str]
    tasks: tuple[TaskEntry, ...]
    stages: tuple[StagedCallEntry, ...] = ()
    # Before it was called a selection it was a contest.
    selection: Selection | None = Field(
        default=None, validation_alias=AliasChoices("selection", "contest")
    )
    standalone: StandaloneEntry | None = None
    not_standalone: str | None = None
    sizes: tuple[SizeEntry, ...] = ()

    def write(self, folder: Path) -> None:
        """Writes manifest.json into `folder`."""
        (folder / MANIFEST_FILE).write_text(self.model_dump_json(indent=2) + "\n", "utf-8")


def load_manifest(folder: Path) -> Manifest:
    """Reads the manifest in a library's folder.

    Raises:
        UsageError: there is none, or it is not one.
    """
    path = folder / MANIFEST_FILE
    try:
        return Manifest.model_validate(json.loads(path.read_text("utf-8")))
    except FileNotFoundError as error:
        raise UsageError(
            f"{folder} has no {MANIFEST_FILE}", hint="`tunekit compile RECIPE` writes one"
        ) from error
    except (ValidationError, ValueError, OSError) as error:
        raise UsageError(
            f"{path} is not a manifest that this tunekit reads: {str(error).splitlines()[0]}",
            hint="compile again: `tunekit compile RECIPE`",
        ) from error
