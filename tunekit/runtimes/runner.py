"""What can take turns in a comparison: something that runs a model, in a process of its own."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunekit.errors import TunekitError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]


class NotApplicable(TunekitError):  # noqa: N818 - reads as what happened
    """This runner cannot do that, or not with this kind of model; the message says why."""


class Runner(ABC):
    """Something that runs a model, in a process of its own.

    Everything happens on one instance, in this order: `load`, then `infer` many times, with
    `arrays` on some of its results, then `close`. An exception from any of them, or the death of
    the process, is this runner's failure; it never stops the others.
    """

    @abstractmethod
    def load(
        self, plan: Mapping[str, Any], inputs: Mapping[str, Array], threads: int
    ) -> dict[str, Any]:
        """Gets ready to run on these inputs, which are converted here, once, untimed.

        Args:
            plan: what JSON can carry: paths as text, names, options.
            inputs: one array per input name.
            threads: threads that it may use.

        Returns:
            The settings in effect.
        """

    @abstractmethod
    def infer(self) -> object:
        """Runs the model once, and comes back when the outputs are there: this is what is timed."""

    @abstractmethod
    def arrays(self, result: Any) -> Sequence[Array]:
        """The outputs of one `infer`, flat and in the model's order. Not timed."""

    def profile(self, seconds: float) -> dict[str, Any]:
        """Where the time of one inference goes, from runs of about `seconds` in all.

        Returns:
            What JSON can carry.

        Raises:
            NotApplicable: this runner cannot say.
        """
        raise NotApplicable(f"{type(self).__name__} does not say where its time goes")

    def take_turns(self, seconds: float, most: int) -> dict[str, Any]:
        """What a runner of several libraries sees when they take turns.

        Args:
            seconds: after which no round begins.
            most: rounds at the most.

        Returns:
            `rounds_s`: of each library, its seconds in each round.

        Raises:
            NotApplicable: there is only one library.
        """
        raise NotApplicable(f"{type(self).__name__} has nobody to take turns with")

    def close(self) -> None:  # noqa: B027 - most have nothing to do here
        """Lets go of what `load` took. The process ends right after."""


def time_runs(
    runner: Runner, *, seconds: float, least: int = 1, most: float = math.inf
) -> list[int]:
    """Nanoseconds of each of a runner's runs: for `seconds`, between `least` and `most` of them.

    What a result holds is let go after the clock is read.
    """
    infer, clock = runner.infer, time.perf_counter_ns
    samples_ns: list[int] = []
    start_ns = clock()
    while True:
        before = clock()
        result = infer()
        after = clock()
        samples_ns.append(after - before)
        del result
        if len(samples_ns) >= most:
            break
        if after - start_ns >= seconds * 1e9 and len(samples_ns) >= least:
            break
    return samples_ns
