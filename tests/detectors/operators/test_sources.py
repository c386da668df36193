"""The C of the operators, as compilers see it."""

from __future__ import annotations

import shutil

import pytest
from operator_uses import USES
from operators_in_c import STRICT, C

from tunekit.detectors.operators.glue import (
    number,
    threshold,
)
from tunekit.extern_kernels.contract import KernelTensor
from tunekit.extern_kernels.resources import tasks_for
from tunekit.extern_kernels.sorting import RowsSorted
from tunekit.standalone.build import Toolchain


@pytest.mark.parametrize("compiler", ["clang", "aarch64-linux-gnu-gcc"])
def test_compilers_have_nothing_to_say(compiler: str) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"there is no {compiler}")
    Toolchain(compiler).call(*STRICT, "-fsyntax-only", *map(str, sorted(C.glob("*.c"))))


def test_every_file_is_of_use() -> None:
    numbers = KernelTensor((3, 5), "float32")
    sorting = RowsSorted().code([numbers], [numbers], {"descending": True})
    codes = [*(use.kernel().code for use in USES), sorting]
    assert {source for code in codes for source in code.sources} == {f.name for f in C.glob("*.c")}
    for code in codes:
        assert all((C / header).is_file() for header in code.headers)


def test_kernels_of_equal_arguments_are_equal() -> None:
    first, again = ([use.kernel().symbol for use in USES[:3]] for _ in range(2))
    assert first == again
    assert len(set(first)) == 3


def test_numbers_are_exact() -> None:
    assert float.fromhex(number(0.1)[:-1]) == 0.10000000149011612
    assert threshold(0.5) == number(0.5)
    # The next float32 below, where rounding to the nearest gives more than the number.
    assert float.fromhex(threshold(0.1)[:-1]) < 0.1 < float.fromhex(number(0.1)[:-1])


@pytest.mark.parametrize(("rows", "tasks"), [(0, 1), (1, 1), (3, 2), (8, 8), (1000, 16)])
def test_tasks_are_a_power_of_two(rows: int, tasks: int) -> None:
    assert tasks_for(rows) == tasks
