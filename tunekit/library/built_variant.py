"""Candidates built: what takes part in the contest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tunekit.errors import CompileError, TunekitError
from tunekit.library.apply import coverage_line
from tunekit.library.build import default_of, export
from tunekit.library.variants import Assembled, Candidate, assemble

if TYPE_CHECKING:
    from tunekit.cache import ContentCache
    from tunekit.graph.pipeline import Staged

Say = Callable[[str], None]
Seconds = Mapping[int, float]
"""Median seconds of a candidate's turn in each round that it took part in."""


@dataclass
class Entrant:
    """A candidate that was built, and what became of it.

    Attributes:
        candidate: the candidate.
        path: of its library.
        assembled: its kernels; None where the library came from the cache.
        errors: relative error of each seeded input, once it is verified.
        failure: why it cannot ship.
        rounds_s: what it took in the contest.
    """

    candidate: Candidate
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


def build_first(candidate: Candidate, staged: Staged, folder: Path, say: Say) -> Entrant:
    """Builds the candidate that ships unless another one is better.

    Raises:
        CompileError: it cannot be compiled or linked.
    """
    entrant = Entrant(candidate, folder / f"{candidate.name}.so")
    entrant.assembled = assemble(candidate, staged)
    say(coverage_line(entrant.assembled.applied, len(entrant.assembled.tasks)))
    _export(entrant.assembled, staged, entrant.path)
    return entrant


def build_other(
    candidate: Candidate, staged: Staged, folder: Path, cache: ContentCache, say: Say
) -> Entrant:
    """Builds a candidate that may be better; one that cannot be compiled is left out."""
    entrant = Entrant(candidate, folder / f"{candidate.name}.so")
    try:
        if candidate.name == "default":
            entrant.path = default_of(staged, cache=cache, say=say)
        else:
            say(f"compiling the {candidate.name} library to compare it")
            entrant.assembled = assemble(candidate, staged)
            _export(entrant.assembled, staged, entrant.path)
    except CompileError as error:
        entrant.leave_out(error, say)
    return entrant


def _export(assembled: Assembled, staged: Staged, path: Path) -> None:
    rpc = staged.recipe.tuning.rpc
    export(
        assembled.applied.module,
        staged.target,
        path,
        compiler=rpc.cc if rpc else None,
        in_huge_pages=staged.recipe.huge_pages,
    )
