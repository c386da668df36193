"""The vectorizing forms of exp, tanh and erf against the true functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "exp": torch.exp,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "erf": torch.erf,
    "nn.gelu": F.gelu,
    "nn.silu": F.silu,
}
# Everyday values, those where a float32 exp begins and ends, and the ends of float32.
EDGES = [0.0, -0.0, 1e-30, 87.3, 88.37, 88.38, 88.7, 88.73, 103.0, 1e4, 1e30, 3e38, np.inf]
INPUTS = np.concatenate(
    [np.linspace(-100, 100, 100_001), np.linspace(-2, 2, 10_001), EDGES, np.negative(EDGES)]
)


@pytest.fixture(scope="session")
def legalized(execute: Callable[..., list[Any]]) -> Callable[..., Any]:
    """Runs operators on one array, all in one module: their results in order."""
    from tvm import relax

    from tunekit.graph.kernels import fast_math
    from tunekit.machine.target import resolve_target

    def run(operators: list[Callable[[Any], Any]], array: Any) -> list[Any]:
        builder = relax.BlockBuilder()
        x = relax.Var("x", relax.TensorType(array.shape, str(array.dtype)))
        with builder.function("main", [x]):
            with builder.dataflow():
                outputs = [builder.emit(operator(x)) for operator in operators]
                result = builder.emit_output(relax.Tuple(outputs))
            builder.emit_func_output(result)
        with resolve_target("native").tvm:
            module = relax.transform.LegalizeOps(fast_math.legalizations())(builder.get())
        return execute(module, [array])

    return run


def _operator(name: str) -> Callable[[Any], Any]:
    from tvm import relax

    owner: Any = relax.op
    for part in name.split("."):
        owner = getattr(owner, part)
    function: Callable[[Any], Any] = owner
    return function


@pytest.fixture(scope="session")
def results(legalized: Callable[..., Any]) -> dict[str, Any]:
    array = INPUTS.astype("float32")
    values = legalized([_operator(name) for name in FUNCTIONS], array)
    return dict(zip(FUNCTIONS, values, strict=True))


def _truth(name: str) -> Any:
    """In double precision, then as float32 has it: overflow is infinite there too."""
    exact = FUNCTIONS[name](torch.from_numpy(INPUTS.astype("float32")).double())
    return exact.float().numpy()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_finite_stays_finite_and_what_overflows_overflows(
    name: str, results: dict[str, Any]
) -> None:
    truth, actual = _truth(name), results[name]
    wrong = np.isfinite(truth) != np.isfinite(actual)
    assert not wrong.any(), INPUTS[wrong][:8]
    assert np.array_equal(np.isnan(truth), np.isnan(actual))


@pytest.mark.parametrize(
    ("name", "floor", "tolerance"),
    [
        # An error relative to the value, or to `floor` where the value is smaller.
        ("exp", 1e-30, 1e-6),
        ("sigmoid", 1e-30, 1e-6),
        ("tanh", 1e-30, 1e-6),
        ("erf", 1e-30, 1e-6),
        ("nn.silu", 1e-30, 1e-6),
        # 0.5 * x * (1 + erf(x / sqrt(2))) cancels for negative x, in torch's float32 as well.
        ("nn.gelu", 1.0, 2e-6),
    ],
)
def test_values_agree_with_the_true_function_to_float32(
    name: str, floor: float, tolerance: float, results: dict[str, Any]
) -> None:
    finite = np.isfinite(_truth(name))
    truth = _truth(name)[finite].astype("float64")
    actual = results[name][finite].astype("float64")
    error = np.abs(actual - truth) / np.maximum(np.abs(truth), floor)
    assert error.max() < tolerance, INPUTS[finite][error.argmax()]


def test_bounded_functions_keep_their_bounds(results: dict[str, Any]) -> None:
    for name in ("tanh", "erf"):
        assert np.abs(results[name]).max() == 1.0
    assert 0.0 <= results["sigmoid"].min() <= results["sigmoid"].max() == 1.0
    assert results["exp"].min() >= 0.0


def test_what_is_not_a_number_stays_so_and_alone(legalized: Callable[..., Any]) -> None:
    array = np.array([np.nan, 1, 2, 3, 4, 5, 6, 7, np.nan], "float32")
    for values in legalized([_operator(name) for name in FUNCTIONS], array):
        assert np.isnan(values).tolist() == np.isnan(array).tolist()


@pytest.mark.parametrize(("shape", "axis"), [((3, 1000), -1), ((2, 7, 5), 1), ((1, 6, 4, 3), 1)])
def test_softmax_holds_from_small_to_huge_inputs(
    shape: tuple[int, ...], axis: int, legalized: Callable[..., Any]
) -> None:
    from tvm import relax

    scales = [1e-3, 1.0, 30.0, 1000.0, 1e30]
    array = np.random.default_rng(0).standard_normal(shape).astype("float32")
    operators = [
        lambda x, s=scale: relax.op.nn.softmax(
            relax.op.multiply(x, relax.const(s, "float32")), axis
        )
        for scale in scales
    ]
    for scale, actual in zip(scales, legalized(operators, array), strict=True):
        scaled = torch.from_numpy(array * np.float32(scale)).double()
        expected = torch.softmax(scaled, axis).numpy()
        assert np.abs(actual - expected).max() < 1e-6
        assert np.abs(actual.sum(axis) - 1).max() < 1e-5


def test_softmax_of_masked_places_is_zero(legalized: Callable[..., Any]) -> None:
    from tvm import relax

    array = np.array([[0, -np.inf, 1, 2], [5, -np.inf, -np.inf, -np.inf]], "float32")
    [actual] = legalized([lambda x: relax.op.nn.softmax(x, -1)], array)
    expected = torch.softmax(torch.from_numpy(array), -1).numpy()
    assert np.abs(actual - expected).max() < 1e-6


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 2e-3), ("float64", 1e-12)])
def test_other_dtypes_keep_the_library_functions(
    dtype: str, tolerance: float, legalized: Callable[..., Any]
) -> None:
    from tvm import relax

    array = np.linspace(-8, 8, 257).astype(dtype)
    truth = torch.from_numpy(array).double()
    operators = [_operator(name) for name in FUNCTIONS]
    values = legalized([*operators, lambda x: relax.op.nn.softmax(x, 0)], array)
    expected = [*(function(truth) for function in FUNCTIONS.values()), torch.softmax(truth, 0)]
    for value, reference in zip(values, expected, strict=True):
        exact = reference.numpy()
        assert str(value.dtype) == dtype
        assert np.allclose(value, exact, rtol=tolerance, atol=tolerance)
