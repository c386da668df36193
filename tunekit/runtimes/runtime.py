"""A runtime: a runner that also makes, in the parent process, the files that it will load."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tunekit.runtimes.runner import NotApplicable, Runner

if TYPE_CHECKING:
    from tunekit.cache import ContentCache
    from tunekit.models.source import SourceModel
    from tunekit.recipe import Recipe
    from tunekit.runtimes.runner import Array

__all__ = ["NotApplicable", "Preparation", "Runtime"]


@dataclass(frozen=True)
class Preparation:
    """What a runtime may use in the parent to make its files.

    Attributes:
        recipe: the resolved recipe.
        source: the model, loaded once for all runtimes.
        inputs: one array per input name, the ones every runner runs on.
        cache: files made once are found again here by content.
        threads: threads each runner may use.
        say: shows one line of progress.
        reference: the right outputs; empty where nobody asks whether a form is right.
        tolerance: how far a right output may be from them, as part of the largest number.
        limit_s: seconds after which a step of making its files has failed.
    """

    recipe: Recipe
    source: SourceModel
    inputs: Mapping[str, Array]
    cache: ContentCache
    threads: int
    say: Callable[[str], None]
    reference: Sequence[Array] = ()
    tolerance: float = 0.0
    limit_s: float = 900.0


class Runtime(Runner):
    """Something that can run the model.

    `prepare` is called on the class in the parent process. Everything else happens in the
    runner's own process, and what fails there becomes this runtime's row in the report.

    The modules of runtimes import their framework inside these methods only: looking a runtime up
    must cost nothing.
    """

    name: ClassVar[str]
    needs: ClassVar[Mapping[str, str]] = {}
    """Import name -> what pip installs, for each package without which `load` cannot work."""

    install: ClassVar[str] = ""
    """What `pip install` is given for it, where the missing package alone would not do: with the
    versions that fit."""

    few_samples: ClassVar[bool] = False
    """So slow that it takes part in a few rounds only, with as little warming up as possible."""

    yardstick: ClassVar[bool] = True
    """Whether others are compared with it; not what only shows how far tuning came, nor the tuned
    library itself in another form."""

    @classmethod
    def lacks(cls) -> str | None:
        """What this machine would have to have for it, as "AMD CPU"; None where nothing is missing.
        Imports nothing."""
        return None

    @classmethod
    @abstractmethod
    def prepare(cls, preparation: Preparation) -> dict[str, Any]:
        """Makes the files that `load` needs, and says where they are.

        Not timed.

        Returns:
            What JSON can carry: paths as text, names, options.

        Raises:
            NotApplicable: the model is of a kind that this runtime does not run.
        """
