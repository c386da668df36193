"""Element types have DLPack's numbers, and those that a library cannot hold are refused."""

from __future__ import annotations

import pytest

from tunekit.errors import CompileError
from tunekit.standalone.elements import element_of


@pytest.mark.parametrize(
    ("name", "code", "bits"),
    [
        *[(f"int{bits}", 0, bits) for bits in (8, 16, 32, 64)],
        *[(f"uint{bits}", 1, bits) for bits in (8, 16, 32, 64)],
        *[(f"float{bits}", 2, bits) for bits in (16, 32, 64)],
        ("bfloat16", 4, 16),
        ("bool", 6, 8),
    ],
)
def test_types_have_dlpacks_numbers(name: str, code: int, bits: int) -> None:
    element = element_of(name)
    assert (element.name, element.code, element.bits, element.size) == (name, code, bits, bits // 8)


@pytest.mark.parametrize("name", ["int4", "float8_e4m3fn", "float32x4", "handle", "uint1"])
def test_other_types_are_refused_by_name(name: str) -> None:
    with pytest.raises(CompileError, match=name):
        element_of(name)
