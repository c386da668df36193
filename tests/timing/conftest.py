"""What the tests of rounds share."""

from __future__ import annotations

import numpy as np
import pytest

from tunekit.timing.rounds import Entry, Settings, run_rounds


@pytest.fixture
def inputs():
    return {"x": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)}


@pytest.fixture
def run_toys(tmp_path, inputs):
    """Lets toy runtimes take turns; gives the outcomes by name, and keeps what was said."""

    def run(*names, rounds=3, threads=1, **settings):
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
        brief = {"turn_s": 0.01, "warm_up_s": 0.01, **settings}
        result = run_rounds(
            entries,
            inputs,
            Settings(rounds=rounds, threads=threads, **brief),
            folder=tmp_path,
            say=lambda line: None,
        )
        return {outcome.name: outcome for outcome in result.outcomes}

    return run
