"""Candidates built: what takes part in the contest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tunekit.errors import CompileError, TunekitError
from tunekit.library.apply import coverage_line
from tunekit.library.build import default_of, export
from tunekit.library.variants import Assembled, Variant, assemble

if TYPE_CHECKING:
    from tunekit.cache import ContentCache
    from tunekit.graph.pipeline import PreparedModel

Say = Callable[[str], None]
Seconds = Mapping[int, float]
"""Median seconds of a candidate's turn in each round that it took part in."""


@dataclass
class BuiltVariant:
    """A candidate that was built, and what became of it.

    Attributes:
        candidate: the candidate.
        path: of its library.
        assembled: its kernels; None where the library came from the cache.
        errors: relative error of each seeded input, once it is verified.
        failure: why it cannot ship.
        rounds_s: what it took in the contest.
    """

    candidate: Variant
    path: Path
    assembled: Assembled | None = None
    errors: tuple[float, ...] = ()
    failure: TunekitError | None = None
    rounds_s: Seconds = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The candidate's."""
        return self.candidate.name

    def leave_out(self, error: TunekitError, say: Say) -> None:
        """Takes it out of the contest, and says why."""
        self.failure = error
        say(f"warning: the {self.name} library is left out: {error.message}")


def build_first(
    candidate: Variant, prepared: PreparedModel, folder: Path, say: Say
) -> BuiltVariant:
    """Builds the candidate that ships unless another one is better.

    Raises:
        CompileError: it cannot be compiled or linked.
    """
    built = BuiltVariant(candidate, folder / f"{candidate.name}.so")
    built.assembled = assemble(candidate, prepared)
    say(coverage_line(built.assembled.applied, len(built.assembled.tasks)))
    _export(built.assembled, prepared, built.path)
    return built


def build_other(
    candidate: Variant, prepared: PreparedModel, folder: Path, cache: ContentCache, say: Say
) -> BuiltVariant:
    """Builds a candidate that may be better; one that cannot be compiled is left out."""
    built = BuiltVariant(candidate, folder / f"{candidate.name}.so")
    try:
        if candidate.name == "default":
            built.path = default_of(prepared, cache=cache, say=say)
        else:
            say(f"compiling the {candidate.name} library to compare it")
            built.assembled = assemble(candidate, prepared)
            _export(built.assembled, prepared, built.path)
    except CompileError as error:
        built.leave_out(error, say)
    return built


def _export(assembled: Assembled, prepared: PreparedModel, path: Path) -> None:
    rpc = prepared.recipe.tuning.rpc
    export(
        assembled.applied.module,
        prepared.target,
        path,
        compiler=rpc.cc if rpc else None,
        in_huge_pages=prepared.recipe.huge_pages,
    )
