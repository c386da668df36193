"""Libraries that need no measurement, built once and kept in the cache: with default schedules, and
without any."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tunekit.cache import ContentCache, content_key, package_digest
from tunekit.extern_kernels.objects import sources_digest as extern_sources_digest
from tunekit.graph.algorithms import choose_unmeasured
from tunekit.graph.pipeline import PreparedModel, prepare_model
from tunekit.library.apply import apply_records
from tunekit.library.build import export, work_digest
from tunekit.library.manifest import LIBRARY_FILE
from tunekit.library.program import STANDALONE_VARIANT_FILE, build_standalone_variant
from tunekit.machine.target import resolve_target
from tunekit.machine.toolchain import versions
from tunekit.models.spec import code_digest
from tunekit.recipe import Recipe
from tunekit.standalone.build import sources_digest
from tunekit.wording import Say

if TYPE_CHECKING:
    from tvm.ir import IRModule


def build_unscheduled(
    recipe: Recipe,
    *,
    model_digest: str,
    cache: ContentCache | None = None,
    say: Say = lambda _: None,
) -> Path:
    """A library of the model as imported, compiled by TVM's default pipeline: naive loops.

    Args:
        recipe: the recipe.
        model_digest: of its model's structure and weights.
        cache: takes the library, and imported models.
        say: told what is done, a line at a time.

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

    return _built_once(f"unscheduled {model_digest} {code_digest()}", recipe, cache, build)


def build_default(
    recipe: Recipe,
    *,
    model_digest: str,
    cache: ContentCache | None = None,
    say: Say = lambda _: None,
) -> Path:
    """A library of the prepared model in which every kernel has its default schedule: what a
    compilation without a single record gives.

    Args:
        recipe: the recipe.
        model_digest: of its model's structure and weights.
        cache: takes the library, and imported models.
        say: told what is done, a line at a time.

    Returns the path of the .so, in the cache.
    """

    def build(cache: ContentCache, path: Path) -> None:
        _export_default(prepare_model(recipe, cache, say), path, say)

    return _built_once(_default_kind(recipe, model_digest), recipe, cache, build)


def default_of(prepared: PreparedModel, *, cache: ContentCache, say: Say) -> Path:
    """The same library as `build_default`'s, of a recipe that is already prepared."""

    def build(_: ContentCache, path: Path) -> None:
        _export_default(prepared, path, say)

    kind = _default_kind(prepared.recipe_as_given, prepared.source.digest)
    return _built_once(kind, prepared.recipe_as_given, cache, build)


def standalone_beside(path: Path) -> Path | None:
    """The same library as one of its own, where there is one."""
    standalone = path.with_name(STANDALONE_VARIANT_FILE)
    return standalone if standalone.is_file() else None


def _default_kind(recipe: Recipe, model_digest: str) -> str:
    # The layout decides here, which it does not for a model as imported.
    return f"default {recipe.layout} {model_digest} {_code_digest()}"


def _code_digest() -> str:
    """Of the code that imports, prepares, schedules, lowers and links: a default library is what
    it makes of a model."""
    code = package_digest(
        *("graph", "spaces", "standalone"),
        *("library/apply.py", "library/build.py", "library/program.py"),
        "library/huge_page_pass.py",
    )
    return f"{code_digest()} {code} {sources_digest()} {extern_sources_digest()}"


def default_module(prepared: PreparedModel) -> IRModule:
    """A prepared model in which every kernel has its default schedule, ready to be built."""
    graph, tasks = prepared.with_choice(choose_unmeasured(prepared.tasks))
    return apply_records(graph, tasks, [], prepared.target).module


def _export_default(prepared: PreparedModel, path: Path, say: Say) -> None:
    say("compiling with default schedules")
    module = default_module(prepared)
    kernels = path.with_suffix(".o")
    huge_pages = prepared.recipe.huge_pages
    exported = export(module, prepared.target, path, in_huge_pages=huge_pages, kernels=kernels)
    build_standalone_variant(prepared, exported, path.parent)
    kernels.unlink()


def _built_once(
    made_of: str,
    recipe: Recipe,
    cache: ContentCache | None,
    build: Callable[[ContentCache, Path], None],
) -> Path:
    """Path of the library that `build` writes, in the cache, from where the next call takes it."""
    cache = cache or ContentCache()
    key = content_key(made_of, work_digest(recipe, resolve_target(recipe.target)), versions())
    folder = made_of.split()[0]
    entry = cache.made(
        folder, key, lambda made: build(cache, made / LIBRARY_FILE), "the compiled library"
    )
    return entry / LIBRARY_FILE
