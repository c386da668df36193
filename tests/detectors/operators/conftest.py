"""One library with all operators that the tests here use, built once."""

from __future__ import annotations

import platform

import pytest
from operator_uses import USES
from operators_in_c import OperatorsInC

_NATIVE = ("-mavx2",) if platform.machine() == "x86_64" else ()


@pytest.fixture(scope="session")
def in_c(tmp_path_factory: pytest.TempPathFactory) -> OperatorsInC:
    folder = tmp_path_factory.mktemp("operators")
    return OperatorsInC(
        USES, folder, "cc", "-O1", "-fno-math-errno", "-fno-trapping-math", *_NATIVE
    )
