"""From a staged model and a catalogue to a library on disk that is right."""

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
from tunekit.cache import ContentCache, content_key, file_digest
from tunekit.catalogue import Catalogue, NewLibrary
from tunekit.errors import CompileError, TargetError, UsageError, VerificationFailed
from tunekit.graph.algorithms import Choice, choose
from tunekit.graph.operation import operation_of
from tunekit.graph.prepare import PREPARATION_VERSION, PreparedGraph
from tunekit.graph.staging import Staged, recipe_target, stage
from tunekit.host import detect_host
from tunekit.library.apply import Applied, apply_records, space_used
from tunekit.library.known import best_records
from tunekit.library.manifest import (
    LIBRARY_FILE,
    MANIFEST_FILE,
    RECIPE_FILE,
    Manifest,
    TaskEntry,
    TensorEntry,
    load_manifest,
)
from tunekit.models.compare import compare
from tunekit.recipe import Recipe, Tuning, dump_recipe, recipe_digest
from tunekit.sandbox import Elsewhere, run_library
from tunekit.target import ResolvedTarget, resolve_target
from tunekit.toolchain import versions

if TYPE_CHECKING:
    from tvm.ir import IRModule

    from tunekit.graph.tasks import Task
    from tunekit.models.spec import TensorSpec

_VERIFY_TIMEOUT_S = 1800.0
_VERIFY_SEEDS = (1, 2)

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
    say: Say = lambda _: None,
) -> Library:
    """Compiles a recipe's model with the best records of its catalogue.

    Args:
        recipe: the recipe; its `catalogue` is read, and created if there is none.
        output: the library's folder; `<recipe.output>/<recipe.name>` if left out.
        cache: of imported models.
        say: told what is done, a line at a time.

    Raises:
        VerificationFailed: the library's outputs differ from the reference.
        TunekitError: as for `stage`.
    """
    folder = output or library_folder(recipe)
    require_writable(folder)
    recipe_target(recipe)
    with Catalogue.open(recipe.catalogue) as catalogue:
        staged = stage(recipe, cache or ContentCache(), say)
        return compile_staged(staged, catalogue, folder=folder, say=say)


def compile_staged(
    staged: Staged,
    catalogue: Catalogue,
    *,
    folder: Path,
    say: Say,
    session_id: str | None = None,
) -> Library:
    """Compiles, verifies and writes a staged model's library into `folder`, all or nothing."""
    records = best_records(catalogue, staged.tasks, staged.target, staged.host.fingerprint)
    seconds = {record.structural_hash: record.mean_s for record in records}
    choice = choose(staged.tasks, seconds.get)
    graph, tasks = staged.with_choice(choice)
    say(f"compiling {staged.recipe.name} for {_target_name(staged.target)}")
    applied = apply_records(graph, tasks, records, staged.target)
    say(coverage_line(applied, len(tasks)))
    with _replacing(folder) as temporary:
        path = temporary / LIBRARY_FILE
        rpc = staged.recipe.tuning.rpc
        export(applied.module, staged.target, path, compiler=rpc.cc if rpc else None)
        errors = verify(path, staged)
        manifest = _manifest(staged, graph, tasks, choice, applied, catalogue, path, errors)
        manifest.write(temporary)
        (temporary / RECIPE_FILE).write_text(dump_recipe(staged.recipe), "utf-8")
    say(f"verified: relative error {max(errors):.1e} on {len(errors)} seeded inputs")
    catalogue.add_library(
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
        ) and manifest.work_digest == _work_digest(recipe, resolve_target(recipe.target))
        if fits and path.is_file() and file_digest(path) == manifest.sha256:
            return Library(path, manifest)
        say(f"{folder} holds another library; compiling")
    return compile_recipe(recipe, say=say)


def build_unscheduled(
    recipe: Recipe, *, cache: ContentCache | None = None, say: Say = lambda _: None
) -> Path:
    """A library of the model as imported, compiled by TVM's default pipeline: naive loops.

    Returns the path of the .so, in the cache.
    """

    def build(cache: ContentCache, path: Path) -> None:
        from tunekit.models import import_model, load_source

        imported = import_model(
            load_source(recipe.model, cache),
            max_relative_error=recipe.reference.import_relative_error,
            cache=cache,
            say=say,
        )
        say("compiling without schedules")
        export(imported.module, resolve_target(recipe.target), path)

    return _built_once("unscheduled", recipe, cache, build)


def build_default(
    recipe: Recipe, *, cache: ContentCache | None = None, say: Say = lambda _: None
) -> Path:
    """A library of the prepared model in which every kernel has its default schedule: what a
    compilation without a single record gives.

    Returns the path of the .so, in the cache.
    """

    def build(cache: ContentCache, path: Path) -> None:
        staged = stage(recipe, cache, say)
        graph, tasks = staged.with_choice(choose(staged.tasks, lambda _: None))
        say("compiling with default schedules")
        export(apply_records(graph, tasks, [], staged.target).module, staged.target, path)

    # The layout decides here, which it does not for a model as imported.
    return _built_once(f"default {recipe.layout}", recipe, cache, build)


def _built_once(
    kind: str,
    recipe: Recipe,
    cache: ContentCache | None,
    build: Callable[[ContentCache, Path], None],
) -> Path:
    """Path of the library that `build` writes, in the cache, from where the next call takes it."""
    cache = cache or ContentCache()
    key = content_key(kind, _work_digest(recipe, resolve_target(recipe.target)), versions())
    folder = kind.split()[0]
    entry = cache.get(folder, key)
    if entry is None:
        with cache.put(folder, key) as temporary:
            build(cache, temporary / LIBRARY_FILE)
        entry = cache.get(folder, key)
        if entry is None:
            raise CompileError(
                "the compiled library did not survive in the cache",
                hint="is the disk full? TUNEKIT_CACHE names another folder",
            )
    return entry / LIBRARY_FILE


def export(
    module: IRModule, target: ResolvedTarget, path: Path, *, compiler: str | None = None
) -> None:
    """Builds a Relax module and links it into a shared library at `path`.

    Args:
        module: the module, scheduled or not.
        target: what for.
        path: gets the library.
        compiler: links it; this machine's own if left out.

    Raises:
        CompileError: TVM or the system's linker failed.
    """
    import tvm
    from tvm.support import cc

    try:
        with target.tvm:
            executable = tvm.compile(module, target=target.tvm)
        fcompile = cc.cross_compiler(compiler) if compiler else None
        executable.export_library(str(path), fcompile=fcompile)
    except (RuntimeError, ValueError, TypeError, OSError) as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise CompileError(
            f"the model could not be compiled: {lines[-1] if lines else error}",
            hint="`tunekit doctor` checks the compiler; --verbose shows TVM's whole message",
        ) from error


def _elsewhere(staged: Staged) -> Elsewhere | None:
    """Where to verify, if this machine cannot run the target's code."""
    rpc = staged.recipe.tuning.rpc
    if rpc is None:
        return None
    try:
        resolve_target(staged.target.spec)
    except TargetError:
        return Elsewhere(rpc.tracker, rpc.key, rpc.wait_s)
    return None


def verify(path: Path, staged: Staged) -> tuple[float, ...]:
    """Runs a library beside the reference on seeded inputs; the relative error of each.

    It runs on a device of the recipe's where this machine cannot run its code.

    Raises:
        VerificationFailed: one is above the recipe's tolerance, or not a number.
        SandboxError: the library crashed or hung, or no device was there to run it.
    """
    source = staged.source
    inputs = [source.sample_inputs(staged.recipe.model.seed + seed) for seed in _VERIFY_SEEDS]
    actual = run_library(
        path,
        inputs,
        input_names=[spec.name for spec in source.inputs],
        device=staged.target.device,
        threads=staged.target.cores,
        timeout_s=_VERIFY_TIMEOUT_S,
        elsewhere=_elsewhere(staged),
    )
    limit = staged.recipe.reference.relative_error
    errors = []
    for values, outputs in zip(inputs, actual, strict=True):
        comparison = compare(source.reference(values), outputs)
        if not comparison.within(limit):
            raise VerificationFailed(
                f"the library's outputs differ from {source.framework}'s: relative error "
                f"{comparison.relative_error:.2e}, allowed {limit:.0e}",
                hint="nothing was written; reference.relative_error in the recipe is the limit",
            )
        errors.append(comparison.relative_error)
    return tuple(errors)


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


def coverage_line(applied: Applied, kernels: int) -> str:
    """One line on how much of the model the records cover."""
    line = (
        f"coverage: {applied.coverage:.1%} of the estimated latency, "
        f"{len(applied.records)} of {kernels} kernels have an applied record"
    )
    return line if applied.records else f"{line}; the others have default schedules"


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


def _manifest(
    staged: Staged,
    graph: PreparedGraph,
    tasks: Sequence[Task],
    choice: Choice,
    applied: Applied,
    catalogue: Catalogue,
    path: Path,
    errors: tuple[float, ...],
) -> Manifest:
    recipe = staged.recipe
    entries = []
    for task in tasks:
        record = applied.records.get(task.structural_hash)
        entries.append(
            TaskEntry(
                name=task.name,
                structural_hash=task.structural_hash,
                weight=task.weight,
                flops=task.flops,
                latency_s=record.mean_s if record else None,
                trial_id=record.trial_id if record else None,
                space=space_used(task, applied, staged.target),
                operation=operation_of(task.module),
            )
        )
    return Manifest(
        name=recipe.name,
        sha256=file_digest(path),
        size_bytes=path.stat().st_size,
        created_at=datetime.now(timezone.utc),
        inputs=tuple(_tensor_entry(spec) for spec in staged.source.inputs),
        outputs=tuple(_tensor_entry(spec) for spec in staged.source.outputs),
        target=dict(recipe.target) if isinstance(recipe.target, dict) else {"kind": recipe.target},
        device=staged.target.device,
        layout=graph.layout,
        layout_transforms=graph.transforms,
        algorithms={str(site): algorithm for site, algorithm in sorted(choice.items())},
        coverage=applied.coverage,
        applied=len(applied.records),
        kernels=len(tasks),
        estimated_latency_s=applied.latency_s,
        relative_errors=errors,
        model_digest=staged.source.digest,
        work_digest=_work_digest(recipe, staged.target),
        recipe_digest=recipe_digest(recipe),
        recipe=recipe.model_dump(mode="json"),
        catalogue=catalogue.place,
        host=detect_host().as_dict(),
        versions={"tunekit": __version__, **versions()},
        tasks=tuple(entries),
    )


def _tensor_entry(spec: TensorSpec) -> TensorEntry:
    return TensorEntry(name=spec.name, shape=spec.shape, dtype=spec.dtype)


def _work_digest(recipe: Recipe, target: ResolvedTarget) -> str:
    """Of model, target and preparation, but not of the layout (the manifest names it, where a
    recipe may leave it open) nor of the budget."""
    work = recipe.model_copy(update={"target": target.spec, "tuning": Tuning(), "layout": "auto"})
    return content_key(recipe_digest(work), PREPARATION_VERSION)


def _target_name(target: ResolvedTarget) -> str:
    cores = "" if target.kind == "cuda" else f", {target.cores} threads"
    return f"{target.cpu or target.kind}{cores}"
