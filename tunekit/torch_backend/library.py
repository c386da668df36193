"""The library of a graph: found in the cache, or compiled there, and run on torch's tensors."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tunekit import api
from tunekit.cache import ENVIRONMENT_VARIABLE, ContentCache
from tunekit.errors import TunekitError, UsageError
from tunekit.files import alone_with
from tunekit.library import Library
from tunekit.library.manifest import MANIFEST_FILE
from tunekit.recipe import Recipe
from tunekit.search.progress import SilentReporter

if TYPE_CHECKING:
    from tunekit.torch_backend.graph import WeightedGraph

_KIND = "torch-compile"
_LOG = logging.getLogger("tunekit.torch_backend")


class _Logged(SilentReporter):
    """Says what happens to those who listen to the log."""

    def say(self, line: str) -> None:
        _LOG.info(line)


def check_options(options: Mapping[str, Any]) -> None:
    """Refuses options that no recipe would take.

    Raises:
        UsageError: says which and why.
    """
    model = {"source": "torchvision:resnet18", "inputs": [{"name": "x", "shape": [1]}]}
    _recipe(Recipe.model_validate({"name": "any", "model": model}), options)


def library_of(
    graph: WeightedGraph, arguments: Sequence[Any], options: Mapping[str, Any]
) -> Library:
    """The library of a graph, compiled or tuned unless the cache has it.

    Args:
        graph: the graph.
        arguments: of a call, weights and inputs.
        options: see `tunekit_backend`.

    Raises:
        TunekitError: it cannot be compiled.
    """
    cache = ContentCache()
    digest = graph.digest(arguments, options)
    folder = cache.root / _KIND / digest
    library = _found(folder)
    try:
        if library is None:
            with _alone(folder):
                # Unless another process compiled it meanwhile.
                library = _found(folder) or _made(graph, arguments, options, folder)
    finally:
        # The program of a graph that cannot be compiled is there, too; or the cache is only read.
        with suppress(OSError):
            cache.adopt(_KIND, digest)
    return library


def _made(
    graph: WeightedGraph, arguments: Sequence[Any], options: Mapping[str, Any], folder: Path
) -> Library:
    # Sessions of the catalogue are named so.
    program = folder / f"graph-{folder.name[:8]}.pt2"
    graph.save(arguments, program)
    return _compiled(_recipe(program, options), folder, tuned="trials" in options)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Waits for other processes that compile the same graph.

    Raises:
        UsageError: the cache cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = folder.with_name(f".{folder.name}.lock")
        lock.touch()
    except OSError as error:
        raise UsageError(
            f"cannot write the cache folder {folder.parent}: {error.strerror or error}",
            hint=f"set {ENVIRONMENT_VARIABLE} to a folder that can be written",
        ) from error
    with alone_with(lock):
        yield


def run(library: Library, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Runs a library; its inputs are not copied where they are contiguous."""
    arrays = [value.detach().contiguous().numpy() for value in inputs]
    return tuple(torch.from_numpy(array) for array in library.call(arrays))


def _found(folder: Path) -> Library | None:
    """The library in a folder, opened; None where there is none that can be."""
    if not (folder / MANIFEST_FILE).is_file():
        return None
    try:
        library = Library.open(folder)
        library.open_now()
    except TunekitError as error:
        _LOG.warning("%s: %s; compiling again", folder, error)
        return None
    return library


def _recipe(model: api.RecipeLike, options: Mapping[str, Any]) -> Recipe:
    settings = dict(options)
    trials, catalogue = settings.pop("trials", None), settings.pop("catalogue", None)
    return api.load_recipe(model, trials=trials, catalogue=catalogue, settings=settings)


def _compiled(recipe: Recipe, folder: Path, *, tuned: bool) -> Library:
    make = api.tune if tuned else api.compile
    return make(recipe, folder=folder, reporter=_Logged())
