from __future__ import annotations

import math

import numpy as np
import pytest

from tunekit.accuracy import compare


def array(*values: float, dtype: str = "float32") -> np.ndarray:
    return np.array(values, dtype)


def test_the_relative_error_is_the_largest_error_over_the_largest_reference() -> None:
    result = compare([array(1, -4, 2)], [array(1, -3, 2.5)])
    assert result.max_abs_error == 1.0
    assert result.max_abs_reference == 4.0
    assert result.relative_error == 0.25
    assert result.mse == pytest.approx((1 + 0.25) / 3)
    assert result.reason is None
    assert result.within(0.25)
    assert not result.within(0.2499)


def test_a_small_output_cannot_hide_behind_a_large_one() -> None:
    result = compare([array(1000, 1000), array(0.001)], [array(1000, 1000), array(0.002)])
    assert result.relative_error == pytest.approx(1.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_pass_only_where_the_reference_has_the_same(bad: float) -> None:
    good = array(1, 2, 3)
    spoiled = array(1, bad, 3)
    other = array(1, math.inf if math.isnan(bad) else -bad, 3)
    for reference, actual in ((good, spoiled), (spoiled, good), (spoiled, other)):
        result = compare([reference], [actual])
        assert result.relative_error == math.inf
        assert not result.within(math.inf)
        assert "in other places than the reference, in 1 of 3 elements" in str(result.reason)
    result = compare([spoiled], [array(1, bad, 3.3)])
    assert result.relative_error == pytest.approx(0.1)
    assert result.not_numbers == math.isnan(bad)
    # Nothing but what is not finite: nothing differs.
    assert compare([array(bad, bad)], [array(bad, bad)]).relative_error == 0.0


def test_other_counts_shapes_and_dtypes_never_pass() -> None:
    one = array(1, 2)
    assert "0 outputs in place of 1" in str(compare([one], []).reason)
    assert "shape [1, 2] in place of [2]" in str(compare([one], [one[None]]).reason)
    assert "dtype float64" in str(compare([one], [one.astype("float64")]).reason)
    for other in ([], [one[None]], [one.astype("float64")], [one, one]):
        assert not compare([one], other).within(1e9)


def test_an_all_zero_reference_allows_only_zeros() -> None:
    zero = array(0, 0)
    assert compare([zero], [zero]).relative_error == 0.0
    assert compare([zero], [array(0, 1e-30)]).relative_error == math.inf


def test_integers_booleans_scalars_and_empty_outputs_are_compared() -> None:
    outputs = [
        np.array([2**40, 1], "int64"),
        np.array([True, False]),
        np.array(3.0, "float32"),
        np.zeros((0, 4), "float32"),
    ]
    assert compare(outputs, outputs).relative_error == 0.0
    flipped = [outputs[0], ~outputs[1], *outputs[2:]]
    assert compare(outputs, flipped).relative_error == 1.0
