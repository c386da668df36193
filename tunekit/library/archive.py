"""The static library of a compiled model: built again, of what its manifest says shipped."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from tunekit.cache import ContentCache
from tunekit.catalogue import Catalogue, Record
from tunekit.errors import CatalogueError, CompileError
from tunekit.graph.algorithms import choose_direct
from tunekit.graph.pipeline import recipe_target
from tunekit.graph.sizes import prepare_sizes
from tunekit.library.built_variant import BuiltVariant, export_variant
from tunekit.library.library import Library
from tunekit.library.other_targets import OtherTarget, other_targets
from tunekit.library.standalone import Chosen, link_standalone, other_entries
from tunekit.library.variants import Variant, assemble
from tunekit.library.verify import reference_of, verify, why_not_verified
from tunekit.recipe import Recipe
from tunekit.version import __version__
from tunekit.wording import Say

if TYPE_CHECKING:
    from tunekit.graph.implementation import Algorithm
    from tunekit.graph.pipeline import PreparedModel
    from tunekit.library import Manifest
    from tunekit.library.variants import Assembled


def static_library(library: Library, recipe: Recipe, folder: Path, say: Say) -> Path:
    """Builds the archive of a library's standalone one in `folder`.

    Its kernels have the algorithms and the trials of the manifest, whatever has become the best
    in the catalogue since; and what it is built of gives the same outputs as the library's own
    model.so, bit by bit, where this machine can run both.

    Args:
        library: was compiled before, and is standalone.
        recipe: of its manifest; its catalogue has the trials.
        folder: gets the archive.
        say: told what is done, a line at a time.

    Raises:
        CompileError: it cannot be built as it was, or its outputs are others.
        CatalogueError: there is no catalogue, or a trial is gone from it.
    """
    manifest, entry = library.manifest, library.manifest.standalone
    assert entry is not None
    target = recipe_target(recipe, only_compiled=True)
    sizes = prepare_sizes(recipe, ContentCache(), say, target=target)
    say(f"compiling {manifest.name} again, for the static library")
    with tempfile.TemporaryDirectory(prefix=".archive-", dir=folder) as workshop:
        chosen = []
        for number, prepared in enumerate(sizes.models):
            own = Path(workshop) / f"size{number}"
            own.mkdir()
            of_size = library
            if manifest.sizes:
                of_size = Library.open(library.folder / manifest.sizes[number].folder)
            chosen.append(_again(of_size, prepared, own, say))
        if other_entries(chosen) != entry.other_targets:
            raise CompileError(
                f"{manifest.name} cannot be built again as it shipped: the catalogue has other "
                "records for its further targets now",
                hint="`tunekit compile RECIPE` compiles it anew",
            )
        linked = link_standalone(sizes, chosen, Path(workshop), Path(workshop), static=True)
        assert linked.static is not None
        return Path(shutil.move(linked.static, folder / linked.static.name))


def _again(library: Library, prepared: PreparedModel, workshop: Path, say: Say) -> Chosen:
    """What shipped of a model at one size, built again."""
    manifest = library.manifest
    variant = _shipped(manifest, prepared)
    assembled = assemble(variant, prepared)
    _require_same_kernels(manifest, assembled)
    reference = reference_of(prepared)
    exported = export_variant(assembled, prepared, workshop / "model.so")
    runs_here = why_not_verified(prepared) is None and prepared.recipe.tuning.rpc is None
    verified = verify(library.path, prepared, reference) if runs_here else None
    built = BuiltVariant(variant, library.path, assembled, exported, verified)
    others: Sequence[OtherTarget] = []
    if prepared.recipe.more_targets:
        with Catalogue.open(prepared.recipe.catalogue, create=False) as catalogue:
            others = other_targets(prepared, catalogue, reference, workshop, say)
    return Chosen(prepared, built, reference, others)


def _shipped(manifest: Manifest, prepared: PreparedModel) -> Variant:
    """The variant that shipped."""
    problems = {str(problem): problem for problem in choose_direct(prepared.tasks)}
    if problems.keys() != manifest.algorithms.keys():
        raise _prepared_otherwise(manifest)
    choice = {
        problems[name]: cast("Algorithm", algorithm)
        for name, algorithm in manifest.algorithms.items()
    }
    return Variant("tuned", choice, _records(manifest, prepared))


def _records(manifest: Manifest, prepared: PreparedModel) -> list[Record]:
    """The records that were applied."""
    trials = {
        task.trial_id: task.structural_hash for task in manifest.tasks if task.trial_id is not None
    }
    if not trials:
        return []
    with Catalogue.open(prepared.recipe.catalogue, create=False) as catalogue:
        return [
            _record(catalogue, trial_id, structural_hash)
            for trial_id, structural_hash in trials.items()
        ]


def _record(catalogue: Catalogue, trial_id: int, structural_hash: str) -> Record:
    the_other = "--catalogue names the one that the library was compiled with"
    try:
        listed = catalogue.records.get(trial_id)
    except CatalogueError as error:
        raise CatalogueError(
            f"trial {trial_id}, which the library was compiled with, is not in "
            f"{catalogue.location}",
            hint=the_other,
        ) from error
    if listed.structural_hash != structural_hash:
        raise CompileError(
            f"trial {trial_id} of {catalogue.location} is of another kernel than the library's",
            hint=the_other,
        )
    trace_json, module_json = catalogue.records.source(trial_id)
    return Record(
        trial_id=trial_id,
        structural_hash=structural_hash,
        module_json=module_json,
        trace_json=trace_json,
        samples_s=listed.samples_s,
        score_s=listed.score_s,
        target_json=listed.target_json,
        host_fingerprint=listed.host_fingerprint,
        measured_at=listed.measured_at,
    )


def _require_same_kernels(manifest: Manifest, assembled: Assembled) -> None:
    applied = assembled.applied.records
    now = {
        task.structural_hash: record.trial_id
        if (record := applied.get(task.structural_hash))
        else None
        for task in assembled.tasks
    }
    if now != {task.structural_hash: task.trial_id for task in manifest.tasks}:
        raise _prepared_otherwise(manifest)


def _prepared_otherwise(manifest: Manifest) -> CompileError:
    made_by = manifest.versions.get("tunekit", "another version")
    return CompileError(
        f"{manifest.name} cannot be built again as it shipped: its kernels are others in this "
        f"tunekit ({__version__}; the library is of {made_by})",
        hint="`tunekit compile RECIPE` compiles it anew",
    )
