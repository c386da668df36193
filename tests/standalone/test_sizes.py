"""Libraries of several sizes: in C under the sanitizers, and from Python."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from toy_library import build_program
from toy_sizes import BATCH, ROWS, WIDTH, build_sized

from tunekit.errors import UsageError
from tunekit.processes.sandbox import run_library
from tunekit.standalone.loaded import LoadedModel

_SANITIZERS = "-g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all"


@pytest.fixture(scope="module")
def two_axes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two-axes")
    linked = build_sized(folder, (BATCH, WIDTH), "gcc", ["not-of-this-world"], [])
    assert linked.weights == 64  # those of all sizes and CPUs are the same
    return linked.shared


@pytest.fixture(scope="module")
def one_axis(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("one-axis")
    return LoadedModel(build_sized(folder, (ROWS,), "gcc").shared, "toy")


def test_every_use_and_misuse_is_clean(tmp_path: Path) -> None:
    compiler = f"gcc {_SANITIZERS}"
    build_sized(tmp_path, (BATCH, WIDTH), compiler)
    program = build_program("sizes", tmp_path, compiler)
    done = subprocess.run([str(program)], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "all is well\n", "")


def _inputs(batch: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.arange(1, batch * width + 1, dtype="float32").reshape(batch, width)
    return x, np.arange(batch, dtype="int64")


def test_python_runs_the_size_of_the_arrays(two_axes: Path) -> None:
    with LoadedModel(two_axes, "toy") as model:
        assert [(axis.name, axis.sizes, axis.is_padded) for axis in model.axes] == [
            ("batch", (1, 2, 4), False),
            ("width", (3, 8), True),
        ]
        assert model.inputs[0].shape == (1, 3)
        for batch, width in ((1, 3), (4, 8), (2, 5), (4, 1), (1, 8)):
            x, n = _inputs(batch, width)
            outputs = model.run(x, n)
            assert isinstance(outputs, dict)
            np.testing.assert_array_equal(outputs["first"], 3 * x)
            np.testing.assert_array_equal(outputs["second"], n + 1)
            np.testing.assert_array_equal(outputs["third"], x)
            assert outputs["total"] == [x.sum()]
        model.self_test()


def test_python_lists_the_sizes_there_are(two_axes: Path) -> None:
    with LoadedModel(two_axes, "toy") as model:
        with pytest.raises(UsageError, match=r"no size for batch 3: there are 1, 2, 4$"):
            model.run(*_inputs(3, 3))
        with pytest.raises(UsageError, match=r"n: shape \[1\], not \[2\]"):
            model.run(_inputs(2, 3)[0], _inputs(1, 3)[1])
        with pytest.raises(UsageError, match=r"x: shape \[2\], not \[2, 3\]"):
            model.run(x=np.zeros(2, "float32"), n=np.zeros(2, "int64"))
        with pytest.raises(UsageError, match="n: missing"):
            model.run(x=_inputs(2, 3)[0])
        again, outputs = model.bound(_inputs(2, 7))
        again()
        np.testing.assert_array_equal(outputs[0], 3 * _inputs(2, 7)[0])


def test_another_process_runs_arrays_whose_columns_lie_together(two_axes: Path) -> None:
    x, n = _inputs(2, 8)
    inputs = {"x": np.asfortranarray(x), "n": n}
    [outputs] = run_library(two_axes, [inputs], input_names=["x", "n"], standalone="toy")
    np.testing.assert_array_equal(outputs[0], 3 * x)


def test_the_bytes_of_an_input_say_its_size_where_one_axis_has_several(
    one_axis: LoadedModel,
) -> None:
    api, model = one_axis._api, one_axis._model
    for rows in (3, 2, 1, 4):
        x, n = _inputs(rows, 3)
        assert api.bind_input(model, 0, x.ctypes.data, x.nbytes) == 0
        assert api.size(model, 0) == rows
        assert api.bind_input(model, 1, n.ctypes.data, n.nbytes) == 0
        assert api.run(model) == 0
    x, n = _inputs(5, 3)
    assert api.bind_input(model, 0, x.ctypes.data, x.nbytes) == 9
    assert api.error(model) == b"toy has no size for rows 5: there are 2, 4, and what is smaller"
    assert api.bind_input(model, 0, x.ctypes.data, 13) == 1  # no whole rows
