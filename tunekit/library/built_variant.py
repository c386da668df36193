"""Variants built: what takes part in the selection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tunekit.errors import CompileError, TunekitError
from tunekit.library.apply import coverage_line
from tunekit.library.build import Exported, export
from tunekit.library.default_library import default_of, standalone_beside
from tunekit.library.program import STANDALONE_VARIANT, build_standalone_variant
from tunekit.library.variants import Assembled, Variant, assemble
from tunekit.wording import Say

if TYPE_CHECKING:
    from tunekit.cache import ContentCache
    from tunekit.graph.pipeline import PreparedModel
    from tunekit.library.verify import Verified

Seconds = Mapping[int, float]
"""Median seconds of a variant's turn in each round that it took part in."""


@dataclass
class BuiltVariant:
    """A variant that was built, and what became of it.

    Attributes:
        variant: what was built.
        path: of its library.
        assembled: its kernels; None where the library came from the cache.
        exported: what it was linked from; None where the library came from the cache.
        verified: what it gave, once that is known to be right.
        failure: why it cannot ship.
        rounds_s: what it took in the selection.
        standalone: the same as a standalone library, where it can be one and is to be compared.
    """

    variant: Variant
    path: Path
    assembled: Assembled | None = None
    exported: Exported | None = None
    verified: Verified | None = None
    failure: TunekitError | None = None
    rounds_s: Seconds = field(default_factory=dict)
    standalone: Path | None = None

    @property
    def name(self) -> str:
        """The variant's."""
        return self.variant.name

    @property
    def errors(self) -> tuple[float, ...]:
        """Relative error of each set of seeded inputs; none where it was not verified."""
        return () if self.verified is None else self.verified.errors

    @property
    def quickest(self) -> tuple[Path, str | None]:
        """What is soonest to run: the standalone library, with the name of its functions, or the
        one for TVM's virtual machine."""
        return (
            (self.path, None) if self.standalone is None else (self.standalone, STANDALONE_VARIANT)
        )

    def leave_out(self, error: TunekitError, say: Say) -> None:
        """Takes it out of the selection, and says why."""
        self.failure = error
        say(f"warning: the {self.name} library is left out: {error.message}")


def build_first(
    variant: Variant, prepared: PreparedModel, folder: Path, say: Say, *, compared: bool
) -> BuiltVariant:
    """Builds the variant that ships unless another one is better.

    Args:
        variant: what is built.
        prepared: its model.
        folder: gets the libraries.
        say: told what is done, a line at a time.
        compared: whether there are others.

    Raises:
        CompileError: it cannot be compiled or linked.
    """
    built = BuiltVariant(variant, folder / f"{variant.name}.so")
    built.assembled = assemble(variant, prepared)
    say(coverage_line(built.assembled.applied, len(built.assembled.tasks)))
    built.exported = export_variant(built.assembled, prepared, built.path)
    if compared:
        built.standalone = _standalone_of(built, prepared)
    return built


def build_other(
    variant: Variant, prepared: PreparedModel, folder: Path, cache: ContentCache, say: Say
) -> BuiltVariant:
    """Builds a variant that may be better; it is left out where it cannot be compiled."""
    built = BuiltVariant(variant, folder / f"{variant.name}.so")
    try:
        if variant.name == "default":
            built.path = default_of(prepared, cache=cache, say=say)
            built.standalone = standalone_beside(built.path)
        else:
            say(f"compiling the {variant.name} library to compare it")
            built.assembled = assemble(variant, prepared)
            built.exported = export_variant(built.assembled, prepared, built.path)
            built.standalone = _standalone_of(built, prepared)
    except CompileError as error:
        built.leave_out(error, say)
    return built


def _standalone_of(built: BuiltVariant, prepared: PreparedModel) -> Path | None:
    assert built.exported is not None
    folder = built.path.with_suffix("")
    folder.mkdir()
    return build_standalone_variant(prepared, built.exported, folder)


def export_variant(assembled: Assembled, prepared: PreparedModel, path: Path) -> Exported:
    """Builds a variant's library at `path`, and keeps its kernels beside it.

    Raises:
        CompileError: it cannot be compiled or linked.
    """
    return export(
        assembled.applied.module,
        prepared.target,
        path,
        compiler=prepared.recipe.cc,
        in_huge_pages=prepared.recipe.huge_pages,
        kernels=path.with_suffix(".o"),
    )
