"""Eager PyTorch, stage by stage: of detectors, whose parts are those of torchvision."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tunekit.runtimes.pytorch import PyTorch

if TYPE_CHECKING:
    import torch

    from tunekit.detectors.eager import TimedPart
    from tunekit.runtimes.runner import Array

_LEAST_RUNS, _MOST_RUNS = 2, 500


class StagedPyTorch(PyTorch):
    """A detector as in `bench`, with a clock that its parts stop."""

    def load(
        self, plan: Mapping[str, Any], inputs: Mapping[str, Array], threads: int
    ) -> dict[str, Any]:
        settings = super().load(plan, inputs, threads)
        from tunekit.detectors.eager import StageClock

        self._clock = StageClock(timed_parts(self._module))
        return settings

    def profile(self, seconds: float) -> dict[str, Any]:
        """Seconds of each stage: the medians of runs of about `seconds` in all."""
        self.infer()  # Wakes the threads, whose sleep would be the first stage's.
        start = time.perf_counter()
        runs: list[dict[str, float]] = []
        while len(runs) < _MOST_RUNS:
            runs.append(self._clock.run(self.infer))
            if len(runs) >= _LEAST_RUNS and time.perf_counter() - start >= seconds:
                break
        names = {name for run in runs for name in run}
        of_each = {
            name: statistics.median(run.get(name, 0.0) for run in runs) for name in sorted(names)
        }
        return {"stages": of_each, "runs": len(runs)}


def timed_parts(module: torch.nn.Module) -> Iterator[TimedPart]:
    """The parts of a detector, and of what turns a picture into its input."""
    from tunekit.detectors.eager import parts_of
    from tunekit.detectors.stages import PREPROCESSING, REST
    from tunekit.models.sources.torch_calls import WithPreprocessing

    yield from parts_of(module)
    if isinstance(module, WithPreprocessing):
        yield (module, "forward", PREPROCESSING)
        # What it calls is another's, also where no part takes it.
        yield (module.model, "forward", REST)
