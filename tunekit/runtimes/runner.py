"""What can take turns in a comparison: something that runs a model, in a process of its own."""

from __future__ import annotations

import gc
import importlib
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tunekit.errors import TunekitError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]


class NotApplicable(TunekitError):  # noqa: N818 - reads as what happened
    """This runner cannot do that, or not with this kind of model; the message says why."""


@dataclass(frozen=True)
class OtherProcess:
    """A process in which a runner's own has the model run.

    Attributes:
        pid: its number.
        import_s: from its start until it began to load the model.
        load_s: that loading took.
    """

    pid: int
    import_s: float
    load_s: float


class Runner(ABC):
    """Something that runs a model, in a process of its own.

    Everything happens on one instance, in this order: `imports`, `seen_at_first`, `load`, then
    `infer` many times, with `arrays` on some of its results, then `close`. An exception from any of
    them, or the death of the process, is this runner's failure; it never stops the others.
    """

    elsewhere: OtherProcess | None = None
    """Where the model runs after `load`, if not in this process."""

    packages: ClassVar[Sequence[str]] = ()
    """Import names of what `load` works with."""

    def imports(self, plan: Mapping[str, Any]) -> None:
        """Imports what `load` works with, for its time to be told apart."""
        for name in self.packages:
            importlib.import_module(name)

    def seen_at_first(self) -> None:  # noqa: B027 - most have nothing to see
        """Notes what `seen_at_last` compares with, before anything is loaded. Not timed."""

    @abstractmethod
    def load(
        self, plan: Mapping[str, Any], inputs: Mapping[str, Array], threads: int
    ) -> dict[str, Any]:
        """Gets ready to run on these inputs, which are converted here, once, untimed.

        Args:
            plan: what JSON can carry: paths as text, names, options; what it has under `shown`
                is added to the settings.
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

    def turn(self, *, seconds: float, least: int, most: int, untimed: int) -> dict[str, Any]:
        """Runs `untimed` times, then for `seconds`, between `least` and `most` times.

        The garbage collector waits.

        Returns:
            `seconds` of each timed run; `wall_s` and `cpu_s` of all of them together.
        """
        clock = time.perf_counter_ns
        gc.collect()
        gc.disable()
        try:
            for _ in range(untimed):
                self.infer()
            cpu_start, start_ns = time.process_time_ns(), clock()
            samples_ns = time_runs(self, seconds=seconds, least=least, most=most)
            wall_ns, cpu_ns = clock() - start_ns, time.process_time_ns() - cpu_start
        finally:
            gc.enable()
        return {
            "seconds": [sample / 1e9 for sample in samples_ns],
            "wall_s": wall_ns / 1e9,
            "cpu_s": cpu_ns / 1e9,
        }

    def seen_at_last(self) -> dict[str, Any]:
        """What the row shows besides and takes runs to find out, asked for after the last round."""
        return {}

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
