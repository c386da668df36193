"""Eager PyTorch, stage by stage: of detectors, whose parts are those of torchvision."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tunekit.runtimes.pytorch import PyTorch

if TYPE_CHECKING:
    from tunekit.runtimes.runner import Array

_LEAST_RUNS, _MOST_RUNS = 2, 500


class StagedPyTorch(PyTorch):
    """A detector as in `bench`, with a clock that its parts stop."""

    def load(
        self, plan: Mapping[str, Any], inputs: Mapping[str, Array], threads: int
    ) -> dict[str, Any]:
        settings = super().load(plan, inputs, threads)
        from tunekit.detectors.eager import StageClock, parts_of
        from tunekit.detectors.stages import PREPROCESSING
        from tunekit.models.sources.torch_calls import WithPreprocessing

        parts = list(parts_of(self._module))
        if isinstance(self._module, WithPreprocessing):
            parts.append((self._module, "forward", PREPROCESSING))
        self._clock = StageClock(parts)
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
