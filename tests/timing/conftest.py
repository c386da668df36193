"""What the tests of rounds share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tunekit.timing.rounds import Entry, Outcome, RoundSettings, run_rounds

Array = NDArray[Any]
RunToys = Callable[..., dict[str, Outcome]]


@pytest.fixture(scope="module")
def inputs() -> dict[str, Array]:
    return {"x": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)}


@pytest.fixture(scope="module")
def run_toys(tmp_path_factory: pytest.TempPathFactory, inputs: dict[str, Array]) -> RunToys:
    """Lets toy runtimes take turns; gives the outcomes by name."""

    def run(
        *names: str, rounds: int = 3, threads: int = 1, **settings: float
    ) -> dict[str, Outcome]:
        import toy_runtimes

        entries = [
            Entry(
                name=getattr(toy_runtimes, name).name,
                class_path=f"toy_runtimes:{name}",
                plan={},
                few_samples=getattr(toy_runtimes, name).few_samples,
            )
            for name in names
        ]
        brief = {"turn_s": 0.01, "warm_up_s": 0.01, "idle_s": 0.0, **settings}
        result = run_rounds(
            entries,
            inputs,
            RoundSettings(rounds=rounds, threads=threads, **brief),
            folder=tmp_path_factory.mktemp("rounds"),
            say=lambda line: None,
        )
        return {outcome.name: outcome for outcome in result.outcomes}

    return run
