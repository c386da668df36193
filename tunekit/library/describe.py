"""The manifest of a library that was just built: what of everything that is known is written."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.cache import file_digest
from tunekit.graph.algorithms import rounding_error
from tunekit.graph.implementation import Choice
from tunekit.graph.operation import operation_of
from tunekit.graph.stages import stages_of
from tunekit.library.apply import space_used
from tunekit.library.build import work_digest
from tunekit.library.manifest import (
    Manifest,
    Selection,
    SizeEntry,
    StagedCallEntry,
    StandaloneEntry,
    TaskEntry,
    TensorEntry,
)
from tunekit.library.variants import Assembled, assemble
from tunekit.library.verify import why_not_verified
from tunekit.machine.host import detect_host
from tunekit.machine.toolchain import versions
from tunekit.recipe import recipe_digest
from tunekit.version import __version__

if TYPE_CHECKING:
    from tunekit.graph.pipeline import PreparedModel
    from tunekit.graph.sizes import PreparedSizes
    from tunekit.library.built_variant import BuiltVariant
    from tunekit.machine.target import ResolvedTarget
    from tunekit.models.spec import TensorSpec


def describe(
    prepared: PreparedModel,
    shipped: BuiltVariant,
    selection: Selection,
    *,
    catalogue: str,
    path: Path,
    standalone: StandaloneEntry | str,
) -> Manifest:
    """The manifest of the library at `path`.

    Args:
        prepared: its model.
        shipped: the variant that it is.
        selection: how it came to be the one.
        catalogue: where the records are.
        path: of the library.
        standalone: the same model as a standalone library, or why there is none.
    """
    assembled = shipped.assembled or assemble(shipped.variant, prepared)
    recipe, applied = prepared.recipe, assembled.applied
    return Manifest(
        name=recipe.name,
        sha256=file_digest(path),
        size_bytes=path.stat().st_size,
        created_at=datetime.now(UTC),
        inputs=tuple(_tensor(spec) for spec in prepared.source.inputs),
        outputs=tuple(_tensor(spec) for spec in prepared.source.outputs),
        target=dict(recipe.target) if isinstance(recipe.target, dict) else {"kind": recipe.target},
        device=prepared.target.device,
        layout=assembled.graph.layout,
        layout_transforms=assembled.graph.transforms,
        **_algorithms(shipped.variant.choice),
        coverage=applied.coverage,
        applied=len(applied.records),
        kernels=len(assembled.tasks),
        estimated_latency_s=applied.latency_s,
        relative_errors=shipped.errors,
        detections=shipped.verified.detections if shipped.verified is not None else (),
        not_verified=why_not_verified(prepared),
        model_digest=prepared.source.digest,
        work_digest=work_digest(recipe, prepared.target),
        recipe_digest=recipe_digest(recipe),
        recipe=recipe.model_dump(mode="json"),
        catalogue=catalogue,
        host=detect_host().as_dict(),
        versions={"tunekit": __version__, **versions()},
        tasks=_tasks(assembled, prepared.target),
        stages=tuple(
            StagedCallEntry(kernel=kernel, stage=stage)
            for kernel, stage in stages_of(assembled.graph.module)
        ),
        selection=selection,
        standalone=None if isinstance(standalone, str) else standalone,
        not_standalone=standalone if isinstance(standalone, str) else None,
    )


def describe_sizes(
    sizes: PreparedSizes, manifests: Sequence[Manifest], standalone: StandaloneEntry | str
) -> Manifest:
    """The manifest above those of a model's sizes, which are in its folder."""
    recipe, smallest = sizes.recipe, manifests[0]
    return smallest.model_copy(
        update={
            "name": recipe.name,
            "library": f"{smallest.name}/{smallest.library}",
            "model_digest": sizes.digest,
            "work_digest": work_digest(recipe, sizes.target),
            "recipe_digest": recipe_digest(recipe),
            "recipe": recipe.model_dump(mode="json"),
            "standalone": None if isinstance(standalone, str) else standalone,
            "sizes": tuple(
                SizeEntry(size=dict(model.recipe.model.size), folder=one.name, sha256=one.sha256)
                for model, one in zip(sizes.models, manifests, strict=True)
            ),
        }
    )


def seen_from_below(standalone: StandaloneEntry | str) -> StandaloneEntry | str:
    """What the manifest of one size says of the library that all sizes share, above it."""
    if isinstance(standalone, str):
        return standalone
    return standalone.model_copy(update={"library": f"../{standalone.library}"})


def _algorithms(choice: Choice) -> dict[str, Any]:
    """The algorithm of each convolution, and what rounding those bring that are not direct."""
    chosen = sorted(choice.items())
    return {
        "algorithms": {str(problem): algorithm for problem, algorithm in chosen},
        "rounding_errors": {
            str(problem): rounding_error(problem, algorithm)
            for problem, algorithm in chosen
            if algorithm != "direct"
        },
    }


def _tasks(assembled: Assembled, target: ResolvedTarget) -> tuple[TaskEntry, ...]:
    entries = []
    for task in assembled.tasks:
        record = assembled.applied.records.get(task.structural_hash)
        entries.append(
            TaskEntry(
                name=task.name,
                structural_hash=task.structural_hash,
                weight=task.weight,
                flops=task.flops,
                latency_s=record.score_s if record else None,
                trial_id=record.trial_id if record else None,
                space=space_used(task, assembled.applied, target),
                operation=operation_of(task.module),
            )
        )
    return tuple(entries)


def _tensor(spec: TensorSpec) -> TensorEntry:
    return TensorEntry(name=spec.name, shape=spec.shape, dtype=spec.dtype)
