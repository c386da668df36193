"""From a prepared model and a catalogue to a library on disk that is right."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from tunekit import __version__
from tunekit.cache import ContentCache, file_digest
from tunekit.catalogue import Catalogue, NewLibrary
from tunekit.errors import UsageError
from tunekit.graph.algorithms import rounding_error
from tunekit.graph.operation import operation_of
from tunekit.graph.pipeline import PreparedModel, prepare_model, recipe_target
from tunekit.library.apply import space_used
from tunekit.library.build import work_digest
from tunekit.library.built_variant import BuiltVariant, build_first, build_other
from tunekit.library.coverage import best_records
from tunekit.library.manifest import (
    LIBRARY_FILE,
    MANIFEST_FILE,
    RECIPE_FILE,
    Manifest,
    Selection,
    TaskEntry,
    TensorEntry,
    load_manifest,
)
from tunekit.library.selection import only, select
from tunekit.library.variants import Variant, assemble, variants_of
from tunekit.library.verify import reference_of
from tunekit.machine.host import detect_host
from tunekit.machine.target import ResolvedTarget, resolve_target
from tunekit.machine.toolchain import versions
from tunekit.measure.cpu_cache import cpu_cache_of
from tunekit.recipe import Recipe, dump_recipe, recipe_digest

if TYPE_CHECKING:
    from tunekit.models.spec import TensorSpec

Say = Callable[[str], None]


@dataclass(frozen=True)
class Library:
    """A library on disk: `path` is its .so, `manifest` the content of the manifest beside it."""

    path: Path
    manifest: Manifest


def compile_recipe(
    recipe: Recipe,
    *,
    output: Path | None = None,
    cache: ContentCache | None = None,
    contest: bool = True,
    say: Say = lambda _: None,
) -> Library:
    """Compiles a recipe's model with the best records of its catalogue.

    Args:
        recipe: the recipe; its `catalogue` is read, and created if there is none.
        output: the library's folder; `<recipe.output>/<recipe.name>` if left out.
        cache: of imported models and of libraries with default schedules.
        contest: compare the candidates end to end, and take the fastest.
        say: told what is done, a line at a time.

    Raises:
        VerificationFailed: the library's outputs differ from the reference.
        TunekitError: as for `prepare_model`.
    """
    folder = output or library_folder(recipe)
    require_writable(folder)
    recipe_target(recipe)
    with Catalogue.open(recipe.catalogue) as catalogue:
        cache = cache or ContentCache()
        prepared = prepare_model(recipe, cache, say)
        return compile_prepared(
            prepared, catalogue, folder=folder, say=say, cache=cache, contest=contest
        )


def compile_prepared(
    prepared: PreparedModel,
    catalogue: Catalogue,
    *,
    folder: Path,
    say: Say,
    session_id: str | None = None,
    cache: ContentCache | None = None,
    contest: bool = True,
) -> Library:
    """Compiles, verifies and writes a prepared model's library into `folder`, all or nothing.

    What is written is the fastest of the candidates that are right (see `variants_of`); with
    `contest` False, or where they cannot be run here, it is the one with the best records.
    """
    records = best_records(
        catalogue,
        prepared.tasks,
        prepared.target,
        prepared.host.fingerprint,
        cache=cpu_cache_of(prepared.recipe.tuning, prepared.tasks, prepared.target),
    )
    first, *others = variants_of(prepared, records)
    skipped = _why_no_contest(prepared, others, contest)
    say(f"compiling {prepared.recipe.name} for {_target_name(prepared.target)}")
    with _replacing(folder) as temporary:
        workshop = temporary / "candidates"
        workshop.mkdir()
        built = build_first(first, prepared, workshop, say)
        reference = reference_of(prepared)
        if skipped is None:
            cache = cache or ContentCache()
            rivals = [build_other(other, prepared, workshop, cache, say) for other in others]
            shipped, outcome = select(
                [built, *rivals], prepared, reference, folder=workshop, say=say
            )
        else:
            shipped, outcome = only(built, prepared, reference, skipped)
        path = temporary / LIBRARY_FILE
        shutil.copy(shipped.path, path)
        shutil.rmtree(workshop)
        manifest = _manifest(prepared, shipped, outcome, catalogue, path)
        manifest.write(temporary)
        (temporary / RECIPE_FILE).write_text(dump_recipe(prepared.recipe), "utf-8")
    errors = manifest.relative_errors
    say(f"verified: relative error {max(errors):.1e} on {len(errors)} seeded inputs")
    catalogue.libraries.add(
        NewLibrary(
            name=manifest.name,
            path=str((folder / LIBRARY_FILE).resolve()),
            sha256=manifest.sha256,
            recipe_digest=manifest.recipe_digest,
            manifest=manifest.model_dump(mode="json"),
            session_id=session_id,
        )
    )
    return Library(folder / LIBRARY_FILE, manifest)


def tuned_library(recipe: Recipe, *, say: Say = lambda _: None) -> Library:
    """The library that a recipe's artifacts folder holds, compiled if it has none that fits."""
    folder = library_folder(recipe)
    if (folder / MANIFEST_FILE).is_file():
        manifest = load_manifest(folder)
        path = folder / manifest.library
        fits = recipe.layout in (
            "auto",
            manifest.layout,
        ) and manifest.work_digest == work_digest(recipe, resolve_target(recipe.target))
        if fits and path.is_file() and file_digest(path) == manifest.sha256:
            return Library(path, manifest)
        say(f"{folder} holds another library; compiling")
    return compile_recipe(recipe, say=say)


def library_folder(recipe: Recipe) -> Path:
    """Where a recipe's library goes."""
    return Path(recipe.output) / recipe.name


def require_writable(folder: Path) -> None:
    """Refuses an output folder that cannot be written, before anything is spent on its content.

    Raises:
        UsageError: it is a file, or cannot be created or written.
    """
    # Tried in what exists of it: a command that is refused later leaves no empty folder.
    existing = next(
        place for place in (folder.absolute(), *folder.absolute().parents) if place.exists()
    )
    try:
        with tempfile.NamedTemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise UsageError(
            f"cannot write to the output folder {folder}: {error.strerror or error}",
            hint="choose another with --artifacts (or -o)",
        ) from error


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """A temporary folder whose files replace those in `folder` if the block ends well."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder))
    try:
        yield temporary
        # The manifest last: whoever finds it finds the library it describes.
        for file in sorted(temporary.iterdir(), key=lambda file: file.name == MANIFEST_FILE):
            file.replace(folder / file.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _why_no_contest(prepared: PreparedModel, others: Sequence[Variant], wanted: bool) -> str | None:
    """Why the candidates are not compared, None if they are."""
    if not wanted:
        return "it was not wanted"
    if prepared.recipe.tuning.rpc is not None:
        return "the library is for other machines"
    if not others:
        return "no records apply: it has default schedules only"
    return None


def _manifest(
    prepared: PreparedModel,
    shipped: BuiltVariant,
    contest: Selection,
    catalogue: Catalogue,
    path: Path,
) -> Manifest:
    assembled = shipped.assembled or assemble(shipped.candidate, prepared)
    graph, tasks, applied = assembled.graph, assembled.tasks, assembled.applied
    choice = shipped.candidate.choice
    recipe = prepared.recipe
    entries = []
    for task in tasks:
        record = applied.records.get(task.structural_hash)
        entries.append(
            TaskEntry(
                name=task.name,
                structural_hash=task.structural_hash,
                weight=task.weight,
                flops=task.flops,
                latency_s=record.score_s if record else None,
                trial_id=record.trial_id if record else None,
                space=space_used(task, applied, prepared.target),
                operation=operation_of(task.module),
            )
        )
    return Manifest(
        name=recipe.name,
        sha256=file_digest(path),
        size_bytes=path.stat().st_size,
        created_at=datetime.now(timezone.utc),
        inputs=tuple(_tensor_entry(spec) for spec in prepared.source.inputs),
        outputs=tuple(_tensor_entry(spec) for spec in prepared.source.outputs),
        target=dict(recipe.target) if isinstance(recipe.target, dict) else {"kind": recipe.target},
        device=prepared.target.device,
        layout=graph.layout,
        layout_transforms=graph.transforms,
        algorithms={str(problem): algorithm for problem, algorithm in sorted(choice.items())},
        rounding_errors={
            str(problem): rounding_error(problem, algorithm)
            for problem, algorithm in sorted(choice.items())
            if algorithm != "direct"
        },
        coverage=applied.coverage,
        applied=len(applied.records),
        kernels=len(tasks),
        estimated_latency_s=applied.latency_s,
        relative_errors=shipped.errors,
        model_digest=prepared.source.digest,
        work_digest=work_digest(recipe, prepared.target),
        recipe_digest=recipe_digest(recipe),
        recipe=recipe.model_dump(mode="json"),
        catalogue=catalogue.location,
        host=detect_host().as_dict(),
        versions={"tunekit": __version__, **versions()},
        tasks=tuple(entries),
        contest=contest,
    )


def _tensor_entry(spec: TensorSpec) -> TensorEntry:
    return TensorEntry(name=spec.name, shape=spec.shape, dtype=spec.dtype)


def _target_name(target: ResolvedTarget) -> str:
    cores = "" if target.kind == "cuda" else f", {target.cores} threads"
    return f"{target.cpu or target.kind}{cores}"
