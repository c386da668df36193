"""The names that a standalone library has in C."""

from __future__ import annotations

import pytest

from tunekit.library.standalone import c_name


@pytest.mark.parametrize(
    ("name", "in_c"),
    [
        ("resnet50", "resnet50"),
        ("line-2.b", "line_2_b"),
        ("2nd", "model_2nd"),
        ("time", "model_time"),
        ("m", "model_m"),
        ("tunekit", "model_tunekit"),
    ],
)
def test_names_are_identifiers_that_hide_nothing_of_cs(name: str, in_c: str) -> None:
    assert c_name(name) == in_c
