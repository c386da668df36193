"""The self test has the same inputs in C and in Python, and every number can be read back."""

from __future__ import annotations

import ctypes
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from toy_library import toy_program

from tunekit.errors import SandboxError
from tunekit.library.program import expected_values
from tunekit.library.verify import ReferenceOutputs, Verified
from tunekit.models.sources.onnx_file import OnnxModel
from tunekit.standalone.build import SOURCES, Part, Toolchain, build
from tunekit.standalone.elements import element_of
from tunekit.standalone.emit import ExpectedValue
from tunekit.standalone.loaded import LoadedModel
from tunekit.standalone.self_test import checks_of, make_input, range_of

_RANGES = {
    "float64": (-1e300, 1e300),
    "float32": (-2.7, 3.3),
    "float16": (-60000.0, 61000.0),
    "int64": (-(2.0**63), 2.0**63 - 1024),
    "uint64": (0.0, 2.0**64 - 2048),
    "int32": (-(2.0**31), 2.0**31 - 1),
    "uint32": (0.0, 2.0**32 - 1),
    "int16": (-300.0, 300.0),
    "uint16": (0.0, 65535.0),
    "int8": (-128.0, 127.0),
    "uint8": (0.0, 255.0),
    "bool": (0.0, 1.0),
}


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    path = tmp_path_factory.mktemp("numbers") / "numbers.so"
    source = SOURCES / "numbers.c"
    subprocess.run(
        ["gcc", "-std=c99", "-O2", "-ffp-contract=off", "-shared", "-fPIC", source, "-o", path],
        check=True,
    )
    library = ctypes.CDLL(str(path))
    integer, real = ctypes.c_int, ctypes.c_double
    library.tk_sample.argtypes = [ctypes.c_uint32, ctypes.c_uint64, integer, real, real]
    library.tk_sample.restype = real
    library.tk_write_number.argtypes = [ctypes.c_void_p, ctypes.c_size_t, integer, integer, real]
    library.tk_read_number.argtypes = [ctypes.c_void_p, ctypes.c_size_t, integer, integer]
    library.tk_read_number.restype = real
    return library


@pytest.mark.parametrize("dtype", _RANGES)
def test_c_makes_the_same_inputs(numbers: ctypes.CDLL, dtype: str) -> None:
    element, (low, high) = element_of(dtype), _RANGES[dtype]
    expected = make_input(3, (2, 250), dtype, (low, high))
    made = np.zeros(500, dtype)
    for index in range(500):
        value = numbers.tk_sample(3, index, element.code, low, high)
        numbers.tk_write_number(made.ctypes.data, index, element.code, element.bits, value)
    assert made.tobytes() == expected.tobytes()
    assert len(np.unique(made)) > (1 if dtype == "bool" else 100)


@pytest.mark.parametrize("dtype", _RANGES)
def test_c_reads_every_number(numbers: ctypes.CDLL, dtype: str) -> None:
    element = element_of(dtype)
    array = make_input(0, (300,), dtype, _RANGES[dtype])
    read = [
        numbers.tk_read_number(array.ctypes.data, index, element.code, element.bits)
        for index in range(300)
    ]
    np.testing.assert_array_equal(read, array.astype("float64"))


def test_c_rounds_to_half_as_numpy_does(numbers: ctypes.CDLL) -> None:
    every = np.arange(65536, dtype="uint16").view("float16")
    exact = every[np.isfinite(every)].astype("float64")
    steps = np.sort(np.unique(exact))
    between = (steps[:-1] + steps[1:]) / 2
    values = np.concatenate([exact[::7], between[::5], [65519.0, 65520.0, 1e9, -1e9, 1e-9]])
    made = np.zeros(len(values), "float16")
    for index, value in enumerate(values):
        numbers.tk_write_number(made.ctypes.data, index, 2, 16, float(value))
    with np.errstate(over="ignore"):
        expected = values.astype("float32").astype("float16")
    assert made.tobytes() == expected.tobytes()


def test_the_range_is_that_of_the_samples() -> None:
    arrays = [np.array([1.0, -2.0]), np.array([], "float32"), np.array([7.0])]
    assert range_of(arrays) == (-2.0, 7.0)
    assert range_of([np.array([], "float32")]) == (0.0, 0.0)


def test_integers_are_expected_exactly_and_reals_nearly() -> None:
    [real, *_] = checks_of([np.array([4.0, np.inf, -8.0], "float32")], 1e-3)
    assert real.tolerance == pytest.approx(8e-3)
    assert all(check.tolerance == 0.0 for check in checks_of([np.arange(9)], 1e-3))
    assert not checks_of([np.zeros((0, 3))], 1e-3)


def _rounding_model() -> OnnxModel:
    """One that rounds as it runs, so that a right result may be some steps off."""
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("MatMulInteger", ["q", "w", "z"], ["p"]),
        helper.make_node("Cast", ["p"], ["c"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["c", "s"], ["y"]),
        helper.make_node("Cast", ["p"], ["b"], to=TensorProto.BOOL),
    ]
    graph = helper.make_graph(
        nodes,
        "rounding",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 16])],
        [onnx.ValueInfoProto(name=name) for name in ("y", "q", "b")],
        [numpy_helper.from_array(np.ones((16, 8), "int8"), "w")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return OnnxModel("rounding", "digest", 0, [], proto)


def test_what_nobody_ran_may_be_as_far_off_as_a_verification_would_allow() -> None:
    source = _rounding_model()
    outputs = [np.array([-4.0, 2.0], "float32"), np.array([200, 3], "uint8"), np.array([True])]
    reference = ReferenceOutputs([], [], {}, outputs)
    step = source.rounding_step(outputs)
    assert 1 / 255 < step < 0.5
    for limit, allowed in ((1e-3, step), (0.5, 0.5)):
        checks = expected_values(source, limit, reference, None)
        largest = [4.0, 200.0, 1.0]
        assert {check.output for check in checks} == {0, 1, 2}
        for check in checks:
            assert check.tolerance == pytest.approx(allowed * largest[check.output])
    # The same kernels give the same integers.
    ran = expected_values(source, 0.5, reference, Verified((0.0,), [outputs]))
    assert {check.tolerance for check in ran if check.output} == {0.0}
    assert max(check.tolerance for check in ran) < 1e-3


@pytest.mark.parametrize(
    ("by_framework", "words"), [(False, "was"), (True, "the model's framework gave")]
)
def test_who_gave_another_value_is_said(
    toy: Path, tmp_path: Path, by_framework: bool, words: str
) -> None:
    program = replace(
        toy_program(),
        checks=[ExpectedValue(0, 5, -1.0, 0.5)],
        checked_by_framework=by_framework,
    )
    built = build("toy", [Part(program, toy / "kernels.o")], tmp_path, Toolchain("gcc"))
    with (
        LoadedModel(built.shared, "toy") as model,
        pytest.raises(
            SandboxError,
            match=rf"element 5 of output 0 \(first\) is \S+, and {words} -1 where the library was",
        ),
    ):
        model.self_test()
