"""The plainest of the tests that ONNX has of each operator; a benchmark runs them all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from onnx_node_tests import (
    batches,
    differences,
    has_tensors_only,
    node_tests,
    operator_of,
    prepared,
)

from tunekit.errors import ImportFailed

# Operators that take long to compile have tests of their own.
TESTED_ELSEWHERE = {"Attention", "GRU", "LSTM", "RNN"}
# What makes no sense in a compiled library, or has no fixed size.
REFUSED = {
    "Adagrad",
    "Adam",
    "Bernoulli",
    "ImageDecoder",
    "Momentum",
    "NonMaxSuppression",
}
# Types that only store numbers.
STORED = ("INT2", "INT4", "FLOAT4", "FLOAT8", "E8M0")


def plainest() -> Iterator[Any]:
    """Of each operator the test with the shortest name."""
    by_operator: dict[str, Any] = {}
    for test in sorted(node_tests(), key=lambda test: (len(test.name), test.name)):
        skipped = "_expanded" in test.name or any(name in test.name for name in STORED)
        if has_tensors_only(test.model) and not skipped:
            by_operator.setdefault(operator_of(test), test)
    for operator, test in by_operator.items():
        if operator not in TESTED_ELSEWHERE:
            yield test


def test_each_operator_gives_what_onnx_says_or_is_refused() -> None:
    ready, refused = [], set()
    for test in plainest():
        try:
            ready.append(prepared(test))
        except ImportFailed:
            refused.add(operator_of(test))
    wrong = {}
    for batch in batches(ready, size=40):
        for item, text in zip(batch, differences(batch), strict=True):
            if text:
                wrong[item.test.name] = text
    assert wrong == {}
    assert refused <= REFUSED
    assert len(ready) > 100


def test_attention_sees_no_further_than_its_windows() -> None:
    windows = [
        test
        for test in node_tests()
        if "window" in test.name
        and operator_of(test) == "Attention"
        and "_expanded" not in test.name
    ]
    assert len(windows) > 5
    ready = [prepared(test) for test in windows]
    wrong = {
        item.test.name: text
        for batch in batches(ready, size=40)
        for item, text in zip(batch, differences(batch), strict=True)
        if text
    }
    assert wrong == {}
