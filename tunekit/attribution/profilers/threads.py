"""What the threads of a standalone library do in one inference."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tunekit.runtimes.standalone import StandaloneLibrary

if TYPE_CHECKING:
    from tunekit.runtimes.runner import Array

_MOST_RUNS = 200


class TracedLibrary(StandaloneLibrary):
    """The library in C, of which each trace is one inference; the fastest is kept."""

    def _bind(self, inputs: Sequence[Array]) -> None:
        self._inputs = inputs
        super()._bind(inputs)

    def profile(self, seconds: float) -> dict[str, Any]:
        """The events of the fastest of the inferences that take about `seconds` in all."""
        self.infer()
        start, best = time.perf_counter(), self._model.trace(*self._inputs)
        for _ in range(_MOST_RUNS):
            events = self._model.trace(*self._inputs)
            best = min(best, events, key=lambda of_run: max(event.end_s for event in of_run))
            if time.perf_counter() - start >= seconds:
                break
        return {"events": [dataclasses.asdict(event) for event in best]}
