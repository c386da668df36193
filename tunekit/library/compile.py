"""From a prepared model and a catalogue to a library on disk that is right."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tunekit.cache import ContentCache, file_digest
from tunekit.catalogue import Catalogue, NewLibrary
from tunekit.errors import VerificationFailed
from tunekit.graph.pipeline import PreparedModel, recipe_target
from tunekit.graph.sizes import PreparedSizes, prepare_sizes
from tunekit.library.build import work_digest
from tunekit.library.built_variant import BuiltVariant, build_first, build_other
from tunekit.library.describe import describe, describe_sizes, seen_from_below
from tunekit.library.library import Library
from tunekit.library.manifest import (
    LIBRARY_FILE,
    MANIFEST_FILE,
    RECIPE_FILE,
    Manifest,
    Selection,
    load_manifest,
)
from tunekit.library.other_targets import as_measured
from tunekit.library.output import library_folder, replacing, require_writable
from tunekit.library.selection import only, select
from tunekit.library.standalone import Chosen, write_standalone
from tunekit.library.variants import Variant, variants_of
from tunekit.library.verify import ReferenceOutputs, reference_of, why_not_verified
from tunekit.machine.linker import require_linker
from tunekit.machine.target import ResolvedTarget
from tunekit.models import is_digest_of
from tunekit.recipe import Recipe, dump_recipe
from tunekit.wording import Say


def compile_recipe(
    recipe: Recipe,
    *,
    output: Path | None = None,
    cache: ContentCache | None = None,
    selection: bool = True,
    say: Say = lambda _: None,
) -> Library:
    """Compiles a recipe's model with the best records of its catalogue.

    Args:
        recipe: the recipe; its `catalogue` is read, and created if there is none.
        output: the library's folder; `<recipe.output>/<recipe.name>` if left out.
        cache: of imported models and of libraries with default schedules.
        selection: compare the variants end to end, and take the fastest.
        say: told what is done, a line at a time.

    Raises:
        VerificationFailed: the library's outputs differ from the reference.
        TunekitError: as for `prepare_model`.
    """
    folder = output.expanduser() if output is not None else library_folder(recipe)
    require_writable(folder)
    target = recipe_target(recipe, only_compiled=True)
    require_linker(recipe.cc, target)
    with Catalogue.open(recipe.catalogue) as catalogue:
        cache = cache or ContentCache()
        prepared = prepare_sizes(recipe, cache, say, target=target)
        if why_not_verified(prepared.smallest) is not None:
            models = [as_measured(model, catalogue) for model in prepared.models]
            prepared = replace(prepared, models=models)
        return compile_prepared(
            prepared, catalogue, folder=folder, say=say, cache=cache, selection=selection
        )


def compile_prepared(
    prepared: PreparedSizes,
    catalogue: Catalogue,
    *,
    folder: Path,
    say: Say,
    session_id: str | None = None,
    cache: ContentCache | None = None,
    selection: bool = True,
) -> Library:
    """Compiles, verifies and writes a prepared model's library into `folder`, all or nothing.

    What is written is the fastest of the variants that are right (see `variants_of`); with
    `selection` False, or where they cannot be run here, it is the one with the best records. A
    model of several sizes has a folder for each below that one, and one standalone library.
    """
    cache = cache or ContentCache()
    with replacing(folder) as temporary:
        workshop = temporary / "variants"
        workshop.mkdir()
        ships, selections = [], []
        for model in prepared.models:
            own = workshop / model.recipe.name
            own.mkdir()
            one, made = _choose(model, catalogue, own, cache, say, selection=selection)
            ships.append(one)
            selections.append(made)
        standalone = write_standalone(
            prepared, ships, temporary, workshop, say, catalogue=catalogue
        )
        manifests = []
        for one, made in zip(ships, selections, strict=True):
            place = temporary
            if prepared.recipe.model.each_size:
                place = temporary / one.prepared.recipe.name
                place.mkdir()
            path = place / LIBRARY_FILE
            shutil.copy(one.built.path, path)
            manifests.append(
                describe(
                    one.prepared,
                    one.built,
                    made,
                    catalogue=catalogue.location,
                    path=path,
                    standalone=standalone if place == temporary else seen_from_below(standalone),
                )
            )
            _write(manifests[-1], one.prepared.recipe, place)
        shutil.rmtree(workshop)
        manifest = manifests[0]
        if prepared.recipe.model.each_size:
            manifest = describe_sizes(prepared, manifests, standalone)
            _write(manifest, prepared.recipe, temporary)
    for line in dict.fromkeys(_verdict(of_size, manifest) for of_size in manifests):
        say(line)
    library = Library(folder / manifest.library, manifest)
    catalogue.libraries.add(
        NewLibrary(
            name=manifest.name,
            path=str(library.path.resolve()),
            sha256=manifest.sha256,
            recipe_digest=manifest.recipe_digest,
            manifest=manifest.model_dump(mode="json"),
            session_id=session_id,
        )
    )
    return library


def _choose(
    prepared: PreparedModel,
    catalogue: Catalogue,
    workshop: Path,
    cache: ContentCache,
    say: Say,
    *,
    selection: bool,
) -> tuple[Chosen, Selection]:
    """What ships of a model at one size, built in `workshop`, and how it came to be the one."""
    records = catalogue.records.to_compile(
        prepared.conditions, [task.structural_hash for task in prepared.tasks]
    )
    variants = variants_of(prepared, records)
    skipped = _why_no_selection(prepared, variants, selection)
    say(f"compiling {prepared.recipe.name} for {_target_name(prepared.target)}")
    first = build_first(variants[0], prepared, workshop, say, compared=skipped is None)
    reference = reference_of(prepared)
    if skipped is None:
        others = [build_other(variant, prepared, workshop, cache, say) for variant in variants[1:]]
        shipped, made = select([first, *others], prepared, reference, folder=workshop, say=say)
    else:
        shipped, made = _first_right(
            first, variants[1:], prepared, reference, workshop, say, skipped=skipped
        )
    return Chosen(prepared, shipped, reference), made


def _first_right(
    first: BuiltVariant,
    others: Sequence[Variant],
    prepared: PreparedModel,
    reference: ReferenceOutputs,
    workshop: Path,
    say: Say,
    *,
    skipped: str,
) -> tuple[BuiltVariant, Selection]:
    """The first variant, not compared with any; the others take its place where it is wrong, as
    Winograd's rounding can make it."""
    built, left_out = first, list[BuiltVariant]()
    for variant in others:
        try:
            return only(built, prepared, reference, skipped, left_out=left_out)
        except VerificationFailed as error:
            built.leave_out(error, say)
            left_out.append(built)
            say(f"compiling the {variant.name} library in its place")
            built = build_first(variant, prepared, workshop, say, compared=False)
    return only(built, prepared, reference, skipped, left_out=left_out)


def _write(manifest: Manifest, recipe: Recipe, folder: Path) -> None:
    manifest.write(folder)
    (folder / RECIPE_FILE).write_text(dump_recipe(recipe), "utf-8")


def _verdict(manifest: Manifest, whole: Manifest) -> str:
    if manifest.not_verified is not None:
        return (
            f"warning: not verified: {manifest.not_verified}; --rpc-tracker HOST:PORT and "
            "--rpc-key KEY name a device to measure and verify on"
        )
    errors = manifest.relative_errors
    matched = "; ".join(map(str, manifest.detections))
    name = "" if manifest is whole else f"{manifest.name} "
    return f"{name}verified: relative error {max(errors):.1e} on {len(errors)} seeded inputs" + (
        f" ({matched})" if matched else ""
    )


def tuned_library(recipe: Recipe, *, say: Say = lambda _: None) -> Library:
    """The library that a recipe's artifacts folder holds, compiled if it has none that fits."""
    folder = library_folder(recipe)
    if (folder / MANIFEST_FILE).is_file():
        manifest = load_manifest(folder)
        library = Library(folder / manifest.library, manifest)
        if _fits(library, recipe):
            return library
        say(f"{folder} holds another library; compiling")
    return compile_recipe(recipe, say=say)


def _fits(library: Library, recipe: Recipe) -> bool:
    """Whether a library is whole, and what compiling the recipe would make."""
    manifest = library.manifest
    return (
        recipe.layout in ("auto", manifest.layout)
        and manifest.work_digest == work_digest(recipe, recipe_target(recipe, only_compiled=True))
        and _is_whole(library.path, manifest.sha256)
        and all(
            _is_whole(library.folder / size.folder / LIBRARY_FILE, size.sha256)
            for size in manifest.sizes
        )
        and (
            manifest.standalone is None
            or _is_whole(library.folder / manifest.standalone.library, manifest.standalone.sha256)
        )
        # The code behind a recipe's model may have changed, or the packages that make it.
        and is_digest_of(manifest.model_digest, recipe.model)
    )


def _is_whole(file: Path, sha256: str) -> bool:
    return file.is_file() and file_digest(file) == sha256


def _why_no_selection(
    prepared: PreparedModel, variants: Sequence[Variant], selection: bool
) -> str | None:
    """Why the variants are not compared, None if they are."""
    if not selection:
        return "it was not wanted"
    if prepared.recipe.tuning.rpc is not None or why_not_verified(prepared) is not None:
        return "the library is for other machines"
    if not variants[0].records:
        return "no records apply: it has default schedules only"
    return None


def _target_name(target: ResolvedTarget) -> str:
    cores = "" if target.kind == "cuda" else f", {target.cores} threads"
    return f"{target.cpu or target.kind}{cores}"
