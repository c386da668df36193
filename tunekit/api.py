"""For Python what the verbs tune, resume, compile, export, bench, explain and lookup do.

Long because each function says what all of its arguments are.

They are offered as `tunekit.tune`, `tunekit.bench` and so on, and load when one is first used.
The first argument of most is `recipe`: a `Recipe`, the path of a recipe's YAML file, or a model,
as `torchvision:<model>`, `python:<package.module>:<callable>` or the path of an .onnx or .pt2
file. Beside it they take

- `inputs`: the shape of each input by its name, `{"input": (1, 3, 224, 224)}`, or shape and dtype,
  `{"ids": ((1, 128), "int64")}`; of a model file only what is to differ from what it declares;
- `dims`: sizes that a model file leaves open, by its own names for them, `{"batch": 1}` or, for
  one library of several, `{"batch": (1, 2, 4)}`; of a recipe with such axes the one that is meant;
- `trials`: the budget, candidates to measure in all;
- `output`: the folder under which the library gets a folder of its own, named as the recipe;
- `catalogue`: where measurements are kept, a SQLite file or any SQLAlchemy URL;
- `settings`: any other key of a recipe, dotted, `{"tuning.measure.repeat": 10}`;
- `reporter`: who is told what happens (`tunekit.search.progress`); nobody by default.

Errors are `TunekitError`s: a message, and a hint that says what to do now (`tunekit.errors`).
Nothing here needs an `if __name__ == "__main__"` around it.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tunekit.catalogue import Catalogue
from tunekit.errors import TunekitError, UsageError
from tunekit.recipe import Recipe, override
from tunekit.recipe import load_recipe as _read_recipe
from tunekit.search.progress import Reporter, SilentReporter
from tunekit.standalone.loaded import LoadedModel, load

if TYPE_CHECKING:
    from tunekit.attribution.results import Explanation
    from tunekit.benchmark.results import Report
    from tunekit.bundle import Bundle
    from tunekit.library import Library, Manifest
    from tunekit.library.coverage import Knowledge
    from tunekit.models.as_recipe import Dims, InputShapes

__all__ = [
    "Bundle",
    "Catalogue",
    "Explanation",
    "Knowledge",
    "Library",
    "LoadedModel",
    "Manifest",
    "Recipe",
    "Report",
    "TunekitError",
    "bench",
    "compile",
    "explain",
    "export",
    "load",
    "load_recipe",
    "lookup",
    "resume",
    "tune",
]

_TYPES = {
    "Bundle": "tunekit.bundle",
    "Explanation": "tunekit.attribution.results",
    "Knowledge": "tunekit.library.coverage",
    "Library": "tunekit.library",
    "Manifest": "tunekit.library",
    "Report": "tunekit.benchmark.results",
}

RecipeLike = Recipe | str | os.PathLike[str]


def load_recipe(
    recipe: RecipeLike,
    *,
    inputs: InputShapes | None = None,
    dims: Dims | None = None,
    trials: int | None = None,
    output: str | os.PathLike[str] | None = None,
    catalogue: str | os.PathLike[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    names: Mapping[str, str] | None = None,
) -> Recipe:
    """The recipe in a file, or one for a model, with these values in place of its own.

    Args:
        recipe: a recipe, its file, or a model.
        inputs: shapes (and dtypes) of inputs by name.
        dims: sizes that a model file leaves open.
        trials: candidates to measure in all.
        output: folder that gets the library's folder.
        catalogue: where measurements are kept.
        settings: values of any keys, dotted.
        names: what messages call a key, for who has flags for them.

    Raises:
        RecipeError: the file cannot be used; every problem with its line and key.
        UsageError: a value is refused, or a model's inputs are not known yet.
        ModelFileError: a model file cannot be read.
    """
    loaded = _loaded(recipe, inputs, dims)
    values = dict(settings or {})
    for key, value in (("tuning.trials", trials), ("output", output), ("catalogue", catalogue)):
        if value is not None:
            values[key] = os.fspath(value) if isinstance(value, os.PathLike) else value
    return override(loaded, values, names=names)


def tune(
    recipe: RecipeLike,
    *,
    inputs: InputShapes | None = None,
    dims: Dims | None = None,
    trials: int | None = None,
    output: str | os.PathLike[str] | None = None,
    folder: str | os.PathLike[str] | None = None,
    catalogue: str | os.PathLike[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    fresh: bool = False,
    selection: bool = True,
    reporter: Reporter | None = None,
    again: Callable[[str], str] | None = None,
) -> Library:
    """Tunes a model within a budget of trials, compiles it with the best, and verifies it.

    Every trial is in the catalogue as soon as it is measured, and an unfinished session of the
    recipe is gone on with: what was interrupted is called again.

    Args:
        recipe: a recipe, its file, or a model.
        inputs: shapes (and dtypes) of inputs by name.
        dims: sizes that a model file leaves open.
        trials: candidates to measure in all.
        output: folder that gets the library's folder.
        folder: the library's own folder, in place of one named as the recipe under `output`.
        catalogue: where measurements are kept.
        settings: values of any keys of the recipe, dotted.
        fresh: begin a session even where one is unfinished.
        selection: compare variants of the library end to end, and take the fastest.
        reporter: who is told what happens.
        again: the command that goes on with a session after an interruption, by its id.

    Returns:
        The library: its `folder`, its `manifest`, and `run(array)`.

    Raises:
        Interrupted: by Ctrl-C; everything measured is kept.
        UsageError: another process runs this recipe's session, or the recipe cannot be used.
        ModelError: the model cannot be loaded or imported.
        CompileError: it cannot be compiled, or the library's outputs are wrong.
    """
    from tunekit.sessions.run import resume_command, tune_recipe

    resolved = load_recipe(
        recipe,
        inputs=inputs,
        dims=dims,
        trials=trials,
        output=output,
        catalogue=catalogue,
        settings=settings,
    )
    return tune_recipe(
        resolved,
        reporter or SilentReporter(),
        again=again or resume_command,
        fresh=fresh,
        folder=None if folder is None else Path(folder),
        selection=selection,
    )


def resume(
    session: str | None = None,
    *,
    catalogue: str | os.PathLike[str] | None = None,
    trials: int | None = None,
    settings: Mapping[str, Any] | None = None,
    reporter: Reporter | None = None,
    again: Callable[[str], str] | None = None,
    names: Mapping[str, str] | None = None,
) -> Library:
    """Goes on with an unfinished session until its budget is spent, then compiles and verifies.

    The recipe is the one that the session was begun with, and so is the folder that it is worked
    in: a recipe may name modules and files found from there.

    Args:
        session: the start of its id; by default the newest unfinished one of this machine.
        catalogue: where it is; by default the recipes' default catalogue.
        trials: another budget, in all.
        settings: other values for keys of the budget, such as `tuning.max_seconds`.
        reporter: who is told what happens.
        again: the command that goes on with a session after an interruption, by its id.
        names: what messages call a key, for who has flags for them.

    Raises:
        CatalogueError: there is no such catalogue or session.
        UsageError: it cannot be gone on with here and now.
        TunekitError: as for `tune`.
    """
    from tunekit.catalogue.db.connect import from_anywhere
    from tunekit.environment import DEFAULT_CATALOGUE
    from tunekit.machine.host import detect_host
    from tunekit.sessions.resume import (
        folder_of,
        library_folder_of,
        recipe_of,
        session_to_resume,
    )
    from tunekit.sessions.run import resume_command, resume_recipe

    location = os.fspath(catalogue) if catalogue is not None else DEFAULT_CATALOGUE
    values = dict(settings or {})
    if trials is not None:
        values["tuning.trials"] = trials
    with Catalogue.open(location, create=False) as ledger:
        session_info = session_to_resume(ledger, session, detect_host(), more=bool(values))
    # The catalogue stays the one that was named from here.
    values["catalogue"] = from_anywhere(location)
    resolved = override(recipe_of(session_info), values, names=names)
    reporter = reporter or SilentReporter()
    with _working_in(folder_of(session_info), reporter.say):
        return resume_recipe(
            resolved,
            session_info.id,
            reporter,
            again=again or resume_command,
            folder=library_folder_of(session_info),
        )


def compile(  # noqa: A001 - the verb's name
    recipe: RecipeLike,
    *,
    inputs: InputShapes | None = None,
    dims: Dims | None = None,
    output: str | os.PathLike[str] | None = None,
    folder: str | os.PathLike[str] | None = None,
    catalogue: str | os.PathLike[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    selection: bool = True,
    reporter: Reporter | None = None,
) -> Library:
    """Compiles a model with the best records of its catalogue, without tuning, and verifies it.

    Args:
        recipe: a recipe, its file, or a model.
        inputs: shapes (and dtypes) of inputs by name.
        dims: sizes that a model file leaves open.
        output: folder that gets the library's folder.
        folder: the library's own folder, in place of one named as the recipe under `output`.
        catalogue: where measurements are kept.
        settings: values of any keys of the recipe, dotted.
        selection: compare variants of the library end to end, and take the fastest.
        reporter: who is told what happens.

    Raises:
        UsageError: the recipe or a folder cannot be used.
        ModelError: the model cannot be loaded or imported.
        CompileError: it cannot be compiled, or the library's outputs are wrong.
    """
    from tunekit.library import compile_recipe

    resolved = load_recipe(
        recipe, inputs=inputs, dims=dims, output=output, catalogue=catalogue, settings=settings
    )
    return compile_recipe(
        resolved,
        output=None if folder is None else Path(folder),
        selection=selection,
        say=(reporter or SilentReporter()).say,
    )


def export(
    recipe: RecipeLike,
    *,
    inputs: InputShapes | None = None,
    dims: Dims | None = None,
    static: bool = False,
    vm: bool = False,
    folder: str | os.PathLike[str] | None = None,
    force: bool = False,
    output: str | os.PathLike[str] | None = None,
    catalogue: str | os.PathLike[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    reporter: Reporter | None = None,
) -> Bundle:
    """Writes a bundle: the library with headers, examples, build files and samples, for C.

    The library is that of the recipe's folder, compiled first where there is none that fits.

    Args:
        recipe: a recipe, its file, a model, or the folder of a compiled library.
        inputs: shapes (and dtypes) of inputs by name.
        dims: sizes that a model file leaves open.
        static: with a static library, too.
        vm: with TVM's runtime in place of the standalone library; every model can be had so.
        folder: of the bundle; `bundle` (or `vm-bundle`) in the library's folder if left out.
        force: replace a bundle whose files were changed.
        output: folder that holds the library's folder.
        catalogue: where measurements are kept.
        settings: values of any keys of the recipe, dotted.
        reporter: who is told what happens.

    Returns:
        The bundle: its `folder` and its `manifest`.

    Raises:
        UsageError: the library is not what its manifest says, or a folder cannot be used.
        ModelError: the model cannot be loaded.
        CompileError: the model is not standalone, cannot be compiled, or is wrong.
    """
    from tunekit.bundle import export_library
    from tunekit.bundle.manifest import bundle_in
    from tunekit.bundle.place import require_place
    from tunekit.library import Library, tuned_library

    say = (reporter or SilentReporter()).say
    place = None if folder is None else Path(folder)
    if place is not None:
        require_place(place, force=force)
    if not isinstance(recipe, Recipe) and Path(recipe).is_dir():
        if inputs or dims or output or settings:
            raise UsageError(
                f"{os.fspath(recipe)} is compiled already: of it, nothing can be changed",
                hint="export its recipe, with the same options",
            )
        if bundle_in(Path(recipe)) is not None:
            raise UsageError(f"{os.fspath(recipe)} is a bundle already")
        library = Library.open(os.fspath(recipe))
    else:
        resolved = load_recipe(
            recipe, inputs=inputs, dims=dims, output=output, catalogue=catalogue, settings=settings
        )
        library = tuned_library(resolved, say=say)
    return export_library(
        library,
        folder=place,
        static=static,
        vm=vm,
        force=force,
        catalogue=None if catalogue is None else os.fspath(catalogue),
        say=say,
    )


def bench(
    recipe: RecipeLike,
    *,
    inputs: InputShapes | None = None,
    dims: Dims | None = None,
    runtimes: Sequence[str] | None = None,
    rounds: int = 10,
    threads: int | None = None,
    instances: int | None = None,
    shared: bool = False,
    timeout_s: float | None = None,
    output: str | os.PathLike[str] | None = None,
    catalogue: str | os.PathLike[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    reporter: Reporter | None = None,
) -> Report:
    """Compares the tuned library with other runtimes, in turns, outputs included.

    Each runtime has a process of its own, the same inputs and the same threads. The library is
    compiled first where there is none that fits.

    Args:
        recipe: a recipe, its file, or a model.
        inputs: shapes (and dtypes) of inputs by name.
        dims: sizes that a model file leaves open.
        runtimes: names such as "tuned" or "onnxruntime", or `package.module:Class` of another; by
            default tunekit's own and the recipe's.
        rounds: in which each runtime has a turn.
        threads: of each runtime; by default the recipe's, or all cores.
        instances: processes of each runtime that are run at once besides, in which case rows have
            their frames per second together (`at_once`).
        shared: these processes share all cores; else each has its part of them.
        timeout_s: that a runtime may take to convert the model, to load it, or for a turn, after
            which it has failed; by default 900, and 300 for a turn.
        output: folder that holds the library's folder.
        catalogue: where measurements are kept.
        settings: values of any keys of the recipe, dotted.
        reporter: who is told what happens.

    Returns:
        A row for each runtime, with all samples in seconds and the error of its outputs. A
        reference runtime that fails has a row that says why; see `succeeded`.

    Raises:
        UsageError: the recipe cannot be used, or a runtime is unknown.
        ModelError: the model cannot be loaded.
        Interrupted: by Ctrl-C.
    """
    from tunekit.benchmark.run import bench_recipe
    from tunekit.timing.rounds import RoundSettings
    from tunekit.timing.together import Instances

    resolved = load_recipe(
        recipe, inputs=inputs, dims=dims, output=output, catalogue=catalogue, settings=settings
    )
    return bench_recipe(
        resolved,
        runtimes=runtimes,
        # Not laid over the recipe: there, threads would also be those of the search.
        settings=RoundSettings(
            rounds=rounds, threads=_threads(resolved, threads), seed=resolved.model.seed
        ).limited(timeout_s),
        instances=None if instances is None else Instances(instances, shared=shared),
        say=(reporter or SilentReporter()).say,
    )


def explain(
    recipe: RecipeLike,
    *,
    inputs: InputShapes | None = None,
    dims: Dims | None = None,
    runtimes: Sequence[str] = ("onnxruntime", "openvino"),
    sort: Literal["gain", "difference", "time"] = "gain",
    rounds: int = 5,
    threads: int | None = None,
    output: str | os.PathLike[str] | None = None,
    catalogue: str | os.PathLike[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    reporter: Reporter | None = None,
) -> Explanation:
    """Says where the time of the tuned library goes, operator by operator.

    Args:
        recipe: a recipe, its file, or a model.
        inputs: shapes (and dtypes) of inputs by name.
        dims: sizes that a model file leaves open.
        runtimes: whose profilers do the same work for comparison.
        sort: first what reaching the machine's peak would gain, the difference to the fastest
            other runtime, or time.
        rounds: in which each runtime has a turn.
        threads: of each runtime; by default the recipe's, or all cores.
        output: folder that holds the library's folder.
        catalogue: where measurements are kept.
        settings: values of any keys of the recipe, dotted.
        reporter: who is told what happens.

    Raises:
        SandboxError: the library itself crashed or hung.
        TunekitError: as for `compile`, where there is no library that fits.
    """
    from tunekit.attribution.explain import ExplainSettings, explain_recipe

    resolved = load_recipe(
        recipe, inputs=inputs, dims=dims, output=output, catalogue=catalogue, settings=settings
    )
    return explain_recipe(
        resolved,
        runtimes=runtimes,
        settings=ExplainSettings(
            threads=_threads(resolved, threads),
            rounds=rounds,
            seed=resolved.model.seed,
            sort=sort,
        ),
        say=(reporter or SilentReporter()).say,
    )


def lookup(
    recipe: RecipeLike,
    *,
    inputs: InputShapes | None = None,
    dims: Dims | None = None,
    catalogue: str | os.PathLike[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    reporter: Reporter | None = None,
) -> Knowledge:
    """Says how much of a model its catalogue knows, task by task; nothing is measured or written.

    Args:
        recipe: a recipe, its file, or a model.
        inputs: shapes (and dtypes) of inputs by name.
        dims: sizes that a model file leaves open.
        catalogue: where measurements are kept.
        settings: values of any keys of the recipe, dotted.
        reporter: who is told what happens.

    Raises:
        CatalogueError: there is no catalogue.
        ModelError: the model cannot be loaded or imported.
    """
    from tunekit.sessions.run import look_up_recipe

    resolved = load_recipe(recipe, inputs=inputs, dims=dims, catalogue=catalogue, settings=settings)
    return look_up_recipe(resolved, (reporter or SilentReporter()).say)


def _loaded(recipe: RecipeLike, inputs: InputShapes | None, dims: Dims | None) -> Recipe:
    if not isinstance(recipe, Recipe):
        from tunekit.models.as_recipe import is_model, recipe_of_model

        if is_model(os.fspath(recipe)):
            return recipe_of_model(os.fspath(recipe), inputs=inputs, dims=dims)
        recipe = _read_recipe(os.fspath(recipe))
    if dims:
        from tunekit.models.as_recipe import at_dims

        recipe = at_dims(recipe, dims)
    if not inputs:
        return recipe
    from tunekit.models.as_recipe import with_inputs

    return with_inputs(recipe, inputs)


def _threads(recipe: Recipe, threads: int | None) -> int:
    from tunekit.machine.host import detect_host

    return threads or recipe.reference.threads or detect_host().cores


@contextmanager
def _working_in(folder: Path | None, say: Callable[[str], None]) -> Iterator[None]:
    """In the folder that a session was begun in, where it is still there."""
    here = Path.cwd()
    if folder is None or not folder.is_dir() or folder.samefile(here):
        yield
        return
    say(f"in {folder}")
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(here)


def __getattr__(name: str) -> Any:
    """Types of results, which load more than naming them needs."""
    if name in _TYPES:
        return getattr(importlib.import_module(_TYPES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
