"""What a runtime must be able to do to enter the benchmark."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
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
        inputs: one array per input name, the ones every contestant runs on.
        cache: files made once are found again here by content.
        threads: threads each contestant may use.
        say: shows one line of progress.
    """

    recipe: Recipe
    source: SourceModel
    inputs: Mapping[str, Array]
    cache: ContentCache
    threads: int
    say: Callable[[str], None]


class Runtime(Runner):
    """Something that can run the model.

    `prepare` is called on the class in the parent process. Everything else happens in the
    contestant's own process, and what fails there becomes this runtime's row in the report.

    The modules of runtimes import their framework inside these methods only: looking a runtime up
    must cost nothing.
    """

    name: ClassVar[str]
    needs: ClassVar[Mapping[str, str]] = {}
    """Import name -> what pip installs, for each package without which `load` cannot work."""

    few_samples: ClassVar[bool] = False
    #: Whether others are compared with it; not what only shows how far tuning came.
    yardstick: ClassVar[bool] = True
    """So slow that it takes part in a few rounds only, with as little warming up as possible."""

    @classmethod
    @abstractmethod
    def prepare(cls, preparation: Preparation) -> dict[str, Any]:
        """Makes the files that `load` needs, and says where they are.

        Returns what JSON can carry: paths as text, names, options. Not timed. Raises
        NotApplicable where the model is of a kind that this runtime does not run.
        """
