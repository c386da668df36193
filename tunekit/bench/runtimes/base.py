"""What a runtime must be able to do to enter the benchmark."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tunekit.errors import TunekitError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tunekit.cache import ContentCache
    from tunekit.models.source import SourceModel
    from tunekit.recipe import Recipe

    Array = NDArray[np.generic]


class NotApplicable(TunekitError):  # noqa: N818 - reads as what happened
    """This runtime cannot run this kind of model; the message says why."""


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


class Runtime(ABC):
    """Something that can run the model.

    `prepare` is called on the class in the parent process. Everything else happens on one
    instance in the contestant's own process, in this order: `load`, then `infer` many times,
    with `arrays` on some of its results, then `close`. An exception from any of them, or the death
    of the process, becomes this runtime's row in the report; it never stops the others.

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

    @abstractmethod
    def load(
        self, plan: Mapping[str, Any], inputs: Mapping[str, Array], threads: int
    ) -> dict[str, Any]:
        """Gets ready to run on these inputs, which are converted here, once, untimed.

        `plan` is what `prepare` gave. Returns the settings in effect, for the report.
        """

    @abstractmethod
    def infer(self) -> object:
        """Runs the model once, and comes back when the outputs are there: this is what is timed."""

    @abstractmethod
    def arrays(self, result: Any) -> Sequence[Array]:
        """The outputs of one `infer`, flat and in the model's order. Not timed."""

    def profile(self, seconds: float) -> dict[str, Any]:
        """Where the time of one inference goes, from runs of about `seconds` in all.

        Returns what JSON can carry. Raises NotApplicable where a runtime cannot say.
        """
        raise NotApplicable(f"{self.name} does not say where its time goes")

    def close(self) -> None:  # noqa: B027 - most have nothing to do here
        """Lets go of what `load` took. The process ends right after."""
