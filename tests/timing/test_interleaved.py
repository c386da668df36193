"""Libraries of one model that take turns run by run, in one process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm import relax

from tunekit.runtimes.process import RunnerFailed
from tunekit.timing.interleaved import interleave


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Path]:
    """x - y and its double, and a second library that gives them with another sign."""
    folder = tmp_path_factory.mktemp("libraries")
    paths = []
    for name in ("minus", "plus"):
        builder = relax.BlockBuilder()
        x, y = (relax.Var(one, relax.TensorType((4, 8), "float32")) for one in "xy")
        with builder.function("main", [x, y]):
            result = builder.emit(relax.op.subtract(*((x, y) if name == "minus" else (y, x))))
            double = builder.emit(relax.op.add(result, result))
            builder.emit_func_output(relax.Tuple([result, double]))
        paths.append(folder / f"{name}.so")
        target = tvm.target.Target({"kind": "llvm"})
        tvm.compile(builder.get(), target=target).export_library(str(paths[-1]))
    return paths


def _inputs() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {name: random.standard_normal((4, 8)).astype(np.float32) for name in "xy"}


@pytest.mark.parametrize(
    ("seconds", "most", "rounds"),
    [(60.0, 9, 9), (0.0, 9, 6)],
    ids=["as many as wanted", "no fewer than an interval needs"],
)
def test_each_has_its_turn_in_each_round(
    libraries: Sequence[Path], tmp_path: Path, seconds: float, most: int, rounds: int
) -> None:
    turns = interleave(
        libraries,
        _inputs(),
        device="cpu",
        threads=2,
        seconds=seconds,
        rounds=most,
        folder=tmp_path,
    )
    assert [len(of_one) for of_one in turns.rounds_s] == [rounds, rounds]
    assert all(seconds > 0 for of_one in turns.rounds_s for seconds in of_one)


def test_each_gives_its_own_outputs(libraries: Sequence[Path], tmp_path: Path) -> None:
    given = _inputs()
    turns = interleave(
        libraries, given, device="cpu", threads=2, seconds=0, rounds=1, folder=tmp_path
    )
    difference = given["x"] - given["y"]
    for outputs, sign in zip(turns.outputs, (1, -1), strict=True):
        np.testing.assert_array_equal(outputs[0], sign * difference)
        np.testing.assert_array_equal(outputs[1], 2 * sign * difference)


def test_one_that_does_not_load_is_the_failure_of_all(
    libraries: Sequence[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.so"
    broken.write_text("not a library")
    with pytest.raises(RunnerFailed, match="Failed to load"):
        interleave(
            [*libraries, broken],
            _inputs(),
            device="cpu",
            threads=2,
            seconds=0,
            rounds=1,
            folder=tmp_path,
        )
